"""Rebuilding a replica from its ledger: the votes it sent are its votes still. Protocol, section 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbft.core.effects import Record, RecordKind, Recovered
from pbft.core.errors import InvariantViolation, ProtocolViolation
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
    Signed,
    ViewChange,
)
from pbft.core.output import Output
from pbft.core.types import Milliseconds

if TYPE_CHECKING:
    from pbft.core.replica import Replica


def restore(replica: Replica, recovered: Recovered) -> None:
    """Bring log, rules, views and checkpoints to where the ledger says they were.

    Raises InvariantViolation if the ledger contradicts itself.
    """
    replica.log.last_executed = recovered.last_executed
    _restore_marks(replica, recovered.records)
    _restore_view(replica, recovered.records)
    for record in recovered.records:
        if record.kind in OF_NO_SLOT:
            continue
        log = replica.log
        if log.why_outside(record.sequence) is None or log.why_not_to_execute(record.sequence) is None:
            _restore_record(replica, recovered, record)


OF_NO_SLOT = frozenset(
    {
        RecordKind.STABLE,
        RecordKind.DIVERGED,
        RecordKind.REPAIRED,
        RecordKind.VIEW_CHANGE,
        RecordKind.NEW_VIEW,
        RecordKind.AMNESIA,
        RecordKind.REJOINED,
    }
)


def _newest(records: Sequence[Record], kind: RecordKind) -> Record | None:
    """By sequence number: a ledger repeats such a record when it drops the old one."""
    of_kind = [record for record in records if record.kind is kind]
    return max(of_kind, key=lambda record: record.sequence, default=None)


def _restore_marks(replica: Replica, records: Sequence[Record]) -> None:
    """Stable checkpoint, divergence and loss of votes."""
    for record in records:
        if record.kind is RecordKind.STABLE:
            replica.checkpoints.restore_stable(_checkpoint_certificate(replica, record))
    diverged, repaired = _newest(records, RecordKind.DIVERGED), _newest(records, RecordKind.REPAIRED)
    if diverged is not None and (repaired is None or repaired.sequence < diverged.sequence):
        replica.checkpoints.restore_divergence(_checkpoint_certificate(replica, diverged).checkpoint.sequence)
    lost = [record.data for record in records if record.kind is RecordKind.AMNESIA]
    returned = {record.data for record in records if record.kind is RecordKind.REJOINED}
    for amnesia in lost:
        if amnesia not in returned:
            replica.rejoin.restore(amnesia)


def _checkpoint_certificate(replica: Replica, record: Record) -> CheckpointCertificate:
    certificate = _open(replica, record)
    if not isinstance(certificate, CheckpointCertificate):
        msg = f"a {record.kind.name} record holds no certificate"
        raise InvariantViolation(msg)
    return certificate


def _restore_view(replica: Replica, records: Sequence[Record]) -> None:
    change: Signed[ViewChange] | None = None
    new_view: Signed[NewView] | None = None
    for record in records:
        if record.kind not in (RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW):
            continue
        match _open(replica, record):
            case Signed(message=ViewChange() as message) as signed:
                if change is None or message.view > change.message.view:
                    change = signed
            case Signed(message=NewView() as begun) as signed:
                if new_view is None or begun.view > new_view.message.view:
                    new_view = signed
            case other:
                msg = f"a ledger record of kind {record.kind.value} holds a {type(other).__name__}"
                raise InvariantViolation(msg)
    replica.views.restore(change, new_view)
    if replica.votes.new_view is not None:
        for pre_prepare in replica.votes.new_view.message.pre_prepares:
            _restore_accepted(replica, pre_prepare)


def hear_again(replica: Replica, out: Output) -> None:
    """Let the witness know what others said in certificates and views, as far as it stands in the ledger: a restart
    must not make a lie of it that cannot be proven. Votes that came alone are not stored, and are forgotten."""
    witness = replica.witness
    if replica.checkpoints.stable is not None:
        witness.hear_checkpoint_certificate(out, replica.checkpoints.stable)
    change, new_view = replica.votes.of(replica.me), replica.votes.new_view
    if new_view is not None:
        witness.hear_new_view(out, new_view)
    if change is not None:
        witness.hear_view_change(out, change)
    for slot in replica.log.slots():
        if slot.prepared is not None:
            witness.hear_prepared(out, slot.prepared)
        if slot.certificate is not None:
            witness.hear_commit_certificate(out, slot.certificate)


def _restore_accepted(replica: Replica, pre_prepare: Signed[PrePrepare]) -> None:
    vote = pre_prepare.message
    if vote.view == replica.log.view and replica.log.why_outside(vote.sequence) is None:
        replica.log.slot(vote.sequence, Milliseconds(0)).pre_prepare = pre_prepare
        if pre_prepare.signer == replica.me:
            replica.rules.restore_accepted(vote.view, vote.sequence, vote.batch_digest)


def _restore_record(replica: Replica, recovered: Recovered, record: Record) -> None:
    slot = replica.log.slot(record.sequence, recovered.now.steady)
    view = replica.log.view
    match _open(replica, record):
        case Proposal() as proposal:
            slot.bodies[proposal.batch.digest] = proposal.batch
            _restore_accepted(replica, proposal.pre_prepare)
        case Signed(message=Prepare() as prepare) as signed:
            replica.rules.restore_accepted(prepare.view, prepare.sequence, prepare.batch_digest)
            if prepare.view == view:
                slot.prepares[signed.signer] = signed
        case Signed(message=Commit() as commit) as signed:
            replica.rules.restore_commit(commit)
            if commit.view == view:
                slot.commits[signed.signer] = signed
        case Signed(message=Checkpoint()) as signed:
            replica.checkpoints.restore_vote(signed)
        case CommitCertificate() as certificate:
            slot.certificate = certificate
        case PreparedCertificate() as prepared:
            if prepared.pre_prepare.message.view > slot.prepared_view:
                slot.prepared = prepared
        case Batch() as batch:
            slot.bodies[batch.digest] = batch
        case other:
            msg = f"a ledger record of kind {record.kind.value} holds a {type(other).__name__}"
            raise InvariantViolation(msg)


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
