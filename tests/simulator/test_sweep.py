"""Sweeps: what continuous integration runs of them, and that a seed means one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adversary.simulator import storage
from adversary.simulator.drawing import draw
from adversary.simulator.marks import EXPECTED, MARKS, Marks
from adversary.simulator.storage import workspace
from adversary.simulator.sweep import SEEDS_FOR_ALL_MARKS, Summary, simulate_alone, sweep

SLICE = range(1000, 1100)
COMMON = {
    "crash between two effects",
    "power loss undid executed batches",
    "restart with votes to send again",
    "body fetched by digest",
    "late commit certificate executed",
    "archive served",
    "partition healed",
    "ledger begun again",
    "view change",
    "view timeout doubled",
    "joined a view change of others",
    "same sequence prepared in two views",
    "new primary without a body",
    "null batch executed",
    "stale timer ignored",
    "primary dismissed as slow",
    "planned view change for a mute or stranded peer",
    "state transfer started",
    "state transfer finished",
    "full disk stopped a node",
    "failed fsync stopped a node",
    "two COMMITs proven (E3)",
    "duplicate request answered from the cache",
}
"""What already a small sweep must come by."""


def test_a_slice_of_the_seeds_holds() -> None:
    summary = Summary()
    for seed, result in sweep(SLICE):
        assert result.failure is None, f"quorate simulate --seeds {seed}: {result.failure}"
        summary.add(seed, result)
    assert set(summary.marks) >= COMMON
    assert summary.accepted > 20 * len(SLICE)


def sweep_in_another_process(*arguments: str, hash_seed: str) -> dict[str, object]:
    command = [sys.executable, "-m", "clients.main", "simulate", "--json", *arguments]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    summary: dict[str, object] = json.loads(done.stdout)
    return summary


def test_a_seed_is_one_run_in_every_process() -> None:
    seeds = ("--seeds", "40..52", "--replicas", "4")
    one = sweep_in_another_process(*seeds, hash_seed="1")
    other = sweep_in_another_process(*seeds, hash_seed="2")
    together = sweep_in_another_process(*seeds, "--jobs", "2", hash_seed="random")
    assert one == other == together
    assert one["seeds"] == 12


def test_a_run_depends_on_its_scenario_alone() -> None:
    alone = simulate_alone(draw(5, 4)).digest
    simulate_alone(draw(6, 7))
    assert simulate_alone(draw(5, 4)).digest == alone
    assert simulate_alone(draw(7, 4)).digest != alone


def test_every_seed_gives_another_scenario() -> None:
    digests = {result.digest for _, result in sweep(range(4), replicas=4)}
    assert len(digests) == 4


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_that_is_broken_off_leaves_nothing_behind(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MEMORY", tmp_path)
    results = sweep(range(40), replicas=4, jobs=jobs)
    next(results)
    assert list(tmp_path.iterdir())
    results.close()
    assert not list(tmp_path.iterdir())


def test_marks_are_registered_or_refused() -> None:
    marks = Marks()
    marks.reach("crash between two effects")
    assert marks.reached == {"crash between two effects"}
    with pytest.raises(KeyError):
        marks.reach("something nobody thought of")


def test_a_long_sweep_without_a_mark_is_not_good() -> None:
    summary = Summary(seeds=SEEDS_FOR_ALL_MARKS, marks=dict.fromkeys(EXPECTED, 1))
    assert summary.never_reached == []
    missing = min(EXPECTED)
    del summary.marks[missing]
    assert not summary.is_good
    assert summary.never_reached == [missing]
    assert Summary(seeds=10).is_good
    assert set(MARKS) >= EXPECTED


def test_a_workspace_is_gone_after_a_failure() -> None:
    def fail() -> None:
        with workspace() as directory:
            places.append(Path(directory))
            raise KeyboardInterrupt

    places: list[Path] = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not places[0].exists()
