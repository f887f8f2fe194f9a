"""Old batches out of the ledger, for a peer that executes on certificates."""

from __future__ import annotations

from typing import assert_never

from pbft.core.codec import Opener
from pbft.core.effects import Archived, RecordKind, ServeArchive
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import wire_of
from pbft.core.messages import Batch, Body, CommitCertificate, Proposal
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger, LedgerDamaged


def archived_frames(ledger: Ledger, opener: Opener, serve: ServeArchive) -> list[bytes]:
    """What is kept of the sequence numbers asked for, as frames. Raises LedgerDamaged."""
    match serve.what:
        case Archived.COMMIT_CERTIFICATES:
            return ledger.certificates(RecordKind.COMMITTED, serve.first, serve.last)
        case Archived.CHECKPOINT_CERTIFICATES:
            return ledger.certificates(RecordKind.STABLE, serve.first, serve.last)
        case Archived.BODIES:
            return _archived_bodies(ledger, opener, serve)
        case _:
            assert_never(serve.what)


def _archived_bodies(ledger: Ledger, opener: Opener, serve: ServeArchive) -> list[bytes]:
    """BODY frames of the committed batches in a range; those that are kept. Raises LedgerDamaged."""
    frames = []
    for number in range(serve.first, serve.last + 1):
        sequence = SequenceNumber(number)
        try:
            batch = _committed_batch(ledger, opener, sequence)
        except ProtocolViolation as error:
            msg = f"{ledger.path}: a record of sequence number {sequence} no longer opens: {error}; check the disk"
            raise LedgerDamaged(msg) from error
        if batch is not None:
            frames.append(wire_of(opener.group.epoch, Body(sequence=sequence, batch=batch)))
    return frames


def _committed_batch(ledger: Ledger, opener: Opener, sequence: SequenceNumber) -> Batch | None:
    """Of all proposals stored for a slot, the one that was committed."""
    certificates = ledger.certificates(RecordKind.COMMITTED, sequence, sequence)
    if not certificates:
        return None
    certificate = opener.parse_peer(certificates[0]).value
    for record in ledger.batch_records(sequence):
        if record.kind is RecordKind.BODY:
            batch = opener.parse_batch(record.data)
        else:
            proposal = opener.parse_peer(record.data).value
            if not isinstance(proposal, Proposal):
                continue
            batch = proposal.batch
        if isinstance(certificate, CommitCertificate) and batch.digest == certificate.commit.batch_digest:
            return batch
    return None
