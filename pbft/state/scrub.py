"""Looking for rows that rotted: pages are hashed again, a few at a time, and compared with what they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from pbft.core.state_digest import page_digest
from pbft.state.store import StateStore

DamagedPage = tuple[str, bytes]
"""A table and a page's key."""


class Scrubber:
    """Goes round all pages of `tables`, for ever. Pages that changed since the last checkpoint are passed over."""

    def __init__(self, store: StateStore, tables: Sequence[str]) -> None:
        self._store = store
        self._tables = sorted(tables)
        self._round: Iterator[DamagedPage] = iter(())

    def next_pages(self, pages_max: int) -> list[DamagedPage]:
        """Look at the next pages, and return those whose rows are not what they were hashed as.

        Such a page counts as changed from then on, so that the next root tells the truth about it. Raises
        StateDamaged for rows that no root can be told of.
        """
        pages = list(islice(self._round, pages_max))
        if len(pages) < pages_max:
            self._round = self._all_pages()
            pages += islice(self._round, pages_max - len(pages))
        return self._look_at(pages)

    def _all_pages(self) -> Iterator[DamagedPage]:
        """As they are when their table's turn comes."""
        for table in self._tables:
            for page in sorted(self._store.digests.tree(table).pages()):
                yield table, page

    def _look_at(self, pages: Sequence[DamagedPage]) -> list[DamagedPage]:
        damaged = [page for page in pages if self._is_damaged(*page)]
        if damaged:
            with self._store.transaction(durable=True):
                for table, page in damaged:
                    self._store.digests.mark(table, {page})
        return damaged

    def _is_damaged(self, table: str, page: bytes) -> bool:
        digests = self._store.digests
        if digests.is_dirty(table, page):
            return False
        expected = digests.tree(table).get(page)
        return expected is not None and page_digest(self._store.page_rows(table, page)) != expected
