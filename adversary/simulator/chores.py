"""What a node does now and then beside its steps: commit, store what may be stored later, look for rot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adversary.simulator.surroundings import Surroundings
from pbft.core.effects import StateDamaged

if TYPE_CHECKING:
    from adversary.simulator.host import Host

TICK_US = 50_000
SCRUB_US = 2_000_000
SCRUB_PAGES = 40
"""A node looks at one page in each tick; here forty are looked at in every fortieth."""


class Chores:
    """Of one run of a host's process. Each is one event when there is something to do."""

    def __init__(self, host: Host, around: Surroundings) -> None:
        self._host = host
        self._around = around
        self._ticking = self._flushing = False

    def begin(self) -> None:
        self._around.later(self._host, SCRUB_US, self._scrub)

    def tick_soon(self) -> None:
        """Executed batches are committed out of the way of replies."""
        if not self._ticking:
            self._ticking = True
            self._around.later(self._host, TICK_US, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        self._host.or_stop(lambda: self._host.disk.executor.settle())  # noqa: PLW0108 - none while it is down

    def flush_soon(self) -> None:
        """What may be stored later is, when nothing has to be stored for half a second."""
        hands = self._host.hands
        if hands.has_archive and not self._flushing:
            self._flushing = True
            self._around.later(self._host, hands.flush_in_ms * 1000, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._host.or_stop(self._host.hands.flush_if_due)
        if self._host.is_up:
            self.flush_soon()

    def _scrub(self) -> None:
        self._host.or_stop(self._look_for_rot)
        if self._host.mode in {"up", "paused"}:
            self._around.later(self._host, SCRUB_US, self._scrub)

    def _look_for_rot(self) -> None:
        host = self._host
        for table, page in host.disk.scrub(SCRUB_PAGES):
            self._around.marks.reach("rot found by scrubbing")
            host.intake.post(StateDamaged(now=host.now(), what=f"page {page.hex()} of table {table} is damaged"))
