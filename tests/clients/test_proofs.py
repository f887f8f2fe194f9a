"""Proofs of lies on a user's machine: kept once, few, and said in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients import proofs
from clients.proofs import PROOFS_PER_REPLICA_MAX, in_words, keep_proof
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import decode_evidence, verify_evidence
from pbft.core.types import ReplicaId
from tests.client.test_proofs import GROUP, LIE, MEMBERS, TRUE, said

PROOF = Evidence(code="E9", culprit=ReplicaId(3), statements=(LIE.wire, *(reply.wire for reply in TRUE)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's data are."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "quorate" / "evidence"


def test_a_proof_is_kept_for_its_owner_and_can_be_verified_later(home: Path) -> None:
    line = keep_proof(GROUP, PROOF)
    (path,) = home.iterdir()
    assert line == f"proof kept in {path}"
    assert path.stat().st_mode & 0o077 == 0
    kept = decode_evidence(GROUP, path.read_bytes())
    assert kept == PROOF
    verify_evidence(Opener(GROUP, MEMBERS.verifier), kept)


def test_the_same_proof_is_kept_once_and_found_again(home: Path) -> None:
    assert keep_proof(GROUP, PROOF) == keep_proof(GROUP, PROOF)
    assert len(list(home.iterdir())) == 1


def test_what_is_kept_is_bounded(home: Path) -> None:
    for number in range(PROOFS_PER_REPLICA_MAX + 2):
        lie = said(3, b"no %d" % number)
        line = keep_proof(GROUP, replace(PROOF, statements=(lie.wire, *PROOF.statements[1:])))
    assert len(list(home.iterdir())) == PROOFS_PER_REPLICA_MAX
    assert line == f"there are {PROOFS_PER_REPLICA_MAX} proofs in {home} already, and it was not kept"
    keep_proof(GROUP, replace(PROOF, culprit=ReplicaId(2)))
    assert len(list(home.iterdir())) == PROOFS_PER_REPLICA_MAX + 1


def test_all_replicas_and_groups_together_are_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "PROOFS_MAX", 2)
    for replica in range(4):
        keep_proof(GROUP, replace(PROOF, culprit=ReplicaId(replica)))
    assert len(list(home.iterdir())) == 2


def test_where_it_cannot_be_kept_is_said(home: Path) -> None:
    home.parent.mkdir()
    home.write_text("no directory")
    assert keep_proof(GROUP, PROOF).startswith(f"the proof could not be kept in {home}")


def test_who_lied_is_said_in_words() -> None:
    assert in_words(GROUP, PROOF) == "replica 3 lied: its reply at 5 contradicts replicas 0 1"
    assert in_words(GROUP, replace(PROOF, statements=(b"",))) == "replica 3 lied: its statements prove E9"
