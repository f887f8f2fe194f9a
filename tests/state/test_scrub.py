"""Rows that rot on the disk are found (attack 35), and pitfall 14: never voted over."""

from __future__ import annotations

import pytest

from pbft.state.executor import Executor
from tests.state.exchange import Exchange, certificate, new_state, same, sources, talk

TABLES = ("accounts", "executed", "lines", "sessions")


def rot(executor: Executor, table: str) -> bytes:
    """Flip one bit in the last row of a table, and say in which page."""
    connection = executor._store.connection
    page, key, row = connection.execute(
        f"SELECT page, key, row FROM rows_{table} ORDER BY page DESC, key DESC LIMIT 1"
    ).fetchone()
    changed = row[:-1] + bytes([row[-1] ^ 1])
    connection.execute(f"UPDATE rows_{table} SET row = ? WHERE key = ?", (changed, key))
    assert isinstance(page, bytes)
    return page


@pytest.fixture
def executor() -> Executor:
    executor = new_state()
    talk(executor, 8)
    return executor


def test_a_sound_state_is_found_sound(executor: Executor) -> None:
    assert executor.scrub_all() == []
    assert executor.scrub(10_000) == []


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("pages_max", [1, 7, 10_000])
def test_one_flipped_bit_is_found_within_one_round(executor: Executor, table: str, pages_max: int) -> None:
    page = rot(executor, table)
    pages = sum(len(executor._store.digests.stored(name)) for name in TABLES)
    found = []
    for _ in range(-(-pages // pages_max)):
        found += executor.scrub(pages_max)
    assert found == [(table, page)]
    assert executor.scrub_all() == [], "it is said once: then the page counts as changed"


def test_a_row_lost_and_a_row_too_many_are_found(executor: Executor) -> None:
    connection = executor._store.connection
    (page,) = connection.execute("SELECT max(page) FROM rows_lines").fetchone()
    connection.execute("DELETE FROM rows_lines WHERE page = ?", (page,))
    assert executor.scrub_all() == [("lines", page)]
    (page,) = connection.execute("SELECT min(page) FROM rows_lines").fetchone()
    connection.execute("INSERT INTO rows_lines VALUES (?, x'ff', x'80')", (page,))
    assert executor.scrub_all() == [("lines", page)]


def test_pages_changed_since_the_checkpoint_are_passed_over(executor: Executor) -> None:
    talk(executor, 1)
    assert executor.scrub_all() == []


def test_the_round_begins_anew(executor: Executor) -> None:
    assert executor.scrub(10_000) == []
    page = rot(executor, "lines")
    assert executor.scrub(10_000) == [("lines", page)]
    assert executor._scrubber.rounds == 2


def test_pitfall_14_a_rotted_row_shows_in_the_next_root_and_is_repaired_from_peers(executor: Executor) -> None:
    holders = sources(12)
    page = rot(executor, "lines")
    assert executor.recomputed_state_root() != executor.state_root()
    assert executor.scrub_all() == [("lines", page)]
    talk(executor, 4)
    assert executor.checkpoint is not None
    assert executor.checkpoint != holders[1].checkpoint, "the replica notices that it differs"
    exchange = Exchange(holders, executor, certificate(holders[1])).run()
    same(executor, holders[1])
    assert exchange.transfer.progress.pages_fetched <= 2
