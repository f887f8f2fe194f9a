"""Places that devices take, bounded in all. Who holds most makes room: by host first, in it by device.

So whoever has none gets one, unless as many others as there are places have come from as many hosts. Strangers, who
cost nothing to make, have a small part of the places, and make room among themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from crypto.signing import PublicKey

STRANGERS_DIVISOR = 8
"""Devices that the application does not know have this part of all places together."""


@dataclass(slots=True)
class _Part:
    """The places of those that the application knows, or of the strangers."""

    most: int
    count: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    """Places by the host of the devices that hold them."""
    devices: dict[str, Counter[PublicKey]] = field(default_factory=dict)
    """Of each host, those that hold any; the one that came first stands first."""

    def add(self, host: str, device: PublicKey, change: int) -> None:
        self.count += change
        self.hosts[host] += change
        here = self.devices.setdefault(host, Counter())
        here[device] += change
        if not here[device]:
            del here[device]
        if not here:
            del self.devices[host], self.hosts[host]


class Places:
    """Who has how many. `knows`: whether the application knows a device; asked when it takes its first."""

    def __init__(self, most: int, knows: Callable[[PublicKey], bool]) -> None:
        strangers = most // STRANGERS_DIVISOR
        self._knows = knows
        self._people = _Part(most - strangers)
        self._strangers = _Part(strangers)
        self._holders: dict[PublicKey, tuple[_Part, str]] = {}
        """Where the places of a device are counted, as long as it has any."""

    def of(self, device: PublicKey) -> int:
        held = self._holders.get(device)
        if held is None:
            return 0
        part, host = held
        return part.devices[host][device]

    def is_stranger(self, device: PublicKey) -> bool:
        held = self._holders.get(device)
        return held[0] is self._strangers if held is not None else not self._knows(device)

    def _part_of(self, device: PublicKey, host: str) -> tuple[_Part, str]:
        return self._holders.get(device) or ((self._strangers if self.is_stranger(device) else self._people), host)

    def who_makes_room(self, device: PublicKey, host: str) -> PublicKey | None:
        """For one more place of `device`; None if there is room. The device itself, if no other has more."""
        part, host = self._part_of(device, host)
        if part.count < part.most:
            return None
        crowd = max(part.hosts, key=lambda each: (part.hosts[each], each == host))
        here = part.devices[crowd]
        fullest = max(here, key=lambda each: here[each])
        return device if crowd == host and here[fullest] <= here[device] else fullest

    def take(self, device: PublicKey, host: str) -> None:
        part, host = self._holders[device] = self._part_of(device, host)
        part.add(host, device, 1)

    def give_back(self, device: PublicKey, count: int = 1) -> None:
        count = min(count, self.of(device))
        if not count:
            return
        part, host = self._holders[device]
        part.add(host, device, -count)
        if device not in part.devices.get(host, ()):
            del self._holders[device]

    def clear(self) -> None:
        self._holders.clear()
        for part in (self._people, self._strangers):
            part.count = 0
            part.hosts.clear()
            part.devices.clear()
