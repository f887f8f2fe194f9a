"""Well-formed messages signed by whoever one likes: what a Byzantine replica can say, and no voting rule stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from adversary.keys import Members
from crypto.digest import Digest, digest_of
from crypto.signing import Signature
from pbft.core import bodies
from pbft.core.frames import (
    encode_proposal,
    encode_signed,
    make_batch,
    make_checkpoint_certificate,
    make_commit_certificate,
    make_prepared_certificate,
    sign_request,
)
from pbft.core.messages import (
    Batch,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Request,
    Signed,
    SignedRequest,
    ViewChange,
)
from pbft.core.new_view import proposed_again
from pbft.core.types import ClientSequence, Milliseconds, ReplicaId, SequenceNumber, SessionNumber, View

M = TypeVar("M")

WALL_START_MS = 1_700_000_000_000
"""What simulated wall clocks show when virtual time begins."""


def digest(text: str) -> Digest:
    return digest_of(text.encode())


class Craft:
    """Signs anything for anybody in the group."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.group = members.group

    def sign(self, signer: int, message_type: str, message: M, encoder: Callable[[M], bytes]) -> Signed[M]:
        body = encoder(message)
        signature = self.members.signers[signer].sign(self.group.domain(message_type), body)
        wire = encode_signed(message_type, self.group.epoch, signer, body, signature)
        return Signed(message=message, signer=ReplicaId(signer), signature=signature, wire=wire)

    def prepare(self, signer: int, sequence: int, batch_digest: Digest, *, view: int = 0) -> Signed[Prepare]:
        vote = Prepare(view=View(view), sequence=SequenceNumber(sequence), batch_digest=batch_digest)
        return self.sign(signer, bodies.PREPARE, vote, bodies.encode_vote)

    def commit(self, signer: int, sequence: int, batch_digest: Digest, *, view: int = 0) -> Signed[Commit]:
        vote = Commit(view=View(view), sequence=SequenceNumber(sequence), batch_digest=batch_digest)
        return self.sign(signer, bodies.COMMIT, vote, bodies.encode_vote)

    def pre_prepare(self, signer: int, sequence: int, batch_digest: Digest, *, view: int = 0) -> Signed[PrePrepare]:
        vote = PrePrepare(view=View(view), sequence=SequenceNumber(sequence), batch_digest=batch_digest)
        return self.sign(signer, bodies.PRE_PREPARE, vote, bodies.encode_vote)

    def checkpoint(self, signer: int, sequence: int, root: Digest) -> Signed[Checkpoint]:
        vote = Checkpoint(sequence=SequenceNumber(sequence), state_root=root)
        return self.sign(signer, bodies.CHECKPOINT, vote, bodies.encode_checkpoint)

    def proposal(self, signer: int, sequence: int, batch: Batch, *, view: int = 0) -> Proposal:
        signed = self.pre_prepare(signer, sequence, batch.digest, view=view)
        return Proposal(pre_prepare=signed, batch=batch, wire=encode_proposal(signed.wire, batch.wire))

    def request(
        self, device: str, first: int = 0, *operations: bytes, session: int = 1, ack: int = 0
    ) -> SignedRequest:
        request = Request(
            session=SessionNumber(session),
            first_client_sequence=ClientSequence(first),
            ack_below=ClientSequence(ack),
            operations=operations or (b"operation %d" % first,),
        )
        return sign_request(self.group, self.members.device(device), request)

    def batch(self, *requests: SignedRequest, timestamp: int = WALL_START_MS + 1000) -> Batch:
        return make_batch(Milliseconds(timestamp), requests)

    def commit_certificate(
        self, sequence: int, batch_digest: Digest, signers: Iterable[int], *, view: int = 0
    ) -> CommitCertificate:
        votes = [self.commit(signer, sequence, batch_digest, view=view) for signer in signers]
        return make_commit_certificate(self.group, votes[0].message, tuple((v.signer, v.signature) for v in votes))

    def checkpoint_certificate(self, sequence: int, root: Digest, signers: Iterable[int]) -> CheckpointCertificate:
        votes = [self.checkpoint(signer, sequence, root) for signer in signers]
        endorsements = tuple((vote.signer, vote.signature) for vote in votes)
        return make_checkpoint_certificate(self.group, votes[0].message, endorsements)

    def prepared(
        self, sequence: int, batch_digest: Digest, backups: Iterable[int], *, view: int = 0
    ) -> PreparedCertificate:
        primary = self.group.primary(View(view))
        endorsements = tuple(
            (ReplicaId(backup), Signature(self.prepare(backup, sequence, batch_digest, view=view).signature))
            for backup in backups
        )
        header = self.pre_prepare(primary, sequence, batch_digest, view=view)
        return make_prepared_certificate(self.group, header, endorsements)

    def view_change(
        self,
        signer: int,
        view: int,
        *prepared: PreparedCertificate,
        checkpoint: CheckpointCertificate | None = None,
        stable: int | None = None,
    ) -> Signed[ViewChange]:
        """`stable`: the checkpoint claimed, if another than the one proven."""
        proven = checkpoint.checkpoint.sequence if checkpoint is not None else 0
        change = ViewChange(
            view=View(view),
            stable_checkpoint=SequenceNumber(proven if stable is None else stable),
            checkpoint=checkpoint,
            prepared=prepared,
        )
        return self.sign(signer, bodies.VIEW_CHANGE, change, bodies.encode_view_change)

    def new_view(
        self,
        view: int,
        changes: Sequence[Signed[ViewChange]],
        again: Iterable[tuple[int, Digest]] | None = None,
        *,
        signer: int | None = None,
    ) -> Signed[NewView]:
        """By the view's primary, proposing what it must, unless told otherwise."""
        by = self.group.primary(View(view)) if signer is None else signer
        proposals = proposed_again([change.message for change in changes]) if again is None else again
        new_view = NewView(
            view=View(view),
            view_changes=tuple(changes),
            pre_prepares=tuple(self.pre_prepare(by, sequence, what, view=view) for sequence, what in proposals),
        )
        return self.sign(by, bodies.NEW_VIEW, new_view, bodies.encode_new_view)
