"""One sequence number: the votes of the current view, and what is certified in any view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from crypto.digest import Digest
from crypto.signing import Signature
from pbft.core.frames import NULL_BATCH, encode_proposal
from pbft.core.group import Group
from pbft.core.messages import (
    Batch,
    Commit,
    CommitCertificate,
    Endorsements,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Signed,
    SlotStatus,
)
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber, View

V = TypeVar("V", Prepare, Commit)


@dataclass(slots=True)
class Slot:
    """Mutable; at most one vote of each kind per replica, so its size is bounded by the group's."""

    sequence: SequenceNumber
    since: Milliseconds
    """When this replica first heard of the slot in this view: repair waits for votes still under way."""
    pre_prepare: Signed[PrePrepare] | None = None
    """What this replica accepted in the current view."""
    prepares: dict[ReplicaId, Signed[Prepare]] = field(default_factory=dict)
    commits: dict[ReplicaId, Signed[Commit]] = field(default_factory=dict)
    prepared: PreparedCertificate | None = None
    """Of the highest view in which this replica prepared something here."""
    certificate: CommitCertificate | None = None
    """Of any view."""
    bodies: dict[Digest, Batch] = field(default_factory=dict)
    """Batches that may have to be executed or proposed again; those of executed slots are in the ledger alone."""

    @property
    def accepted(self) -> Digest | None:
        return self.pre_prepare.message.batch_digest if self.pre_prepare is not None else None

    @property
    def prepared_view(self) -> View:
        """-1 if nothing was prepared here."""
        return self.prepared.pre_prepare.message.view if self.prepared is not None else View(-1)

    @property
    def committed_batch(self) -> Batch | None:
        """The batch to execute, once it is known to be committed and its body is here."""
        return self.holds(self.certificate.commit.batch_digest) if self.certificate is not None else None

    @property
    def proposal(self) -> Proposal | None:
        """The accepted proposal with its batch, to be sent again."""
        batch = self.holds(self.accepted) if self.accepted is not None else None
        if self.pre_prepare is None or batch is None:
            return None
        wire = encode_proposal(self.pre_prepare.wire, batch.wire)
        return Proposal(pre_prepare=self.pre_prepare, batch=batch, wire=wire)

    @property
    def missing_body(self) -> Digest | None:
        """Digest of the batch to fetch: of what is committed, or accepted on the word of a NEW-VIEW."""
        wanted = self.certificate.commit.batch_digest if self.certificate is not None else self.accepted
        return wanted if wanted is not None and self.holds(wanted) is None else None

    @property
    def is_empty(self) -> bool:
        return not (self.pre_prepare or self.prepares or self.commits or self.prepared or self.certificate)

    def holds(self, digest: Digest) -> Batch | None:
        return NULL_BATCH if digest == NULL_BATCH.digest else self.bodies.get(digest)

    def release_bodies(self) -> None:
        """The batch is executed: the ledger has it for those who ask."""
        self.bodies.clear()

    def said_by(self, replica: ReplicaId) -> Iterator[Proposal | Signed[Prepare] | Signed[Commit]]:
        """What a replica said of the slot in this view, in the order of the phases."""
        proposed = self.proposal if self.pre_prepare is not None and self.pre_prepare.signer == replica else None
        for message in (proposed, self.prepares.get(replica), self.commits.get(replica)):
            if message is not None:
                yield message

    def leave_view(self, now: Milliseconds) -> None:
        """Votes of a view are worth nothing in the next one, what they proved is."""
        kept = {self.accepted, self.prepared.pre_prepare.message.batch_digest if self.prepared else None}
        if self.certificate is not None:
            kept.add(self.certificate.commit.batch_digest)
        for digest in [digest for digest in self.bodies if digest not in kept]:
            del self.bodies[digest]
        self.pre_prepare = None
        self.prepares, self.commits = {}, {}
        self.since = now

    def status(self, group: Group) -> SlotStatus:
        return SlotStatus(
            sequence=self.sequence,
            has_proposal=self.pre_prepare is not None,
            prepares=group.bitmap(self.prepares),
            commits=group.bitmap(self.commits),
        )


def matching(votes: Mapping[ReplicaId, Signed[V]], digest: Digest, needed: int) -> Endorsements | None:
    """`needed` votes for `digest`, in order of replica, or None if there are fewer."""
    signers = sorted(replica for replica, vote in votes.items() if vote.message.batch_digest == digest)
    if len(signers) < needed:
        return None
    return tuple((replica, Signature(votes[replica].signature)) for replica in signers[:needed])
