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
from pathlib import Path
from typing import Final

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.node.ledger_files import (
    INSERT,
    LEDGER_NAME,
    WITNESS_BYTES,
    WITNESS_NAME,
    chain,
    encode_witness,
    genesis_of,
    has_run,
    link_of,
    make_ledger,
    parse_witness,
    remove_unused,
    set_ledger_aside,
)
from pbft.state.errors import StorageFailure

KINDS: Final = frozenset(kind.value for kind in RecordKind)
CARRIED: Final = frozenset(
    {
        RecordKind.VIEW_CHANGE,
        RecordKind.NEW_VIEW,
        RecordKind.AMNESIA,
        RecordKind.REJOINED,
        RecordKind.DIVERGED,
        RecordKind.REPAIRED,
    }
)
"""Kinds whose newest record is kept for ever, whatever its sequence number: a restart must know of it."""

WAL_PAGES: Final = 1000
"""Of 4 KiB. A log that is longer before it starts over costs more: its blocks are new to the file at each commit."""

_REMEDY: Final = "free the disk or replace it, then start the node again"

_FIND: Final = """
SELECT record.id, record.kind, record.sequence, record.data, record.link, coalesce(before.link, anchor.link)
FROM records AS record
LEFT JOIN records AS before ON before.id = record.id - 1
LEFT JOIN anchor ON anchor.id = record.id - 1
WHERE """

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
    """The ledger lost or changed records. The replica must not vote as before: it could contradict what it said."""


class LedgerRefused(Exception):  # noqa: N818 - the same
    """The ledger is sound, and not for this replica or version: an operator has to put that right."""


