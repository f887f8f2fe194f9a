"""The fuzzer: what it draws, that a share of it holds, and that it finds planted bugs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adversary.attack_commands import replay
from adversary.behaviours.catalogue import BEHAVIOURS, LAYOUTS
from adversary.fuzz.commands import fuzz
from adversary.fuzz.drawing import BAD, PLAYS, draw
from adversary.simulator.mutants import MUTANTS
from adversary.simulator.scenario import CLIENT_BEHAVIOURS, Scenario, from_json, to_json
from adversary.simulator.sweep import simulate_alone


def test_everything_that_there_is_is_drawn() -> None:
    assert set(PLAYS) == {*BEHAVIOURS, *LAYOUTS}
    assert set(BAD) == set(CLIENT_BEHAVIOURS)
    drawn = [draw(seed) for seed in range(600)]
    assert {liar.strategy for scenario in drawn for liar in scenario.liars} == set(PLAYS)
    assert {client.behaviour for scenario in drawn for client in scenario.clients} == set(BAD)
    assert {scenario.replicas for scenario in drawn} == {4, 7}


def test_what_is_drawn_is_a_scenario_that_the_protocol_bears() -> None:
    """Complete in itself, short, and with no more than f faulty replicas, so that nothing may break."""
    for seed in range(300):
        scenario = draw(seed)
        assert from_json(to_json(scenario)) == scenario == draw(seed)
        assert len(scenario.faulty) <= (scenario.replicas - 1) // 3
        assert not {liar.replica for liar in scenario.liars} & set(scenario.core)
        assert scenario.heal_ms <= 1_000
        assert len([action for client in scenario.clients for action in client.actions]) == 8


def test_a_slice_of_the_seeds_holds() -> None:
    for seed in range(12):
        result = simulate_alone(draw(seed, 4))
        assert result.failure is None, f"quorate attack fuzz --seeds {seed} --replicas 4: {result.failure}"
        assert result.accepted >= 3


@pytest.mark.parametrize(("mutant", "seeds"), [("no_digest_check", range(40))])
def test_a_planted_bug_is_found(mutant: str, seeds: range) -> None:
    with MUTANTS[mutant].planted():
        found = next((seed for seed in seeds if simulate_alone(draw(seed, 4)).failure is not None), None)
    assert found is not None


def test_a_failure_is_left_as_a_scenario_that_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with MUTANTS["votes_not_stored"].planted():
        assert fuzz(seeds="5..8", replicas=4, until_failure=True, output=str(tmp_path), as_json=True) == 1
        said = capsys.readouterr()
        (failure,) = json.loads(said.out)["failures"]
        file = tmp_path / f"seed-{failure['seed']}.json"
        assert f"quorate attack replay {file}" in said.err.replace("\n", "")
        assert replay(file) == 1
    assert replay(file) == 0
    assert isinstance(from_json(file.read_bytes()), Scenario)


def test_a_good_sweep_exits_with_0_however_many_rare_states_it_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz(seeds="3", replicas=4) == 0
    assert "1 seeds, 0 failures" in capsys.readouterr().out


def test_bad_ranges_are_usage_errors(tmp_path: Path) -> None:
    assert fuzz(seeds="7..3", output=str(tmp_path)) == 2
