"""Rebuilding a replica from its ledger: the votes it sent are its votes still. Protocol, section 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbft.core.effects import Record, RecordKind, Recovered
from pbft.core.errors import InvariantViolation, ProtocolViolation, invariant
from pbft.core.messages import (
    Batch,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Prepare,
    PreparedCertificate,
    Proposal,
    Signed,
)
from pbft.core.types import SequenceNumber

_CERTIFICATES = frozenset({RecordKind.STABLE, RecordKind.DIVERGED, RecordKind.REPAIRED})

if TYPE_CHECKING:
    from pbft.core.replica import Replica


def restore(replica: Replica, recovered: Recovered) -> SequenceNumber:
    """Bring log, rules and checkpoints to where the ledger says they were.

    Gives the highest sequence number that this replica proposed. Raises InvariantViolation if the ledger
    contradicts itself, or claims a stable checkpoint that the state has not reached.
    """
    replica.log.last_executed = recovered.last_executed
    for record in recovered.records:
        # Such a replica has to keep silent until it can contradict nothing; that is not built into the core yet.
        forgot = record.kind is RecordKind.AMNESIA
        invariant(not forgot, "a record says that this replica forgot its votes: it must not vote")
        if record.kind in _CERTIFICATES:
            certificate = _open(replica, record)
            if not isinstance(certificate, CheckpointCertificate):
                msg = f"a {record.kind.name} record holds no certificate"
                raise InvariantViolation(msg)
            if record.kind is RecordKind.DIVERGED:
                replica.checkpoints.restore_divergence(certificate)
            elif record.kind is RecordKind.REPAIRED:
                replica.checkpoints.restore_repair()
            else:
                _restore_stable(replica, recovered, certificate)
    highest_proposed = SequenceNumber(0)
    for record in recovered.records:
        if replica.log.why_outside(record.sequence) is not None:
            continue
        highest_proposed = max(highest_proposed, _restore_record(replica, recovered, record))
    return highest_proposed


def _restore_stable(replica: Replica, recovered: Recovered, certificate: CheckpointCertificate) -> None:
    """A state that does not reach a stable checkpoint any more is fetched; its replica votes above it meanwhile."""
    sequence = certificate.checkpoint.sequence
    if sequence > replica.log.last_executed:
        invariant(
            replica.state_repair.is_able,
            f"the ledger has a stable checkpoint at {sequence}, the state only reaches {recovered.last_executed}",
        )
        replica.state_repair.lost = certificate
        replica.log.last_executed = sequence
    replica.checkpoints.restore_stable(certificate)


def _restore_record(replica: Replica, recovered: Recovered, record: Record) -> SequenceNumber:
    """Gives the record's sequence number if it is a proposal of this replica's own, else 0."""
    if record.kind in _CERTIFICATES:
        return SequenceNumber(0)
    slot = replica.log.slot(record.sequence, recovered.now.steady)
    match _open(replica, record):
        case Proposal() as proposal:
            slot.proposal = proposal
            vote = proposal.pre_prepare.message
            if proposal.pre_prepare.signer == replica.me:
                replica.rules.restore_accepted(vote.view, vote.sequence, vote.batch_digest)
                return record.sequence
        case Signed(message=Prepare() as prepare) as signed:
            replica.rules.restore_accepted(prepare.view, prepare.sequence, prepare.batch_digest)
            slot.prepares[signed.signer] = signed
        case Signed(message=Commit() as commit) as signed:
            replica.rules.restore_commit(commit)
            slot.commits[signed.signer] = signed
        case Signed(message=Checkpoint()) as signed:
            replica.checkpoints.restore_vote(signed)
        case CommitCertificate() as certificate:
            slot.certificate = certificate
        case PreparedCertificate() as prepared:
            slot.prepared = prepared
        case Batch() as batch:
            slot.body = batch
        case other:
            msg = f"a ledger record of kind {record.kind.value} holds a {type(other).__name__}"
            raise InvariantViolation(msg)
    return SequenceNumber(0)


def _open(replica: Replica, record: Record) -> object:
    """Its signatures were checked before it was stored, and the ledger vouches for its bytes."""
    opener = replica.opener
    try:
        match record.kind:
            case RecordKind.PREPARED:
                return opener.parse_prepared_certificate(record.data).value
            case RecordKind.BODY:
                return opener.parse_batch(record.data)
            case _:
                return opener.accept(opener.parse_peer(record.data))
    except ProtocolViolation as error:
        msg = f"ledger record ({record.kind.value} at {record.sequence}) does not open: {error}"
        raise InvariantViolation(msg) from error
