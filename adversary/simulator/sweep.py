"""Many seeds, in one process or several. What is found does not depend on how many."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from adversary.simulator.drawing import draw
from adversary.simulator.marks import EXPECTED
from adversary.simulator.run import Result, simulate
from adversary.simulator.scenario import Scenario
from adversary.simulator.storage import workspace

CHUNK = 4
"""Seeds that a process takes at once."""
STOP = "stop"
"""A file of this name tells the processes that nobody waits for more."""
SEEDS_FOR_ALL_MARKS = 1000
"""A sweep of so many seeds must have come by every mark."""


@dataclass(slots=True)
class Summary:
    """Of all runs so far, in order of their seeds."""

    seeds: int = 0
    steps: int = 0
    deliveries: int = 0
    view_changes: int = 0
    transfers: int = 0
    virtual_ms: int = 0
    accepted: int = 0
    failures: dict[int, Result] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    """How many runs came by each."""
    demands_marks: bool = True
    """Whether a long sweep has to come by every mark."""
    _digest: bytes = b""

    def add(self, seed: int, result: Result) -> None:
        self.seeds += 1
        self.steps += result.steps
        self.deliveries += result.deliveries
        self.view_changes += result.view_changes
        self.transfers += result.transfers
        self.virtual_ms += result.virtual_ms
        self.accepted += result.accepted
        for mark in result.marks:
            self.marks[mark] = self.marks.get(mark, 0) + 1
        if result.failure is not None:
            self.failures[seed] = result
        self._digest = sha256(self._digest + bytes.fromhex(result.digest)).digest()

    @property
    def never_reached(self) -> list[str]:
        return sorted(EXPECTED - set(self.marks))

    @property
    def is_good(self) -> bool:
        """Nothing broke, and a long sweep came by everything that is expected of it."""
        lacks = self.demands_marks and self.seeds >= SEEDS_FOR_ALL_MARKS and self.never_reached
        return not self.failures and not lacks

    def record(self) -> dict[str, object]:
        """For JSON."""
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "deliveries": self.deliveries,
            "view_changes": self.view_changes,
            "transfers": self.transfers,
            "virtual_seconds": self.virtual_ms // 1000,
            "accepted": self.accepted,
            "failures": [
                {"seed": seed, "invariant": result.failure.invariant, "text": result.failure.text}
                for seed, result in sorted(self.failures.items())
                if result.failure is not None
            ],
            "marks": dict(sorted(self.marks.items())),
            "marks_never_reached": self.never_reached,
            "digest": self._digest.hex(),
        }


def simulate_alone(scenario: Scenario, parent: Path | str | None = None) -> Result:
    """In a directory of its own, which is gone afterwards."""
    if parent is None:
        with workspace() as made:
            return simulate(scenario, Path(made))
    with TemporaryDirectory(dir=parent) as directory:
        return simulate(scenario, Path(directory))


Draw = Callable[[int, int | None], Scenario]
"""From a seed, and the size of the group unless that is drawn too, to its scenario. Other processes import it."""


def sweep(
    seeds: range, *, replicas: int | None = None, jobs: int = 1, draw: Draw = draw
) -> Generator[tuple[int, Result]]:
    """Results in order of the seeds, as they come. Directories are gone when the iteration ends, however it does."""
    with workspace() as directory:
        run = partial(_run_chunk, draw, replicas, directory)
        chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
        if jobs == 1:
            for chunk in chunks:
                for seed in chunk:
                    yield from run((seed,))
            return
        with ProcessPoolExecutor(jobs, initializer=_begin_worker) as pool:
            try:
                for results in pool.map(run, chunks):
                    yield from results
            finally:
                (Path(directory) / STOP).touch()
                pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is for the parent, which lets its workers finish what they have begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_chunk(draw: Draw, replicas: int | None, directory: str, seeds: Iterable[int]) -> list[tuple[int, Result]]:
    gc.disable()  # a run is a hundred milliseconds; what it leaves is collected after it
    try:
        stop = Path(directory) / STOP
        return [(seed, simulate_alone(draw(seed, replicas), directory)) for seed in seeds if not stop.exists()]
    finally:
        gc.enable()
        gc.collect()
