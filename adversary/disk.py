"""What happens to disks: files lost, torn, rotten, replaced by older ones, and no room left.

All of it but the last is done to the directory of a node that is stopped, by changing its files.
"""

from __future__ import annotations

import fcntl
import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chatsvc.process import LOCK_NAME, STATE_NAME
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from pbft.state.database_files import database_files

WAL_SUFFIX = "-wal"


class NodeRunsError(Exception):
    """The node of this directory runs: its files must not change under it."""


class Disk:
    """The directory of one replica. Methods raise NodeRunsError while its node runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # -- lost

    def lose_ledger(self) -> None:
        """All its votes, with their witness."""
        with self._stopped():
            self._remove(LEDGER_NAME)
            (self.directory / WITNESS_NAME).unlink()

    def lose_state(self) -> None:
        """Everything that it executed."""
        with self._stopped():
            self._remove(STATE_NAME)

    def lose_all(self) -> None:
        """All but the keys, which an operator has copies of: a new disk."""
        with self._stopped():
            self._remove(LEDGER_NAME)
            self._remove(STATE_NAME)
            (self.directory / WITNESS_NAME).unlink(missing_ok=True)
            shutil.rmtree(self.directory / "evidence", ignore_errors=True)

    def _remove(self, database: str) -> None:
        for path in database_files(self.directory / database):
            path.unlink(missing_ok=True)

    # -- damaged

    def flip_bit(self, name: str, offset: int, bit: int = 0) -> None:
        """One bit of a file; a negative offset counts from its end."""
        with self._stopped():
            data = bytearray((self.directory / name).read_bytes())
            data[offset] ^= 1 << bit
            (self.directory / name).write_bytes(data)

    def rot(self, name: str, *, bits: int, seed: int) -> list[int]:
        """Some bits of a file, drawn from a seed. Gives the offsets of their bytes."""
        dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        size = (self.directory / name).stat().st_size
        offsets = [dice.randrange(size) for _ in range(bits)]
        for offset in offsets:
            self.flip_bit(name, offset, dice.randrange(8))
        return offsets

    def spoil_record(self, number: int) -> None:
        """One bit in the middle of a record of the ledger, in a database that is otherwise whole."""
        with self._stopped(), closing(sqlite3.connect(self.directory / LEDGER_NAME)) as ledger, ledger:
            (data,) = ledger.execute("SELECT data FROM records WHERE id = ?", (number,)).fetchone()
            spoilt = bytearray(data)
            spoilt[len(spoilt) // 2] ^= 1
            ledger.execute("UPDATE records SET data = ? WHERE id = ?", (bytes(spoilt), number))

    def spoil_rows(self, count: int, *, seed: int) -> int:
        """One bit each of some rows of the state, in a database that is otherwise whole. Gives how many it were."""
        dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        with self._stopped(), closing(sqlite3.connect(self.directory / STATE_NAME)) as state, state:
            named = state.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%row BLOB NOT NULL%'")
            tables = sorted(name for (name,) in named)
            places = [
                (table, page, key, row)
                for table in tables
                for page, key, row in state.execute(f"SELECT page, key, row FROM {table}")  # noqa: S608 - our own names
            ]
            for table, page, key, row in dice.sample(places, min(count, len(places))):
                spoilt = bytearray(row)
                spoilt[-1] ^= 1
                state.execute(
                    f"UPDATE {table} SET row = ? WHERE page = ? AND key = ?",  # noqa: S608 - the same
                    (bytes(spoilt), page, key),
                )
        return min(count, len(places))

    def records(self) -> range:
        """Numbers of the records that the ledger holds."""
        with self._stopped(), closing(sqlite3.connect(self.directory / LEDGER_NAME)) as ledger:
            first, last = ledger.execute("SELECT min(id), max(id) FROM records").fetchone()
        return range(first, last + 1) if first is not None else range(0)

    def tear(self, name: str, count: int) -> None:
        """Cut so many bytes off the end of a file."""
        with self._stopped():
            path = self.directory / name
            os.truncate(path, max(0, path.stat().st_size - count))

    def tear_ledger(self, count: int) -> None:
        """What a power loss in the middle of a write leaves: the end of the ledger's log is missing."""
        self.tear(LEDGER_NAME + WAL_SUFFIX, count)

    # -- older

    def keep_copy(self, copy: Path) -> None:
        """An image of the whole directory, to go back to."""
        with self._stopped():
            shutil.copytree(self.directory, copy)

    def go_back_to(self, copy: Path) -> None:
        """What a restored image of a machine does: everything since is forgotten."""
        with self._stopped():
            for path in self.directory.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK_NAME:
                    path.unlink()
            shutil.copytree(copy, self.directory, dirs_exist_ok=True)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """Holds the node's own lock."""
        descriptor = os.open(self.directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"{self.directory}: stop the node before its files are changed"
                raise NodeRunsError(msg) from error
            yield
        finally:
            os.close(descriptor)


def limit_file_size(pid: int, file_bytes_max: int | None) -> None:
    """Leave a running process no room: no file of its may grow beyond so many bytes. None gives the room back.

    Its writes fail with EFBIG, as they fail with ENOSPC on a full disk; no right but to the process is needed.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    soft = hard if file_bytes_max is None else file_bytes_max
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
