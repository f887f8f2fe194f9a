"""What waits in a host's connections while taking in costs time: each gets its turn, and none more than its share."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from crypto.signing import PublicKey
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.surroundings import Surroundings

Source = ReplicaId | PublicKey
CHUNK: Final = 8
"""Frames of one connection that are taken in before the others had their turn."""
WAITING_MAX: Final = 64
"""Frames in the buffers of one connection: then its other end has to wait, or to say it again."""


class Turns:
    """Of one host. `message_us`: what one frame costs; 0: nothing waits here."""

    def __init__(self, around: Surroundings, message_us: int) -> None:
        self._around = around
        self.message_us = message_us
        self._queues: dict[Source, deque[bytes]] = {}

    def put(self, source: Source, frame: bytes) -> None:
        queue = self._queues.setdefault(source, deque())
        if len(queue) < WAITING_MAX:
            queue.append(frame)
        else:
            self._around.marks.reach("frames left waiting by a busy replica")

    def take(self) -> list[tuple[Source, bytes]]:
        """One turn of every connection."""
        taken = [
            (source, queue.popleft()) for source, queue in self._queues.items() for _ in range(min(CHUNK, len(queue)))
        ]
        self._queues = {source: queue for source, queue in self._queues.items() if queue}
        return taken

    @property
    def are_waiting(self) -> bool:
        return bool(self._queues)

    def drop(self) -> None:
        """The connections are gone."""
        self._queues = {}
