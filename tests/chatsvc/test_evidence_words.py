"""What a proof shows, in words."""

from __future__ import annotations

import pytest

from chatsvc.evidence_words import REASONS, TITLES, explain
from tests.core.proofs import PROVEN, opener


@pytest.mark.parametrize("name", sorted(set(PROVEN) - {"E7, no body at all"}))
def test_every_statement_of_a_proof_is_told(name: str) -> None:
    evidence = PROVEN[name]
    told = explain(opener(), evidence)
    assert len(told.said) >= len(evidence.statements)
    assert all("does not open" not in said for said in told.said)
    assert len(set(told.said)) == len(told.said), "it reads as if the same had been said twice"
    assert told.title.endswith(TITLES[evidence.code])
    assert told.why == REASONS[evidence.code]


def test_statement_without_a_readable_body_is_told_as_such() -> None:
    told = explain(opener(), PROVEN["E7, no body at all"])
    assert told.said[0].endswith(" of replica 2: does not open")
    assert told.said[1].startswith("It is invalid: ")


def test_hidden_batch_is_told_with_what_was_shown_instead() -> None:
    committed, shown = explain(opener(), PROVEN["E5, an older view"]).said
    assert committed.startswith("COMMIT of replica 2 in view 2")
    assert committed.endswith("as number 3")
    assert "stands on checkpoint 0, and shows above it number 3 of view 1" in shown
