"""When to tell the group what has been read: seldom, but always before leaving."""

from __future__ import annotations

INTERVAL_S = 3.0
"""At least this long between two markers of one room."""


class ReadMarks:
    """What was seen and not told yet. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def saw(self, room: str, index: int) -> None:
        """Everything before message `index` was on the screen."""
        self._seen[room] = max(index, self._seen.get(room, 0))

    def take_due(self, now: float, *, leaving: bool = False) -> list[tuple[str, int]]:
        """Return what to tell now. `leaving`: the rest, too."""
        due = [room for room in self._seen if leaving or now - self._told.get(room, -INTERVAL_S) >= INTERVAL_S]
        for room in due:
            self._told[room] = now
        return [(room, self._seen.pop(room)) for room in due]

    def wait_s(self, now: float) -> float | None:
        """Return how long until something is due; None while nothing waits."""
        if not self._seen:
            return None
        return max(0.0, min(self._told.get(room, -INTERVAL_S) + INTERVAL_S - now for room in self._seen))
