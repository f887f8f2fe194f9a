"""Those who mean well, and what follows whoever leads: faults that look at the group before they strike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from adversary.simulator.scenario import Cascade, Restarts
from pbft.core.restart_guard import why_not_restart
from pbft.core.types import View

if TYPE_CHECKING:
    from adversary.simulator.host import Host
    from adversary.simulator.run import Simulation

FAULT = 0
ASKS_AGAIN_US: Final = 100_000


class Operators:
    """Of one run. What they stopped, they start again, also when their time is over."""

    def __init__(self, run: Simulation) -> None:
        self._run = run
        self._at_work: dict[int, Cascade | Restarts] = {}
        self._left: dict[int, list[int]] = {}

    def begin(self, fault: Cascade | Restarts) -> None:
        self._at_work[fault.id] = fault
        if isinstance(fault, Restarts):
            self._left[fault.id] = list(fault.replicas)
            self._restart(fault)
        else:
            self._strike(fault)

    def end(self, fault: Cascade | Restarts) -> None:
        self._at_work.pop(fault.id, None)

    def stop(self) -> None:
        self._at_work.clear()

    # -- whoever leads

    def _strike(self, fault: Cascade) -> None:
        if fault.id not in self._at_work:
            return
        run = self._run
        views = [host.replica.log.view for host in run.hosts if host.is_up]
        first = max(views, default=View(0))
        for place in range(fault.width):
            self._take_down(run.hosts[run.group.primary(View(first + place))], fault.down_ms)
        self._later(fault, fault.every_ms * 1000, lambda: self._strike(fault))

    # -- too many at once

    def _restart(self, fault: Restarts) -> None:
        left = self._left[fault.id]
        if fault.id not in self._at_work or not left:
            return
        run = self._run
        if not fault.guarded:
            for replica in left:
                self._take_down(run.hosts[replica], fault.down_ms)
            left.clear()
        elif self._why_not(left[0]) is not None:
            run.marks.reach("restart of one too many refused")
        else:
            self._take_down(run.hosts[left.pop(0)], fault.down_ms)
        self._later(fault, ASKS_AGAIN_US, lambda: self._restart(fault))

    def _why_not(self, replica: int) -> str | None:
        """What `quorate restart` would say."""
        run = self._run
        standings = [host.replica.describe() if host.is_up else f"it is {host.mode}" for host in run.hosts]
        return why_not_restart(standings[: run.group.size], replica, run.group)

    def _take_down(self, host: Host, down_ms: int) -> None:
        run = self._run
        if not host.is_up:
            return
        host.die()
        run.at(run.now_us + down_ms * 1000, FAULT, host.number, lambda: self._bring_back(host))

    def _bring_back(self, host: Host) -> None:
        if host.mode in {"down", "stopped"}:
            self._run.start(host)

    def _later(self, fault: Cascade | Restarts, delay_us: int, what: Callable[[], None]) -> None:
        self._run.at(self._run.now_us + delay_us, FAULT, fault.id, what)
