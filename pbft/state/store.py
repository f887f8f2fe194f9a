"""The rows of the replicated state in one SQLite database, with write-back: a batch is one transaction.

An operation's writes stay in a layer that is dropped or accepted as a whole; accepted rows reach SQLite when the
batch is flushed. Reads look there, then in a bounded cache, then in SQLite. Not for several threads at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from crypto.canonical import encode
from crypto.digest import Digest, digest_of
from crypto.errors import CryptoError
from pbft.core.application import Key, RangePages, Row, RowChange, TableSpec
from pbft.core.errors import invariant
from pbft.core.group import Group
from pbft.state.errors import StateError, StorageGuard
from pbft.state.pages import PageDigests
from pbft.state.table import Stored, Table, decode_row, encode_row

SCHEMA_VERSION = 1
CACHE_ROWS = 20_000
"""Rows of one table in each of the cache's two generations."""

IN_MEMORY = ":memory:"

_CREATE_META = "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BLOB) WITHOUT ROWID"
_WRITE_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_REMEDY = "restore a copy of the replica's whole directory, or leave the replica out"

Meta = dict[str, int | bytes | None]


class StateStore:
    """Rows (see `pbft.core.application`) and their digests.

    Raises StateError for a database of another group, program version or set of tables; any method StorageFailure.
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
        self._connection = self._connect()
        self.digests = PageDigests(self._connection, {name: held.sql_name for name, held in self._tables.items()})
        try:
            with self.guard:
                self._open_schema(group)
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

    def read_meta(self) -> Meta:
        with self.guard:
            return dict(self._connection.execute("SELECT name, value FROM meta"))

    def write_meta(self, values: Mapping[str, int | bytes | None]) -> None:
        """Set named values, inside the transaction."""
        with self.guard:
            self._connection.executemany(_WRITE_META, values.items())

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
            return held.layout.decode(key), decode_row(row)
        except (CryptoError, ValueError) as error:
            raise self.guard.failure(
                f"table {held.spec.name}: the row of key {key.hex()} is damaged ({error}); {_REMEDY}"
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

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            try:
                self.path.touch(mode=0o600)
            except OSError as error:
                raise StateError(f"{self.path}: cannot be created or opened: {error.strerror}") from error
        with self.guard:
            connection = sqlite3.connect(
                self.path or IN_MEMORY,
                isolation_level=None,
                check_same_thread=False,  # its owner may move it to a worker thread, one call at a time
                cached_statements=512,
            )
        with self.guard:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA cache_size = -65536")  # KiB
            except BaseException:
                connection.close()
                raise
        return connection

    def _open_schema(self, group: Group) -> None:
        names = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            self._create(group)
        elif "meta" not in names:
            raise StateError(f"{self.path}: not a state database; give the node another path")
        meta = self.read_meta()
        expected: list[tuple[str, int | bytes, str]] = [
            ("schema_version", SCHEMA_VERSION, "run the program that made it"),
            ("group_id", group.group_id, "check the group file: this is the state of another group"),
            ("epoch", group.epoch, "take the group file of that epoch"),
            ("tables", self._tables_digest(), "run the application that made it: this one has other tables"),
        ]
        for name, value, remedy in expected:
            found = meta.get(name)
            if found != value:
                raise StateError(
                    f"{self.path}: {name} is {_shown(found)}, not {_shown(value)}; {remedy}, or {_REMEDY}"
                )

    def _create(self, group: Group) -> None:
        statements = chain.from_iterable(held.sql_create for held in self._tables.values())
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in (_CREATE_META, *statements):
            self._connection.execute(statement)
        self.digests.create()
        self.write_meta(
            {
                "schema_version": SCHEMA_VERSION,
                "group_id": group.group_id,
                "epoch": group.epoch,
                "tables": self._tables_digest(),
            }
        )
        self._connection.execute("COMMIT")

    def _tables_digest(self) -> Digest:
        """Names the tables and how they are laid out: with another layout, rows would not be found."""
        specs = [held.spec for held in self._tables.values()]
        return digest_of(
            encode([[s.name, [part.value for part in s.key], s.pages.prefix, *_paging(s)] for s in specs])
        )


def _paging(spec: TableSpec) -> tuple[str, int]:
    pages = spec.pages
    return ("range", pages.shift) if isinstance(pages, RangePages) else ("hashed", pages.count)


def _shown(value: int | bytes | None) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