class Ledger:
    """Append-only, but for the oldest records, which are dropped below a stable checkpoint.

    Keeps `retained_sequences` below the stable checkpoint, to help peers that fell behind. `identity` names the
    group and the replica: the chain of one begins where no other's does.
    """

    def __init__(self, directory: Path, identity: bytes, *, retained_sequences: int) -> None:
        """Open a ledger that was made before. Raises LedgerDamaged, LedgerRefused or StorageFailure."""
        self.path = directory / LEDGER_NAME
        self.commits = 0
        self._retained = retained_sequences
        self._witness_path = directory / WITNESS_NAME
        self._failed: StorageFailure | None = None
        with self._guard():
            directory.stat()  # one that is not mounted is no lost ledger
            if not self._witness_path.exists():
                raise LedgerDamaged(self._advice(f"its witness {self._witness_path.name} is gone"))
            if not self.path.exists():
                raise LedgerDamaged(self._advice("the ledger is gone"))
            self._witness = os.open(self._witness_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._database = self._open_database()
        except BaseException:
            os.close(self._witness)
            raise
        try:
            owner = self._owner()
            self._genesis = genesis_of(owner)
            self._last, self._link = self._check_chain()
            if owner != identity:
                msg = (
                    f"{self.path}: this is the ledger of another group or replica, and a sound one; put the right "
                    "one back"
                )
                raise LedgerRefused(msg)
            self._make_durable()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(directory: Path, identity: bytes) -> None:
        """Make the empty ledger of a replica that has never voted: at founding, and never again.

        Raises LedgerRefused if there is one that has votes, StorageFailure.
        """
        with _made_in(directory):
            if has_run(directory):
                raise LedgerRefused(f"{directory / LEDGER_NAME}: is there already, and holds votes; leave it alone")
            remove_unused(directory)
            make_ledger(directory, identity, ())

    @staticmethod
    def begin_again(directory: Path, identity: bytes, reason: str) -> Path:
        """Put what is left of a damaged ledger aside and make one that says that votes were forgotten, and why.

        Returns the name under which the old one is kept. Raises StorageFailure. After a crash at any point the
        directory holds the old ledger, none at all, or the new one: the first two are damage as before.
        """
        with _made_in(directory):
            aside = set_ledger_aside(directory)
            amnesia = Record(RecordKind.AMNESIA, SequenceNumber(0), reason.encode())
            make_ledger(directory, identity, (amnesia,))
        return aside

    def _advice(self, what: str) -> str:
        return (
            f"{self.path}: {what}. A replica that forgot its votes could vote twice: it has to begin again without "
            "them, and to keep silent until it can contradict nothing that it said"
        )

    def _open_database(self) -> sqlite3.Connection:
        with self._guard():
            database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            except BaseException:
                database.close()
                raise
        return database

    def _make_durable(self) -> None:
        """Put what was found on the disk, before anybody acts upon it.

        A process killed inside a sync, or a sync that failed, leaves records that only the system's memory has. They
        are written once more, for a failed sync may have marked them as written. The witness comes after them: one
        that outlives its records is damage. It may be an old one, after a power loss.
        """
        with self._guard():
            (busy, *_) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise self._failure(f"{self.path}: another process reads it")
            os.pwrite(self._witness, encode_witness(self._last, self._link), 0)
            os.fdatasync(self._witness)

    def _owner(self) -> bytes:
        """Whose ledger this says it is; the chain shows whether that is true."""
        with self._guard():
            names = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master")}
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if "records" in names and "owner" not in names and version == 0:
                msg = f"{self.path}: was made by an earlier version, before the first release; found the group anew"
                raise LedgerRefused(msg)
            owners = self._database.execute("SELECT identity FROM owner").fetchall()
        if len(owners) != 1 or not isinstance(owners[0][0], bytes):
            raise LedgerDamaged(self._advice("whose it is was changed"))
        return bytes(owners[0][0])

    def _check_chain(self) -> tuple[int, bytes]:
        """Follow the chain from its anchor to its end, and compare the end with the witness."""
        with self._guard():
            vouched = parse_witness(os.pread(self._witness, WITNESS_BYTES + 1, 0))
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
                link = link_of(self._genesis + link, record_id, kind, sequence, data)
                if record_id != last + 1 or stored != link:
                    raise LedgerDamaged(self._advice(f"record {last + 1} was changed or lost"))
                if kind not in KINDS:
                    raise LedgerRefused(
                        f"{self.path}: record {record_id} is of kind {kind!r}, which this version does not know; "
                        "run the version that wrote it, or a later one"
                    )
                last = record_id
                found = found or vouched == (last, link)
        if not found:
            what = (
                f"it goes from record {begin[0]} to {last}, and its witness vouches for another record {vouched[0]}: "
                "records were lost"
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

    def records_to_resume(self, last_executed: SequenceNumber | None, window: int) -> tuple[Record, ...]:
        """What a restart needs, oldest first: certificates of checkpoints, CARRIED kinds, and all that is above the
        last stable checkpoint. If the state lags behind that (None: there is none), and the ledger has what comes
        next, then also the window above the state: of more at once a restart makes no use."""
        kinds = sorted({RecordKind.STABLE.value, *(kind.value for kind in CARRIED)})
        marks = ", ".join("?" * len(kinds))
        first = 1 if last_executed is None else last_executed + 1
        with self._guard():
            goes_on = last_executed is not None and self.certificates(RecordKind.COMMITTED, first, first)
            rows = self._database.execute(
                f"SELECT kind, sequence, data FROM records WHERE kind IN ({marks}) OR sequence BETWEEN ? AND ? "  # noqa: S608 - marks
                "OR sequence > (SELECT coalesce(max(sequence), 0) FROM records WHERE kind = ?) ORDER BY id",
                (*kinds, first, first + window - 1 if goes_on else 0, RecordKind.STABLE.value),
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
        stable = max((record.sequence for record in records if record.kind is RecordKind.STABLE), default=None)
        with self._guard():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                last, link = self._insert(records, self._last, self._link)
                if stable is not None:
                    os.fdatasync(self._witness)  # it must not be older than what is dropped
                    end = self._end_of_dropped(stable - self._retained)
                    last, link = self._insert(self._carried_beyond(end), last, link)
                    self._drop_through(end)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            os.pwrite(self._witness, encode_witness(last, link), 0)
        self.commits += 1
        self._last, self._link = last, link

    def _insert(self, records: Iterable[Record], last: int, link: bytes) -> tuple[int, bytes]:
        """Put records behind record `last`, inside the transaction; gives the new end of the chain."""
        rows = chain(records, self._genesis, last, link)
        self._database.executemany(INSERT, rows)
        return (rows[-1][0], rows[-1][4]) if rows else (last, link)

    def _end_of_dropped(self, cutoff: int) -> int:
        """The last of the records before the first one above `cutoff`.

        None of the transaction under way: the witness does not vouch for those yet.
        """
        (first,) = self._database.execute(
            "SELECT min(id) FROM records NOT INDEXED WHERE sequence > ? AND id <= ?", (cutoff, self._last)
        ).fetchone()
        return self._last if first is None else int(first) - 1

    def _carried_beyond(self, end: int) -> tuple[Record, ...]:
        """Copies of the newest CARRIED records, if one of them is to be dropped; in their order, which may matter."""
        kinds = sorted(kind.value for kind in CARRIED)
        newest = [
            record_id
            for (record_id,) in self._database.execute(
                "SELECT max(id) FROM records NOT INDEXED WHERE kind IN "  # noqa: S608 - marks
                f"({', '.join('?' * len(kinds))}) GROUP BY kind",
                kinds,
            )
        ]
        if min(newest, default=end + 1) > end:
            return ()
        return tuple(self._found(f"record.id IN ({', '.join('?' * len(newest))}) ORDER BY record.id", newest))

    def _drop_through(self, end: int) -> None:
        """Drop the records up to `end`; the chain then hangs on that one."""
        anchor = self._database.execute("SELECT id, link FROM records WHERE id = ?", (end,)).fetchone()
        if anchor is None:
            return
        self._database.execute("DELETE FROM anchor")
        self._database.execute("INSERT INTO anchor VALUES (?, ?)", anchor)
        self._database.execute("DELETE FROM records WHERE id <= ?", (end,))

    def certificates(self, kind: RecordKind, first: int, last: int) -> list[bytes]:
        """Frames of the certificates kept as `kind` for a range of sequence numbers, in order."""
        found = self._found(
            "record.kind = ? AND record.sequence BETWEEN ? AND ? ORDER BY record.sequence", (kind.value, first, last)
        )
        return [record.data for record in found]

    def batch_records(self, sequence: SequenceNumber) -> list[Record]:
        """Proposals and fetched bodies kept for a sequence number."""
        return self._found(
            "record.sequence = ? AND record.kind IN (?, ?) ORDER BY record.id",
            (sequence, RecordKind.PROPOSAL.value, RecordKind.BODY.value),
        )

    def _found(self, condition: str, parameters: Sequence[object]) -> list[Record]:
        """Records under a condition. Each must link to the one before it: what rots while the node runs is neither
        given to peers, who would close the link, nor copied, which would make it sound."""
        with self._guard():
            rows = self._database.execute(_FIND + condition, parameters).fetchall()
        for record_id, kind, sequence, data, link, previous in rows:
            before = self._genesis if record_id == 1 else previous
            if (
                type(kind) is not str
                or type(sequence) is not int
                or type(data) is not bytes
                or type(before) is not bytes
                or link != link_of(self._genesis + before, record_id, kind, sequence, data)
            ):
                raise LedgerDamaged(self._advice(f"record {record_id} was changed while the node ran"))
        return list(_records(row[1:4] for row in rows))

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
        self._failed = StorageFailure(f"{what}. Nothing was sent that is not stored; {_REMEDY}")
        return self._failed


@contextmanager
def _made_in(directory: Path) -> Iterator[None]:
    """Failures of the disk, while a ledger is made, as StorageFailure."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageFailure(f"{directory / LEDGER_NAME}: {error}. {_REMEDY}") from error
    except OSError as error:
        raise StorageFailure(f"{error.filename or directory}: {error.strerror}. {_REMEDY}") from error


def _records(rows: Iterable[tuple[str, int, bytes]]) -> tuple[Record, ...]:
    return tuple(Record(RecordKind(kind), SequenceNumber(sequence), data) for kind, sequence, data in rows)
