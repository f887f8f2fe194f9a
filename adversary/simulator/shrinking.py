"""Delta debugging: smaller and smaller scenarios that break the same invariant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from adversary.simulator.run import simulate
from adversary.simulator.scenario import Action, Network, Scenario

T = TypeVar("T")

SHORT_MS = 100
SERVICE_US = 500
"""What a fault's duration is not halved below, and an ordinary machine's time for a step."""

replace = msgspec.structs.replace


class _Shrinker:
    def __init__(
        self,
        scenario: Scenario,
        directory: str,
        runs_max: int,
        tell: Callable[[int], object],
    ) -> None:
        self.best = scenario
        self._directory = directory
        self._left = runs_max
        self._max = runs_max
        self._tell = tell
        self._invariant = self._broken(scenario)

    @property
    def fails(self) -> bool:
        return self._invariant is not None

    def run(self) -> None:
        """Until nothing helps any more, or the runs are used up."""
        before = None
        while before != self.best and self._left > 0:
            before = self.best
            self._remove(self.best.faults, lambda faults: replace(self.best, faults=faults))
            self._remove(_actions(self.best), lambda actions: _with_actions(self.best, actions))
            self._remove(self.best.liars, lambda liars: replace(self.best, liars=liars))
            for step in (*_STEPS, *(_halved(index) for index in range(len(self.best.faults)))):
                self._try(step(self.best))

    def _broken(self, scenario: Scenario) -> str | None:
        self._left -= 1
        self._tell(self._max - self._left)
        with TemporaryDirectory(dir=self._directory) as directory:
            failure = simulate(scenario, Path(directory)).failure
        return failure.invariant if failure is not None else None

    def _try(self, scenario: Scenario) -> bool:
        if self._left <= 0 or scenario == self.best or self._broken(scenario) != self._invariant:
            return False
        self.best = scenario
        return True

    def _remove(self, items: Sequence[T], make: Callable[[tuple[T, ...]], Scenario]) -> None:
        """Take out halves, quarters, ... as long as the invariant breaks without them."""
        kept = tuple(items)
        size = max(1, len(kept))
        while kept and self._left > 0:
            start = 0
            while start < len(kept):
                fewer = kept[:start] + kept[start + size :]
                if self._try(make(fewer)):
                    kept = fewer
                else:
                    start += size
            if size == 1:
                return
            size = max(1, size // 2)


def shrunk(
    scenario: Scenario,
    directory: str,
    *,
    runs_max: int,
    tell: Callable[[int], object] = lambda _: None,
) -> Scenario | None:
    """The smallest found; None if nothing breaks. `tell` is told how many runs were made."""
    shrinker = _Shrinker(scenario, directory, runs_max, tell)
    if not shrinker.fails:
        return None
    shrinker.run()
    return shrinker.best


Owned = tuple[str, Action]


def _actions(scenario: Scenario) -> tuple[Owned, ...]:
    return tuple((client.name, action) for client in scenario.clients for action in client.actions)


def _with_actions(scenario: Scenario, actions: Sequence[Owned]) -> Scenario:
    clients = (
        replace(client, actions=tuple(action for name, action in actions if name == client.name))
        for client in scenario.clients
    )
    return replace(scenario, clients=tuple(client for client in clients if client.actions))


Step = Callable[[Scenario], Scenario]
"""From a scenario to one a little plainer, or to itself."""


def _without(field: str) -> Step:
    return lambda scenario: replace(scenario, network=replace(scenario.network, **{field: 0}))


def _ends_early(scenario: Scenario) -> Scenario:
    """Faults are over as soon as there are none to come."""
    times = [fault.at_ms + fault.for_ms for fault in scenario.faults]
    times += [action.at_ms for _, action in _actions(scenario)]
    return replace(scenario, heal_ms=min(scenario.heal_ms, max(times, default=0)))


def _halved(index: int) -> Step:
    """The fault of that index lasts half as long."""

    def step(scenario: Scenario) -> Scenario:
        faults = list(scenario.faults)
        if index < len(faults) and faults[index].for_ms > SHORT_MS:
            faults[index] = replace(faults[index], for_ms=faults[index].for_ms // 2)
        return replace(scenario, faults=tuple(faults))

    return step


_STEPS: tuple[Step, ...] = (
    lambda scenario: replace(scenario, network=Network()),
    *(_without(field) for field in ("loss", "duplicate", "reorder", "spike", "frame_us")),
    lambda scenario: replace(scenario, calm=Network()),
    lambda scenario: replace(scenario, drift_ppm=()),
    lambda scenario: replace(scenario, real_signatures=False),
    lambda scenario: replace(scenario, service_us=SERVICE_US),
    _ends_early,
)
