"""Ledgers that were left by somebody else: read within bounds, or called unreadable."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pbft.node import post_mortem
from pbft.node.post_mortem import LedgerCopy

RECORDS = "records (id INTEGER PRIMARY KEY, kind TEXT, sequence INTEGER, data BLOB)"


def ledger(directory: Path, *statements: str) -> Path:
    path = directory / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path


def read(path: Path) -> tuple[int, str]:
    """How many records were read, and what was wrong."""
    copy = LedgerCopy(path, 1000)
    return len(list(copy)), copy.problem


def many(directory: Path, rows: int) -> Path:
    fill = (
        f"WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c LIMIT {rows}) "
        "INSERT INTO records SELECT id, 'commit', id, x'00' FROM c"
    )
    return ledger(directory, f"CREATE TABLE {RECORDS}", fill)


def test_a_ledger_is_read(tmp_path: Path) -> None:
    assert read(many(tmp_path, 100)) == (100, "")


def endless_view(directory: Path) -> Path:
    return ledger(
        directory,
        "CREATE VIEW records AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) "
        "SELECT id, 'commit' AS kind, id AS sequence, x'00' AS data FROM c",
    )


def computed_column(directory: Path) -> Path:
    computed = "data BLOB GENERATED ALWAYS AS (zeroblob(1000 * sequence))"
    return ledger(
        directory, f"CREATE TABLE records (id INTEGER PRIMARY KEY, kind TEXT, sequence INTEGER, {computed})"
    )


def virtual_table(directory: Path) -> Path:
    return ledger(directory, "CREATE VIRTUAL TABLE records USING fts5(kind, sequence, data)")


def without_records(directory: Path) -> Path:
    return ledger(directory, "CREATE TABLE others (id INTEGER)")


@pytest.mark.parametrize("make", [endless_view, computed_column, virtual_table, without_records])
def test_what_only_looks_like_records_is_not_read(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    assert read(path) == (0, f"{path}: its records are no plain table")


def test_only_so_many_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_mortem, "RECORDS_MAX", 60)
    assert read(many(tmp_path, 100)) == (60, "")


def test_records_that_are_passed_over_take_no_time_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_mortem, "STEPS_AT_ONCE", 100)
    monkeypatch.setattr(post_mortem, "SQLITE_STEPS_MAX", 1000)
    path = many(tmp_path, 5000)
    records, problem = read(path)
    assert records < 1000
    assert problem == f"{path}: interrupted; {records} records of it were read"


@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
def test_files_that_lead_elsewhere_are_not_followed(tmp_path: Path, end: str) -> None:
    path = many(tmp_path, 10)
    strange = path.with_name(path.name + end)
    strange.unlink(missing_ok=True)
    strange.symlink_to("/dev/zero")
    assert read(path) == (0, f"{strange}: Too many levels of symbolic links")


def test_a_pipe_is_no_ledger(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger.sqlite")
    assert read(tmp_path / "ledger.sqlite") == (0, f"{tmp_path / 'ledger.sqlite'}: is no file")


def test_a_ledger_that_is_too_large_to_be_copied_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_mortem, "LEDGER_BYTES_MAX", 4096)
    path = many(tmp_path, 1000)
    assert read(path) == (0, f"{path}: is longer than the 4096 bytes that it may have")
