"""Whose request is proposed next: devices in rings, and the rings by what each was given (start-time fair queueing).

    own        what clients brought to this replica's own doors, where each has only a fair part
    a replica  what that one passed on: a ring for each, so that one who floods does not crowd out another's
    strangers  devices that the application does not know

While all want something, half of the operations are of the own ring, half of the replicas' rings in equal parts;
strangers have no more than one in ten. Goyal, Vin, Cheng (SIGCOMM'96).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from crypto.signing import PublicKey
from pbft.core.types import ReplicaId

OWN: Final = -1
STRANGERS: Final = -2
OWN_COST: Final = 2
STRANGERS_COST: Final = 18
Ring = int
"""OWN, STRANGERS, or the replica that passed on."""


@dataclass(slots=True)
class _Ring:
    cost: int
    """Of an operation: the dearer, the fewer."""
    devices: OrderedDict[PublicKey, None] = field(default_factory=OrderedDict)
    used: int = 0


class Rings:
    """Devices that wait, each in one ring. `peers`: how many replicas may pass on."""

    def __init__(self, peers: int) -> None:
        self._peers = peers
        self._rings: dict[Ring, _Ring] = {OWN: _Ring(OWN_COST), STRANGERS: _Ring(STRANGERS_COST)}
        self._floor = 0
        """Where a ring begins that was empty for a while."""

    @property
    def dilution(self) -> int:
        """How many operations are ordered, strangers' apart, for each that one of the replicas passed on."""
        return 2 * self._peers

    def line_up(self, ring: Ring, device: PublicKey) -> None:
        place = self._rings.get(ring)
        if place is None:
            place = self._rings[ring] = _Ring(OWN_COST * self._peers)
        if not place.devices:
            place.used = max(place.used, self._floor)
        place.devices[device] = None

    def first(self) -> tuple[Ring, PublicKey] | None:
        """The device whose turn it is; `serve` takes it out."""
        waiting = [(place.used, ring) for ring, place in self._rings.items() if place.devices]
        if not waiting:
            return None
        # Of equals the own ring comes first, then the replicas, then strangers.
        _, ring = min(waiting, key=lambda each: (each[0], each[1] == STRANGERS, each[1]))
        return ring, next(iter(self._rings[ring].devices))

    def serve(self, ring: Ring, device: PublicKey, operations: int) -> None:
        self.leave(ring, device)
        place = self._rings[ring]
        self._floor = max(self._floor, place.used)
        place.used += place.cost * operations

    def leave(self, ring: Ring, device: PublicKey) -> None:
        del self._rings[ring].devices[device]

    def clear(self) -> None:
        for place in self._rings.values():
            place.devices.clear()


def ring_of(*, is_stranger: bool, via: ReplicaId | None) -> Ring:
    """Where a device waits whose first request came by way of `via`, or of its own connection."""
    if is_stranger:
        return STRANGERS
    return OWN if via is None else via
