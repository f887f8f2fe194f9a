"""Digests of pages (`pbft.core.state_digest`) as they are kept: in SQLite beside the rows, and in memory.

Pages that changed since the last refresh are marked in the same transaction as their rows (a NULL digest), so that a
refresh after a restart hashes what one without it would have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

from crypto.digest import DIGEST_BYTES, Digest
from crypto.merkle import node_digest
from pbft.core.state_digest import BUCKETS, EMPTY_BUCKET, bucket_digest, bucket_of, page_digest
from pbft.state.errors import StorageGuard

_CREATE = """
CREATE TABLE page_digests (table_name TEXT NOT NULL, page BLOB NOT NULL, digest BLOB, PRIMARY KEY (table_name, page))
WITHOUT ROWID
"""
_LOAD = "SELECT page, digest FROM page_digests WHERE table_name = ?"
_MARK = "INSERT INTO page_digests VALUES (?, ?, NULL) ON CONFLICT (table_name, page) DO UPDATE SET digest = NULL"
_STORE = "UPDATE page_digests SET digest = ? WHERE table_name = ? AND page = ?"
_REMOVE = "DELETE FROM page_digests WHERE table_name = ? AND page = ?"


_NO_PAGES: dict[bytes, Digest] = {}
"""Of every empty bucket; never written to."""


def _empty_levels() -> list[list[Digest]]:
    """The Merkle tree over empty buckets, from the leaves to the root."""
    levels = [[EMPTY_BUCKET] * BUCKETS]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_digest(below[0], below[1])] * (len(below) // 2))
    return levels


_EMPTY_LEVELS = _empty_levels()


@dataclass(frozen=True, slots=True)
class FrozenTree:
    """A table's digests as they were: pages by bucket, and the digests of the buckets."""

    pages: tuple[Mapping[bytes, Digest], ...]
    buckets: tuple[Digest, ...]


class BucketTree:
    """The digests of one table's pages, in memory, and the Merkle tree over its buckets, of which a change costs one
    way to the root."""

    def __init__(self) -> None:
        self._pages: list[dict[bytes, Digest]] = [_NO_PAGES] * BUCKETS
        self._levels = [list(level) for level in _EMPTY_LEVELS]
        self._changed: set[int] = set()
        self._frozen: set[int] = set(range(BUCKETS))
        """Buckets whose pages are shared, with a FrozenTree or among each other: copied before they change."""

    def set(self, page: bytes, digest: Digest | None) -> None:
        """Give the page a digest; None removes it, as empty."""
        number = bucket_of(page)
        if number in self._frozen:
            self._frozen.discard(number)
            self._pages[number] = dict(self._pages[number])
        if digest is None:
            self._pages[number].pop(page, None)
        else:
            self._pages[number][page] = digest
        self._changed.add(number)

    def root(self) -> Digest:
        if self._changed:
            changed, self._changed = self._changed, set()
            for number in changed:
                self._levels[0][number] = bucket_digest(self._pages[number])
            for below, above in pairwise(self._levels):
                changed = {number >> 1 for number in changed}
                for number in changed:
                    above[number] = node_digest(below[2 * number], below[2 * number + 1])
        return self._levels[-1][0]

    def get(self, page: bytes) -> Digest | None:
        return self._pages[bucket_of(page)].get(page)

    def buckets(self) -> tuple[Digest, ...]:
        self.root()
        return tuple(self._levels[0])

    def bucket(self, number: int) -> Mapping[bytes, Digest]:
        return self._pages[number]

    def freeze(self) -> FrozenTree:
        """Cheap: what does not change is shared."""
        self._frozen = set(range(BUCKETS))
        return FrozenTree(tuple(self._pages), self.buckets())

    def pages(self) -> dict[bytes, Digest]:
        return {page: digest for bucket in self._pages for page, digest in bucket.items()}


class PageDigests:
    """Digests of all tables' pages: kept in SQLite beside the rows, mirrored in memory.

    `rows_tables` maps a table's name to the name of its SQL table. Methods that read raise StateDamaged for rows or
    digests that are none.
    """

    SQL_CREATE = (_CREATE,)

    def __init__(self, connection: sqlite3.Connection, rows_tables: Mapping[str, str], guard: StorageGuard) -> None:
        self._connection = connection
        self._guard = guard
        self._rows_tables = dict(sorted(rows_tables.items()))
        self._trees: dict[str, BucketTree] = {}
        self._dirty: dict[str, set[bytes]] = {}

    def load(self) -> None:
        """Read the mirror from SQLite, whatever it held."""
        for name in self._rows_tables:
            tree, dirty = BucketTree(), set()
            for page, digest in self._connection.execute(_LOAD, (name,)):
                if type(page) is bytes and digest is None:
                    dirty.add(page)
                elif type(page) is bytes and type(digest) is bytes and len(digest) == DIGEST_BYTES:
                    tree.set(page, Digest(digest))
                else:
                    raise self._guard.damage(f"table {name}: the digest of page {page!r} is none")
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

    def tree(self, name: str) -> BucketTree:
        """A table's digests as of the last refresh."""
        return self._trees[name]

    def freeze(self) -> dict[str, FrozenTree]:
        """All digests as of the last refresh."""
        return {name: tree.freeze() for name, tree in self._trees.items()}

    def forget(self) -> None:
        """All rows are removed, inside the caller's transaction."""
        self._connection.execute("DELETE FROM page_digests")
        self.load()

    def is_dirty(self, name: str, page: bytes) -> bool:
        """Whether rows of the page changed since the last refresh."""
        return page in self._dirty[name]

    def stored(self, name: str) -> dict[bytes, Digest]:
        """Digests of a table's pages as of the last refresh."""
        return self._trees[name].pages()

    def recomputed(self, name: str) -> dict[bytes, Digest]:
        """Digests of a table's pages from its rows alone: compare with `stored` after a refresh."""
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
            try:
                digest = page_digest(rows) if rows else None
            except TypeError as error:
                raise self._guard.damage_of_row(name, page) from error
            tree.set(page, digest)
            if digest is None:
                emptied.append((name, page))
            else:
                changed.append((digest, name, page))
        self._connection.executemany(_STORE, changed)
        self._connection.executemany(_REMOVE, emptied)
