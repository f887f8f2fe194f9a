"""Old batches out of the ledger, for a peer that executes on certificates."""

from __future__ import annotations

from pbft.core.codec import Opener
from pbft.core.effects import RecordKind, ServeArchive
from pbft.core.frames import wire_of
from pbft.core.messages import Batch, Body, CommitCertificate, Proposal
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger


def archived_bodies(ledger: Ledger, opener: Opener, serve: ServeArchive) -> list[bytes]:
    """BODY frames of the committed batches in a range; those that are kept."""
    frames = []
    for number in range(serve.first, serve.last + 1):
        sequence = SequenceNumber(number)
        batch = _committed_batch(ledger, opener, sequence)
        if batch is not None:
            frames.append(wire_of(opener.group.epoch, Body(sequence=sequence, batch=batch)))
    return frames


def _committed_batch(ledger: Ledger, opener: Opener, sequence: SequenceNumber) -> Batch | None:
    """Of all proposals stored for a slot, the one that was committed."""
    certificates = ledger.commit_certificates(sequence, sequence)
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
