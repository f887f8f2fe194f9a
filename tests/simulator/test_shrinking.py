"""Shrinking keeps what breaks and takes away the rest."""

from __future__ import annotations

from pathlib import Path

from adversary.simulator.mutants import MUTANTS
from adversary.simulator.run import simulate
from adversary.simulator.scenario import ClockStep, Crash, Network, Pause
from adversary.simulator.shrinking import shrunk
from tests.simulator.scenarios import story

NOISE = (
    Pause(id=2, at_ms=700, for_ms=300, replica=1),
    ClockStep(id=3, at_ms=500, for_ms=300, replica=3, step_ms=-5_000),
    Pause(id=4, at_ms=900, for_ms=300, replica=2),
)


def test_only_the_guilty_fault_is_left(memory: Path) -> None:
    crash = Crash(id=1, at_ms=850, for_ms=600, replica=0, fuse=5)
    scenario = story(*NOISE, crash, network=Network(loss=20, duplicate=20), drift_ppm=(100, 0, 0, 0))
    told: list[int] = []
    with MUTANTS["restart_forgets_votes"].planted():
        small = shrunk(scenario, str(memory), runs_max=200, tell=told.append)
        assert small is not None
        (memory / "small").mkdir()
        failure = simulate(small, memory / "small").failure
    assert failure is not None
    assert failure.invariant in MUTANTS["restart_forgets_votes"].breaks
    assert {fault.id for fault in small.faults} == {1}
    assert sum(len(client.actions) for client in small.clients) < 6
    assert small.network == Network()
    assert small.drift_ppm == ()
    assert told == sorted(told)


def test_shrinking_is_bounded(memory: Path) -> None:
    told: list[int] = []
    with MUTANTS["votes_not_stored"].planted():
        assert shrunk(story(*NOISE), str(memory), runs_max=5, tell=told.append) is not None
    assert told == [1, 2, 3, 4, 5]


def test_what_does_not_fail_cannot_be_shrunk(memory: Path) -> None:
    assert shrunk(story(), str(memory), runs_max=5) is None
    assert not list(memory.iterdir())
