"""Data derived from the rows (a search index), in the same database and transactions, outside the state root."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from pbft.core.application import RowChange
from pbft.state.errors import StorageFailure, is_storage_failure
from pbft.state.store import StateStore

_REBUILD_ROWS = 1000


class DerivedIndex(Protocol):
    """Must come out the same whether fed batch by batch or rebuilt from the rows as they are."""

    @property
    def version(self) -> int:
        """Another than the stored one: the index is rebuilt."""
        ...

    def create(self, connection: sqlite3.Connection) -> None:
        """Make its tables, inside a transaction."""
        ...

    def bind(self, connection: sqlite3.Connection) -> None:
        """Keep the connection, for queries. Called once, before all else."""
        ...

    def apply(self, connection: sqlite3.Connection, changes: Sequence[RowChange]) -> None:
        """Follow rows as they were put and deleted, inside a transaction. At most one change per key."""
        ...

    def clear(self, connection: sqlite3.Connection) -> None:
        """Drop its tables, those of any earlier version too, if they are there."""
        ...


def open_index(store: StateStore, tables: Sequence[str], index: DerivedIndex | None) -> None:
    """Make `index` agree with the rows of `tables`: rebuild it if another version made it or it was not kept up."""
    stored = store.read_meta().get("index_version")
    if index is None:
        if stored is not None:  # it is not kept up from now on
            with store.transaction(durable=False):
                store.write_meta({"index_version": None})
        return
    index.bind(store.connection)
    with store.transaction(durable=False):
        refresh_index(store, tables, index)


def refresh_index(store: StateStore, tables: Sequence[str], index: DerivedIndex | None) -> None:
    """Make the index anew, inside the transaction, if the one that is there is another version's or not kept up."""
    if index is not None and store.read_meta().get("index_version") != index.version:
        rebuild_index(store, tables, index)
        store.write_meta({"index_version": index.version})


def rebuild_index(store: StateStore, tables: Sequence[str], index: DerivedIndex) -> None:
    """Make the index anew from the rows of `tables`, inside the transaction."""
    with store.guard:
        index.clear(store.connection)
        index.create(store.connection)
    for table in tables:
        rows = (RowChange(table, key, row) for key, row in store.all_rows(table))
        for chunk in _chunks(rows):
            apply_changes(store, index, chunk)


def apply_changes(store: StateStore, index: DerivedIndex, changes: Sequence[RowChange]) -> None:
    """Feed the index. A row it fails on is left out, everywhere alike: no message may stop the group."""
    if not changes or _applied(store, index, changes):
        return
    for change in changes:
        _applied(store, index, (change,))


def _applied(store: StateStore, index: DerivedIndex, changes: Sequence[RowChange]) -> bool:
    """Apply all of `changes`, or nothing of them."""
    connection = store.connection
    with store.guard:
        connection.execute("SAVEPOINT derived")
        try:
            index.apply(connection, changes)
        except Exception as error:
            if is_storage_failure(error) or isinstance(error, StorageFailure):
                raise
            connection.execute("ROLLBACK TO derived")
            return False
        finally:
            if connection.in_transaction:
                connection.execute("RELEASE derived")
    return True


def _chunks(rows: Iterator[RowChange]) -> Iterator[list[RowChange]]:
    while chunk := list(islice(rows, _REBUILD_ROWS)):
        yield chunk
