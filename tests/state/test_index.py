from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from pbft.core.application import RowChange
from pbft.state.errors import StorageFailure
from pbft.state.executor import Executor, open_state
from pbft.state.index import DerivedIndex
from tests.state.exchange import MEMBERS, Exchange, certificate, same, sources, talk
from tests.state.toy import Toy, device, op, request, run, small_group


class Texts:
    """The texts of all lines, by log and number; breaks on a text that says so."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.created = 0
        self.seen: list[RowChange] = []

    def create(self, connection: sqlite3.Connection) -> None:
        self.created += 1
        connection.execute("CREATE TABLE texts (log, number, text, PRIMARY KEY (log, number))")

    def bind(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def clear(self, connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE IF EXISTS texts")

    def apply(self, connection: sqlite3.Connection, changes: Sequence[RowChange]) -> None:
        self.seen += changes
        for change in changes:
            if change.table == "lines" and change.key[1] and change.row is not None:
                connection.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", (*change.key, change.row[0]))
                if change.row[0] == "break":
                    raise UnicodeError("no such word")
                if change.row[0] == "clash":
                    connection.execute("INSERT INTO texts VALUES (?, ?, '')", change.key)
                if change.row[0] == "disk":
                    raise sqlite3.OperationalError("disk I/O error")

    def texts(self) -> list[str]:
        return [text for (text,) in self.connection.execute("SELECT text FROM texts ORDER BY log, number")]


class Unmakable(Texts):
    def create(self, connection: sqlite3.Connection) -> None:
        connection.execute("CREATE NONSENSE")


def start(path: Path, index: DerivedIndex | None) -> Executor:
    return open_state(path, Toy(), small_group(), index)


def say(executor: Executor, *texts: str) -> None:
    first = executor.position.last_executed * 10
    device_number = first % 250
    run(executor, request(device(device_number), 0, *[op("say", "log", text) for text in texts]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def test_the_index_follows_the_applications_rows_in_the_same_transaction(path: Path) -> None:
    index = Texts()
    executor = start(path, index)
    say(executor, "a", "b")
    say(executor, "c")
    assert index.texts() == ["a", "b", "c"]
    assert {change.table for change in index.seen} == {"lines"}
    executor.close()


def test_it_is_outside_the_root(path: Path, tmp_path: Path) -> None:
    with_index, without = start(path, Texts()), start(tmp_path / "other.sqlite", None)
    for executor in (with_index, without):
        say(executor, "a")
    assert with_index.state_root() == without.state_root()
    with_index.close()
    without.close()


def test_a_database_whose_index_cannot_be_made_is_closed_again(path: Path) -> None:
    start(path, None).close()
    with pytest.raises(StorageFailure, match="near"):
        start(path, Unmakable())
    start(path, Texts()).close()


def test_it_is_kept_when_its_version_is_the_same_and_rebuilt_when_not(path: Path) -> None:
    executor = start(path, Texts())
    say(executor, "a", "b")
    executor.close()
    for version, created in [(1, 0), (2, 1), (2, 0), (1, 1)]:
        index = Texts(version)
        executor = start(path, index)
        assert (index.created, index.texts()) == (created, ["a", "b"])
        executor.close()


def test_it_is_rebuilt_after_batches_were_executed_without_it(path: Path) -> None:
    start(path, Texts()).close()
    executor = start(path, None)
    say(executor, "a")
    executor.close()
    index = Texts()
    executor = start(path, index)
    assert index.texts() == ["a"]
    executor.close()


@pytest.mark.parametrize("bad", ["break", "clash"])
def test_a_row_it_fails_on_is_left_out_batch_by_batch_and_rebuilt_alike(path: Path, bad: str) -> None:
    index = Texts()
    executor = start(path, index)
    say(executor, "a", bad, "c")
    say(executor, "d")
    assert index.texts() == ["a", "c", "d"]
    executor.close()
    rebuilt = Texts(version=2)
    executor = start(path, rebuilt)
    assert rebuilt.texts() == ["a", "c", "d"]
    executor.close()


def test_a_broken_disk_is_no_row_to_leave_out(path: Path) -> None:
    executor = start(path, Texts())
    with pytest.raises(StorageFailure, match="disk I/O error"):
        say(executor, "a", "disk")
    assert executor.position.last_executed == 0
    executor.close()


def test_an_index_is_made_anew_once_the_state_is_whole_when_a_row_it_followed_cannot_be_told(path: Path) -> None:
    """A key rotted: which row that was nobody knows, and the index still has it."""
    holders = sources(8)
    index = Texts()
    fetcher = open_state(path, Toy(), MEMBERS.group, index)
    talk(fetcher, 8)
    talk(fetcher, 2, by=20)  # what the others do not have, and take away
    rows = fetcher._store.connection
    (key,) = rows.execute(
        "SELECT max(key) FROM rows_lines WHERE page = (SELECT max(page) FROM rows_lines)"
    ).fetchone()
    rows.execute("UPDATE rows_lines SET key = ? WHERE key = ?", (key[:-8] + b"\xff" * 8, key))
    Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    texts = [row[0] for key, row in fetcher._store.all_rows("lines") if key[1]]
    assert index.texts() == texts
    assert index.created == 2
    fetcher.close()
    index = Texts()
    open_state(path, Toy(), MEMBERS.group, index).close()
    assert index.created == 0, "and stays"
