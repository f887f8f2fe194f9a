"""Planted bugs are found. Each stored scenario is one that a sweep found and shrinking made small (see `hunt`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.simulator.broken import INVARIANTS
from adversary.simulator.mutants import MUTANTS, PLANTABLE
from adversary.simulator.run import simulate
from adversary.simulator.scenario import read_scenario
from pbft.core.group import Group
from tests.simulator.hunt import STORED


@pytest.mark.parametrize("name", PLANTABLE)
def test_the_stored_scenario_shows_the_mutant_and_nothing_else(name: str, memory: Path) -> None:
    scenario = read_scenario(STORED / f"{name}.json")
    with MUTANTS[name].planted():
        (memory / "mutant").mkdir()
        failure = simulate(scenario, memory / "mutant").failure
    assert failure is not None
    assert failure.invariant in MUTANTS[name].breaks
    (memory / "healthy").mkdir()
    assert simulate(scenario, memory / "healthy").failure is None


def test_there_is_a_scenario_for_each_mutant_and_no_other() -> None:
    assert {path.stem for path in STORED.glob("*.json")} == set(PLANTABLE)


def test_mutants_break_invariants_that_there_are() -> None:
    assert all(set(mutant.breaks) <= set(INVARIANTS) for mutant in MUTANTS.values())


def test_a_mutant_is_gone_with_its_context() -> None:
    before = vars(Group)["quorum"]
    with MUTANTS["quorum_2f"].planted():
        assert vars(Group)["quorum"] is not before
    assert vars(Group)["quorum"] is before
