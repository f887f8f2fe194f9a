"""What a client knows beyond the question at hand: where the group is, and who has lied."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pbft.client.quorums.model import Contradiction, Output
from pbft.core.group import Group
from pbft.core.types import ReplicaId, SequenceNumber, View

CONTRADICTIONS_PER_REPLICA_MAX = 32
"""Kept with their frames; the others are counted."""
CONTRADICTION_BYTES_MAX = 4 * 1024 * 1024
"""Larger evidence is counted and not kept."""

N = TypeVar("N", bound=int)
V = TypeVar("V")


def highest_backed(values: Iterable[N], backers: int) -> N | None:
    """The highest number that at least `backers` of the values reach, one of each replica.

    With f+1 backers, a correct replica is among them: no f liars can push it up.
    """
    ordered = sorted(values, reverse=True)
    return ordered[backers - 1] if len(ordered) >= backers else None


class ContradictionLog:
    """Who lied, how often, and the evidence: bounded for each replica, so that none can push out another's."""

    def __init__(self) -> None:
        self._counts: dict[ReplicaId, int] = {}
        self._kept: dict[ReplicaId, deque[Contradiction]] = {}

    def add(self, contradiction: Contradiction) -> bool:
        """Whether it is a new one: a frame that was kept counts once, however often it is sent."""
        replica = contradiction.replica
        kept = self._kept.setdefault(replica, deque())
        if any(contradiction.contradicting == known.contradicting for known in kept):
            return False
        self._counts[replica] = self._counts.get(replica, 0) + 1
        size = len(contradiction.contradicting) + sum(map(len, contradiction.accepted))
        room = len(kept) < CONTRADICTIONS_PER_REPLICA_MAX and size <= CONTRADICTION_BYTES_MAX
        if room and contradiction.contradicting:
            kept.append(contradiction)
        return True

    @property
    def counts(self) -> dict[ReplicaId, int]:
        """Contradictions of each replica that made any."""
        return dict(sorted(self._counts.items()))

    @property
    def kept(self) -> tuple[Contradiction, ...]:
        """The first ones of each replica, by replica."""
        return tuple(item for replica in sorted(self._kept) for item in self._kept[replica])

    def __contains__(self, replica: object) -> bool:
        return replica in self._counts

    def __len__(self) -> int:
        return sum(self._counts.values())


class Knowledge:
    """Shared by the trackers of one client."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.lies = ContradictionLog()
        self.seen = SequenceNumber(0)
        """Highest sequence that something accepted stands at: reads must not be older."""
        self.believed_view = View(0)
        """Highest view that f+1 distinct replicas have reached."""
        self._views: dict[ReplicaId, View] = {}
        self._up: tuple[ReplicaId, ...] = ()

    @property
    def up(self) -> tuple[ReplicaId, ...]:
        """Replicas that can be sent to, ascending."""
        return self._up

    @property
    def believed_primary(self) -> ReplicaId:
        return self.group.primary(self.believed_view)

    def on_link(self, replica: ReplicaId, *, up: bool) -> None:
        links = {*self._up, replica} if up else {other for other in self._up if other != replica}
        self._up = tuple(sorted(links))

    def on_view(self, replica: ReplicaId, view: View) -> None:
        """A hint: `replica` says that it is in `view`."""
        if view <= self._views.get(replica, -1):
            return
        self._views[replica] = view
        backed = highest_backed(self._views.values(), self.group.honest_minimum)
        if backed is not None:
            self.believed_view = backed

    def on_seen(self, sequence: SequenceNumber) -> None:
        self.seen = max(self.seen, sequence)

    def accuse(
        self, out: Output, message_type: str, replica: ReplicaId, *, accepted: Iterable[bytes], contradicting: bytes
    ) -> None:
        contradiction = Contradiction(
            replica=replica,
            message_type=message_type,
            accepted=tuple(frame for frame in accepted if frame),
            contradicting=contradicting,
        )
        if self.lies.add(contradiction):
            out.contradictions.append(contradiction)


@dataclass(slots=True)
class _Record(Generic[V]):
    value: V
    frames: tuple[bytes, ...]
    size: int


class AcceptedMemory(Generic[V]):
    """What was accepted lately, with the signed frames that made it so, to tell a late lie.

    Remembers the last `entries_max` values, and of these the latest frames within `bytes_max`.
    """

    def __init__(self, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._records: dict[int, _Record[V]] = {}
        self._order: deque[int] = deque()
        self._with_frames: deque[_Record[V]] = deque()
        self._bytes = 0

    def add(self, key: int, value: V, frames: tuple[bytes, ...]) -> None:
        record = _Record(value, frames, sum(map(len, frames)))
        self._records[key] = record
        self._order.append(key)
        self._with_frames.append(record)
        self._bytes += record.size
        while self._bytes > self._bytes_max or len(self._with_frames) > self._entries_max:
            oldest = self._with_frames.popleft()
            self._bytes -= oldest.size
            oldest.frames = ()
        while len(self._order) > self._entries_max:
            self._records.pop(self._order.popleft(), None)

    def get(self, key: int) -> V | None:
        record = self._records.get(key)
        return None if record is None else record.value

    def frames(self, key: int) -> tuple[bytes, ...]:
        record = self._records.get(key)
        return () if record is None else record.frames

    def __len__(self) -> int:
        return len(self._records)
