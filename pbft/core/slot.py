"""One sequence number in the current view: the proposal, the votes, and the certificates made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from crypto.digest import Digest
from crypto.signing import Signature
from pbft.core.group import Group
from pbft.core.messages import (
    Batch,
    Commit,
    CommitCertificate,
    Endorsements,
    Prepare,
    PreparedCertificate,
    Proposal,
    Signed,
    SlotStatus,
)
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

V = TypeVar("V", Prepare, Commit)


@dataclass(slots=True)
class Slot:
    """Mutable; at most one vote of each kind per replica, so its size is bounded by the group's."""

    sequence: SequenceNumber
    since: Milliseconds
    """When this replica first heard of the slot: repair waits for votes still under way."""
    proposal: Proposal | None = None
    prepares: dict[ReplicaId, Signed[Prepare]] = field(default_factory=dict)
    commits: dict[ReplicaId, Signed[Commit]] = field(default_factory=dict)
    prepared: PreparedCertificate | None = None
    certificate: CommitCertificate | None = None
    body: Batch | None = None
    """A batch fetched for the certificate, when it is not the proposal's."""

    @property
    def committed_batch(self) -> Batch | None:
        """The batch to execute, once it is known to be committed and its body is here."""
        if self.certificate is None:
            return None
        digest = self.certificate.commit.batch_digest
        if self.proposal is not None and self.proposal.batch.digest == digest:
            return self.proposal.batch
        if self.body is not None and self.body.digest == digest:
            return self.body
        return None

    def release_bodies(self) -> None:
        """The batch is executed: the ledger has it for those who ask, memory keeps its digest."""
        self.body = None
        if self.proposal is not None:
            batch = replace(self.proposal.batch, requests=(), wire=b"")
            self.proposal = replace(self.proposal, batch=batch, wire=b"")

    @property
    def missing_body(self) -> Digest | None:
        """Digest of the batch to fetch, if the certificate is here and the body is not."""
        if self.certificate is None or self.committed_batch is not None:
            return None
        return self.certificate.commit.batch_digest

    def holds(self, digest: Digest) -> Batch | None:
        for batch in (self.proposal.batch if self.proposal else None, self.body):
            if batch is not None and batch.digest == digest and batch.wire:
                return batch
        return None

    def status(self, group: Group) -> SlotStatus:
        return SlotStatus(
            sequence=self.sequence,
            has_proposal=self.proposal is not None,
            prepares=group.bitmap(self.prepares),
            commits=group.bitmap(self.commits),
        )


def matching(votes: Mapping[ReplicaId, Signed[V]], digest: Digest, needed: int) -> Endorsements | None:
    """`needed` votes for `digest`, in order of replica, or None if there are fewer."""
    signers = sorted(replica for replica, vote in votes.items() if vote.message.batch_digest == digest)
    if len(signers) < needed:
        return None
    return tuple((replica, Signature(votes[replica].signature)) for replica in signers[:needed])
