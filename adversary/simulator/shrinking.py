"""Delta debugging: smaller and smaller scenarios that break the same invariant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from adversary.simulator.run import simulate
from adversary.simulator.scenario import Action, Client, Fault, Network, Scenario

T = TypeVar("T")

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
            for simpler in _simpler(self.best):
                self._try(simpler)

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
        Client(name=client.name, actions=tuple(action for name, action in actions if name == client.name))
        for client in scenario.clients
    )
    return replace(scenario, clients=tuple(client for client in clients if client.actions))


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Each a little plainer than the scenario; the caller keeps those that still fail."""
    yield replace(scenario, network=Network())
    for field in ("loss", "duplicate", "reorder", "spike", "frame_us"):
        yield replace(scenario, network=replace(scenario.network, **{field: 0}))
    yield replace(scenario, drift_ppm=())
    yield replace(scenario, real_signatures=False)
    yield replace(scenario, service_us=500)
    last = max((fault.at_ms + fault.for_ms for fault in scenario.faults), default=0)
    last = max(last, *(action.at_ms for _, action in _actions(scenario)), 1) if _actions(scenario) else max(last, 1)
    if last < scenario.heal_ms:
        yield replace(scenario, heal_ms=last)
    for index, fault in enumerate(scenario.faults):
        for simpler in _simpler_fault(fault):
            yield replace(scenario, faults=(*scenario.faults[:index], simpler, *scenario.faults[index + 1 :]))


def _simpler_fault(fault: Fault) -> Iterator[Fault]:
    if fault.for_ms > 100:
        yield replace(fault, for_ms=fault.for_ms // 2)
