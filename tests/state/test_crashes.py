"""The process or the machine dies between any two writes; the database is opened as it was left."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crypto.digest import Digest, digest_of
from pbft.core.group import Group
from pbft.state.errors import StorageFailure
from pbft.state.executor import Executor, open_state
from tests.state.toy import Toy, roots, sample_batches, small_group

BATCHES = list(sample_batches())
GROUP = small_group()


class Copying(sqlite3.Connection):
    """Copies the database's files before every statement that it runs, and once more after a commit."""

    source: Path
    copies: Path
    seen: set[Digest]

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.copy()
        cursor = super().execute(sql, *parameters)
        if sql == "COMMIT":
            self.copy()
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        self.copy()
        return super().executemany(sql, parameters)

    def copy(self) -> None:
        files = [path for path in (self.source, Path(f"{self.source}-wal")) if path.exists()]
        digest = digest_of(b"".join(path.read_bytes() for path in files))
        if digest not in self.seen:
            directory = self.copies / str(len(self.seen))
            directory.mkdir()
            for path in files:
                shutil.copy(path, directory)
            self.seen.add(digest)


def expected_roots(group: Group = GROUP) -> list[Digest]:
    executor = open_state(":memory:", Toy(), group)
    first = executor.state_root()
    found = [first, *roots(executor, BATCHES)]
    executor.close()
    return found


def check_and_finish(path: Path, expected: list[Digest], group: Group = GROUP) -> int:
    """Open what a crash left, and execute the rest: the roots are as if there had been no crash."""
    executor: Executor = open_state(path, Toy(), group)
    position = executor.position.last_executed
    assert executor.state_root() == executor.recomputed_state_root() == expected[position]
    if executor.checkpoint is not None:
        assert executor.checkpoint.state_root == expected[executor.checkpoint.sequence]
        assert executor.checkpoint.sequence == position - position % group.parameters.checkpoint_interval
    assert roots(executor, BATCHES[position:]) == expected[position + 1 :]
    executor.close()
    return position


def test_pitfall_10_killed_between_any_two_writes_the_state_is_that_of_a_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, connect = expected_roots(), sqlite3.connect
    Copying.source, Copying.copies, Copying.seen = tmp_path / "state.sqlite", tmp_path / "copies", set()
    Copying.copies.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", partial(connect, factory=Copying))
        executor = open_state(Copying.source, Toy(), small_group())
        roots(executor, BATCHES)
        executor.close()
    positions = [check_and_finish(copy / "state.sqlite", expected) for copy in sorted(Copying.copies.iterdir())]
    assert set(positions) == set(range(len(BATCHES) + 1))


def test_pitfall_10_power_lost_while_the_log_was_written_gives_an_earlier_batch(tmp_path: Path) -> None:
    group = small_group(checkpoint_interval=64)  # at a checkpoint the log is synced, and copied into the database
    expected = expected_roots(group)
    source = tmp_path / "state.sqlite"
    executor = open_state(source, Toy(), group)
    roots(executor, BATCHES)
    whole = Path(f"{source}-wal").read_bytes()
    positions = []
    for number, length in enumerate(range(0, len(whole), len(whole) // 60)):
        directory = tmp_path / str(number)
        directory.mkdir()
        shutil.copy(source, directory)
        (directory / "state.sqlite-wal").write_bytes(whole[:length])
        positions.append(check_and_finish(directory / "state.sqlite", expected, group))
    executor.close()
    assert positions == sorted(positions)
    assert positions[0] == 0
    assert len(set(positions)) > len(BATCHES) // 2


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (sqlite3.SQLITE_INSERT, "rows_lines"),
        (sqlite3.SQLITE_INSERT, "page_digests"),
        (sqlite3.SQLITE_UPDATE, "page_digests"),
        (sqlite3.SQLITE_INSERT, "meta"),
        (sqlite3.SQLITE_TRANSACTION, "COMMIT"),
    ],
)
def test_pitfall_10_a_batch_abandoned_halfway_starts_over(tmp_path: Path, action: int, name: str) -> None:
    expected = expected_roots()
    path = tmp_path / "state.sqlite"
    executor = open_state(path, Toy(), small_group())
    roots(executor, BATCHES[:3])

    def refuse(asked: int, what: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if (asked, what) == (action, name) else sqlite3.SQLITE_OK

    executor._store.connection.set_authorizer(refuse)
    with pytest.raises(StorageFailure, match="not authorized"):
        roots(executor, BATCHES[3:4])
    executor.close()
    assert check_and_finish(path, expected) == 3
