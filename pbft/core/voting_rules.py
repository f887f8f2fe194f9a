"""The only place where a replica signs. Refuses any vote that contradicts one already signed.

Every vote comes out together with the ledger record that must be durable before it is sent (protocol, section 4).
The same rules are rebuilt from those records after a crash, so a restart cannot make a replica vote twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from crypto.digest import Digest
from crypto.signing import Signer
from pbft.core import bodies
from pbft.core.effects import Record, RecordKind
from pbft.core.errors import UnsafeVote
from pbft.core.frames import encode_proposal, encode_signed
from pbft.core.group import Group
from pbft.core.messages import (
    Answer,
    Batch,
    Checkpoint,
    Commit,
    Events,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Reply,
    Signed,
    ViewChange,
)
from pbft.core.types import ReplicaId, SequenceNumber, View

M = TypeVar("M")


class VotingRules:
    """Holds the replica's key and remembers every vote of the current view above the stable checkpoint.

    Votes of earlier views need no memory: there are none after a VIEW-CHANGE or NEW-VIEW. A mute replica, one that
    lost its ledger, signs nothing that counts in a quorum.
    """

    def __init__(self, group: Group, me: ReplicaId, signer: Signer) -> None:
        self._group = group
        self._me = me
        self._signer = signer
        self._view = View(0)
        self._in_view = True
        self.is_mute = False
        self._floor = SequenceNumber(0)
        self._accepted: dict[tuple[View, SequenceNumber], Digest] = {}
        self._committed: dict[tuple[View, SequenceNumber], Digest] = {}
        self._roots: dict[SequenceNumber, Digest] = {}

    # -- votes

    def sign_pre_prepare(self, view: View, sequence: SequenceNumber, batch: Batch) -> tuple[Proposal, Record]:
        """Propose `batch`. Raises UnsafeVote, also when this replica is not the primary of `view`."""
        if self._group.primary(view) != self._me:
            msg = f"replica {self._me} is not the primary of view {view}"
            raise UnsafeVote(msg)
        self._claim(self._accepted, "PRE-PREPARE", view, sequence, batch.digest)
        signed = self._sign_pre_prepare(view, sequence, batch.digest)
        proposal = Proposal(pre_prepare=signed, batch=batch, wire=encode_proposal(signed.wire, batch.wire))
        return proposal, Record(RecordKind.PROPOSAL, sequence, proposal.wire)

    def _sign_pre_prepare(self, view: View, sequence: SequenceNumber, digest: Digest) -> Signed[PrePrepare]:
        message = PrePrepare(view=view, sequence=sequence, batch_digest=digest)
        return self._sign(bodies.PRE_PREPARE, message, bodies.encode_vote)

    def sign_prepare(self, vote: PrePrepare) -> tuple[Signed[Prepare], Record]:
        """Accept what the primary proposes. Raises UnsafeVote, also when this replica is that primary."""
        if self._group.primary(vote.view) == self._me:
            msg = f"PREPARE in view {vote.view}, whose primary this replica is: its PRE-PREPARE counts already"
            raise UnsafeVote(msg)
        self._claim(self._accepted, "PREPARE", vote.view, vote.sequence, vote.batch_digest)
        message = Prepare(view=vote.view, sequence=vote.sequence, batch_digest=vote.batch_digest)
        signed = self._sign(bodies.PREPARE, message, bodies.encode_vote)
        return signed, Record(RecordKind.PREPARE, vote.sequence, signed.wire)

    def has_accepted(self, vote: PrePrepare) -> bool:
        """Whether this replica signed a PRE-PREPARE or PREPARE for it in the current view, and may commit to it."""
        return not self.is_mute and self._accepted.get((vote.view, vote.sequence)) == vote.batch_digest

    def sign_commit(self, certificate: PreparedCertificate) -> tuple[Signed[Commit], tuple[Record, Record]]:
        """Commit to what this replica accepted and is prepared: the certificate goes to disk with the vote.

        Raises UnsafeVote.
        """
        vote = certificate.pre_prepare.message
        accepted = self._accepted.get((vote.view, vote.sequence))
        if accepted != vote.batch_digest:
            shown = accepted.hex() if accepted else "nothing"
            msg = f"COMMIT at {vote.sequence}: accepted {shown}, asked for {vote.batch_digest.hex()}"
            raise UnsafeVote(msg)
        self._claim(self._committed, "COMMIT", vote.view, vote.sequence, vote.batch_digest)
        message = Commit(view=vote.view, sequence=vote.sequence, batch_digest=vote.batch_digest)
        signed = self._sign(bodies.COMMIT, message, bodies.encode_vote)
        return signed, (
            Record(RecordKind.PREPARED, vote.sequence, certificate.wire),
            Record(RecordKind.COMMIT, vote.sequence, signed.wire),
        )

    def sign_view_change(self, change: ViewChange) -> tuple[Signed[ViewChange], Record]:
        """Give up all lower views, for ever. Raises UnsafeVote for a view entered or asked for before."""
        if change.view <= self._view:
            msg = f"VIEW-CHANGE to {change.view}, from view {self._view}"
            raise UnsafeVote(msg)
        self._require_voice("VIEW-CHANGE")
        self.restore_view(change.view, in_view=False)
        signed = self._sign(bodies.VIEW_CHANGE, change, bodies.encode_view_change)
        return signed, Record(RecordKind.VIEW_CHANGE, change.stable_checkpoint, signed.wire)

    def sign_new_view(
        self,
        view: View,
        view_changes: tuple[Signed[ViewChange], ...],
        proposed_again: Sequence[tuple[SequenceNumber, Digest]],
    ) -> tuple[Signed[NewView], Record]:
        """Begin `view` as its primary, proposing again what must be. Raises UnsafeVote."""
        if self._group.primary(view) != self._me:
            msg = f"replica {self._me} is not the primary of view {view}"
            raise UnsafeVote(msg)
        self._require_voice("NEW-VIEW")
        self.enter_view(view)
        proposals: list[Signed[PrePrepare]] = []
        for sequence, digest in proposed_again:
            if sequence > self._floor:
                self._claim(self._accepted, "PRE-PREPARE", view, sequence, digest)
            proposals.append(self._sign_pre_prepare(view, sequence, digest))
        message = NewView(view=view, view_changes=view_changes, pre_prepares=tuple(proposals))
        signed = self._sign(bodies.NEW_VIEW, message, bodies.encode_new_view)
        return signed, Record(RecordKind.NEW_VIEW, self._floor, signed.wire)

    def enter_view(self, view: View) -> None:
        """Vote in `view` from now on: its NEW-VIEW is here. Raises UnsafeVote for a view given up before."""
        if view < self._view or (view == self._view and self._in_view):
            msg = f"entering view {view} from view {self._view}"
            raise UnsafeVote(msg)
        self.restore_view(view, in_view=True)

    def sign_checkpoint(self, sequence: SequenceNumber, state_root: Digest) -> tuple[Signed[Checkpoint], Record]:
        """Vouch for the state at `sequence`, which must be durable. Raises UnsafeVote for a second root."""
        if sequence <= self._floor:
            msg = f"CHECKPOINT at {sequence}, which is not above the stable one at {self._floor}"
            raise UnsafeVote(msg)
        self._require_voice("CHECKPOINT")
        message = Checkpoint(sequence=sequence, state_root=state_root)
        self.restore_checkpoint(message)
        signed = self._sign(bodies.CHECKPOINT, message, bodies.encode_checkpoint)
        return signed, Record(RecordKind.CHECKPOINT, sequence, signed.wire)

    # -- statements that are no votes

    def sign_reply(self, reply: Reply) -> Signed[Reply]:
        return self._sign(bodies.REPLY, reply, bodies.encode_reply)

    def sign_answer(self, answer: Answer) -> Signed[Answer]:
        return self._sign(bodies.ANSWER, answer, bodies.encode_answer)

    def sign_events(self, events: Events) -> Signed[Events]:
        return self._sign(bodies.EVENTS, events, bodies.encode_events)

    # -- memory

    def restore_view(self, view: View, *, in_view: bool) -> None:
        """Stand where the ledger says, or where a message just signed leads."""
        self._view, self._in_view = view, in_view
        for votes in (self._accepted, self._committed):
            for key in [key for key in votes if key[0] < view]:
                del votes[key]

    def restore_accepted(self, view: View, sequence: SequenceNumber, digest: Digest) -> None:
        """A PRE-PREPARE or PREPARE of this replica, read back from the ledger. Raises UnsafeVote."""
        if view < self._view or sequence <= self._floor:
            return
        self._remember(self._accepted, "accepted", view, sequence, digest)

    def restore_commit(self, commit: Commit) -> None:
        if commit.view < self._view or commit.sequence <= self._floor:
            return
        self._remember(self._committed, "COMMIT", commit.view, commit.sequence, commit.batch_digest)

    def restore_checkpoint(self, checkpoint: Checkpoint) -> None:
        signed, root = self._roots.setdefault(checkpoint.sequence, checkpoint.state_root), checkpoint.state_root
        if signed != root:
            msg = f"CHECKPOINT at {checkpoint.sequence}: signed {signed.hex()}, asked for {root.hex()}"
            raise UnsafeVote(msg)

    def forget_below(self, stable_checkpoint: SequenceNumber) -> None:
        """Nothing at or below a stable checkpoint is voted on again, so those votes need not be remembered."""
        self._floor = max(self._floor, stable_checkpoint)
        for votes in (self._accepted, self._committed):
            for key in [key for key in votes if key[1] <= self._floor]:
                del votes[key]
        for sequence in [sequence for sequence in self._roots if sequence <= self._floor]:
            del self._roots[sequence]

    def _claim(
        self,
        votes: dict[tuple[View, SequenceNumber], Digest],
        what: str,
        view: View,
        sequence: SequenceNumber,
        digest: Digest,
    ) -> None:
        self._require_voice(what)
        if view != self._view or not self._in_view:
            stands = "in" if self._in_view else "waiting for"
            msg = f"{what} in view {view}, while {stands} view {self._view}"
            raise UnsafeVote(msg)
        if not self._floor < sequence <= self._floor + self._group.parameters.window:
            msg = f"{what} at {sequence}, outside the window above {self._floor}"
            raise UnsafeVote(msg)
        self._remember(votes, what, view, sequence, digest)

    def _require_voice(self, what: str) -> None:
        if self.is_mute:
            msg = f"{what} by a replica that forgot its votes"
            raise UnsafeVote(msg)

    @staticmethod
    def _remember(
        votes: dict[tuple[View, SequenceNumber], Digest],
        what: str,
        view: View,
        sequence: SequenceNumber,
        digest: Digest,
    ) -> None:
        signed = votes.setdefault((view, sequence), digest)
        if signed != digest:
            msg = f"{what} at view {view}, sequence {sequence}: signed {signed.hex()}, asked for {digest.hex()}"
            raise UnsafeVote(msg)

    def _sign(self, message_type: str, message: M, encoder: Callable[[M], bytes]) -> Signed[M]:
        body = encoder(message)
        signature = self._signer.sign(self._group.domain(message_type), body)
        wire = encode_signed(message_type, self._group.epoch, self._me, body, signature)
        return Signed(message=message, signer=self._me, signature=signature, wire=wire)
