"""Ledgers for tests, and the ways in which a disk may spoil them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger, LedgerDamaged
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from pbft.state.errors import StorageFailure

WINDOW = 8
IDENTITY = b"group of the tests" * 2
WAL_NAME = LEDGER_NAME + "-wal"
FILES = (LEDGER_NAME, WAL_NAME, WITNESS_NAME)

Image = dict[str, bytes]
"""Contents of a ledger's files by name."""


def record(sequence: int, kind: RecordKind = RecordKind.PREPARE, size: int = 40) -> Record:
    data = f"{kind.value} {sequence} ".encode()
    return Record(kind, SequenceNumber(sequence), (data * (size // len(data) + 1))[:size])


def slot(sequence: int) -> list[Record]:
    """What one sequence number leaves behind."""
    kinds = (RecordKind.PROPOSAL, RecordKind.PREPARE, RecordKind.PREPARED, RecordKind.COMMIT, RecordKind.COMMITTED)
    return [record(sequence, kind) for kind in kinds]


def stable(sequence: int) -> Record:
    return record(sequence, RecordKind.STABLE)


def open_ledger(directory: Path, *, identity: bytes = IDENTITY, retained: int = 1000) -> Ledger:
    """A new ledger if there is no trace of one, as at founding."""
    directory.mkdir(exist_ok=True)
    if not any((directory / name).exists() for name in FILES):
        Ledger.create(directory, identity)
    return Ledger(directory, identity, retained_sequences=retained)


def records_in(directory: Path) -> tuple[Record, ...]:
    """What a new process finds. Raises LedgerDamaged."""
    ledger = Ledger(directory, IDENTITY, retained_sequences=1000)
    try:
        return ledger.records()
    finally:
        ledger.close()


def fill(directory: Path, transactions: Iterable[Sequence[Record]], *, retained: int = 1000) -> None:
    ledger = open_ledger(directory, retained=retained)
    for transaction in transactions:
        ledger.append(transaction)
    ledger.close()


def image_of(directory: Path) -> Image:
    """The files as a power loss right now would leave them, had all writes reached the disk."""
    return {name: (directory / name).read_bytes() for name in FILES if (directory / name).exists()}


def lay_out(image: Image, directory: Path) -> Path:
    """A directory with just these files."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, data in image.items():
        (directory / name).write_bytes(data)
    return directory


def verdict(directory: Path) -> tuple[Record, ...] | None:
    """What opening finds: the records, or None for LedgerDamaged. Any other exception is a defect."""
    try:
        return records_in(directory)
    except LedgerDamaged:
        return None
    except StorageFailure as failure:
        raise AssertionError(f"damage taken for a failing disk: {failure}") from failure


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]
