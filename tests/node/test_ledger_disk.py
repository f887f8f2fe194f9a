"""The ledger and the machine under it: killed processes, full and failing disks (attacks 33, 34, 37)."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pbft.core.effects import Record
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import WITNESS_NAME, has_run
from pbft.state.errors import StorageFailure
from tests.node.appending import INTERVAL, RETAINED, transaction
from tests.node.ledgers import IDENTITY, image_of, open_ledger, record, records_in, slot, stable

REMEDY = "free the disk or replace it, then start the node again"


def appender(directory: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.node.appending", str(directory), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def whole_transactions(records: tuple[Record, ...]) -> list[SequenceNumber]:
    """The sequence numbers stored, each with all its records, or an assertion fails. The oldest may be cut."""
    numbers = sorted({each.sequence for each in records})
    for number in numbers[1:]:
        assert [each for each in records if each.sequence == number] == transaction(number)
    assert all(after == before + 1 for before, after in pairwise(numbers)), "no gaps"
    return numbers


def test_pitfall_10_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Killed again and again, at points drawn by a seed, between any two writes: nothing that was said is lost."""
    seed = 20240
    dice = random.Random(seed)  # noqa: S311 - draws a scenario, no secret
    acknowledged = 0
    for _ in range(6):
        process = appender(tmp_path)
        assert process.stdout is not None
        for _ in range(dice.randrange(1, 60)):
            acknowledged = int(process.stdout.readline().split()[1])
        process.kill()
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        acknowledged = int(rest[-1].split()[1]) if rest and rest[-1].startswith(b"stored") else acknowledged
        numbers = whole_transactions(records_in(tmp_path))
        assert numbers[-1] in {acknowledged, acknowledged + 1}, f"seed {seed}"
        assert numbers[0] <= max(1, acknowledged - acknowledged % INTERVAL - RETAINED + 1)


@pytest.mark.parametrize("file_bytes_max", [60_000, 200_000, 500_000])
def test_a_full_disk_ends_appending_and_nothing_is_half_stored(tmp_path: Path, file_bytes_max: int) -> None:
    process = appender(tmp_path, file_bytes_max)
    output, _ = process.communicate(timeout=60)
    *stored, failed = output.decode().splitlines()
    assert failed.startswith(f"failed {tmp_path}/ledger.sqlite: ")
    assert failed.endswith(REMEDY)
    acknowledged = int(stored[-1].split()[1])
    assert whole_transactions(records_in(tmp_path))[-1] == acknowledged
    ledger = open_ledger(tmp_path)
    ledger.append(transaction(acknowledged + 1))  # with room again, it goes on
    ledger.close()
    assert whole_transactions(records_in(tmp_path))[-1] == acknowledged + 1


@pytest.mark.parametrize("file_bytes_max", [0, 23, 24, 4096, 20_000])
def test_a_disk_that_is_full_when_the_ledger_is_made_is_named(tmp_path: Path, file_bytes_max: int) -> None:
    process = appender(tmp_path, file_bytes_max)
    output, _ = process.communicate(timeout=60)
    assert output.decode().splitlines()[-1].endswith(REMEDY)
    assert str(tmp_path) in output.decode()
    if not has_run(tmp_path):  # with room again, it is made
        Ledger.create(tmp_path, IDENTITY)
    records_in(tmp_path)


def test_sqlite_out_of_pages_stores_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append(slot(1))
    (pages,) = ledger._database.execute("PRAGMA page_count").fetchone()
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")
    before = image_of(tmp_path)[WITNESS_NAME]
    with pytest.raises(StorageFailure, match=f"ledger.sqlite: database or disk is full. .*{REMEDY}"):
        ledger.append([record(2), record(3, size=100_000)])
    assert ledger.records() == tuple(slot(1))
    assert image_of(tmp_path)[WITNESS_NAME] == before
    ledger.close()
    assert records_in(tmp_path) == tuple(slot(1))


def test_a_failing_sync_of_the_witness_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(tmp_path, retained=1)
    ledger.append(slot(1))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageFailure, match=f"{WITNESS_NAME}: Input/output error"):
            ledger.append([*slot(3), stable(4)])
    ledger.close()
    assert records_in(tmp_path) == tuple(slot(1))


def test_a_failing_write_of_the_witness_is_a_failure_and_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append(slot(1))

    def fail(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StorageFailure, match=f"{WITNESS_NAME}: Input/output error"):
            ledger.append(slot(2))
    ledger.close()
    assert records_in(tmp_path) == (*slot(1), *slot(2))


def test_after_a_failure_the_ledger_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that failed a sync may have dropped what it failed to write; no later success makes up for it."""
    ledger = open_ledger(tmp_path)

    def fail(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StorageFailure):
            ledger.append(slot(1))
    with pytest.raises(StorageFailure, match=REMEDY):
        ledger.append(slot(2))
    ledger.close()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match=rf"no-such-directory.*: No such file or directory. .*{REMEDY}"):
        Ledger(tmp_path / "no-such-directory", IDENTITY, retained_sequences=1)
