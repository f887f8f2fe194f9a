from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import MalformedEncoding
from pbft.core.application import HashedPages, Key, KeyType, RangePages, Row, RowChange, TableSpec
from pbft.core.errors import InvariantViolation
from pbft.core.types import Epoch
from pbft.state.errors import StateDamaged, StateError, StorageFailure
from pbft.state.store import StateStore
from tests.state.toy import small_group

INTEGER, TEXT = KeyType.INTEGER, KeyType.TEXT
RANGE = TableSpec(name="range", key=(TEXT, INTEGER, INTEGER), pages=RangePages(prefix=1, shift=1))
HASHED = TableSpec(name="hashed", key=(TEXT, INTEGER, INTEGER), pages=HashedPages(prefix=1, count=3))
SPREAD = TableSpec(name="spread", key=(TEXT, INTEGER, INTEGER), pages=HashedPages(prefix=3))
UNINDEXED = TableSpec(name="unindexed", key=(TEXT, INTEGER, INTEGER), pages=HashedPages(prefix=2, count=7))
TABLES = (RANGE, HASHED, SPREAD, UNINDEXED)
NAMES = [spec.name for spec in TABLES]
KEY: Key = ("k", 1, 1)


def open_store(path: Path | str = ":memory:", *, cache_rows: int = 100) -> StateStore:
    return StateStore(path, TABLES, small_group(), cache_rows=cache_rows, seldom_scanned=(UNINDEXED,))


@pytest.fixture
def store() -> Iterator[StateStore]:
    store = open_store()
    yield store
    store.close()


def commit(store: StateStore, rows: dict[Key, Row | None], table: str = "range") -> None:
    with store.transaction(durable=False):
        for key, row in rows.items():
            store.put(table, key, row)
        store.flush()


# -- what is written is seen, until it is dropped ------------------------------------------------------------------


def test_an_operation_sees_its_own_writes_and_those_before_it(store: StateStore) -> None:
    commit(store, {KEY: (1,)})
    store.begin_operation()
    assert store.get("range", KEY) == (1,)
    store.put("range", KEY, (2,))
    assert store.get("range", KEY) == (2,)
    store.delete("range", KEY)
    assert store.get("range", KEY) is None
    store.accept_operation()
    assert store.get("range", KEY) is None


def test_a_dropped_operation_leaves_what_was_there(store: StateStore) -> None:
    other: Key = ("other", 0, 0)
    commit(store, {KEY: (1,)})
    with store.transaction(durable=False):
        store.put("range", other, (5,))
        store.begin_operation()
        store.delete("range", KEY)
        store.put("range", other, (6,))
        store.put("hashed", KEY, (7,))
        store.drop_operation()
        assert [store.get("range", KEY), store.get("range", other), store.get("hashed", KEY)] == [(1,), (5,), None]
        assert store.changes(NAMES) == [RowChange("range", other, (5,))]
        store.flush()
    assert dict(store.scan("range", limit=9)) == {KEY: (1,), other: (5,)}


def test_an_operation_with_one_bad_row_is_not_accepted_at_all(store: StateStore) -> None:
    bad_rows: list[Any] = [(1.5,), [1], ({},), (2**64,), ("\ud800",), ([(1,)],), ((1,),), ([[[[[[[[[1]]]]]]]]],)]
    for row in bad_rows:
        store.begin_operation()
        store.put("range", KEY, (1,))
        store.put("hashed", KEY, row)
        with pytest.raises((TypeError, ValueError, MalformedEncoding)):
            store.accept_operation()
        store.drop_operation()
        assert store.get("range", KEY) is None, row
        assert store.changes(NAMES) == [], row


@pytest.mark.parametrize("key", [("k", True, 1), ("k", 1), ("k", 1.0, 1), (b"k", 1, 1)])
def test_a_key_of_other_types_is_refused_even_when_it_equals_a_cached_one(store: StateStore, key: Any) -> None:
    commit(store, {KEY: (1,)})
    for touch in (
        lambda: store.get("range", key),
        lambda: store.put("range", key, (1,)),
        lambda: store.delete("range", key),
        lambda: store.scan("range", start=key, limit=1),
    ):
        with pytest.raises((TypeError, ValueError)):
            touch()


def test_a_failed_batch_leaves_nothing(store: StateStore) -> None:
    commit(store, {KEY: (1,)})

    def interrupted() -> None:
        with store.transaction(durable=False):
            store.put("range", KEY, (2,))
            store.flush()
            store.write_meta({"x": 1})
            store.table_roots()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.get("range", KEY) == (1,)
    assert "x" not in store.read_meta()
    with store.transaction(durable=False):
        assert store.table_roots() == store.digests.recomputed_roots()


