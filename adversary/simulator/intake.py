"""What comes in to a host and waits for its next step, as in `pbft.node.intake`: frames, which become messages, and
notices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from adversary.simulator.surroundings import Surroundings
from adversary.simulator.waiting import Turns
from crypto.signing import PublicKey
from pbft.core.effects import FrameRefused, FromClient, FromPeer, Input, LinkUp, Received, StateDamaged, TimerExpired
from pbft.core.errors import ProtocolViolation
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.host import Host

PENDING_MAX = 48
"""Frames that wait for a host from one source, in the buffers of the connection."""

Notice = LinkUp | TimerExpired | StateDamaged | FrameRefused


class Intake:
    """Of one host. `message_us`: what taking in one frame costs; 0 for nothing, and then no frame waits its turn."""

    def __init__(self, host: Host, around: Surroundings, message_us: int) -> None:
        self._host = host
        self._around = around
        self._entries: list[tuple[FromPeer | FromClient, ...] | Notice] = []
        self._messages: list[FromPeer | FromClient] = []
        self._turns = Turns(around, message_us)
        self._busy_us = 0
        """What taking in has cost since the last step."""
        self._frozen: list[tuple[ReplicaId | PublicKey, bytes]] = []
        self._waiting: Counter[ReplicaId | PublicKey] = Counter()

    def receive(self, source: ReplicaId | PublicKey, frame: bytes) -> None:
        if self._host.mode == "paused":
            if self._waiting[source] >= PENDING_MAX:
                self._around.marks.reach("queue overflow while paused")
                return
            self._waiting[source] += 1
            self._frozen.append((source, frame))
        elif self._host.is_up and self._turns.message_us:
            self._turns.put(source, frame)
            self._host.wake()
        elif self._host.is_up:
            self._take_in(source, frame)

    def _take_in(self, source: ReplicaId | PublicKey, frame: bytes) -> None:
        if not self._host.is_up:
            return  # it died of an earlier one
        frames, checker = self._around.frames, self._around.checker
        try:
            if isinstance(source, bytes):
                request = frames.from_client(frame)
                checker.on_opened_frame(self._host, source, frame)
                self._messages.append(FromClient(device=source, message=request))
            else:
                message = frames.from_peer(frame)
                checker.on_opened_frame(self._host, source, frame)
                if self._host.replica.is_useless(message):
                    return
                self._messages.append(FromPeer(peer=source, message=message))
        except ProtocolViolation as error:
            checker.on_malformed(source, error)
            self._around.marks.reach("malformed frame refused")
            evidence = frames.proof_in(frame)
            if evidence is not None and not isinstance(source, bytes):
                self.post(FrameRefused(now=self._host.now(), evidence=evidence))
            return
        except Exception as error:  # noqa: BLE001 - whatever a decoder dies of, the node dies of
            self._host.die_of(error)
            return
        self._host.wake()

    def post(self, notice: Notice) -> None:
        self._close_entry()
        self._entries.append(notice)
        self._host.wake()

    def _close_entry(self) -> None:
        if self._messages:
            self._entries.append(tuple(self._messages))
            self._messages = []

    def take(self) -> list[Input]:
        """All that waits, for one step, in the order in which it came."""
        taken = self._turns.take()
        self._busy_us = len(taken) * self._turns.message_us
        for source, frame in taken:
            self._take_in(source, frame)
        self._close_entry()
        entries, self._entries = self._entries, []
        now = self._host.now()
        return [Received(now=now, messages=entry) if isinstance(entry, tuple) else entry for entry in entries]

    @property
    def is_waiting(self) -> bool:
        """Whether frames wait for their turn."""
        return self._turns.are_waiting

    def charge(self) -> int:
        """What taking in has cost since it was asked last, in microseconds."""
        busy_us, self._busy_us = self._busy_us, 0
        return busy_us

    def thaw(self) -> None:
        """The process goes on: it finds what its connections hold."""
        frozen, self._frozen = self._frozen, []
        for source, frame in frozen:
            self._waiting[source] -= 1
            self._take_in(source, frame)

    def drop(self) -> None:
        """The process is gone, and its connections with it."""
        self._entries, self._messages, self._frozen = [], [], []
        self._waiting.clear()
        self._turns.drop()
