"""The state of the last checkpoint, kept readable while execution goes on: what other replicas fetch from.

A file's snapshot is a read transaction held open on a connection of its own. While it is open SQLite cannot start its
write-ahead log over, so between two snapshots the log is emptied: else it would grow for ever. A database in
memory has no such thing; a small one is copied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crypto.digest import Digest
from pbft.core.state_bodies import ANSWER_BYTES_MAX, ANSWER_ITEMS_MAX, part_bytes
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    KeyedRow,
    Listings,
    NotHeld,
    Pages,
    StateAnswer,
    StateContent,
    StateMeta,
    WantBuckets,
    WantListings,
    WantMeta,
    WantPages,
)
from pbft.core.types import Milliseconds, SequenceNumber
from pbft.state.errors import StorageGuard
from pbft.state.pages import FrozenTree

MEMORY_BYTES_MAX = 8 * 1024 * 1024
"""A database in memory that is larger is not copied: it serves nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state at a checkpoint. `rows_tables` maps a table's name to that of its SQL table."""

    sequence: SequenceNumber
    state_root: Digest
    history_head: Digest
    agreed_time: Milliseconds
    table_roots: Mapping[str, Digest]
    trees: Mapping[str, FrozenTree]
    connection: sqlite3.Connection
    guard: StorageGuard
    rows_tables: Mapping[str, str]

    def close(self) -> None:
        self.connection.close()

    def content(self, fetch: FetchState) -> StateContent:
        """What is asked for, as much of it as fits into one answer. Raises sqlite3.Error or StateDamaged."""
        match fetch.wanted:
            case WantMeta():
                return StateMeta(
                    history_head=self.history_head,
                    agreed_time=self.agreed_time,
                    table_roots=tuple(sorted(self.table_roots.items())),
                )
            case WantBuckets(table=table) if table in self.trees:
                return BucketDigests(table=table, buckets=self.trees[table].buckets)
            case WantListings(table=table) as listings if table in self.trees:
                return self._listings(listings)
            case WantPages(table=table) as pages if table in self.rows_tables:
                return self._pages(pages)
            case _:
                return NotHeld(held=self.sequence)

    def _listings(self, wanted: WantListings) -> Listings:
        tree = self.trees[wanted.table]
        answer = _Answer()
        after = wanted.after
        listed: list[tuple[int, tuple[tuple[bytes, Digest], ...]]] = []
        for number in wanted.buckets:
            pages = sorted(tree.pages[number].items())
            fitting = answer.fill((page, digest) for page, digest in pages if after is None or page > after)
            listed.append((number, tuple((page, Digest(digest)) for page, digest in fitting)))
            after = None
            if answer.is_full:
                break
        return Listings(table=wanted.table, buckets=tuple(listed), more=answer.is_cut)

    def _pages(self, wanted: WantPages) -> Pages:
        rows_table = self.rows_tables[wanted.table]
        select = f"SELECT key, row FROM {rows_table} WHERE page = ? AND key > ? ORDER BY key"  # noqa: S608 - our name
        answer = _Answer()
        after = wanted.after if wanted.after is not None else b""
        pages: list[tuple[bytes, tuple[KeyedRow, ...]]] = []
        for page in wanted.pages:
            rows = self.connection.execute(select, (page, after))
            pages.append((page, tuple(answer.fill(self._sound(rows, wanted.table, page)))))
            rows.close()
            after = b""
            if answer.is_full:
                break
        return Pages(table=wanted.table, pages=tuple(pages), more=answer.is_cut)

    def _sound(self, rows: Iterable[KeyedRow], table: str, page: bytes) -> Iterator[KeyedRow]:
        for key, row in rows:
            if type(key) is not bytes or type(row) is not bytes:
                raise self.guard.damage_of_row(table, page)
            yield key, row


class _Answer:
    """Counts what goes into one answer."""

    def __init__(self) -> None:
        self._bytes = self._items = 0
        self.is_cut = False
        """The last list went on when the answer was full."""

    @property
    def is_full(self) -> bool:
        return self._bytes >= ANSWER_BYTES_MAX or self._items >= ANSWER_ITEMS_MAX

    def fill(self, parts: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Take parts until there are no more or the answer is full."""
        taken: list[tuple[bytes, bytes]] = []
        for key, data in parts:
            if self.is_full:
                self.is_cut = True
                break
            taken.append((key, data))
            self._bytes += part_bytes(key, data)
            self._items += 1
        return taken


def answer_from(snapshot: Snapshot | None, fetch: FetchState) -> StateAnswer:
    """The answer to a question, whatever it asks for. Raises sqlite3.Error or StateDamaged."""
    content: StateContent
    if snapshot is None:
        content = NotHeld(held=SequenceNumber(0))
    elif (snapshot.sequence, snapshot.state_root) != (fetch.sequence, fetch.state_root):
        content = NotHeld(held=snapshot.sequence)
    else:
        content = snapshot.content(fetch)
    return StateAnswer(number=fetch.number, sequence=fetch.sequence, content=content)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection on the file at `path` that goes on seeing what is committed now. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM meta").fetchone()  # the transaction begins with its first read
    except BaseException:
        connection.close()
        raise
    return connection


def copy_of(memory: sqlite3.Connection) -> sqlite3.Connection | None:
    """A copy of a database in memory, unless it is large. Raises sqlite3.Error."""
    (pages,) = memory.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = memory.execute("PRAGMA page_size").fetchone()
    if pages * page_bytes > MEMORY_BYTES_MAX:
        return None
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.backup(copy)
    return copy
