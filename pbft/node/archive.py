"""Old batches out of the ledger, for a peer that executes on certificates."""

from __future__ import annotations

from typing import assert_never

from crypto.canonical import decode, encode, expect_bytes, expect_list
from crypto.digest import Digest
from crypto.errors import MalformedEncoding
from pbft.core.bodies import decode_pre_prepare
from pbft.core.codec import Opener
from pbft.core.effects import Archived, RecordKind, ServeArchive
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import BODY
from pbft.core.messages import CommitCertificate
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger, LedgerDamaged


def archived_frames(ledger: Ledger, opener: Opener, serve: ServeArchive) -> list[bytes]:
    """What is kept of the sequence numbers asked for, as frames. Raises LedgerDamaged."""
    match serve.what:
        case Archived.COMMIT_CERTIFICATES:
            return ledger.certificates(RecordKind.COMMITTED, serve.first, serve.last)
        case Archived.BODIES:
            return _archived_bodies(ledger, opener, serve)
        case _:
            assert_never(serve.what)


def _archived_bodies(ledger: Ledger, opener: Opener, serve: ServeArchive) -> list[bytes]:
    """BODY frames of the batches asked for in a range; those that are kept. Raises LedgerDamaged."""
    frames = []
    for number in range(serve.first, serve.last + 1):
        sequence = SequenceNumber(number)
        try:
            digest = serve.digest or _committed_digest(ledger, opener, sequence)
            batch = None if digest is None else _batch(ledger, opener, sequence, digest)
        except (ProtocolViolation, MalformedEncoding) as error:
            msg = f"{ledger.path}: a record of sequence number {sequence} no longer opens: {error}; check the disk"
            raise LedgerDamaged(msg) from error
        if batch is not None:
            frames.append(encode([BODY, opener.group.epoch, sequence, batch]))
    return frames


def _committed_digest(ledger: Ledger, opener: Opener, sequence: SequenceNumber) -> Digest | None:
    certificates = ledger.certificates(RecordKind.COMMITTED, sequence, sequence)
    certificate = opener.parse_peer(certificates[0]).value if certificates else None
    return certificate.commit.batch_digest if isinstance(certificate, CommitCertificate) else None


def _batch(ledger: Ledger, opener: Opener, sequence: SequenceNumber, digest: Digest) -> bytes | None:
    """Of all batches stored for a slot, the encoding of the one with this digest.

    A proposal's header names its batch, and the ledger's chain vouches for both: the batch need not be opened.
    """
    for record in ledger.batch_records(sequence):
        if record.kind is RecordKind.BODY:
            if opener.parse_batch(record.data).digest == digest:
                return record.data
            continue
        _, header, batch = expect_list(decode(record.data, bytes_max=len(record.data)), 3)
        fields = expect_list(decode(expect_bytes(header), bytes_max=1024), 5)
        if decode_pre_prepare(expect_bytes(fields[3])).batch_digest == digest:
            return expect_bytes(batch)
    return None
