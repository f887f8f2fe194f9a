"""The one timer of views: how long a backup waits for progress, or for a NEW-VIEW. PBFT section 4.5.2."""

from __future__ import annotations

from pbft.core.effects import Timer
from pbft.core.group import Group
from pbft.core.output import Output
from pbft.core.types import Milliseconds

LEVEL_MAX = 5
"""The timeout doubles per failed view, up to 32 times: after a long outage the group recovers within that."""
PROGRESS_PER_LEVEL = 8
"""So many executed batches take the timeout back by one doubling."""


class ViewTimer:
    """A deadline that the core itself compares with its clock: an expiry that comes from before a move is stale."""

    def __init__(self, group: Group) -> None:
        self._base_ms = group.parameters.view_change_timeout_ms
        self._deadline: Milliseconds | None = None
        self._wake_at: Milliseconds | None = None
        self._level = 0
        self._progress = 0
        self._was_late = False

    @property
    def duration(self) -> int:
        """Of the current timeout, in milliseconds."""
        return self._base_ms << self._level

    @property
    def level(self) -> int:
        return self._level

    @property
    def is_armed(self) -> bool:
        return self._deadline is not None

    def arm(self, out: Output, now: Milliseconds) -> None:
        """Start the timeout anew. The node's timer is moved only when it would come too late: a busy replica arms
        with every batch."""
        self._deadline = Milliseconds(now + self.duration)
        if self._wake_at is None or self._wake_at > self._deadline or self._wake_at <= now:
            self._wake(out, self._deadline)

    def _wake(self, out: Output, at: Milliseconds) -> None:
        self._wake_at = at
        out.set_timer(Timer.VIEW_CHANGE, at)

    def disarm(self) -> None:
        self._deadline = None
        self._was_late = False

    def expired(self, out: Output, now: Milliseconds) -> bool:
        """Whether the timeout is over. Sets the timer again if it was moved, or if this replica itself was asleep:
        then messages that came meanwhile are still to be read."""
        if self._deadline is None:
            self._wake_at = None
            return False
        if now < self._deadline:
            self._wake(out, self._deadline)
            return False
        if now - self._deadline > self._base_ms // 2 and not self._was_late:
            self._was_late = True
            self._deadline = Milliseconds(now + self.duration // 2)
            self._wake(out, self._deadline)
            return False
        self._was_late = False
        self._deadline = self._wake_at = None
        return True

    def on_progress(self) -> None:
        """A batch with operations was executed."""
        self._progress += 1
        if self._progress % PROGRESS_PER_LEVEL == 0:
            self._level = max(self._level - 1, 0)

    def leave_view(self, *, was_idle: bool = False) -> None:
        """The view is given up: if nothing came of it, though something waited, the next one gets twice the time."""
        if self._progress == 0 and not was_idle:
            self._level = min(self._level + 1, LEVEL_MAX)
        self._progress = 0
        self.disarm()
