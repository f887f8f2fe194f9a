"""A replica that signs whatever comes to its mind: well-formed, near-valid, and often what others said before."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from adversary.craft import Craft, digest
from crypto.digest import Digest
from pbft.core.codec import Opener
from pbft.core.frames import encode_certificate, make_commit_certificate, wire_of
from pbft.core.messages import (
    Batch,
    Body,
    Checkpoint,
    Commit,
    Endorsements,
    Fetch,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    Proposal,
    Signed,
    SlotStatus,
    Status,
    ViewChange,
)
from pbft.core.types import ReplicaId, SequenceNumber, View

FAR = (2**62, 2**63 - 1)


HEARD_MAX = 4000
"""Frames, digests, batches and votes kept of each kind."""


class Fuzzer:
    """Makes frames that replica `me` could send. Remembers frames, digests and batches that it overhears.

    It holds the key of `me` and those of its own devices `x`, `y` and `z`, and no other.
    """

    def __init__(self, craft: Craft, me: ReplicaId, random: Random) -> None:
        self.craft = craft
        self.group = craft.group
        self.me = me
        self.random = random
        self.heard: list[bytes] = []
        self.digests: list[Digest] = [digest("nothing")]
        self.batches: list[Batch] = [craft.batch(timestamp=0)]
        self.votes: list[Signed[Commit]] = []
        self.changes: list[Signed[ViewChange]] = []
        self.prepared: list[PreparedCertificate] = []
        self._opener = Opener(craft.group, craft.members.verifier)
        self._wall_ms = 0
        self._top = 0
        self._top_view = 0

    def overhear(self, frame: bytes) -> None:
        """A frame of another replica, well-formed. What comes beyond the bounds teaches nothing more."""
        if len(self.heard) >= HEARD_MAX:
            return
        self.heard.append(frame)
        match self._opener.parse_peer(frame).value:
            case Proposal(batch=batch):
                self.batches.append(batch)
                self.digests.append(batch.digest)
            case Signed(message=Commit() as commit) as vote:
                self.votes.append(vote)
                self._top_view = max(self._top_view, commit.view)
            case Signed(message=NewView() as new_view):
                self._top_view = max(self._top_view, new_view.view)
            case Signed(message=ViewChange() as change) as signed:
                self._top_view = max(self._top_view, change.view)
                said = Signed(message=change, signer=signed.signer, signature=signed.signature, wire=signed.wire)
                self.changes = [*self.changes[-40:], said]
                self.prepared = [*self.prepared[-40:], *change.prepared]
            case Signed(message=Prepare() as prepare):
                self.digests.append(prepare.batch_digest)
            case Signed(message=Checkpoint() as checkpoint):
                self.digests.append(checkpoint.state_root)
            case _:
                pass

    def frame(self, *, wall_ms: int, top: int) -> bytes:
        """One frame, about the time `wall_ms` and sequence numbers around `top`; sometimes one of another's."""
        self._wall_ms, self._top = wall_ms, top
        if self.heard and self.random.random() < 0.2:
            return self.random.choice(self.heard)
        made = self.random.choice(self._kinds)(self)
        return made if isinstance(made, bytes) else wire_of(self.group.epoch, made)

    # -- fields

    def _sequence(self, least: int = 1) -> int:
        window = self.group.parameters.window
        top = self._top
        near = self.random.randint(max(least, top - window), top + window + 2)
        return self.random.choice((near, near, near, top + 1, top + 2, least, *FAR))

    def _view(self) -> int:
        top = self._top_view
        return self.random.choice((top, top, top, top, top, 0, 1, top + 1, top + self.group.size, *FAR))

    def _digest(self) -> Digest:
        return self.random.choice(self.digests[-12:])

    def _bitmap(self) -> int:
        return self.random.choice((0, 1, 2**self.group.size - 1, 2**62))

    def _batch(self) -> Batch:
        random = self.random
        if random.random() < 0.3:
            return random.choice(self.batches)
        known = [request for batch in self.batches[-4:] for request in batch.requests]
        names = [random.choice("xyz") for _ in range(random.randint(0, 3))]
        mine = [self.craft.request(name, random.choice((0, 1, 2, 5, 300, 2**40))) for name in names]
        requests = [*mine, *random.choices(known, k=random.randint(0, 2))] if known else mine
        stamp = self._wall_ms + random.choice((0, 0, 0, 29_000, -29_000, 31_000, -31_000))
        return self.craft.batch(*requests, timestamp=stamp if requests else 0)

    # -- messages

    def _vote(self) -> PeerMessage:
        sign = self.random.choice((self.craft.prepare, self.craft.commit))
        return sign(self.me, self._sequence(), self._digest(), view=self._view())

    def _checkpoint(self) -> PeerMessage:
        interval = self.group.parameters.checkpoint_interval
        sequence = self._sequence()
        return self.craft.checkpoint(self.me, max(interval, sequence - sequence % interval), self._digest())

    def _proposal(self) -> PeerMessage:
        return self.craft.proposal(self.me, self._sequence(), self._batch(), view=self._view())

    def _status(self) -> PeerMessage:
        slots = tuple(
            SlotStatus(
                sequence=SequenceNumber(self._sequence(0)),
                has_proposal=self.random.random() < 0.5,
                prepares=self._bitmap(),
                commits=self._bitmap(),
            )
            for _ in range(self.random.randint(0, 4))
        )
        return Status(
            view=View(self._view()),
            stable_checkpoint=SequenceNumber(self._sequence(0)),
            last_executed=SequenceNumber(self._sequence(0)),
            slots=slots,
        )

    def _fetch(self) -> PeerMessage:
        count = self.random.randint(0, 4)
        return Fetch(wanted=tuple((SequenceNumber(self._sequence(0)), self._digest()) for _ in range(count)))

    def _body(self) -> PeerMessage:
        return Body(sequence=SequenceNumber(self._sequence(0)), batch=self._batch())

    def _request(self) -> PeerMessage:
        return self.craft.request(
            self.random.choice("xyz"),
            self.random.choice((0, 1, 2, 5, 300, 2**40, 2**62)),
            *[self.random.randbytes(3) for _ in range(self.random.randint(1, 3))],
            session=self.random.choice((0, 1, 2, 2**62)),
        )

    def _certificate(self) -> PeerMessage:
        """Of whatever votes it has: for one statement or several, some its own."""
        votes = self.random.sample(self.votes, min(len(self.votes), self.group.quorum))
        about = self.random.choice(votes).message if votes else None
        if about is None:
            return self._vote()
        same = {vote.signer: vote.signature for vote in self.votes if vote.message == about}
        mine = self.craft.commit(self.me, about.sequence, about.batch_digest, view=about.view)
        same[mine.signer] = mine.signature
        if self.random.random() < 0.3:
            same |= {vote.signer: vote.signature for vote in votes}
        endorsements: Endorsements = tuple(sorted(same.items()))
        return make_commit_certificate(self.group, about, endorsements)

    def _view_change(self) -> PeerMessage:
        """Shows what it likes of what was prepared; most of these are refused for it, some are not."""
        view = max(1, self._view() + self.random.choice((0, 1, 1)))
        shown = self.random.sample(self.prepared, self.random.randint(0, min(2, len(self.prepared))))
        stable = self.random.choice([change.message.checkpoint for change in self.changes] or [None])
        return self.craft.view_change(self.me, min(view, 2**63 - 1), *shown, checkpoint=stable)

    def _new_view(self) -> PeerMessage:
        """For a view that it leads, on whatever it has; with the right proposals, or with others."""
        top, size = self._top_view, self.group.size
        view = next(view for view in range(max(1, top), top + size + 1) if view % size == self.me)
        changes = {each.signer: each for each in self.changes if each.message.view == view}
        changes[self.me] = self.craft.view_change(self.me, view)
        chosen = [each for _, each in sorted(changes.items())][: self.group.quorum]
        if self.random.random() < 0.5:
            return self.craft.new_view(view, chosen)
        return self.craft.new_view(view, chosen, [(self._sequence(), self._digest())] * self.random.randint(0, 2))

    def _alone(self) -> bytes:
        """A certificate with its own signature in everybody's place."""
        commit = self.craft.commit(self.me, self._sequence(), self._digest())
        endorsements = tuple((replica, commit.signature) for replica in self.group.replicas)
        kind = self.random.choice(("COMMIT-CERTIFICATE", "CHECKPOINT-CERTIFICATE"))
        return encode_certificate(kind, self.group.epoch, b"body", endorsements)

    _kinds: tuple[Callable[[Fuzzer], PeerMessage | bytes], ...] = (
        _vote,
        _vote,
        _vote,
        _checkpoint,
        _proposal,
        _proposal,
        _status,
        _fetch,
        _body,
        _request,
        _certificate,
        _alone,
        _view_change,
        _new_view,
    )
