"""Opening a state database: is it sound, is it ours; beginning one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from crypto.canonical import encode
from crypto.digest import DIGEST_BYTES, Digest, digest_of
from pbft.core.application import RangePages, TableSpec
from pbft.core.group import Group
from pbft.state.errors import StateError, StorageGuard
from pbft.state.table import Table

SCHEMA_VERSION = 1
IN_MEMORY = ":memory:"

_CREATE_META = "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BLOB) WITHOUT ROWID"
_READ_META = "SELECT name, value FROM meta"
_WRITE_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

MetaValue = int | bytes | None
Meta = dict[str, MetaValue]


def connect(path: Path | None, guard: StorageGuard) -> sqlite3.Connection:
    """Open the file at `path`, or create it, readable by its owner alone; None: in memory. Raises StateError."""
    if path is not None:
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise StateError(f"{path}: cannot be created or opened: {error.strerror}") from error
    with guard:
        connection = sqlite3.connect(
            path or IN_MEMORY,
            isolation_level=None,
            check_same_thread=False,  # its owner may move it to a worker thread, one call at a time
            cached_statements=512,
        )
    with guard:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
        except BaseException:
            connection.close()
            raise
    return connection


def open_schema(
    connection: sqlite3.Connection, guard: StorageGuard, tables: Iterable[Table], group: Group, extra: Sequence[str]
) -> None:
    """Check that the database is sound and this group's, or make its tables; `extra`: statements that make others.

    Raises StateDamaged, or StateError for the database of another group, program version or set of tables.
    """
    tables = tuple(tables)
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise guard.damage(finding)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not names:
        _create(connection, tables, group, extra)
    elif "meta" not in names:
        raise StateError(f"{guard.path}: not a state database; give the node another path")
    elif not {"page_digests", *(held.sql_name for held in tables)} <= names:
        _check_identity(connection, guard, tables, group)
        raise guard.damage("a table is missing")
    _check_identity(connection, guard, tables, group)


def read_meta(connection: sqlite3.Connection) -> Meta:
    return dict(connection.execute(_READ_META))


def write_meta(connection: sqlite3.Connection, values: Mapping[str, MetaValue]) -> None:
    """Set named values, inside a transaction."""
    connection.executemany(_WRITE_META, values.items())


def _create(connection: sqlite3.Connection, tables: Iterable[Table], group: Group, extra: Sequence[str]) -> None:
    tables = tuple(tables)
    connection.execute("BEGIN IMMEDIATE")
    for statement in (_CREATE_META, *chain.from_iterable(held.sql_create for held in tables), *extra):
        connection.execute(statement)
    write_meta(
        connection,
        {
            "schema_version": SCHEMA_VERSION,
            "group_id": group.group_id,
            "epoch": group.epoch,
            "tables": _tables_digest(tables),
        },
    )
    connection.execute("COMMIT")


def _check_identity(
    connection: sqlite3.Connection, guard: StorageGuard, tables: Iterable[Table], group: Group
) -> None:
    meta = read_meta(connection)
    expected: list[tuple[str, int | bytes, str]] = [
        ("schema_version", SCHEMA_VERSION, "run the program that made it"),
        ("group_id", group.group_id, "check the group file: this is the state of another group"),
        ("epoch", group.epoch, "take the group file of that epoch"),
        ("tables", _tables_digest(tables), "run the application that made it: this one has other tables"),
    ]
    for name, value, remedy in expected:
        found = meta.get(name)
        if not _is_plausible(found, value):
            raise guard.damage(f"{name} is unreadable")
        if found != value:
            raise StateError(f"{guard.path}: {name} is {_shown(found)}, not {_shown(value)}; {remedy}")


def _is_plausible(found: MetaValue, value: int | bytes) -> bool:
    if isinstance(value, bytes):
        return isinstance(found, bytes) and len(found) == DIGEST_BYTES
    return type(found) is int and found >= 0


def _tables_digest(tables: Iterable[Table]) -> Digest:
    """Names the tables and how they are laid out: with another layout, rows would not be found."""
    specs = [held.spec for held in tables]
    return digest_of(encode([[s.name, [part.value for part in s.key], s.pages.prefix, *_paging(s)] for s in specs]))


def _paging(spec: TableSpec) -> tuple[str, int]:
    pages = spec.pages
    return ("range", pages.shift) if isinstance(pages, RangePages) else ("hashed", pages.count)


def _shown(value: MetaValue) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
