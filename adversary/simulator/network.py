"""Virtual links: when does a frame arrive, if at all, and how often. Every frame has dice of its own."""

from __future__ import annotations

from dataclasses import dataclass

from adversary.simulator.dice import Streams, below, hits
from adversary.simulator.marks import Marks
from adversary.simulator.scenario import Lapse, Network, Partition, Route

REPLICA_ADDRESSES = 1000
"""Addresses below are hosts of replicas, the others clients."""


@dataclass(slots=True)
class _Link:
    sent: int = 0
    free_at: int = 0
    """When the last frame has left the queue."""
    last_arrival: int = 0


class Links:
    """All links of a run. Times in microseconds."""

    def __init__(self, profile: Network, streams: Streams, marks: Marks) -> None:
        self._profile = profile
        self._streams = streams
        self._marks = marks
        self._links: dict[tuple[int, int], _Link] = {}
        self._partitions: dict[int, Partition] = {}
        self._routes: dict[int, Route] = {}
        self.copies: dict[int, int] = {}
        """Whose copy a host is that is none of the replicas with its own number."""
        self._lapsed: dict[int, int] = {}
        """Hosts whose certificate is not valid, by fault."""

    def begin(self, fault: Partition | Route | Lapse) -> None:
        match fault:
            case Partition():
                self._partitions[fault.id] = fault
            case Route():
                self._routes[fault.id] = fault
            case Lapse():
                self._lapsed[fault.id] = fault.replica

    def end(self, fault: Partition | Route | Lapse) -> None:
        self._partitions.pop(fault.id, None)
        self._routes.pop(fault.id, None)
        self._lapsed.pop(fault.id, None)

    def calm(self, profile: Network) -> None:
        """No faults of the network any more, but for what `profile` says."""
        self._profile = profile
        self._partitions.clear()
        self._routes.clear()
        self._lapsed.clear()

    def is_cut(self, source: int, to: int) -> bool:
        """Whether a partition lies between two hosts, in this direction."""
        if self.is_shut(source, to):
            return True
        source, to = self.copies.get(source, source), self.copies.get(to, to)
        return any(separates(partition, source, to) for partition in self._partitions.values())

    def is_shut(self, source: int, to: int) -> bool:
        """Whether one of them has no valid certificate: of a client's two ends, the replica's."""
        return bool(self._lapsed) and not {source, to}.isdisjoint(self._lapsed.values())

    def arrivals(self, now: int, source: int, to: int, message_type: str) -> tuple[int, ...]:
        """When the frame arrives: never, once or twice."""
        if source < REPLICA_ADDRESSES and to < REPLICA_ADDRESSES and self.is_cut(source, to):
            return ()
        if self.is_shut(source, to):
            return ()
        profile = self._profile
        link = self._links.get((source, to))
        if link is None:
            link = self._links[source, to] = _Link()
        link.sent += 1
        lost, twice, reordered, spiked, delay, again, route, spread = self._streams.roll(
            "frame", source, to, link.sent
        )
        if hits(lost, profile.loss) or self._is_lost_on_route(source, to, message_type, route):
            return ()
        leaves = max(now, link.free_at)
        if profile.frame_us:
            if leaves - now > profile.queue_frames * profile.frame_us:
                self._marks.reach("frame lost to congestion")
                return ()
            leaves += profile.frame_us
            link.free_at = leaves
        arrives = leaves + profile.delay_us + below(delay, profile.jitter_us)
        if hits(spiked, profile.spike):
            arrives += below(spread, profile.spike_us)
        if not hits(reordered, profile.reorder):
            arrives = max(arrives, link.last_arrival + 1)
            link.last_arrival = arrives
        if hits(twice, profile.duplicate):
            return arrives, arrives + 1 + below(again, 10 * (profile.delay_us + profile.jitter_us))
        return (arrives,)

    def _is_lost_on_route(self, source: int, to: int, message_type: str, face: int) -> bool:
        for route in self._routes.values():
            if route.source == source and route.to == to and route.message_type in {"", message_type}:
                return hits(face, route.loss)
        return False


def separates(partition: Partition, source: int, to: int) -> bool:
    """Those that share a side hear each other, and whoever is on no side hears everybody."""
    from_sides = [number for number, side in enumerate(partition.sides) if source in side]
    to_sides = [number for number, side in enumerate(partition.sides) if to in side]
    if not from_sides or not to_sides or set(from_sides) & set(to_sides):
        return False
    return not partition.one_way or 0 in from_sides
