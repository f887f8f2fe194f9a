"""Slow and unfair primaries: alive, in time for every timer, and failures all the same.

After Aardvark (NSDI'09, section 5) and Prime (DSN'08): a backup compares what is ordered with what it knows the group
can do, and looks whether a waiting client is passed by. It judges only while something waits, so a primary under
light load keeps its office.
"""

from __future__ import annotations

from pbft.core.group import Group
from pbft.core.request_pool import RequestPool
from pbft.core.types import Milliseconds

FLOOR_PER_S = 64
"""Operations a second that every primary must manage while requests wait."""
FLOOR_DIVISOR = 4
"""And this part of the best that was seen lately."""
BEST_DECAY_DIVISOR = 64
"""The best is forgotten slowly, by this part of it in each interval."""
STRIKES = 3
"""Intervals in a row below the floor that cost a primary its office."""
PASSED_BY_TIMEOUTS = 5
"""A device that waits so many timeouts, while others are served, is passed by."""
LEVEL_MAX = 5
CALM_INTERVALS = 16


class PrimaryWatch:
    """Judges the current primary once in an interval, which is as long as the group's view change timeout."""

    def __init__(self, group: Group, pool: RequestPool) -> None:
        self._interval_ms = group.parameters.view_change_timeout_ms
        self._pool = pool
        self._since = Milliseconds(0)
        self._operations = 0
        self._best_per_s = 0
        self._strikes = 0
        self._calm = 0
        self._level = 0
        """Doubles the patience after each dismissal: if all primaries seem slow, the network is."""
        self._longest_round = 0
        """Operations until everybody who waits was served once, since somebody began to wait for long."""

    def begin_view(self, now: Milliseconds) -> None:
        """A new primary begins with a clean record."""
        self._since, self._operations, self._strikes = now, 0, 0
        self._pool.serve_all(now)

    def on_executed(self, operations: int) -> None:
        self._operations += operations

    def why_dismiss(self, now: Milliseconds) -> str | None:
        """What the primary is to be voted out for, if anything. To be asked a few times in each interval."""
        elapsed = now - self._since
        if elapsed < self._interval_ms:
            return None
        asleep = elapsed > 3 * self._interval_ms
        rate = self._operations * 1000 // elapsed
        self._since, self._operations = now, 0
        if asleep:  # this replica was, and knows nothing of what went on meanwhile
            self._pool.serve_all(now)
            return None
        self._best_per_s = max(self._best_per_s - self._best_per_s // BEST_DECAY_DIVISOR, rate)
        waited = self._pool.longest_wait(now)
        patience = (self._interval_ms // 2) << self._level
        before = self._longest_round if waited >= self._interval_ms else 0
        self._longest_round = max(before, self._pool.round_operations)
        floor = max(FLOOR_PER_S, self._best_per_s // FLOOR_DIVISOR) >> self._level
        if waited < patience or rate >= floor:
            self._strikes = 0
            self._grow_calm()
            return self._why_unfair(waited, rate)
        self._calm = 0
        self._strikes += 1
        if self._strikes < STRIKES:
            return None
        return self._dismiss(f"ordered {rate} operations a second while requests waited {waited} ms")

    def _why_unfair(self, waited: int, rate: int) -> str | None:
        """Where many wait everybody waits: then the bound is what a round takes by the fewest turns that a correct
        primary gives to what this replica passes on, and twice what it takes alone at the least."""
        round_ms = 1000 * self._longest_round * max(2, self._pool.dilution) // max(rate, FLOOR_PER_S)
        bound = max(PASSED_BY_TIMEOUTS * self._interval_ms, round_ms) << self._level
        if rate == 0 or waited < bound:
            return None
        return self._dismiss(f"passed a client by for {waited} ms while it served others")

    def _dismiss(self, reason: str) -> str:
        self._level = min(self._level + 1, LEVEL_MAX)
        self._best_per_s //= 2
        self._strikes = self._calm = 0
        return reason

    def _grow_calm(self) -> None:
        self._calm += 1
        if self._calm >= CALM_INTERVALS:
            self._calm = 0
            self._level = max(self._level - 1, 0)
