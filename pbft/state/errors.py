"""What can go wrong with a state database. Texts name the file, what is wrong and the remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType


class StateError(Exception):
    """The database cannot be used as this group's state."""


class StorageFailure(StateError):  # noqa: N818 - as the protocol's own failures are named
    """The disk is full, broken or holds damaged rows. The node stops: nothing after it was committed."""


def is_storage_failure(error: BaseException | None) -> bool:
    """Whether SQLite blames the disk or the file, and not what it was asked to do."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


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

    def failure(self, reason: object) -> StorageFailure:
        """Record and return a failure, for the caller to raise."""
        failure = StorageFailure(f"{self.path or 'state in memory'}: {reason}")
        self._first = self._first or failure
        return failure

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if is_storage_failure(error):
            name = getattr(error, "sqlite_errorname", "SQLite")
            raise self.failure(
                f"{error} ({name}). Check the disk's space and health, then start the node again; if the file"
                " is damaged, restore a copy of the replica's whole directory, or leave the replica out"
            ) from error