def test_operations_do_not_nest(store: StateStore) -> None:
    store.begin_operation()
    with pytest.raises(InvariantViolation):
        store.begin_operation()


keys = st.tuples(st.sampled_from(["", "a", "a\x00", "b"]), st.integers(0, 3), st.integers(0, 3))
writes = st.dictionaries(keys, st.none() | st.tuples(st.integers(0, 9)), max_size=4)


@given(st.lists(st.tuples(writes, st.sampled_from(["accept", "drop", "flush"])), max_size=25))
def test_rows_are_what_a_dictionary_would_hold(steps: list[tuple[dict[Key, Row | None], str]]) -> None:
    store, model = open_store(cache_rows=3), dict[Key, Row]()
    for rows, end in steps:
        with store.transaction(durable=False):
            store.begin_operation()
            for key, row in rows.items():
                store.put("hashed", key, row)
            if end == "drop":
                store.drop_operation()
            else:
                store.accept_operation()
                model = {key: row for key, row in (model | rows).items() if row is not None}
            assert all(store.get("hashed", key) == model.get(key) for key in rows)
            store.flush()
        assert list(store.scan("hashed", limit=100)) == sorted(model.items())
        assert all(store.get("hashed", key) == model.get(key) for key in [*model, KEY])
    store.close()


def test_the_cache_is_bounded() -> None:
    store = open_store(cache_rows=10)
    commit(store, {("k", number, 0): (number,) for number in range(100)})
    for number in range(100):
        assert store.get("range", ("k", number, 0)) == (number,)
    held = store._tables["range"]
    assert len(held.recent) + len(held.older) <= 22
    store.close()


# -- scans ---------------------------------------------------------------------------------------------------------

CONTENT: dict[Key, Row] = {
    (name, number, last): (name, number, last)
    for name in ("", "a", "a\x00", "ab", "b", "ü")
    for number in (0, 1, 2, 5, 2**40)
    for last in (0, 3)
}


@pytest.fixture(scope="module")
def filled() -> Iterator[StateStore]:
    store = open_store()
    for table in NAMES:
        commit(store, dict(CONTENT), table)
    yield store
    store.close()


def naive_scan(prefix: Key, start: Key | None, limit: int, reverse: bool) -> list[tuple[Key, Row]]:
    found = [
        key
        for key in sorted(CONTENT, reverse=reverse)
        if key[: len(prefix)] == prefix and (start is None or (key <= start if reverse else key >= start))
    ]
    return [(key, CONTENT[key]) for key in found[:limit]]


some_keys = st.sampled_from(sorted(CONTENT)) | st.tuples(
    st.sampled_from(["", "a", "a\x01", "c", "ü"]), st.sampled_from([0, 1, 3, 6, 2**63 - 1]), st.integers(0, 4)
)


@given(some_keys, st.integers(0, 3), st.none() | some_keys, st.integers(0, 100), st.booleans())
def test_scans(filled: StateStore, key: Key, parts: int, start: Key | None, limit: int, reverse: bool) -> None:
    prefix = key[:parts]
    for table in NAMES:
        found = list(filled.scan(table, prefix=prefix, start=start, limit=limit, reverse=reverse))
        assert found == naive_scan(prefix, start, limit, reverse), table


def test_scans_walk_an_index(filled: StateStore) -> None:
    for table, prefix in [("range", ()), ("range", ("a",)), ("hashed", ()), ("hashed", ("a", 1)), ("spread", ("a",))]:
        held = filled._tables[table]
        span = held.layout.scan_range(prefix, ("a", 1, 0), reverse=False)
        assert span is not None
        statement, parameters = held.sql_scan(span, limit=5, reverse=False)
        plan = str(list(filled.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)))
        assert "SEARCH" in plan, table
        assert "TEMP B-TREE" not in plan, table


def test_a_scan_sees_no_unflushed_row_and_refuses_a_negative_limit(store: StateStore) -> None:
    commit(store, {KEY: (1,)})
    store.put("range", ("k", 2, 2), (2,))
    assert list(store.scan("range", limit=5)) == [(KEY, (1,))]
    with pytest.raises(ValueError, match="limit"):
        store.scan("range", limit=-1)


# -- opening ---------------------------------------------------------------------------------------------------------


def test_a_new_database_is_private_and_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = open_store(path)
    commit(store, {KEY: (1, b"x", "y", None, True, [2, [3]])})
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    store.close()
    assert modes == {0o600}
    store = open_store(path)
    assert store.get("range", KEY) == (1, b"x", "y", None, True, [2, [3]])
    store.close()


