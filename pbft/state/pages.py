"""Digests of pages and what is built on them: buckets, table roots, the state root.

    page digest    SHA-256 of its rows in key order, key and row each length-prefixed; an empty page has none
    bucket digest  SHA-256 of the pages whose key hashes to this first byte: (page key, digest) in order of page key
    table root     Merkle root over the 256 buckets
    state root     Merkle root over the leaves of `state_leaves`

Pages that changed since the last refresh are marked in the same transaction as their rows (a NULL digest), so that a
refresh after a restart hashes what one without it would have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from operator import itemgetter

from crypto.canonical import encode
from crypto.digest import Digest, digest_of_parts
from crypto.merkle import leaf_digest, merkle_root
from pbft.core.types import Epoch, Milliseconds, SequenceNumber

BUCKETS = 256

_CREATE = """
CREATE TABLE page_digests (table_name TEXT NOT NULL, page BLOB NOT NULL, digest BLOB, PRIMARY KEY (table_name, page))
WITHOUT ROWID
"""
_LOAD = "SELECT page, digest FROM page_digests WHERE table_name = ?"
_MARK = "INSERT INTO page_digests VALUES (?, ?, NULL) ON CONFLICT (table_name, page) DO UPDATE SET digest = NULL"
_STORE = "UPDATE page_digests SET digest = ? WHERE table_name = ? AND page = ?"
_REMOVE = "DELETE FROM page_digests WHERE table_name = ? AND page = ?"


def page_digest(rows: Iterable[tuple[bytes, bytes]]) -> Digest:
    """Digest of the (key, row) encodings of a page, in key order."""
    return digest_of_parts(b"quorate/page/1", *(part for row in rows for part in row))


def state_leaves(
    *,
    history_head: Digest,
    agreed_time: Milliseconds,
    table_roots: Mapping[str, Digest],
    group_id: Digest,
    epoch: Epoch,
    sequence: SequenceNumber,
) -> list[Digest]:
    """Leaves of the state root: history, time, tables by name, configuration, sequence. The epoch's membership and
    parameters follow from the group id, the epoch and the history."""
    leaves = [
        encode(["history", history_head]),
        encode(["time", agreed_time]),
        *(encode(["table", name, root]) for name, root in sorted(table_roots.items())),
        encode(["configuration", group_id, epoch]),
        encode(["sequence", sequence]),
    ]
    return [leaf_digest(leaf) for leaf in leaves]


class BucketTree:
    """The digests of one table's pages, in memory."""

    def __init__(self) -> None:
        self._buckets: list[dict[bytes, Digest]] = [{} for _ in range(BUCKETS)]
        self._leaves = [_bucket_leaf({})] * BUCKETS
        self._changed: set[int] = set()
        self._root: Digest | None = None

    def set(self, page: bytes, digest: Digest | None) -> None:
        """Give the page a digest; None removes it, as empty."""
        number = sha256(page).digest()[0]
        if digest is None:
            self._buckets[number].pop(page, None)
        else:
            self._buckets[number][page] = digest
        self._changed.add(number)
        self._root = None

    def root(self) -> Digest:
        if self._root is None:
            for number in self._changed:
                self._leaves[number] = _bucket_leaf(self._buckets[number])
            self._changed.clear()
            self._root = merkle_root(self._leaves)
        return self._root

    def pages(self) -> dict[bytes, Digest]:
        return {page: digest for bucket in self._buckets for page, digest in bucket.items()}


class PageDigests:
    """Digests of all tables' pages: kept in SQLite beside the rows, mirrored in memory.

    `rows_tables` maps a table's name to the name of its SQL table.
    """

    def __init__(self, connection: sqlite3.Connection, rows_tables: Mapping[str, str]) -> None:
        self._connection = connection
        self._rows_tables = dict(sorted(rows_tables.items()))
        self._trees: dict[str, BucketTree] = {}
        self._dirty: dict[str, set[bytes]] = {}

    def create(self) -> None:
        self._connection.execute(_CREATE)

    def load(self) -> None:
        """Read the mirror from SQLite, whatever it held."""
        for name in self._rows_tables:
            tree, dirty = BucketTree(), set()
            for page, digest in self._connection.execute(_LOAD, (name,)):
                if digest is None:
                    dirty.add(page)
                else:
                    tree.set(page, digest)
            self._trees[name], self._dirty[name] = tree, dirty

    def mark(self, name: str, pages: set[bytes]) -> None:
        """Note, inside the caller's transaction, that rows of these pages changed."""
        fresh = pages - self._dirty[name]
        if fresh:
            self._connection.executemany(_MARK, [(name, page) for page in sorted(fresh)])
            self._dirty[name] |= fresh

    def refresh(self) -> dict[str, Digest]:
        """Hash the pages that changed, inside the caller's transaction, and return all table roots."""
        for name, dirty in self._dirty.items():
            if dirty:
                self._refresh_table(name, sorted(dirty))
                dirty.clear()
        return {name: tree.root() for name, tree in self._trees.items()}

    def stored(self, name: str) -> dict[bytes, Digest]:
        """Digests of a table's pages as of the last refresh."""
        return self._trees[name].pages()

    def recomputed(self, name: str) -> dict[bytes, Digest]:
        """Digests of a table's pages from its rows alone, for scrubbing: compare with `stored` after a refresh."""
        rows = self._connection.execute(
            f"SELECT page, key, row FROM {self._rows_tables[name]} ORDER BY page, key"  # noqa: S608 - our name
        )
        return {page: page_digest(row[1:] for row in group) for page, group in groupby(rows, itemgetter(0))}

    def recomputed_roots(self) -> dict[str, Digest]:
        """Table roots from the rows alone."""
        roots: dict[str, Digest] = {}
        for name in self._rows_tables:
            tree = BucketTree()
            for page, digest in self.recomputed(name).items():
                tree.set(page, digest)
            roots[name] = tree.root()
        return roots

    def _refresh_table(self, name: str, pages: list[bytes]) -> None:
        select = f"SELECT key, row FROM {self._rows_tables[name]} WHERE page = ? ORDER BY key"  # noqa: S608 - our name
        tree = self._trees[name]
        changed: list[tuple[Digest, str, bytes]] = []
        emptied: list[tuple[str, bytes]] = []
        for page in pages:
            rows = self._connection.execute(select, (page,)).fetchall()
            digest = page_digest(rows) if rows else None
            tree.set(page, digest)
            if digest is None:
                emptied.append((name, page))
            else:
                changed.append((digest, name, page))
        self._connection.executemany(_STORE, changed)
        self._connection.executemany(_REMOVE, emptied)


def _bucket_leaf(pages: Mapping[bytes, Digest]) -> Digest:
    return leaf_digest(digest_of_parts(b"quorate/bucket/1", *_flat(sorted(pages.items()))))


def _flat(items: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for item in items:
        yield from item
