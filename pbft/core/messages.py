"""The protocol's messages as values, after PBFT (OSDI'99, section 4) with client requests signed and bundled.

`Signed[M]` is a message whose signature was verified: outside the signing rules only `pbft.core.codec` makes one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from crypto.digest import Digest
from crypto.signing import PublicKey, Signature
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.types import (
    ClientSequence,
    EventIndex,
    Milliseconds,
    ReplicaId,
    SequenceNumber,
    SessionNumber,
    View,
)

M = TypeVar("M", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Generic[M]):
    """A statement and who made it. `wire` is the frame as received or as to be sent, never a re-encoding."""

    message: M
    signer: ReplicaId
    signature: Signature
    wire: bytes = field(repr=False)


# -- what clients say ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Operations of one device with consecutive client sequences. `ack_below`: replies below it have arrived."""

    session: SessionNumber
    first_client_sequence: ClientSequence
    ack_below: ClientSequence
    operations: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request with its device's verified signature. `digest` is its leaf in the batch's Merkle tree."""

    message: Request
    device: PublicKey
    wire: bytes = field(repr=False)
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A read, answered from executed state once `minimum_sequence` is executed."""

    query_id: int
    minimum_sequence: SequenceNumber
    query: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Stream the events of `topic` from `start` on: their bodies, or only their digests."""

    subscription: int
    topic: bytes
    start: EventIndex
    bodies: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The client has taken all events below `taken`: the stream may run ahead of it by a bounded number."""

    subscription: int
    taken: EventIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    subscription: int


ClientMessage = SignedRequest | Query | Subscribe | Credit | Unsubscribe


# -- ordering ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one sequence number orders. The null batch has timestamp 0 and no requests.

    `digest` commits to the timestamp and to the Merkle root over the requests, so that one request's place can be
    proven without the others.
    """

    timestamp: Milliseconds
    requests: tuple[SignedRequest, ...]
    digest: Digest
    wire: bytes = field(repr=False)

    @property
    def operation_count(self) -> int:
        return sum(len(request.message.operations) for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrePrepare:
    view: View
    sequence: SequenceNumber
    batch_digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    view: View
    sequence: SequenceNumber
    batch_digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    view: View
    sequence: SequenceNumber
    batch_digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    sequence: SequenceNumber
    state_root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A PRE-PREPARE and the batch that it names."""

    pre_prepare: Signed[PrePrepare]
    batch: Batch
    wire: bytes = field(repr=False)


Endorsements = tuple[tuple[ReplicaId, Signature], ...]
"""Signatures of distinct replicas, in order of replica, over one and the same statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCertificate:
    """The primary's PRE-PREPARE and matching PREPAREs of quorum - 1 backups: no other digest can be prepared here."""

    pre_prepare: Signed[PrePrepare]
    prepares: Endorsements
    wire: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitCertificate:
    """A quorum of COMMITs: whoever holds it may execute. Never a reason to vote."""

    commit: Commit
    endorsements: Endorsements
    wire: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCertificate:
    """A quorum of equal CHECKPOINTs."""

    checkpoint: Checkpoint
    endorsements: Endorsements
    wire: bytes = field(repr=False)


# -- view change -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewChange:
    """Its signer votes in no view below `view` any more. PBFT section 4.4.

    `checkpoint` proves `stable_checkpoint`, None for 0. `prepared`: in order of sequence number, above it, the
    certificate of the highest view in which the signer prepared anything there.
    """

    view: View
    stable_checkpoint: SequenceNumber
    checkpoint: CheckpointCertificate | None
    prepared: tuple[PreparedCertificate, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewView:
    """The new primary's proof that `view` begins, and what it proposes again: O of PBFT section 4.4."""

    view: View
    view_changes: tuple[Signed[ViewChange], ...] = field(repr=False)
    pre_prepares: tuple[Signed[PrePrepare], ...] = field(repr=False)


# -- repair --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """What a replica holds of one unexecuted slot. Bit i of a bitmap: it has the vote of replica i."""

    sequence: SequenceNumber
    has_proposal: bool
    prepares: int
    commits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoining:
    """A replica that lost its votes stays mute until these come, one that lost its state waits for the checkpoint.
    None: not known yet."""

    checkpoint: SequenceNumber | None
    view: View | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a replica stands, so that its peers can send what it lacks. A hint: believed for repair only.

    `in_view` is False while it waits for the NEW-VIEW of `view`; `view_changes` are then the views of the
    VIEW-CHANGEs it holds, one of each replica, 0 for none.
    """

    view: View
    stable_checkpoint: SequenceNumber
    last_executed: SequenceNumber
    slots: tuple[SlotStatus, ...]
    in_view: bool = True
    view_changes: tuple[View, ...] = ()
    rejoining: Rejoining | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Send the batch bodies with these digests."""

    wanted: tuple[tuple[SequenceNumber, Digest], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A batch asked for by FETCH; its digest is its proof."""

    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEvidence:
    """A proof of misbehaviour in its encoding (`pbft.core.evidence`), not verified yet: it says nothing by itself."""

    data: bytes = field(repr=False)


# -- what replicas tell clients --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What became of one operation. `index`: its place in the batch. `refused`: it was not run (stale name)."""

    client_sequence: ClientSequence
    index: int
    refused: bool
    result: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Results of a session's operations in the batch at `sequence`. `view` is a hint where to send next."""

    device: PublicKey
    session: SessionNumber
    view: View
    sequence: SequenceNumber
    results: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a query out of the state after `sequence`."""

    device: PublicKey
    query_id: int
    sequence: SequenceNumber
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events `first`, `first + 1`, ... of a subscription: bodies, or 32-byte digests of them.

    `closed`: the topic cannot be read (any more), and nothing follows.
    """

    device: PublicKey
    subscription: int
    sequence: SequenceNumber
    first: EventIndex
    bodies: bool
    items: tuple[bytes, ...] = field(repr=False)
    closed: bool = False


SignedByReplica = (
    Signed[PrePrepare]
    | Signed[Prepare]
    | Signed[Commit]
    | Signed[Checkpoint]
    | Signed[ViewChange]
    | Signed[NewView]
    | Signed[Reply]
    | Signed[Answer]
    | Signed[Events]
)
ToClient = Signed[Reply] | Signed[Answer] | Signed[Events]
PeerMessage = (
    Proposal
    | Signed[Prepare]
    | Signed[Commit]
    | Signed[Checkpoint]
    | Signed[ViewChange]
    | Signed[NewView]
    | CommitCertificate
    | CheckpointCertificate
    | Status
    | Fetch
    | Body
    | SignedRequest
    | FetchState
    | StateAnswer
    | SharedEvidence
)