def test_the_same_failure_names_file_and_remedy_for_each_stranger(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    open_store(path).close()
    later = replace(small_group(), epoch=Epoch(1))
    with pytest.raises(StateError, match=r"state\.sqlite: epoch is 0, not 1; take the group file of that epoch"):
        StateStore(path, TABLES, later)
    sparse = [RANGE, HASHED, SPREAD, TableSpec(name="unindexed", key=UNINDEXED.key, pages=HashedPages(prefix=2))]
    with pytest.raises(StateError, match=r"state\.sqlite: group_id is .* check the group file"):
        StateStore(path, TABLES, small_group("another"))
    with pytest.raises(StateError, match=r"state\.sqlite: tables is .* other tables"):
        StateStore(path, sparse, small_group())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(StateError, match=r"state\.sqlite: schema_version is 99, not 1; run the program"):
        open_store(path)


def test_what_is_no_state_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_bytes(b"not a database, but much longer than its header" * 50)
    with pytest.raises(StateDamaged, match=r"notes\.txt is damaged: file is not a database"):
        open_store(text)
    assert text.read_bytes().startswith(b"not a database")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (x)")
    connection.close()
    with pytest.raises(StateError, match="not a state database"):
        open_store(other)
    with pytest.raises(StateError, match="cannot be created or opened: No such file or directory"):
        open_store(tmp_path / "missing" / "state.sqlite")


@pytest.mark.parametrize("name", ["Upper", "drop table", "", "ä"])
def test_table_names_are_lower_case_identifiers(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        StateStore(":memory:", [TableSpec(name=name, key=(TEXT,), pages=HashedPages(prefix=1))], small_group())
    with pytest.raises(ValueError, match="one name"):
        StateStore(":memory:", [RANGE, RANGE], small_group())


# -- failures ------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_store_with_the_file_and_the_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.sqlite")
    commit(store, {KEY: (1,)})
    store.settle()
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFailure, match=r"state\.sqlite: database or disk is full \(SQLITE_FULL\).*space"):
        commit(store, {("k", number, 0): (b"x" * 1000,) for number in range(100)})
    assert store.get("range", KEY) == (1,)
    with pytest.raises(StorageFailure, match="full"):
        commit(store, {KEY: (2,)})
    store.close()


def test_batches_are_kept_before_they_are_committed_and_committed_by_settling(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = open_store(path)
    commit(store, {KEY: (1,)})
    assert store.get("range", KEY) == (1,)
    assert list(store.scan("range", limit=5)) == [(KEY, (1,))]
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM rows_range").fetchone() == (0,)
    store.settle()
    assert other.execute("SELECT count(*) FROM rows_range").fetchone() == (1,)
    with suppress(ArithmeticError), store.transaction(durable=False):
        store.put("range", KEY, (2,))
        store.flush()
        raise ArithmeticError
    assert store.get("range", KEY) == (1,)
    other.close()
    store.close()


def test_a_damaged_row_is_a_failure_that_cannot_be_swallowed(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = open_store(path)
    commit(store, {KEY: (1, b"abc")})
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows_range SET row = x'ff'")
    connection.close()
    store = open_store(path)
    with pytest.raises(StateDamaged, match=r"state\.sqlite is damaged: table range: the row of key"):
        store.get("range", KEY)
    with pytest.raises(StorageFailure, match="damaged"):
        list(store.scan("range", limit=1))
    with pytest.raises(StorageFailure, match="damaged"):
        commit(store, {("other", 1, 1): (1,)})
    store.close()


def test_a_durable_transaction_syncs_the_log_at_its_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.sqlite")
    statements: list[str] = []
    store.connection.set_trace_callback(statements.append)
    levels = []
    for number, durable in enumerate([False, True, True, False]):
        with store.transaction(durable=durable):
            store.put("range", KEY, (number,))
            levels += store.connection.execute("PRAGMA synchronous").fetchone()
            store.flush()
    assert levels == [1, 2, 2, 1]  # NORMAL, FULL
    kept = ("PRAGMA synchronous =", "BEGIN", "COMMIT")
    outer = [
        statement.removeprefix("PRAGMA synchronous = ") for statement in statements if statement.startswith(kept)
    ]
    begin, end = "BEGIN IMMEDIATE", "COMMIT"
    assert outer == [begin, end, "FULL", begin, end, begin, end, "NORMAL", begin]
    store.settle()
    assert statements[-1] == end
    assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
