"""What can go wrong with a state database. Texts name the file, what is wrong and the remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType


class StateError(Exception):
    """The database cannot be used as this group's state."""


class StorageFailure(StateError):  # noqa: N818 - as the protocol's own failures are named
    """The disk is full or broken. The node stops: nothing after it was committed."""


class StateDamaged(StorageFailure):
    """The database holds what was never written to it. It is put aside, and the state fetched from the peers."""


DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""What SQLite says of a file's contents."""


def is_storage_failure(error: BaseException | None) -> bool:
    """Whether SQLite blames the disk or the file, and not what it was asked to do."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def storage_failure(where: object, error: BaseException) -> StorageFailure:
    """What SQLite said of `where`, as a failure of the disk or as damage."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF in DAMAGE:  # no code: text that is no UTF-8
        return StateDamaged(f"{where} is damaged: {error}")
    name = getattr(error, "sqlite_errorname", "SQLite")
    return StorageFailure(f"{where}: {error} ({name}). Check the disk's space and health, then start the node again")


class StorageGuard:
    """Turns SQLite's failures inside its `with` block into StorageFailure, and remembers the first.

    A StorageFailure that passes through an application may be swallowed there; `check` finds it again.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._first: StorageFailure | None = None

    @property
    def failed(self) -> bool:
        return self._first is not None

    def check(self) -> None:
        if self._first is not None:
            raise self._first

    def damage(self, what: object) -> StateDamaged:
        """Record and return that the database is damaged, for the caller to raise."""
        damage = StateDamaged(f"{self._where} is damaged: {what}")
        self._first = self._first or damage
        return damage

    def damage_of_row(self, table: str, page: bytes) -> StateDamaged:
        """The same, of a row that is no longer made of bytes: one bit of its header is enough for that."""
        return self.damage(f"table {table}: a row of page {page.hex()} is not made of bytes")

    @property
    def _where(self) -> object:
        return self.path or "state in memory"

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and is_storage_failure(error):
            failure = storage_failure(self._where, error)
            self._first = self._first or failure
            raise failure from error
