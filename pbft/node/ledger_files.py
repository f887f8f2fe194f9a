"""A ledger's files: making a new one, and moving a damaged one out of the way.

A ledger is made under another name and gets its own last, after its witness. So whatever a crash leaves, a
directory without both is one whose ledger was lost, never one that has not voted yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from crypto.files import PRIVATE_MODE, atomic_write, sync_directory
from pbft.core.effects import Record
from pbft.state.database_files import database_files, set_aside

LINK_BYTES = 16
WITNESS_BYTES = 8 + LINK_BYTES
LEDGER_NAME = "ledger.sqlite"
WITNESS_NAME = "ledger.witness"
_UNFINISHED_NAME = "ledger.unfinished"

SCHEMA_VERSION = 1
SCHEMA: Final = f"""
CREATE TABLE records (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sequence INTEGER NOT NULL, data BLOB NOT NULL, link BLOB NOT NULL
);
CREATE INDEX records_by_sequence ON records (sequence, kind);
CREATE TABLE anchor (id INTEGER NOT NULL, link BLOB NOT NULL);
CREATE TABLE owner (identity BLOB NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""
INSERT: Final = "INSERT INTO records VALUES (?, ?, ?, ?, ?)"

RecordRow = tuple[int, str, int, bytes, bytes]
"""(id, kind, sequence, data, link)"""


def genesis_of(identity: bytes) -> bytes:
    """Where the chain of one group and replica begins, and no other's."""
    return sha256(identity).digest()[:LINK_BYTES]


def link_of(previous: bytes, record_id: int, kind: str, sequence: int, data: bytes) -> bytes:
    head = f"{record_id}:{kind}:{sequence}:{len(data)}:".encode()
    return sha256(previous + head + data).digest()[:LINK_BYTES]


def chain(records: Iterable[Record], genesis: bytes, last: int, link: bytes) -> list[RecordRow]:
    """The rows that follow record `last`, whose link is given."""
    rows: list[RecordRow] = []
    for record in records:
        last += 1
        link = link_of(genesis + link, last, record.kind.value, record.sequence, record.data)
        rows.append((last, record.kind.value, record.sequence, record.data, link))
    return rows


def encode_witness(last: int, link: bytes) -> bytes:
    return last.to_bytes(8, "big") + link


def parse_witness(data: bytes) -> tuple[int, bytes] | None:
    if len(data) != WITNESS_BYTES:
        return None
    return int.from_bytes(data[:8], "big"), data[8:]


def has_run(directory: Path) -> bool:
    """Whether there is a ledger that holds, or held, votes. Raises OSError."""
    if not (directory / LEDGER_NAME).exists():
        return False
    try:
        vouched = parse_witness((directory / WITNESS_NAME).read_bytes())
    except FileNotFoundError:
        return True
    return vouched is None or vouched[0] > 0


def make_ledger(directory: Path, identity: bytes, records: Sequence[Record]) -> None:
    """Make a ledger and its witness, both durable, where there are none. Raises OSError or sqlite3.Error."""
    unfinished = directory / _UNFINISHED_NAME
    for path in database_files(unfinished):
        path.unlink(missing_ok=True)
    genesis = genesis_of(identity)
    rows = chain(records, genesis, 0, genesis)
    unfinished.touch(mode=PRIVATE_MODE)
    database = sqlite3.connect(unfinished, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
        database.execute("INSERT INTO owner VALUES (?)", (identity,))
        database.executemany(INSERT, rows)
        database.execute("COMMIT")
    finally:
        database.close()
    last, link = (rows[-1][0], rows[-1][4]) if rows else (0, genesis)
    atomic_write(directory / WITNESS_NAME, encode_witness(last, link), PRIVATE_MODE)
    unfinished.replace(directory / LEDGER_NAME)
    sync_directory(directory)


def remove_unused(directory: Path) -> None:
    """Remove what an attempt at founding left, so that it may be made again. Raises OSError."""
    for path in (*database_files(directory / LEDGER_NAME), directory / WITNESS_NAME):
        path.unlink(missing_ok=True)


def set_ledger_aside(directory: Path) -> Path:
    """Move what is left of a ledger out of the way, and return its new name. Raises OSError.

    The database goes first: from then on the directory has lost its ledger, whatever else is still there.
    """
    return set_aside(directory / LEDGER_NAME, directory / WITNESS_NAME)
