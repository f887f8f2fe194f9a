"""Which peer to ask for the next part of a state: who is able, not busy, and did not lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

OPEN_PER_SOURCE = 2
"""Questions to one peer at a time: the next is under way while one is answered."""
OPEN_MAX = 8
REST_MS = 500
"""How long a silent peer, or one without the checkpoint, is passed over at first."""
REST_MAX_MS = 8000


@dataclass(slots=True)
class _Source:
    open: int = 0
    rests_until: Milliseconds = Milliseconds(0)
    failures: int = 0
    """Questions in a row that it let pass."""
    waits_since: Milliseconds | None = None
    """When the first was asked of those that it has not answered, whichever walk that was for."""
    is_blamed: bool = False
    held: SequenceNumber | None = None
    """The checkpoint that it said to hold, when it was another."""


class Sources:
    """The peers of one transfer."""

    def __init__(self, peers: Iterable[ReplicaId]) -> None:
        self._sources = {peer: _Source() for peer in peers}
        self._turn = 0

    @property
    def blamed(self) -> tuple[ReplicaId, ...]:
        return tuple(peer for peer, source in self._sources.items() if source.is_blamed)

    @property
    def newest_held(self) -> SequenceNumber:
        """The highest checkpoint that a peer said to hold: only what it says."""
        return max((source.held for source in self._sources.values() if source.held), default=SequenceNumber(0))

    def choose(self, now: Milliseconds) -> ReplicaId | None:
        """Pick a peer for the next question, the least busy one; None if all are busy or rest."""
        if sum(source.open for source in self._sources.values()) >= OPEN_MAX:
            return None
        self._turn += 1
        peers = self._eligible()
        free = [
            peer
            for peer in (*peers[self._turn % len(peers) :], *peers[: self._turn % len(peers)])
            if self._sources[peer].open < OPEN_PER_SOURCE and self._sources[peer].rests_until <= now
        ]
        return min(free, key=lambda peer: (self._sources[peer].failures, self._sources[peer].open), default=None)

    def rests_until(self, now: Milliseconds) -> Milliseconds | None:
        """When the first of those that rest may be asked again; None if none rests."""
        resting = [self._sources[peer].rests_until for peer in self._eligible()]
        return min((until for until in resting if until > now), default=None)

    def asked(self, peer: ReplicaId, now: Milliseconds) -> None:
        source = self._sources[peer]
        source.open += 1
        if source.waits_since is None:
            source.waits_since = now

    def answered(self, peer: ReplicaId) -> None:
        source = self._sources[peer]
        source.open -= 1
        source.failures, source.waits_since = 0, None

    def silent(self, peer: ReplicaId, now: Milliseconds) -> None:
        """A question was not answered in time."""
        source = self._sources[peer]
        source.open -= 1
        self._pass_over(source, now)

    @staticmethod
    def _pass_over(source: _Source, now: Milliseconds) -> None:
        source.rests_until = Milliseconds(now + min(REST_MS << min(source.failures, 8), REST_MAX_MS))
        source.failures += 1
        source.waits_since = None

    def without(self, peer: ReplicaId, now: Milliseconds, held: SequenceNumber) -> None:
        """The peer says that it holds another checkpoint."""
        source = self._sources[peer]
        source.open -= 1
        source.held, source.waits_since = held, None
        source.rests_until = Milliseconds(now + REST_MS)

    def blame(self, peer: ReplicaId, now: Milliseconds) -> bool:
        """The peer served what is false. Says whether that is new of it."""
        source = self._sources[peer]
        source.open -= 1
        source.waits_since = None
        source.rests_until = Milliseconds(now + REST_MS)  # for when no other is left
        is_new, source.is_blamed = not source.is_blamed, True
        return is_new

    def link_up(self, peer: ReplicaId) -> None:
        """The peer may have been silent because it could not be reached. Its open questions are void."""
        source = self._sources[peer]
        source.open, source.failures, source.rests_until = 0, 0, Milliseconds(0)
        source.waits_since = None

    def start_over(self, now: Milliseconds) -> None:
        """All questions are void; what the peers hold has to be seen again.

        A peer that has long been silent is passed over: where checkpoints follow each other faster than questions
        time out, each walk would wait for it, and none come to its end.
        """
        for source in self._sources.values():
            source.open, source.held = 0, None
            if source.waits_since is not None and now - source.waits_since >= REST_MS:
                self._pass_over(source, now)
            elif not source.failures:
                source.rests_until = Milliseconds(0)

    def _eligible(self) -> list[ReplicaId]:
        honest = [peer for peer, source in self._sources.items() if not source.is_blamed]
        return honest or list(self._sources)
