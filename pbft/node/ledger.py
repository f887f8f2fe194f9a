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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from crypto.files import PRIVATE_MODE, atomic_write, sync_directory
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
KINDS: Final = frozenset(kind.value for kind in RecordKind)
NOTHING_EXECUTED: Final = SequenceNumber(0)

DISK_FAILURES: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""What SQLite says when the disk or the system is at fault, not the file's contents."""


class LedgerDamaged(Exception):  # noqa: N818 - as the protocol's own failures are named
    """The ledger lost or changed records. The replica must not vote: it could contradict what it said before."""


class Ledger:
    """Append-only, but for the oldest records, which are dropped below a stable checkpoint.

    Keeps `retained_sequences` below the stable checkpoint, to help peers that fell behind. `identity` names the
    group and the replica: the chain of one begins where no other's does.
    """

    def __init__(
        self,
        directory: Path,
        identity: bytes,
        *,
        retained_sequences: int,
        last_executed: SequenceNumber = NOTHING_EXECUTED,
    ) -> None:
        """Open, or create if the state has executed nothing. Raises LedgerDamaged, or StorageFailure."""
        self.path = directory / LEDGER_NAME
        self.commits = 0
        self._retained = retained_sequences
        self._witness_path = directory / WITNESS_NAME
        self._genesis = sha256(identity).digest()[:LINK_BYTES]
        self._failed: StorageFailure | None = None
        with self._guard():
            self._require_both_or_none(last_executed)
            if not self._witness_path.exists():
                # The witness comes first, so that a ledger without one is a loss and not a first start.
                atomic_write(self._witness_path, _encode_witness(0, self._genesis), PRIVATE_MODE)
            self._witness = os.open(self._witness_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._database = self._open_database()
        except BaseException:
            os.close(self._witness)
            raise
        try:
            self._last, self._link = self._check_chain()
        except BaseException:
            self.close()
            raise

    def _require_both_or_none(self, last_executed: SequenceNumber) -> None:
        have_ledger, have_witness = self.path.exists(), self._witness_path.exists()
        if have_ledger and not have_witness:
            raise LedgerDamaged(self._advice(f"its witness {self._witness_path.name} is gone"))
        if have_ledger:
            return
        if last_executed > 0:
            raise LedgerDamaged(self._advice(f"the ledger is gone, though the state has executed {last_executed}"))
        if have_witness and _parse_witness(self._witness_path.read_bytes()) != (0, self._genesis):
            raise LedgerDamaged(self._advice("the ledger is gone, though its witness says that it held votes"))

    def _advice(self, what: str) -> str:
        return (
            f"{self.path}: {what}. A replica that forgot its votes could vote twice, so this node stays stopped. "
            "Restore the ledger and its witness together from before the damage, never from an older copy; or leave "
            "the replica out: the group goes on without it"
        )

    def _open_database(self) -> sqlite3.Connection:
        with self._guard():
            self.path.touch(mode=PRIVATE_MODE)
            database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA wal_autocheckpoint = 4000")
                if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
                    sync_directory(self.path.parent)
            except BaseException:
                database.close()
                raise
        return database

    def _check_chain(self) -> tuple[int, bytes]:
        """Follow the chain from its anchor to its end, and compare the end with the witness."""
        with self._guard():
            vouched = _parse_witness(os.pread(self._witness, WITNESS_BYTES + 1, 0))
            if vouched is None:
                raise LedgerDamaged(self._advice(f"its witness {self._witness_path.name} is unreadable"))
            # The chain covers the rows; the index, which serving and dropping go by, only SQLite can check.
            (finding,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
            if finding != "ok":
                raise LedgerDamaged(self._advice(str(finding)))
            begin = last, link = self._anchor()
            found = vouched == begin
            rows = self._database.execute("SELECT id, kind, sequence, data, link FROM records ORDER BY id")
            for record_id, kind, sequence, data, stored in rows:
                if not (isinstance(kind, str) and isinstance(sequence, int) and isinstance(data, bytes)):
                    raise LedgerDamaged(self._advice(f"record {record_id} was changed"))
                link = _link(self._genesis + link, record_id, kind, sequence, data)
                if record_id != last + 1 or stored != link:
                    or_else = ", or this is the ledger of another group or replica" if last == begin[0] else ""
                    raise LedgerDamaged(self._advice(f"record {last + 1} was changed or lost{or_else}"))
                if kind not in KINDS:
                    raise LedgerDamaged(
                        f"{self.path}: record {record_id} is of kind {kind!r}, which this version does not know; "
                        "run the version that wrote it, or a later one"
                    )
                last = record_id
                found = found or vouched == (last, link)
        if not found:
            what = (
                f"it goes from record {begin[0]} to {last}, and its witness vouches for another record {vouched[0]}: "
                "records were lost, or this is the ledger of another group or replica"
            )
            raise LedgerDamaged(self._advice(what))
        return last, link

    def _anchor(self) -> tuple[int, bytes]:
        """Where the chain begins: at the last record that was dropped."""
        rows = self._database.execute("SELECT id, link FROM anchor").fetchall()
        if not rows:
            return 0, self._genesis
        (last, link), *others = rows
        if others or not isinstance(last, int) or not isinstance(link, bytes):
            raise LedgerDamaged(self._advice("the beginning of its chain was changed"))
        return last, link

    def records(self) -> tuple[Record, ...]:
        """Everything that is kept, oldest first."""
        with self._guard():
            rows = self._database.execute("SELECT kind, sequence, data FROM records ORDER BY id").fetchall()
        return _records(rows)

    def records_to_resume(self) -> tuple[Record, ...]:
        """What a restart needs, oldest first: certificates of checkpoints, and all above the last stable one."""
        checkpoints = (RecordKind.STABLE.value, RecordKind.DIVERGED.value)
        with self._guard():
            rows = self._database.execute(
                "SELECT kind, sequence, data FROM records WHERE kind IN (?, ?) OR sequence > "
                "(SELECT coalesce(max(sequence), 0) FROM records WHERE kind = ?) ORDER BY id",
                (*checkpoints, RecordKind.STABLE.value),
            ).fetchall()
        return _records(rows)

    def append(self, records: Sequence[Record]) -> None:
        """Make records durable: one transaction, one fsync.

        Raises StorageFailure: none of them may be acted upon, and the ledger takes no more.
        """
        if not records:
            return
        if self._failed is not None:
            raise self._failed
        last, link = self._last, self._link
        rows = []
        stable = None
        for record in records:
            last += 1
            link = _link(self._genesis + link, last, record.kind.value, record.sequence, record.data)
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
            os.pwrite(self._witness, _encode_witness(last, link), 0)
        self.commits += 1
        self._last, self._link = last, link

    def _drop_below(self, cutoff: int) -> None:
        """Drop the records before the first one above `cutoff`; the chain then hangs on the last one dropped.

        None of the transaction under way: the witness does not vouch for those yet.
        """
        (first,) = self._database.execute(
            "SELECT min(id) FROM records NOT INDEXED WHERE sequence > ? AND id <= ?", (cutoff, self._last)
        ).fetchone()
        end = self._last if first is None else first - 1
        anchor = self._database.execute("SELECT id, link FROM records WHERE id = ?", (end,)).fetchone()
        if anchor is None:
            return
        self._database.execute("DELETE FROM anchor")
        self._database.execute("INSERT INTO anchor VALUES (?, ?)", anchor)
        self._database.execute("DELETE FROM records WHERE id <= ?", (end,))

    def certificates(self, kind: RecordKind, first: int, last: int) -> list[bytes]:
        """Frames of the certificates kept as `kind` for a range of sequence numbers, in order."""
        with self._guard():
            rows = self._database.execute(
                "SELECT data FROM records WHERE kind = ? AND sequence BETWEEN ? AND ? ORDER BY sequence",
                (kind.value, first, last),
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
        """Failures of the disk as StorageFailure, and whatever else SQLite finds as LedgerDamaged."""
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DISK_FAILURES:
                raise LedgerDamaged(self._advice(str(error))) from error
            raise self._failure(f"{self.path}: {error}") from error
        except OSError as error:
            raise self._failure(f"{error.filename or self._witness_path}: {error.strerror}") from error

    def _failure(self, what: str) -> StorageFailure:
        self._failed = StorageFailure(
            f"{what}. Nothing was sent that is not stored; free the disk or replace it, then start the node again"
        )
        return self._failed


def _link(previous: bytes, record_id: int, kind: str, sequence: int, data: bytes) -> bytes:
    head = f"{record_id}:{kind}:{sequence}:{len(data)}:".encode()
    return sha256(previous + head + data).digest()[:LINK_BYTES]


def _encode_witness(last: int, link: bytes) -> bytes:
    return last.to_bytes(8, "big") + link


def _parse_witness(data: bytes) -> tuple[int, bytes] | None:
    if len(data) != WITNESS_BYTES:
        return None
    return int.from_bytes(data[:8], "big"), data[8:]


def _records(rows: Iterable[tuple[str, int, bytes]]) -> tuple[Record, ...]:
    return tuple(Record(RecordKind(kind), SequenceNumber(sequence), data) for kind, sequence, data in rows)
