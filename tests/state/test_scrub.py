"""Rows that rot on the disk are found (attack 35), and pitfall 14: never voted over."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbft.core.state_messages import FetchState, WantPages
from pbft.state.errors import StateDamaged
from pbft.state.executor import Executor
from tests.state.exchange import Exchange, certificate, new_state, same, scrub_all, sources, talk

TABLES = ("accounts", "executed", "lines", "sessions")


def rot(executor: Executor, table: str, column: str = "row") -> bytes:
    """Flip one bit in the last row of a table, and say in which page."""
    connection = executor._store.connection
    page, key, data = connection.execute(
        f"SELECT page, key, {column} FROM rows_{table} ORDER BY page DESC, key DESC LIMIT 1"
    ).fetchone()
    changed = data[:-1] + bytes([data[-1] ^ 0x80])
    connection.execute(f"UPDATE rows_{table} SET {column} = ? WHERE key = ?", (changed, key))
    assert isinstance(page, bytes)
    return page


def retype(executor: Executor, column: str, value: str = "'text'") -> bytes:
    """Make one row of `lines` hold something other than bytes, as one bit of its header can; say in which page."""
    connection = executor._store.connection
    page, key = connection.execute("SELECT page, key FROM rows_lines ORDER BY page DESC, key DESC LIMIT 1").fetchone()
    connection.execute(f"UPDATE rows_lines SET {column} = {value} WHERE key = ?", (key,))
    assert isinstance(page, bytes)
    return page


@pytest.fixture
def executor() -> Executor:
    executor = new_state()
    talk(executor, 8)
    return executor


def test_a_sound_state_is_found_sound(executor: Executor) -> None:
    assert scrub_all(executor) == []


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("column", ["key", "row"])
@pytest.mark.parametrize("pages_max", [1, 7, 10_000])
def test_one_flipped_bit_is_found_within_one_round(
    executor: Executor, table: str, column: str, pages_max: int
) -> None:
    page = rot(executor, table, column)
    pages = sum(len(executor._store.digests.stored(name)) for name in TABLES)
    found = []
    for _ in range(-(-pages // pages_max)):
        found += executor.scrub(pages_max)
    assert found == [(table, page)]
    assert scrub_all(executor) == [], "it is said once: then the page counts as changed"


def test_a_row_lost_and_a_row_too_many_are_found(executor: Executor) -> None:
    connection = executor._store.connection
    (page,) = connection.execute("SELECT max(page) FROM rows_lines").fetchone()
    connection.execute("DELETE FROM rows_lines WHERE page = ?", (page,))
    assert scrub_all(executor) == [("lines", page)]
    (page,) = connection.execute("SELECT min(page) FROM rows_lines").fetchone()
    connection.execute("INSERT INTO rows_lines VALUES (?, x'ff', x'80')", (page,))
    assert scrub_all(executor) == [("lines", page)]


def test_pages_changed_since_the_checkpoint_are_passed_over(executor: Executor) -> None:
    talk(executor, 1)
    assert scrub_all(executor) == []


def test_the_round_begins_anew(executor: Executor) -> None:
    assert executor.scrub(10_000) == []
    page = rot(executor, "lines")
    assert executor.scrub(10_000) == [("lines", page)]


NO_BYTES = ["'text'", "CAST(x'ff' AS TEXT)", "7", "1.5"]


@pytest.mark.parametrize("column", ["key", "row"])
@pytest.mark.parametrize("value", NO_BYTES)
def test_a_row_that_is_no_longer_bytes_is_damage_of_the_database(executor: Executor, column: str, value: str) -> None:
    retype(executor, column, value)
    with pytest.raises(StateDamaged):
        scrub_all(executor)
    with pytest.raises(StateDamaged):
        talk(executor, 1)


@pytest.mark.parametrize("value", NO_BYTES)
def test_a_row_that_is_no_longer_bytes_when_its_page_is_hashed(executor: Executor, value: str) -> None:
    talk(executor, 1)
    retype(executor, "row", value)
    executor._store.digests.mark("lines", set(executor._store.digests.stored("lines")))
    with pytest.raises(StateDamaged):
        executor.state_root()


@pytest.mark.parametrize("value", NO_BYTES)
def test_a_row_that_is_no_longer_bytes_is_not_served(tmp_path: Path, value: str) -> None:
    executor = new_state(path=tmp_path / "state.sqlite")
    talk(executor, 8)
    page = retype(executor, "row", value)
    executor.close()
    executor = new_state(path=tmp_path / "state.sqlite")
    checkpoint = executor.checkpoint
    assert checkpoint is not None
    wanted = WantPages(table="lines", pages=(page,))
    fetch = FetchState(number=1, sequence=checkpoint.sequence, state_root=checkpoint.state_root, wanted=wanted)
    with pytest.raises(StateDamaged):
        executor.serve_state(fetch)
    executor.close()


@pytest.mark.parametrize(
    ("table", "column"), [("lines", "row"), ("lines", "key"), ("accounts", "key"), ("sessions", "key")]
)
def test_pitfall_14_rot_shows_in_the_next_root_and_is_repaired_from_peers(
    executor: Executor, table: str, column: str
) -> None:
    holders = sources(12)
    page = rot(executor, table, column)
    assert executor.recomputed_state_root() != executor.state_root()
    assert scrub_all(executor) == [(table, page)]
    talk(executor, 4)
    assert executor.checkpoint is not None
    assert executor.checkpoint != holders[1].checkpoint, "the replica notices that it differs"
    exchange = Exchange(holders, executor, certificate(holders[1])).run()
    same(executor, holders[1])
    assert exchange.transfer.progress.pages_fetched <= 2
