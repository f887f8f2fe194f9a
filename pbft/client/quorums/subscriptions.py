"""One subscription: events believed at f+1 equal digests, delivered once and in order.

One replica, the streamer, sends the events themselves, the others their digests. A signed EVENTS statement says that
event i of the topic is such and such, for ever: it counts whenever and in whatever order it arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crypto.digest import Digest
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey
from pbft.client.quorums.knowledge import AcceptedMemory, Knowledge, highest_backed
from pbft.client.quorums.model import Event, Output, Settings, SubscriptionId, earliest
from pbft.core.application import EventItem
from pbft.core.bodies import EVENTS
from pbft.core.events import decode_item, item_digest
from pbft.core.frames import wire_of
from pbft.core.messages import Credit, Events, Signed, Subscribe, Unsubscribe
from pbft.core.readers import CREDIT_EVENTS
from pbft.core.types import EventIndex, Milliseconds, ReplicaId, SequenceNumber

CREDIT_STEP = CREDIT_EVENTS // 4
AHEAD_MAX = 2 * CREDIT_EVENTS
"""Events beyond what the caller has taken that are looked at."""
STREAM_BYTES_MAX = 16 * 1024 * 1024
"""Frames of one replica with events not delivered yet."""
RESUBSCRIBE_PAUSE_MS = 200
RESUBSCRIBE_PAUSE_MAX_MS = 5_000
BODY_PATIENCE_MAX_MS = 4_000
STALL_MAX_MS = 10_000
DELIVERED_REMEMBERED = 4096
DELIVERED_FRAME_BYTES_MAX = 8 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Stream:
    """What one replica has sent, and is to send next."""

    next: EventIndex
    credited: EventIndex
    quiet_at: Milliseconds
    """When it is asked for again if nothing came: a replica forgets subscriptions when it has no room for all."""
    held: deque[tuple[int, int]] = field(default_factory=deque)
    """(end, bytes) of frames with events not delivered yet."""
    held_bytes: int = 0
    closed: bool = False
    """It says that the topic cannot be read, out of a state no older than the subscription."""
    again_at: Milliseconds | None = None
    pause_ms: int = RESUBSCRIBE_PAUSE_MS

    @property
    def may_go_on(self) -> bool:
        """Whether the replica may send more than it has."""
        return self.next < self.credited + CREDIT_EVENTS


@dataclass(slots=True, eq=False)
class _Slot:
    """What is known of one event that was not delivered yet."""

    opinions: dict[ReplicaId, tuple[Digest, Signed[Events]]] = field(default_factory=dict)
    bodies: dict[Digest, EventItem] = field(default_factory=dict)
    """At most one of each replica."""
    agreed: Digest | None = None


_Item = tuple[Digest, EventItem | None]
"""What was vouched for, and the event itself where that was sent."""


def _read(events: Events) -> list[_Item] | None:
    """Return the events of a statement, or None if one of them is malformed."""
    if not events.bodies:
        return [(Digest(item), None) for item in events.items]
    try:
        items = [decode_item(item) for item in events.items]
    except MalformedEncoding:
        return None
    return [(item_digest(item), item) for item in items]


class SubscriptionTracker:
    """Owned by one task. Holds nothing beyond fixed bounds, whatever the replicas send."""

    def __init__(
        self,
        knowledge: Knowledge,
        device: PublicKey,
        number: SubscriptionId,
        settings: Settings,
        *,
        topic: bytes,
        start: EventIndex,
        streamer: ReplicaId,
    ) -> None:
        self.number = number
        self.needed = start
        """The event to be delivered next."""
        self.streamer = streamer
        """Who is asked for bodies."""
        self.is_closed = False
        self._knowledge = knowledge
        self._group = knowledge.group
        self._device = device
        self._settings = settings
        self._topic = topic
        self._taken = start
        self._minimum = knowledge.seen
        self._streams: dict[ReplicaId, _Stream] = {}
        self._slots: dict[int, _Slot] = {}
        self._body_at: Milliseconds | None = None
        self._body_patience_ms = settings.body_patience_ms
        self._stall_at: Milliseconds | None = None
        self._stall_ms = settings.stall_ms
        self._delivered: AcceptedMemory[Digest] = AcceptedMemory(
            entries_max=DELIVERED_REMEMBERED, bytes_max=DELIVERED_FRAME_BYTES_MAX
        )

    @property
    def next_at(self) -> Milliseconds | None:
        if self.is_closed:
            return None
        streams = self._streams.values()
        again, quiet = (stream.again_at for stream in streams), (stream.quiet_at for stream in streams)
        return earliest(self._body_at, self._stall_at, *again, *quiet)

    @property
    def buffered(self) -> int:
        """Events of which something is known that were not delivered yet."""
        return len(self._slots)

    # -- what the caller wants

    def open(self, out: Output, now: Milliseconds) -> None:
        if self.streamer not in self._knowledge.up and self._knowledge.up:
            self.streamer = self._next_streamer()
        for replica in self._knowledge.up:
            self._subscribe(out, now, replica)

    def close(self, out: Output) -> None:
        self.is_closed = True
        out.send_to(self._knowledge.up, wire_of(self._group.epoch, Unsubscribe(subscription=self.number)))

    def on_taken(self, out: Output, taken: EventIndex) -> None:
        """The caller has done with the events below `taken`: the replicas may go on."""
        self._taken = max(self._taken, min(taken, self.needed))
        for replica in sorted(self._streams):
            self._give_credit(out, replica)

    # -- what replicas say

    def is_surplus(self, events: Events) -> bool:
        """Whether a statement cannot change anything, even if it is signed: it need not be verified."""
        return self.is_closed or events.device != self._device

    def on_events(self, out: Output, now: Milliseconds, signed: Signed[Events]) -> None:
        events, replica = signed.message, signed.signer
        stream = self._streams.get(replica)
        if self.is_surplus(events) or stream is None:
            return
        if events.closed:
            self._on_closed(out, now, replica, stream, events.sequence)
            return
        stream.closed = False
        stream.quiet_at = Milliseconds(now + self._settings.quiet_ms)
        items = _read(events)
        if items is None:
            self._on_garbage(out, now, stream, signed)
            return
        end = EventIndex(events.first + len(events.items))
        limit = self._taken + AHEAD_MAX
        fits = events.first < limit and self._hold(stream, min(end, limit), len(signed.wire))
        if fits and events.first <= stream.next and end <= limit:
            stream.next = max(stream.next, end)
            stream.again_at = None
            stream.pause_ms = RESUBSCRIBE_PAUSE_MS
        else:  # Something was lost, or does not fit now: let it be sent again.
            self._again_later(now, stream)
        if fits:
            self._on_items(out, signed, items, limit)
        before = self.needed
        self._deliver(out)
        if self.needed > before:
            self._on_progress(out)
        self._arm(now)

    def on_link(self, out: Output, now: Milliseconds, replica: ReplicaId, *, up: bool) -> None:
        if self.is_closed:
            return
        if up:
            if self.streamer not in self._knowledge.up:
                self.streamer = replica
            self._subscribe(out, now, replica)
            return
        self._streams.pop(replica, None)
        if replica == self.streamer:
            self._change_streamer(out, now)
        self._arm(now)

    def on_time(self, out: Output, now: Milliseconds) -> None:
        if self.is_closed:
            return
        if self._body_at is not None and self._body_at <= now:
            self._body_at = None
            self._body_patience_ms = min(2 * self._body_patience_ms, BODY_PATIENCE_MAX_MS)
            self._change_streamer(out, now)
        if self._stall_at is not None and self._stall_at <= now:
            self._stall_at = None
            self._stall_ms = min(2 * self._stall_ms, STALL_MAX_MS)
            said = self._slot_of(self.needed).opinions
            for replica in self._knowledge.up:
                if replica not in said:
                    self._subscribe(out, now, replica)
        for replica in sorted(self._streams):
            stream = self._streams[replica]
            is_quiet = stream.quiet_at <= now
            if is_quiet:
                stream.quiet_at = Milliseconds(now + self._settings.quiet_ms)
            if (stream.again_at is not None and stream.again_at <= now) or (is_quiet and stream.may_go_on):
                self._subscribe(out, now, replica)
        self._arm(now)

    # -- statements

    def _on_items(self, out: Output, signed: Signed[Events], items: Sequence[_Item], limit: int) -> None:
        replica = signed.signer
        for index, (digest, item) in enumerate(items, signed.message.first):
            if index >= limit:
                return
            if index < self.needed:
                agreed = self._delivered.get(index)
                if agreed is not None and agreed != digest:
                    self._accuse(out, replica, self._delivered.frames(index), signed)
                continue
            slot = self._slots.setdefault(index, _Slot())
            known = slot.opinions.get(replica)
            if known is not None and known[0] != digest:
                self._accuse(out, replica, (known[1].wire,), signed)
                continue
            if known is None:
                slot.opinions[replica] = (digest, signed)
                self._count(out, slot, digest, replica)
            if item is not None and (item.content is not None or digest not in slot.bodies):
                slot.bodies[digest] = item

    def _count(self, out: Output, slot: _Slot, digest: Digest, replica: ReplicaId) -> None:
        """A new opinion: does it make f+1, or stand against them?"""
        if slot.agreed is not None:
            if digest != slot.agreed:
                self._accuse(out, replica, self._frames(slot), slot.opinions[replica][1])
            return
        if sum(said == digest for said, _ in slot.opinions.values()) < self._group.honest_minimum:
            return
        slot.agreed = digest
        for liar, (said, signed) in slot.opinions.items():
            if said != digest:
                self._accuse(out, liar, self._frames(slot), signed)

    def _frames(self, slot: _Slot) -> tuple[bytes, ...]:
        frames = [signed.wire for digest, signed in slot.opinions.values() if digest == slot.agreed]
        return tuple(frames[: self._group.honest_minimum])

    def _accuse(self, out: Output, replica: ReplicaId, accepted: Iterable[bytes], signed: Signed[Events]) -> None:
        self._knowledge.accuse(out, EVENTS, replica, accepted=accepted, contradicting=signed.wire)

    def _on_garbage(self, out: Output, now: Milliseconds, stream: _Stream, signed: Signed[Events]) -> None:
        """No correct replica signs this: nothing in it counts, and the replica is asked again later, for digests."""
        self._accuse(out, signed.signer, (), signed)
        self._again_later(now, stream)
        if signed.signer == self.streamer:
            self._change_streamer(out, now)

    def _on_closed(
        self, out: Output, now: Milliseconds, replica: ReplicaId, stream: _Stream, sequence: SequenceNumber
    ) -> None:
        """The replica has ended the stream. One that lags may do so only because it does not know the topic yet."""
        stream.closed = sequence >= self._minimum
        said = sum(other.closed for other in self._streams.values())
        if said < self._group.honest_minimum:
            self._again_later(now, stream)
            if replica == self.streamer:
                self._change_streamer(out, now)
            return
        self.is_closed = True
        out.closed.append(self.number)

    # -- delivery

    def _deliver(self, out: Output) -> None:
        while (slot := self._slots.get(self.needed)) is not None:
            body = None if slot.agreed is None else slot.bodies.get(slot.agreed)
            if slot.agreed is None or body is None:
                return
            agreeing = {replica: signed for replica, (said, signed) in slot.opinions.items() if said == slot.agreed}
            vouchers = tuple(sorted(agreeing))
            sequences = (signed.message.sequence for signed in agreeing.values())
            sequence = highest_backed(sequences, self._group.honest_minimum)
            if sequence is not None:
                self._knowledge.on_seen(sequence)
            self._delivered.add(self.needed, slot.agreed, self._frames(slot))
            event = Event(
                index=self.needed,
                head=body.head,
                content_digest=body.content_digest,
                content=body.content,
                vouchers=vouchers,
            )
            out.events.append((self.number, event))
            del self._slots[self.needed]
            self.needed = EventIndex(self.needed + 1)

    def _on_progress(self, out: Output) -> None:
        self._body_at = self._stall_at = None
        self._body_patience_ms = self._settings.body_patience_ms
        self._stall_ms = self._settings.stall_ms
        for replica in sorted(self._streams):
            stream = self._streams[replica]
            while stream.held and stream.held[0][0] <= self.needed:
                stream.held_bytes -= stream.held.popleft()[1]
            self._give_credit(out, replica)

    def _arm(self, now: Milliseconds) -> None:
        """Wait for what the next event lacks, no longer than is fair."""
        slot = self._slots.get(self.needed)
        if slot is None:
            return
        if slot.agreed is not None:
            self._stall_at = None
            if self._body_at is None:
                self._body_at = Milliseconds(now + self._body_patience_ms)
        elif self._stall_at is None:
            self._stall_at = Milliseconds(now + self._stall_ms)

    # -- streams

    def _slot_of(self, index: EventIndex) -> _Slot:
        return self._slots.get(index) or _Slot()

    def _hold(self, stream: _Stream, end: int, size: int) -> bool:
        """Whether there is room for one more frame of this replica."""
        if end <= self.needed:
            return True
        if stream.held and stream.held_bytes + size > STREAM_BYTES_MAX:
            return False
        stream.held.append((end, size))
        stream.held_bytes += size
        return True

    def _again_later(self, now: Milliseconds, stream: _Stream) -> None:
        if stream.again_at is None:
            stream.again_at = Milliseconds(now + stream.pause_ms)
            stream.pause_ms = min(2 * stream.pause_ms, RESUBSCRIBE_PAUSE_MAX_MS)

    def _subscribe(self, out: Output, now: Milliseconds, replica: ReplicaId) -> None:
        """Start, or start again, the stream of one replica at the next event needed."""
        quiet_at = Milliseconds(now + self._settings.quiet_ms)
        known = self._streams.get(replica)
        stream = known or _Stream(next=self.needed, credited=self.needed, quiet_at=quiet_at)
        stream.next = stream.credited = self.needed
        stream.quiet_at = quiet_at
        stream.again_at = None
        self._streams[replica] = stream
        subscribe = Subscribe(
            subscription=self.number,
            topic=self._topic,
            start=self.needed,
            bodies=replica == self.streamer,
        )
        out.send_to((replica,), wire_of(self._group.epoch, subscribe))

    def _give_credit(self, out: Output, replica: ReplicaId) -> None:
        stream = self._streams[replica]
        taken = EventIndex(min(self._taken, stream.next))
        if taken - stream.credited >= CREDIT_STEP:
            stream.credited = taken
            out.send_to((replica,), wire_of(self._group.epoch, Credit(subscription=self.number, taken=taken)))

    def _next_streamer(self) -> ReplicaId:
        """The next connected replica in turn; one that has lied, or ended its stream, only if there is no other."""
        size = self._group.size
        turn = [ReplicaId((self.streamer + step) % size) for step in range(1, size + 1)]
        up = [replica for replica in turn if replica in self._knowledge.up]

        def is_doubtful(replica: ReplicaId) -> bool:
            stream = self._streams.get(replica)
            return replica in self._knowledge.lies or (stream is not None and stream.again_at is not None)

        return min(up, key=is_doubtful, default=self.streamer)

    def _change_streamer(self, out: Output, now: Milliseconds) -> None:
        """Ask another replica for bodies, and the old one for digests; where that must wait, the timer does it."""
        old, self.streamer = self.streamer, self._next_streamer()
        for replica in dict.fromkeys((self.streamer, old)):
            stream = self._streams.get(replica)
            if replica in self._knowledge.up and (stream is None or stream.again_at is None):
                self._subscribe(out, now, replica)
