"""Faults of disks, each seen by the ledger that has to live with it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from adversary.disk import Disk, NodeRunsError, limit_file_size
from chatsvc.process import LOCK_NAME, STATE_NAME
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from tests.node.ledgers import fill, open_ledger, records_in, slot, verdict
from tests.state.exchange import new_state, scrub_all, talk

SLOTS = 6
RECORDS = [record for sequence in range(1, SLOTS + 1) for record in slot(sequence)]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Of a node that has stopped: keys, ledger and state."""
    directory = tmp_path / "replica-0"
    fill(directory, [slot(sequence) for sequence in range(1, SLOTS + 1)])
    (directory / STATE_NAME).write_bytes(b"state")
    (directory / "signing.key").write_bytes(b"key")
    (directory / "evidence").mkdir()
    return Disk(directory)


def names(disk: Disk) -> set[str]:
    return {path.name for path in disk.directory.iterdir()} - {LOCK_NAME}


def test_losing_the_ledger_leaves_the_state(disk: Disk) -> None:
    disk.lose_ledger()
    assert names(disk) == {STATE_NAME, "signing.key", "evidence"}


def test_losing_the_state_leaves_the_votes(disk: Disk) -> None:
    disk.lose_state()
    assert names(disk) == {LEDGER_NAME, WITNESS_NAME, "signing.key", "evidence"}
    assert list(records_in(disk.directory)) == RECORDS


def test_a_new_disk_holds_the_keys_alone(disk: Disk) -> None:
    disk.lose_all()
    assert names(disk) == {"signing.key"}
    disk.lose_all()
    assert names(disk) == {"signing.key"}


def test_a_flipped_bit_is_the_only_change(disk: Disk) -> None:
    disk.flip_bit(STATE_NAME, -1, 1)
    assert (disk.directory / STATE_NAME).read_bytes() == b"statg"
    disk.flip_bit(STATE_NAME, -1, 1)
    assert (disk.directory / STATE_NAME).read_bytes() == b"state"


def test_rot_is_the_same_for_the_same_seed(disk: Disk) -> None:
    before = (disk.directory / LEDGER_NAME).read_bytes()
    offsets = disk.rot(LEDGER_NAME, bits=3, seed=7)
    rotten = (disk.directory / LEDGER_NAME).read_bytes()
    assert {offset for offset in range(len(before)) if before[offset] != rotten[offset]} == set(offsets)
    (disk.directory / LEDGER_NAME).write_bytes(before)
    assert disk.rot(LEDGER_NAME, bits=3, seed=7) == offsets
    assert (disk.directory / LEDGER_NAME).read_bytes() == rotten


@pytest.mark.parametrize("place", [0, SLOTS, -1])
def test_a_spoilt_record_is_noticed(disk: Disk, place: int) -> None:
    numbers = disk.records()
    assert len(numbers) == len(RECORDS)
    disk.spoil_record(numbers[place])
    assert verdict(disk.directory) is None


def test_an_empty_ledger_has_no_records(tmp_path: Path) -> None:
    fill(tmp_path / "replica-0", [])
    assert len(Disk(tmp_path / "replica-0").records()) == 0


def test_a_torn_log_has_lost_its_last_transaction(disk: Disk, tmp_path: Path) -> None:
    """The log is there only while a ledger is open, or after a crash: a copy of an open one."""
    ledger = open_ledger(disk.directory)
    ledger.append(slot(SLOTS + 1))
    disk.keep_copy(tmp_path / "crashed")
    disk.keep_copy(tmp_path / "torn")
    ledger.close()
    assert len(records_in(tmp_path / "crashed")) == len(RECORDS) + len(slot(SLOTS + 1))
    torn = Disk(tmp_path / "torn")
    torn.tear_ledger(1)
    assert verdict(torn.directory) is None, "the witness knows of more"


def test_rotten_rows_are_found_by_whoever_looks_at_their_pages(tmp_path: Path) -> None:
    executor = new_state(path=tmp_path / STATE_NAME)
    talk(executor, 8)
    assert not scrub_all(executor)
    executor.close()
    assert Disk(tmp_path).spoil_rows(2, seed=1) == 2
    executor = new_state(path=tmp_path / STATE_NAME)
    assert 1 <= len(scrub_all(executor)) <= 2
    executor.close()


def test_an_older_image_is_put_back_whole(disk: Disk, tmp_path: Path) -> None:
    disk.keep_copy(tmp_path / "image")
    ledger = open_ledger(disk.directory)
    ledger.append(slot(SLOTS + 1))
    ledger.close()
    (disk.directory / "evidence" / "new").write_bytes(b"")
    (disk.directory / "new").write_bytes(b"")
    disk.go_back_to(tmp_path / "image")
    assert list(records_in(disk.directory)) == RECORDS
    assert names(disk) == {STATE_NAME, LEDGER_NAME, WITNESS_NAME, "signing.key", "evidence"}
    assert list((disk.directory / "evidence").iterdir()) == []


def test_nothing_is_done_to_a_node_that_runs(disk: Disk, tmp_path: Path) -> None:
    before = names(disk)
    with (disk.directory / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for fault in (
            disk.lose_ledger,
            disk.lose_state,
            disk.lose_all,
            lambda: disk.flip_bit(STATE_NAME, 0),
            lambda: disk.spoil_record(1),
            lambda: disk.tear(STATE_NAME, 1),
            lambda: disk.keep_copy(tmp_path / "image"),
            lambda: disk.go_back_to(tmp_path / "image"),
        ):
            with pytest.raises(NodeRunsError, match="stop the node"):
                fault()
    assert names(disk) == before


WRITER = """
import sys
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in sys.stdin:
        try:
            print(file.write(bytes(1000)), flush=True)
        except OSError as error:
            print(error.strerror, flush=True)
"""


def test_a_running_process_can_be_left_no_room_and_given_it_back(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def write() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert write() == "1000"
        limit_file_size(process.pid, 1500)
        assert [write(), write()] == ["500", "File too large"]
        limit_file_size(process.pid, None)
        assert write() == "1000"
        process.stdin.close()
