"""Putting fetched pages in the place of the rows that are here, one durable transaction each."""

from __future__ import annotations

from collections.abc import Sequence

from pbft.core.application import RowChange
from pbft.core.effects import InstallPages
from pbft.core.group import Group
from pbft.state.index import DerivedIndex, apply_changes, rebuild_index, refresh_index
from pbft.state.opening import Meta
from pbft.state.position import CheckpointRoot, Position, beginning, position_meta
from pbft.state.store import StateStore


class Installer:
    """Replaces pages of `store`, and lets the index over `indexed` tables follow.

    From the first page on the state is marked as not whole: nothing may be executed on it or read out of it, also
    after a restart, until `finish` finds the root that it should have.
    """

    def __init__(self, store: StateStore, group: Group, indexed: Sequence[str], index: DerivedIndex | None) -> None:
        self._store = store
        self._group = group
        self._indexed = indexed
        self._index = index

    def pages(self, install: InstallPages) -> None:
        """Install pages. Raises StorageFailure, and then none of them."""
        store = self._store
        with store.transaction(durable=True):
            store.write_meta(_not_whole(self._group))
            changes: list[RowChange] = []
            for page, rows in install.pages:
                changed = store.replace_page(install.table, page, rows)
                if changed is None:
                    store.write_meta({"index_version": None})  # `finish` makes it anew
                changes += changed or ()
            if self._index is not None and install.table in self._indexed:
                apply_changes(store, self._index, changes)
            store.table_roots()
        store.forget_rows()

    def empty(self) -> None:
        """Remove all rows. Raises StorageFailure."""
        store = self._store
        with store.transaction(durable=True):
            store.write_meta(_not_whole(self._group))
            store.remove_all_rows()
            if self._index is not None:
                rebuild_index(store, self._indexed, self._index)
            store.table_roots()
        store.forget_rows()

    def finish(self, position: Position, checkpoint: CheckpointRoot | None) -> None:
        """The state is whole and stands at `position`."""
        with self._store.transaction(durable=True):
            self._store.write_meta(position_meta(position, checkpoint))
            refresh_index(self._store, self._indexed, self._index)


def _not_whole(group: Group) -> Meta:
    return position_meta(beginning(group, is_whole=False), None)
