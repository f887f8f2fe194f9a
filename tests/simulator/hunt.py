"""Finds scenarios for the mutants and stores the shrunk ones.

    python -m tests.simulator.hunt [NAME ...]

Without names: for every mutant that can be planted. Prints which seeds found it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adversary.simulator.drawing import draw
from adversary.simulator.mutants import MUTANTS, PLANTABLE
from adversary.simulator.scenario import Scenario, to_json
from adversary.simulator.shrinking import shrunk
from adversary.simulator.storage import workspace
from adversary.simulator.sweep import simulate_alone

STORED = Path(__file__).parent / "mutants"
SEEDS = range(2000)
SHRINK_RUNS = 300


def hunt(name: str, directory: str) -> tuple[int, str, Scenario] | None:
    """The first seed whose scenario of four replicas shows the mutant by one of its invariants, and no other bug."""
    mutant = MUTANTS[name]
    for seed in SEEDS:
        scenario = draw(seed, 4)
        with mutant.planted():
            failure = simulate_alone(scenario, directory).failure
        if failure is not None and failure.invariant in mutant.breaks:
            with mutant.planted():
                small = shrunk(scenario, directory, runs_max=SHRINK_RUNS)
            assert small is not None
            return seed, failure.invariant, small
    return None


def main(names: list[str]) -> None:
    with workspace() as directory:
        for name in names or PLANTABLE:
            found = hunt(name, directory)
            if found is None:
                sys.stdout.write(f"{name}: not found in {SEEDS}\n")
                continue
            seed, invariant, small = found
            (STORED / f"{name}.json").write_bytes(to_json(small))
            actions = sum(len(client.actions) for client in small.clients)
            sys.stdout.write(f"{name}: seed {seed}, {invariant}; {len(small.faults)} faults, {actions} operations\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
