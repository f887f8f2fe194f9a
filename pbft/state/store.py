"""The rows of the replicated state in one SQLite database, with write-back: a batch is one transaction.

An operation's writes stay in a layer that is dropped or accepted as a whole; accepted rows reach SQLite when the
batch is flushed. Reads look there, then in a bounded cache, then in SQLite. Not for several threads at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from crypto.digest import Digest
from crypto.errors import CryptoError
from pbft.core.application import Key, Row, RowChange, TableSpec
from pbft.core.errors import invariant
from pbft.core.group import Group
from pbft.core.state_messages import KeyedRow
from pbft.state.errors import StorageGuard
from pbft.state.opening import IN_MEMORY, Meta, MetaValue, connect, open_schema, read_meta, write_meta
from pbft.state.pages import PageDigests
from pbft.state.snapshot import copy_of, open_reader
from pbft.state.table import Stored, Table, decode_row, encode_row

CACHE_ROWS = 20_000
"""Rows of one table in each of the cache's two generations."""


class StateStore:
    """Rows (see `pbft.core.application`) and their digests.

    Raises StateError for a database of another group, program version or set of tables, StateDamaged for one that
    cannot be relied on; any method raises StorageFailure.
    """

    def __init__(
        self,
        path: Path | str,
        tables: Sequence[TableSpec],
        group: Group,
        *,
        cache_rows: int = CACHE_ROWS,
        seldom_scanned: Sequence[TableSpec] = (),
    ) -> None:
        """Open the database at `path`, or create it, readable by its owner alone.

        Scans of a table in `seldom_scanned` over more than one hashed page sort, and writing it costs less.
        """
        self.path = None if path == IN_MEMORY else Path(path)
        self._tables = {
            spec.name: Table(spec, key_index=spec not in seldom_scanned)
            for spec in sorted(tables, key=lambda spec: spec.name)
        }
        if len(self._tables) != len(tables):
            raise ValueError("two tables have one name")
        self._cache_rows = cache_rows
        self.guard = StorageGuard(self.path)
        self._in_operation = False
        self._layered: list[Table] = []
        self._durable = False
        self._connection = connect(self.path, self.guard)
        self.digests = PageDigests(self._connection, self.rows_tables, self.guard)
        try:
            with self.guard:
                open_schema(self._connection, self.guard, self._tables.values(), group, PageDigests.SQL_CREATE)
                self.digests.load()
        except BaseException:
            self._connection.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """For data derived from the rows, in tables of its own and inside this store's transactions."""
        return self._connection

    # -- rows ------------------------------------------------------------------------------------------------------

    def get(self, table: str, key: Key) -> Row | None:
        held = self._tables[table]
        if tuple(map(type, key)) != held.key_types:  # else True would find the row of 1 when that is cached
            raise TypeError(f"{key!r} is no key of table {table}")
        if key in held.layer:
            return held.layer[key]
        try:
            return held.recent[key]
        except KeyError:
            return self._get_older(held, key)

    def put(self, table: str, key: Key, row: Row | None) -> None:
        """None deletes the row."""
        held = self._tables[table]
        if tuple(map(type, key)) != held.key_types:
            raise TypeError(f"{key!r} is no key of table {table}")
        if self._in_operation:
            if not held.layer:
                self._layered.append(held)
            held.layer[key] = row
        else:
            held.recent[key] = row
            held.pending[key] = None

    def delete(self, table: str, key: Key) -> None:
        self.put(table, key, None)

    def scan(
        self, table: str, *, prefix: Key = (), start: Key | None = None, limit: int, reverse: bool = False
    ) -> Iterator[tuple[Key, Row]]:
        """See Reader. What is not flushed is not seen."""
        if limit < 0:
            raise ValueError("a negative limit")
        held = self._tables[table]
        span = held.layout.scan_range(prefix, start, reverse=reverse)
        if span is None:
            return iter(())
        statement, parameters = held.sql_scan(span, limit=limit, reverse=reverse)
        with self.guard:
            found = self._connection.execute(statement, parameters).fetchall()
        return (self._parse(held, key, row) for key, row in found)

    def all_rows(self, table: str) -> Iterator[tuple[Key, Row]]:
        """Every row of a table, page by page. What is not flushed is not seen."""
        held = self._tables[table]
        with self.guard:
            for key, row in self._connection.execute(held.sql_all):
                yield self._parse(held, key, row)

    # -- operations and batches --------------------------------------------------------------------------------------

    def begin_operation(self) -> None:
        """From here on, writes go to a layer of their own."""
        invariant(not self._in_operation, "an operation began inside another")
        self._in_operation = True

    def accept_operation(self) -> None:
        """Keep the layer's writes. When one is no row, keeps none: TypeError, ValueError or MalformedEncoding."""
        accepted: list[tuple[Table, Key, Row | None, Stored]] = []
        for held in self._layered:
            for key, row in held.layer.items():
                page, encoded = held.locate(key)
                accepted.append((held, key, row, (page, encoded, None if row is None else encode_row(row))))
        for held, key, row, stored in accepted:
            held.recent[key] = row
            held.pending[key] = stored
        self.drop_operation()

    def drop_operation(self) -> None:
        """Forget the layer's writes."""
        for held in self._layered:
            held.layer.clear()
        self._layered.clear()
        self._in_operation = False

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """One batch: all of it is kept, or nothing. `durable`: on disk before this returns.

        Otherwise it is seen at once and committed with the next `settle`: a process that dies before has executed
        less, which the ledger makes good.

        SQLite ignores a change of `synchronous` inside a transaction, hence before it. In WAL mode FULL syncs the log
        at each commit, and with it all earlier commits; NORMAL leaves that to checkpoints of the log.
        """
        with self.guard:
            if durable is not self._durable:
                self.settle()
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT batch")
        try:
            yield
            self.guard.check()
            with self.guard:
                self._connection.execute("RELEASE batch")
        except BaseException:
            self._roll_back()
            raise
        if durable:
            self.settle()
        for held in self._tables.values():
            held.pending.clear()
            held.shrink(self._cache_rows)

    def settle(self) -> None:
        """Commit the batches that were kept since the last time."""
        with self.guard:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def changes(self, tables: Sequence[str]) -> list[RowChange]:
        """What the batch changed in these tables so far."""
        return [
            RowChange(name, key, held.recent[key])
            for name in tables
            for held in (self._tables[name],)
            for key in held.pending
        ]

    def flush(self) -> None:
        """Write the batch's rows to SQLite, inside the transaction, and mark their pages."""
        invariant(not self._in_operation, "flushed inside an operation")
        with self.guard:
            for name, held in self._tables.items():
                if not held.pending:
                    continue
                writes = held.writes()
                self._connection.executemany(held.sql_put, writes.puts)
                self._connection.executemany(held.sql_delete, writes.deletes)
                self.digests.mark(name, writes.pages)

    def table_roots(self) -> dict[str, Digest]:
        """Hash what changed since the last time, inside the transaction, and return the roots of all tables."""
        with self.guard:
            return self.digests.refresh()

    # -- pages, for state transfer and scrubbing: past the rows in memory, so between batches only ------------------

    @property
    def rows_tables(self) -> dict[str, str]:
        """SQL tables by name of the table."""
        return {name: held.sql_name for name, held in self._tables.items()}

    def page_rows(self, table: str, page: bytes) -> list[KeyedRow]:
        """Encodings of a page's keys and rows, in key order."""
        with self.guard:
            rows: list[KeyedRow] = self._connection.execute(self._tables[table].sql_page, (page,)).fetchall()
        if not all(type(key) is bytes is type(row) for key, row in rows):
            raise self.guard.damage_of_row(table, page)
        return rows

    def replace_page(self, table: str, page: bytes, rows: Sequence[KeyedRow]) -> list[RowChange] | None:
        """Make a page consist of `rows`, inside the transaction; return what changed. `forget_rows` must follow.

        None: a key rotted, so nobody can tell what changed. Raises InvariantViolation for rows that belong elsewhere.
        """
        held = self._tables[table]
        old, new = dict(self.page_rows(table, page)), dict(rows)
        removed = sorted(old.keys() - new.keys())
        changes: list[RowChange] = []
        for key, row in rows:
            if old.get(key) != row:
                decoded, columns = self._parse(held, key, row)
                invariant(held.layout.locate(decoded) == (page, key), f"a row of table {table} in a wrong page")
                changes.append(RowChange(table, decoded, columns))
        gone = [_key_in_page(held, page, key) for key in removed]
        with self.guard:
            self._connection.executemany(held.sql_delete, [(page, key) for key in removed])
            puts = [(page, key, row) for key, row in rows if old.get(key) != row]
            self._connection.executemany(held.sql_put, puts)
            self.digests.mark(table, {page})
        if None in gone:
            return None
        return [*(RowChange(table, key, None) for key in gone if key is not None), *changes]

    def remove_all_rows(self) -> None:
        """Empty all tables, inside the transaction. `forget_rows` must follow."""
        with self.guard:
            for held in self._tables.values():
                self._connection.execute(held.sql_clear)
            self.digests.forget()

    def forget_rows(self) -> None:
        """Drop what is cached of rows."""
        for held in self._tables.values():
            held.forget()

    # -- meta data, snapshots, the end -----------------------------------------------------------------------------

    def read_meta(self) -> Meta:
        with self.guard:
            return read_meta(self._connection)

    def write_meta(self, values: Mapping[str, MetaValue]) -> None:
        """Set named values, inside the transaction."""
        with self.guard:
            write_meta(self._connection, values)

    def open_snapshot(self) -> sqlite3.Connection | None:
        """A connection that goes on seeing what is committed now; None for a large database in memory.

        The one before must be closed: the log is emptied into the database here, and starts over. Not if somebody
        else reads the file just now, for nobody is waited for; then it does the next time.
        """
        with self.guard:
            if self.path is None:
                return copy_of(self._connection)
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            return open_reader(self.path)

    def close(self) -> None:
        """Commit what was kept, unless the database failed before, and close. Raises StorageFailure."""
        try:
            if not self.guard.failed:
                self.settle()
        finally:
            self._connection.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _get_older(self, held: Table, key: Key) -> Row | None:
        row: Row | None
        if key in held.older:
            row = held.older[key]
        else:
            position = held.locate(key)
            with self.guard:
                found = self._connection.execute(held.sql_get, position).fetchone()
            row = None if found is None else self._parse(held, position[1], found[0])[1]
        if not held.pending:  # `recent` keeps what the batch wrote until it is committed
            held.shrink(self._cache_rows)
        held.recent[key] = row
        return row

    def _parse(self, held: Table, key: bytes, row: bytes) -> tuple[Key, Row]:
        try:
            if type(key) is not bytes or type(row) is not bytes:
                raise ValueError("it is not made of bytes")
            return held.layout.decode(key), decode_row(row)
        except (CryptoError, ValueError) as error:
            shown = key.hex() if type(key) is bytes else repr(key)
            raise self.guard.damage(
                f"table {held.spec.name}: the row of key {shown} does not decode: {error}"
            ) from error

    def _roll_back(self) -> None:
        self.drop_operation()
        for held in self._tables.values():
            held.forget()
        if self._connection.in_transaction:
            with self.guard:
                self._connection.execute("ROLLBACK TO batch")
                self._connection.execute("RELEASE batch")
        with self.guard:
            self.digests.load()


def _key_in_page(held: Table, page: bytes, key: bytes) -> Key | None:
    """The key that is encoded here; None if that is no key of this page."""
    try:
        decoded = held.layout.decode(key)
    except ValueError:
        return None
    return decoded if held.layout.locate(decoded) == (page, key) else None
