"""A damaged database is told apart from somebody else's, and moved out of the way without loss."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.canonical import encode
from pbft.core.types import Epoch
from pbft.state.database_files import DAMAGED_KEPT_MAX, set_aside
from pbft.state.errors import StateDamaged, StateError
from pbft.state.executor import open_state
from tests.state.exchange import MEMBERS, Exchange, certificate, new_state, same, sources, talk
from tests.state.toy import Toy, device, op, request, run, small_group


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with some pages in it."""
    path = tmp_path / "state.sqlite"
    executor = new_state(path=path)
    talk(executor, 40, logs=40)
    executor.close()
    return path


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(sql)
    connection.commit()
    connection.close()


def is_damaged(path: Path) -> bool:
    """Whether opening says so; any exception but StateDamaged is a defect."""
    try:
        new_state(path=path).close()
    except StateDamaged as error:
        return str(error).startswith(f"{path} is damaged: ")
    return False


def test_a_sound_database_opens(path: Path) -> None:
    assert not is_damaged(path)


@pytest.mark.parametrize("length", [100, 4096, 5000, 20_000])
def test_a_file_that_was_cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    assert is_damaged(path)


def test_a_file_of_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)
    assert is_damaged(path)


def test_a_page_of_the_file_that_was_overwritten(path: Path) -> None:
    whole = path.read_bytes()
    noticed = 0
    for begin in range(4096, len(whole), 4096):
        path.write_bytes(whole[:begin] + b"\xa5" * 4096 + whole[begin + 4096 :])
        noticed += is_damaged(path)
    assert noticed == len(whole) // 4096 - 1


@pytest.mark.parametrize("sql", [
    "UPDATE meta SET value = NULL WHERE name = 'group_id'",
    "UPDATE meta SET value = x'00' WHERE name = 'group_id'",
    "UPDATE meta SET value = 'one' WHERE name = 'schema_version'",
    "UPDATE meta SET value = -1 WHERE name = 'last_executed'",
    "UPDATE meta SET value = x'00' WHERE name = 'history_head'",
    "UPDATE meta SET value = 'x' WHERE name = 'agreed_time'",
    "UPDATE meta SET value = x'00' WHERE name = 'checkpoint_root'",
    "DELETE FROM meta WHERE name = 'tables'",
    "DELETE FROM meta",
    "UPDATE page_digests SET digest = 'text'",
    "UPDATE page_digests SET digest = x'00'",
    "UPDATE page_digests SET digest = CAST(x'ff' AS TEXT)",
    "UPDATE page_digests SET page = 'text' WHERE page = (SELECT max(page) FROM page_digests)",
    "DROP TABLE rows_lines",
    "DROP TABLE page_digests",
])  # fmt: skip
def test_what_was_never_written(path: Path, sql: str) -> None:
    change(path, sql)
    assert is_damaged(path)


def test_what_is_somebody_elses_is_no_damage(path: Path) -> None:
    for group in (small_group("another"), replace(MEMBERS.group, epoch=Epoch(1))):
        with pytest.raises(StateError) as caught:
            open_state(path, Toy(), group)
        assert not isinstance(caught.value, StateDamaged)
    change(path, "UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    with pytest.raises(StateError, match="run the program that made it") as caught:
        new_state(path=path)
    assert not isinstance(caught.value, StateDamaged)


ROTTED_SESSIONS = (
    [1],
    [b"", []],
    [-2, []],
    [0, [[1, 2]]],
    [0, [[1, 2, b""]]],
    [0, [[1, 0, -1]]],
    [0, [[1, 2, 1]]],
    [0, [[1, 0, 2**60]]],
)


@pytest.mark.parametrize("row", ROTTED_SESSIONS)
def test_a_session_that_rotted_into_another_row(path: Path, row: list[Any]) -> None:
    change(path, f"UPDATE rows_sessions SET row = x'{encode(row).hex()}'")
    executor = new_state(path=path)
    said = request(device(1), 40, op("add", 1))
    for act in (lambda: executor.judge(device(1), said.message), lambda: run(executor, said)):
        with pytest.raises(StateDamaged, match="sessions"):
            act()
    executor.close()


def test_a_damaged_database_is_moved_aside_and_never_over_another(path: Path) -> None:
    for number in (1, 2, 3):
        path.write_bytes(b"garbage %d" % number)
        path.with_name("state.sqlite-wal").write_bytes(b"log %d" % number)
        aside = set_aside(path)
        assert aside == path.with_name(f"state.damaged-{number}")
    found = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert found == {
        **{f"state.damaged-{number}": b"garbage %d" % number for number in (1, 2, 3)},
        **{f"state.damaged-{number}-wal": b"log %d" % number for number in (1, 2, 3)},
    }


def test_of_damaged_databases_the_newest_are_kept_and_nothing_else_is_touched(path: Path) -> None:
    """A disk that goes on failing must not fill up with them; copies under other names are somebody's own."""
    others = ("state.damaged-1.txt", "state.damaged-x", "ledger.damaged-1")
    for name in others:
        path.with_name(name).write_bytes(b"somebody's")
    for number in range(1, DAMAGED_KEPT_MAX + 3):
        path.write_bytes(b"garbage %d" % number)
        path.with_name("state.sqlite-wal").write_bytes(b"log")
        set_aside(path)
    kept = range(3, DAMAGED_KEPT_MAX + 3)
    names = {f"state.damaged-{number}{end}" for number in kept for end in ("", "-wal")}
    assert {each.name for each in path.parent.iterdir()} == {*names, *others}
    path.with_name("state.damaged-4").unlink()
    path.write_bytes(b"garbage")
    assert set_aside(path) == path.with_name(f"state.damaged-{kept[-1] + 1}"), "a number is not given twice"


def test_a_crash_while_it_is_moved_leaves_what_is_begun_anew(path: Path) -> None:
    """The database is gone already, its log not yet: the log must not be taken for the new one's."""
    executor = new_state(path=path)
    talk(executor, 3)
    executor.settle()
    log = path.with_name("state.sqlite-wal").read_bytes()
    executor.close()
    path.rename(path.with_name("state.damaged-1"))
    path.with_name("state.sqlite-wal").write_bytes(log)
    executor = new_state(path=path)
    assert executor.position.last_executed == 0
    assert executor.recomputed_state_root() == new_state().state_root()
    executor.close()


def test_a_state_that_was_damaged_is_fetched_from_peers(path: Path) -> None:
    holders = sources(44, logs=40)
    path.write_bytes(path.read_bytes()[:20_000])
    assert is_damaged(path)
    set_aside(path)
    fetcher = new_state(path=path)
    Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    fetcher.close()
