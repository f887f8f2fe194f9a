"""The ledger: every vote before it is sent, on disk. One SQLite database per node, WAL, synchronous=FULL.

Records form a hash chain, so a changed, missing or moved one is noticed when the ledger is opened. SQLite itself
cuts its write-ahead log at the first frame that does not check, which is right for a tail torn by a crash and
wrong for a bit flipped earlier: votes that were sent would be forgotten without a word. So a witness file beside
the database says how far the ledger reached after each commit; a ledger shorter than its witness has lost
records, and a replica without its votes must not vote (protocol, section 4).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.state.errors import StorageFailure

SCHEMA = """
CREATE TABLE records (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sequence INTEGER NOT NULL, data BLOB NOT NULL, link BLOB NOT NULL
);
CREATE INDEX records_by_sequence ON records (sequence, kind);
CREATE TABLE anchor (id INTEGER NOT NULL, link BLOB NOT NULL);
"""
LINK_BYTES = 16
WITNESS_BYTES = 8 + LINK_BYTES
LEDGER_NAME = "ledger.sqlite"
WITNESS_NAME = "ledger.witness"


class LedgerDamaged(Exception):  # noqa: N818 - as the protocol's own failures are named
    """The ledger lost or changed records. The replica must not vote: it could contradict what it said before."""


class Ledger:
    """Append-only, but for the oldest records, which are dropped below a stable checkpoint.

    Keeps `retained_sequences` below the stable checkpoint, to help peers that fell behind.
    """

    def __init__(self, directory: Path, group_id: bytes, *, retained_sequences: int) -> None:
        """Open or create. Raises LedgerDamaged, or StorageFailure if the disk fails."""
        self.path = directory / LEDGER_NAME
        self.commits = 0
        self._retained = retained_sequences
        self._witness_path = directory / WITNESS_NAME
        existed = self._require_both_or_none()
        if not existed:
            _create_witness(self._witness_path, group_id)
        self._witness = os.open(self._witness_path, os.O_RDWR)
        try:
            self._database = self._open_database()
        except BaseException:
            os.close(self._witness)
            raise
        try:
            self._last, self._link = self._check_chain(group_id)
        except BaseException:
            self.close()
            raise
        if not existed:
            _sync_directory(directory)

    def _require_both_or_none(self) -> bool:
        have = [self.path.exists(), self._witness_path.exists()]
        if have[0] and not have[1]:
            raise LedgerDamaged(self._advice(f"its witness {self._witness_path.name} is gone"))
        if have[1] and not have[0] and self._witness_path.stat().st_size != 0:
            at, _ = _parse_witness(self._witness_path.read_bytes()) or (-1, b"")
            if at != 0:
                raise LedgerDamaged(self._advice("the ledger is gone, though its witness says that it held votes"))
        return have[0]

    def _advice(self, what: str) -> str:
        return (
            f"{self.path}: {what}. A replica that forgot its votes could vote twice, so this node stays stopped. "
            "Restore the ledger and its witness together from before the damage, never from an older copy; or leave "
            "the replica out: the group goes on without it"
        )

    def _open_database(self) -> sqlite3.Connection:
        with self._guard():
            database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA wal_autocheckpoint = 1000")
                if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            except BaseException:
                database.close()
                raise
        return database

    def _check_chain(self, group_id: bytes) -> tuple[int, bytes]:
        """Follow the chain from its anchor to its end, and compare the end with the witness."""
        with self._guard():
            row = self._database.execute("SELECT id, link FROM anchor").fetchone()
            last, link = row if row is not None else (0, sha256(group_id).digest()[:LINK_BYTES])
            found = {0: link} if last == 0 else {last: link}
            witnessed = _parse_witness(os.pread(self._witness, WITNESS_BYTES, 0))
            if witnessed is None:
                raise LedgerDamaged(self._advice(f"its witness {self._witness_path.name} is unreadable"))
            rows = self._database.execute("SELECT id, kind, sequence, data, link FROM records ORDER BY id")
            for record_id, kind, sequence, data, stored in rows:
                expected = _link(link, record_id, kind, sequence, data)
                if record_id != last + 1 or stored != expected:
                    raise LedgerDamaged(self._advice(f"record {last + 1} was changed or lost"))
                last, link = record_id, stored
                if record_id == witnessed[0]:
                    found[record_id] = link
        if found.get(witnessed[0]) != witnessed[1]:
            raise LedgerDamaged(
                self._advice(f"it ends at record {last}, though record {witnessed[0]} had been written")
            )
        return last, link

    def records(self) -> tuple[Record, ...]:
        """Everything, oldest first."""
        with self._guard():
            rows = self._database.execute("SELECT kind, sequence, data FROM records ORDER BY id").fetchall()
        return tuple(Record(RecordKind(kind), SequenceNumber(sequence), data) for kind, sequence, data in rows)

    def append(self, records: Sequence[Record]) -> None:
        """Make records durable: one transaction, one fsync. Raises StorageFailure, and then nothing was stored."""
        if not records:
            return
        last, link = self._last, self._link
        rows = []
        stable = None
        for record in records:
            last += 1
            link = _link(link, last, record.kind.value, record.sequence, record.data)
            rows.append((last, record.kind.value, record.sequence, record.data, link))
            if record.kind is RecordKind.STABLE:
                stable = record.sequence
        with self._guard():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
                if stable is not None:
                    os.fdatasync(self._witness)  # it must not be older than what is dropped
                    self._drop_below(stable - self._retained)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            os.pwrite(self._witness, last.to_bytes(8, "big") + link, 0)
        self.commits += 1
        self._last, self._link = last, link

    def _drop_below(self, cutoff: int) -> None:
        """Drop the records before the first one above `cutoff`; the chain then hangs on the last one dropped."""
        row = self._database.execute("SELECT min(id) FROM records WHERE sequence > ?", (cutoff,)).fetchone()
        if row[0] is None:
            return
        anchor = self._database.execute("SELECT id, link FROM records WHERE id = ?", (row[0] - 1,)).fetchone()
        if anchor is None:
            return
        self._database.execute("DELETE FROM anchor")
        self._database.execute("INSERT INTO anchor VALUES (?, ?)", anchor)
        self._database.execute("DELETE FROM records WHERE id <= ?", (anchor[0],))

    def commit_certificates(self, first: int, last: int) -> list[bytes]:
        """Frames of the COMMIT-CERTIFICATEs in a range of sequence numbers, in order; those that are kept."""
        with self._guard():
            rows = self._database.execute(
                "SELECT data FROM records WHERE kind = ? AND sequence BETWEEN ? AND ? ORDER BY sequence",
                (RecordKind.COMMITTED.value, first, last),
            ).fetchall()
        return [row[0] for row in rows]

    def batch_records(self, sequence: SequenceNumber) -> list[Record]:
        """Proposals and fetched bodies kept for a sequence number."""
        kinds = (RecordKind.PROPOSAL, RecordKind.BODY)
        with self._guard():
            rows = self._database.execute(
                "SELECT kind, data FROM records WHERE sequence = ? AND kind IN (?, ?) ORDER BY id",
                (sequence, *(kind.value for kind in kinds)),
            ).fetchall()
        return [Record(RecordKind(kind), sequence, data) for kind, data in rows]

    def close(self) -> None:
        self._database.close()
        os.close(self._witness)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageFailure(
                f"{self.path}: {error}. Nothing was sent that is not stored; free the disk or replace it, "
                "then start the node again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise LedgerDamaged(self._advice(str(error))) from error
        except OSError as error:
            raise StorageFailure(f"{error.filename or self._witness_path}: {error.strerror}") from error


def _link(previous: bytes, record_id: int, kind: str, sequence: int, data: bytes) -> bytes:
    head = f"{record_id}:{kind}:{sequence}:{len(data)}:".encode()
    return sha256(previous + head + data).digest()[:LINK_BYTES]


def _create_witness(path: Path, group_id: bytes) -> None:
    """The witness comes first, so that a ledger without one is a loss and not a first start."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.pwrite(descriptor, (0).to_bytes(8, "big") + sha256(group_id).digest()[:LINK_BYTES], 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse_witness(data: bytes) -> tuple[int, bytes] | None:
    if len(data) != WITNESS_BYTES:
        return None
    return int.from_bytes(data[:8], "big"), data[8:]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
