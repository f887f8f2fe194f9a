"""What nodes left on their disks, read without changing anything: ledgers, also damaged ones, and proofs.

The files may be anybody's. Nothing is believed for standing in them: statements speak by their signatures.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from pbft.core.effects import Record, RecordKind
from pbft.core.forensics import WITHOUT_STATEMENTS
from pbft.core.types import SequenceNumber
from pbft.node.ledger_files import LEDGER_NAME
from pbft.state.database_files import database_files

EVIDENCE_NAME: Final = "evidence"
FILES_MAX: Final = 100_000
"""In one directory: what lies beyond is not looked at."""

LEDGER_BYTES_MAX: Final = 4 * 1024**3
"""Of a ledger, and of each file beside it."""
RECORDS_MAX: Final = 4_000_000
SQLITE_STEPS_MAX: Final = 400_000_000
"""Of SQLite's own machine, some fifty per row: a damaged tree of pages may lead back into itself."""
STEPS_AT_ONCE: Final = 1_000_000
CHUNK_BYTES: Final = 1024 * 1024

_KINDS: Final = {kind.value.encode(): kind for kind in RecordKind if kind not in WITHOUT_STATEMENTS}


class Unreadable(Exception):  # noqa: N818 - what the file is
    """A file cannot be read, or is none of the kind asked for. The text says which and why."""


def node_directories(directory: Path) -> list[Path]:
    """The directories of nodes in a group's directory, in order of their number; else the directory itself."""
    nodes = [path for path in _entries(directory) if path.name.startswith("replica-") and path.is_dir()]
    return sorted(nodes, key=lambda path: (len(path.name), path.name)) or [directory]


def ledgers_in(node_directory: Path) -> list[Path]:
    """The ledger of a node, and those that were put aside as damaged."""
    stem = Path(LEDGER_NAME).stem
    damaged = [
        path
        for path in _entries(node_directory)
        if path.name.startswith(f"{stem}.damaged-") and path.name.removeprefix(f"{stem}.damaged-").isdigit()
    ]
    current = node_directory / LEDGER_NAME
    return [*([current] if current.exists() else []), *sorted(damaged)]


def proofs_in(directory: Path) -> list[Path]:
    """Files of a store of proofs, in order of name: of a node, of a client, or the directory of files itself."""
    store = directory / EVIDENCE_NAME
    return sorted(path for path in _entries(store if store.is_dir() else directory) if path.suffix == ".cbor")


def _entries(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in islice(os.scandir(directory), FILES_MAX)]
    except OSError as error:
        raise Unreadable(f"{directory}: {error.strerror}") from error


@contextmanager
def _regular_file(path: Path, flags: int = 0) -> Iterator[BinaryIO]:
    """Raises Unreadable if it is anything else than a file: a pipe or device must not make anybody wait."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable(f"{path}: is no file")
            yield file
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def read_file(path: Path, bytes_max: int) -> bytes:
    """Of a regular file of at most `bytes_max`. Raises Unreadable."""
    with _regular_file(path) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Unreadable(f"{path}: is longer than the {bytes_max} bytes that it may have")
    return data


def _copy(source: Path, copy: Path) -> None:
    """Raises Unreadable, also for a link to elsewhere."""
    left = LEDGER_BYTES_MAX
    with _regular_file(source, os.O_NOFOLLOW) as file, copy.open("wb") as into:
        while chunk := file.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise Unreadable(f"{source}: is longer than the {LEDGER_BYTES_MAX} bytes that it may have")
            into.write(chunk)


class LedgerCopy:
    """The records of a ledger in which replicas say something, oldest first, out of a copy that is removed again.

    Reads as far as it gets, for a ledger may be damaged; `problem` then says what was found, and is empty before.
    The node must not run: what it writes meanwhile could be read by halves.
    """

    def __init__(self, path: Path, record_bytes_max: int) -> None:
        self.path = path
        self.problem = ""
        self.records = 0
        self._bytes_max = record_bytes_max

    def __iter__(self) -> Iterator[Record]:
        self.problem, self.records = "", 0
        try:
            with TemporaryDirectory(prefix="quorate-") as name:
                for source in database_files(self.path):
                    if source.exists() and not source.name.endswith("-shm"):
                        _copy(source, Path(name) / source.name)
                for record in self._read(Path(name) / self.path.name):
                    self.records += 1
                    yield record
        except Unreadable as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = f"{error.filename or self.path}: {error.strerror}"
        except sqlite3.Error as error:
            self.problem = f"{self.path}: {error}; {self.records} records of it were read"

    def _read(self, copy: Path) -> Iterator[Record]:
        marks = ", ".join("?" * len(_KINDS))
        with closing(sqlite3.connect(copy)) as database:
            database.text_factory = bytes  # a text that is none would raise
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA cell_size_check = ON")
            self._require_plain_table(database)
            left = count(SQLITE_STEPS_MAX // STEPS_AT_ONCE, -1)
            database.set_progress_handler(lambda: next(left) <= 0, STEPS_AT_ONCE)
            rows = database.execute(
                f"SELECT kind, sequence, data FROM records WHERE CAST(kind AS BLOB) IN ({marks}) "  # noqa: S608 - marks
                "AND length(data) <= ? ORDER BY id LIMIT ?",
                (*_KINDS, self._bytes_max, RECORDS_MAX),
            )
            for kind, sequence, data in rows:
                if kind in _KINDS and type(sequence) is int and type(data) is bytes:
                    yield Record(_KINDS[kind], SequenceNumber(sequence), data)

    def _require_plain_table(self, database: sqlite3.Connection) -> None:
        """What looks like the records may be a query without end, or compute its columns. Raises Unreadable."""
        found = database.execute(
            "SELECT type, rootpage FROM sqlite_schema WHERE name = 'records' COLLATE NOCASE"
        ).fetchall()
        hidden = [row[6] for row in database.execute("PRAGMA table_xinfo(records)")]
        if len(found) != 1 or found[0][0] != b"table" or not found[0][1] or any(hidden):
            raise Unreadable(f"{self.path}: its records are no plain table")
