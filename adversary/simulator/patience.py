"""How long people wait for what they asked, and who waits while others are served. Times in virtual milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASSED_BY_MS: Final = 1_000
"""Whoever asked so much later and was served first has passed somebody by."""


@dataclass(slots=True)
class _Served:
    last_asked_ms: int = -1
    """When the latest of what was accepted had been asked."""


class Patience:
    """Told what clients ask and what they see accepted."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], int] = {}
        self._served: dict[str, _Served] = {}
        self._quiet_since = 0
        """Since when somebody waits and nothing was accepted."""
        self.accepted = 0
        self.asked = 0
        self._longest_wait = 0
        self._longest_gap = 0

    def on_asked(self, client: str, ticket: int, now_ms: int) -> None:
        self.asked += 1
        if not self._waiting:
            self._quiet_since = now_ms
        self._waiting[client, ticket] = now_ms

    def on_outcome(self, client: str, ticket: int, now_ms: int) -> None:
        asked = self._waiting.pop((client, ticket))
        self._longest_wait = max(self._longest_wait, now_ms - asked)
        self._longest_gap = max(self._longest_gap, now_ms - self._quiet_since)
        self._quiet_since = now_ms
        self.accepted += 1
        served = self._served.setdefault(client, _Served())
        served.last_asked_ms = max(served.last_asked_ms, asked)

    def longest_wait_ms(self, now_ms: int) -> int:
        """The longest that anybody waited, or waits still, for one operation."""
        return max([self._longest_wait, *(now_ms - asked for asked in self._waiting.values())])

    def longest_gap_ms(self, now_ms: int) -> int:
        """The longest time in which somebody waited and nothing at all was accepted."""
        return max(self._longest_gap, now_ms - self._quiet_since) if self._waiting else self._longest_gap

    def passed_by(self) -> str | None:
        """A client that waits while others, who asked later, were served."""
        for (client, _), asked in sorted(self._waiting.items(), key=lambda item: item[1]):
            others = [served.last_asked_ms for name, served in self._served.items() if name != client]
            if max(others, default=-1) >= asked + PASSED_BY_MS:
                return client
        return None
