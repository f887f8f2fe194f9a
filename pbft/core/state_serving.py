"""Answering FETCH-STATE: to each peer as much as is good for all. The answers themselves come out of the state."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pbft.core.effects import IgnoreReason, ServeState, Timer
from pbft.core.group import Group
from pbft.core.output import Output
from pbft.core.state_bodies import ANSWER_BYTES_MAX, FETCH_STATE
from pbft.core.state_messages import FetchState, WantListings, WantPages
from pbft.core.types import Milliseconds, ReplicaId

SERVE_BYTES_PER_MS = 16 * 1024
"""What a peer is sent at most, in the long run."""
SERVE_BURST_MS = 500
"""A peer that has asked for nothing so long may be sent as much at once."""
WAITING_MAX = 8
"""Questions of a peer that wait for their turn; a correct one has fewer open."""
SMALL_ANSWER_BYTES = 16 * 1024
"""Of meta data and bucket digests."""


@dataclass(slots=True)
class _Peer:
    waiting: deque[FetchState] = field(default_factory=deque)
    next_from: Milliseconds = Milliseconds(0)


class StateServing:
    """Whose questions wait. What an answer will take is not known here: the larger ones are taken for full."""

    def __init__(self, group: Group, me: ReplicaId) -> None:
        self._peers = {peer: _Peer() for peer in group.others(me)}

    def on_fetch(self, out: Output, now: Milliseconds, peer: ReplicaId, fetch: FetchState) -> None:
        waiting = self._peers[peer].waiting
        if len(waiting) >= WAITING_MAX:
            out.ignore(IgnoreReason.TOO_MANY_READS, peer, FETCH_STATE)
            return
        waiting.append(fetch)
        self.on_timer(out, now)

    def on_timer(self, out: Output, now: Milliseconds) -> None:
        """Serve what is within the peers' budgets, and come back for the rest."""
        for to, peer in self._peers.items():
            while peer.waiting and peer.next_from <= now:
                fetch = peer.waiting.popleft()
                is_large = isinstance(fetch.wanted, WantListings | WantPages)
                size = ANSWER_BYTES_MAX if is_large else SMALL_ANSWER_BYTES
                begin = max(peer.next_from, now - SERVE_BURST_MS)
                peer.next_from = Milliseconds(begin + size // SERVE_BYTES_PER_MS)
                out.serve_state.append(ServeState(to=to, fetch=fetch))
        moments = [peer.next_from for peer in self._peers.values() if peer.waiting]
        if moments:
            out.set_timer(Timer.SERVE_STATE, min(moments))
