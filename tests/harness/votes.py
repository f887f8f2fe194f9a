"""All that correct replicas sign in one run: what none of them says twice, nor ever takes back."""

from __future__ import annotations

from collections.abc import Iterator

from pbft.core.messages import (
    Checkpoint,
    Commit,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    Proposal,
    Signed,
    ViewChange,
)
from pbft.core.types import ReplicaId, SequenceNumber, View
from tests.harness.cluster import Cluster
from tests.harness.simnode import Flight

Place = tuple[object, ...]


class Votes:
    """Watches what leaves the replicas of a cluster, its hook `on_send`. Fails at once at a second, different vote,
    at a vote in a view that was given up, and at a VIEW-CHANGE that hides what its signer committed to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.seen: dict[Place, object] = {}
        self.given_up: dict[ReplicaId, View] = {}
        """The highest view that each replica asked for."""
        self.committed: dict[ReplicaId, dict[SequenceNumber, View]] = {}
        """The highest view of each replica's COMMITs, by sequence number."""
        self._known: set[bytes] = set()
        cluster.on_send = self

    @property
    def signers(self) -> set[object]:
        return {place[0] for place in self.seen}

    def __call__(self, flight: Flight) -> bool:
        if isinstance(flight.source, int) and flight.frame not in self._known:
            self._known.add(flight.frame)
            self._note(self.cluster.openers[flight.to].parse_peer(flight.frame).value, flight.source)
        return True

    def _note(self, message: PeerMessage, source: ReplicaId) -> None:
        vote = message.pre_prepare if isinstance(message, Proposal) else message
        if not isinstance(vote, Signed) or vote.signer != source:
            return
        if isinstance(vote.message, PrePrepare | Prepare | Commit):
            floor = self.given_up.get(vote.signer, View(0))
            assert vote.message.view >= floor, self.cluster.report(
                f"{vote.message} after giving up all below {floor}"
            )
        for place, said in self._places(vote):
            first = self.seen.setdefault(place, said)
            assert first == said, self.cluster.report(f"a second, different vote: {place}")

    def _places(self, vote: Signed[object]) -> Iterator[tuple[Place, object]]:
        match vote.message:
            case PrePrepare() | Prepare() as message:
                yield (vote.signer, "accepted", message.view, message.sequence), message.batch_digest
            case Commit() as message:
                yield (vote.signer, "committed", message.view, message.sequence), message.batch_digest
                yield (vote.signer, "accepted", message.view, message.sequence), message.batch_digest
                views = self.committed.setdefault(vote.signer, {})
                views[message.sequence] = max(views.get(message.sequence, View(-1)), message.view)
            case Checkpoint() as message:
                yield (vote.signer, "checkpoint", message.sequence), message.state_root
            case ViewChange() as message:
                yield (vote.signer, "view change", message.view), vote.wire
                self._check_shown(vote.signer, message)
                self.given_up[vote.signer] = max(self.given_up.get(vote.signer, View(0)), message.view)
            case NewView() as message:
                yield (vote.signer, "new view", message.view), vote.wire
                for each in message.pre_prepares:
                    yield from self._places(each)

    def _check_shown(self, signer: ReplicaId, change: ViewChange) -> None:
        """Evidence of kind E5 must never exist against a correct replica."""
        shown = {held.pre_prepare.message.sequence: held.pre_prepare.message.view for held in change.prepared}
        for sequence, view in self.committed.get(signer, {}).items():
            if sequence > change.stable_checkpoint and view < change.view:
                text = f"{signer} committed at {sequence} in view {view}, and shows {shown.get(sequence)}"
                assert shown.get(sequence, View(-1)) >= view, self.cluster.report(text)
