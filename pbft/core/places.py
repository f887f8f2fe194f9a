"""Places that devices take, bounded in all; strangers, who cost nothing to make, have a small part of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from crypto.signing import PublicKey

STRANGERS_DIVISOR = 8
"""Devices that the application does not know have this part of all places together."""


class Places:
    """Who has how many. `knows`: whether the application knows a device; asked when it takes its first."""

    def __init__(self, most: int, knows: Callable[[PublicKey], bool]) -> None:
        self._most = most
        self._knows = knows
        self._taken: Counter[PublicKey] = Counter()
        self._strangers: set[PublicKey] = set()
        self._total = 0
        self._strangers_total = 0

    def of(self, device: PublicKey) -> int:
        return self._taken[device]

    def is_stranger(self, device: PublicKey) -> bool:
        if self._taken[device]:
            return device in self._strangers
        return not self._knows(device)

    def has_room(self, device: PublicKey) -> bool:
        if self.is_stranger(device) and self._strangers_total >= self._most // STRANGERS_DIVISOR:
            return False
        return self._total < self._most

    def take(self, device: PublicKey) -> None:
        if self.is_stranger(device):
            self._strangers.add(device)
            self._strangers_total += 1
        self._taken[device] += 1
        self._total += 1

    def give_back(self, device: PublicKey, count: int = 1) -> None:
        count = min(count, self._taken[device])
        if not count:
            return
        self._taken[device] -= count
        self._total -= count
        if device in self._strangers:
            self._strangers_total -= count
        if not self._taken[device]:
            del self._taken[device]
            self._strangers.discard(device)

    def clear(self) -> None:
        self._taken.clear()
        self._strangers.clear()
        self._total = self._strangers_total = 0
