"""Disks that crash, lose power, fill up, fail and rot, with the real ledger and state on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.craft import Craft
from adversary.keys import make_group
from adversary.simulator.storage import STATE_FILES, Disk, Opening
from chatsvc.application.operations import Create, Post, Register, encode_operation
from chatsvc.process import STATE_NAME
from pbft.core.effects import Execute, Record, RecordKind
from pbft.core.types import Milliseconds, Now, SequenceNumber
from pbft.state.errors import StorageFailure

MEMBERS = make_group(4, checkpoint_interval=4, pipeline_depth=2)
NOW = Now(steady=Milliseconds(1), wall=Milliseconds(1))


class Machine:
    """A disk, and something to write on it."""

    def __init__(self, directory: Path) -> None:
        self.disk = Disk(directory / "disk", MEMBERS.group, b"identity", 1024)
        self.disk.open()

    @property
    def executed(self) -> int:
        return self.disk.executor.position.last_executed

    def execute(self, count: int) -> None:
        craft = Craft(MEMBERS)
        for _ in range(count):
            number = self.executed
            operation = (Register("alice"), Create("main", ""))[number] if number < 2 else Post(
                room="main", body=f"message {number}"
            )  # fmt: skip
            batch = craft.batch(craft.request("alice", number, encode_operation(operation)))
            self.disk.execute(Execute(sequence=SequenceNumber(number + 1), batch=batch), NOW)

    def vote(self, sequence: int, *, kind: RecordKind = RecordKind.PREPARE) -> None:
        self.disk.ledger.append([Record(kind, SequenceNumber(sequence), b"a vote" * 20)])

    def votes(self, count: int) -> None:
        for sequence in range(1, count + 1):
            self.vote(sequence)

    def restart(self) -> Opening:
        return self.disk.open()


@pytest.fixture
def machine(memory: Path) -> Machine:
    return Machine(memory)


def test_a_killed_process_keeps_what_it_handed_to_the_system(machine: Machine) -> None:
    machine.execute(2)
    machine.disk.executor.settle()
    machine.execute(1)
    machine.vote(3)
    machine.disk.kill()
    machine.restart()
    assert machine.executed == 2
    assert [record.sequence for record in machine.disk.ledger.records()] == [3]


def test_without_power_the_state_goes_back_to_its_last_checkpoint(machine: Machine) -> None:
    machine.execute(6)
    machine.disk.executor.settle()
    machine.vote(6)
    machine.disk.kill(power=True)
    machine.restart()
    assert machine.executed == 4
    assert len(machine.disk.ledger.records()) == 1
    machine.execute(3)
    assert machine.executed == 7


def test_an_older_witness_after_a_power_loss_is_no_damage(machine: Machine) -> None:
    machine.vote(1)
    machine.vote(4, kind=RecordKind.STABLE)
    machine.vote(5)
    machine.disk.kill(power=True)
    machine.restart()
    assert len(machine.disk.ledger.records()) == 3


def test_a_full_disk_is_noticed_by_ledger_and_state(machine: Machine) -> None:
    machine.disk.fill()
    with pytest.raises(StorageFailure, match="full"):
        machine.votes(2000)
    with pytest.raises(StorageFailure, match="full"):
        machine.execute(200)
    machine.disk.kill()
    machine.disk.mend()
    machine.restart()
    machine.execute(1)
    machine.vote(3000)


@pytest.mark.parametrize("kept", [True, False])
def test_a_failed_fsync_fails_the_ledger_for_good(machine: Machine, kept: bool) -> None:
    machine.vote(1)
    machine.disk.fail_sync(kept=kept)
    for sequence in (2, 3):
        with pytest.raises(StorageFailure):
            machine.vote(sequence)
    machine.disk.kill()
    machine.restart()
    assert [record.sequence for record in machine.disk.ledger.records()] == ([1, 2] if kept else [1])


def test_a_founded_disk_holds_an_empty_ledger_and_an_empty_state(machine: Machine) -> None:
    assert machine.disk.ledger.records() == ()
    assert machine.executed == 0
    machine.disk.kill()
    assert machine.restart() == Opening()


def kinds(machine: Machine) -> list[RecordKind]:
    return [record.kind for record in machine.disk.ledger.records()]


def test_a_lost_ledger_is_begun_again_and_says_so(machine: Machine) -> None:
    machine.vote(1)
    machine.execute(4)
    machine.disk.kill()
    machine.disk.damage("lost_ledger", 0, {}, None)
    assert "gone" in machine.restart().ledger
    assert kinds(machine) == [RecordKind.AMNESIA]
    assert machine.executed == 4


def test_a_lost_state_is_an_empty_one(machine: Machine) -> None:
    machine.vote(1)
    machine.execute(4)
    machine.disk.kill()
    machine.disk.damage("lost_state", 0, {}, None)
    assert machine.restart() == Opening()
    assert machine.executed == 0
    assert kinds(machine) == [RecordKind.PREPARE]
    machine.execute(2)
    machine.disk.kill(power=True)
    machine.restart()
    assert machine.executed == 0


def test_of_a_lost_disk_nothing_is_left(machine: Machine) -> None:
    machine.vote(1)
    machine.execute(4)
    machine.disk.kill()
    machine.disk.damage("lost_disk", 0, {}, None)
    assert "gone" in machine.restart().ledger
    assert machine.executed == 0


def test_a_state_that_is_no_database_any_more_is_put_aside(machine: Machine) -> None:
    machine.execute(4)
    machine.disk.kill()
    machine.disk.restore({STATE_NAME: b"x" * 8192}, STATE_FILES)
    assert "damaged" in machine.restart().state
    assert machine.executed == 0


@pytest.mark.parametrize("what", ["torn_ledger", "flipped_ledger"])
def test_a_ledger_that_lost_what_its_witness_saw_is_begun_again(machine: Machine, what: str) -> None:
    for sequence in range(1, 5):
        machine.vote(sequence)
    before = machine.disk.image()
    machine.disk.kill()
    machine.disk.damage(what, len(before["ledger.sqlite-wal"]) // 2, before, None)
    assert machine.restart().ledger
    assert kinds(machine) == [RecordKind.AMNESIA]


def test_a_flipped_row_changes_the_state_behind_its_digests(machine: Machine) -> None:
    machine.execute(4)
    root = machine.disk.executor.state_root()
    machine.disk.kill()
    machine.disk.damage("flipped_state", 12345, {}, None)
    machine.restart()
    assert machine.disk.executor.state_root() == root
    assert machine.disk.executor.recomputed_state_root() != root


def test_a_stale_image_is_an_older_self(machine: Machine) -> None:
    machine.execute(4)
    machine.vote(4)
    image = machine.disk.image()
    machine.execute(4)
    machine.vote(8)
    machine.disk.kill()
    machine.disk.damage("stale", 0, {}, image)
    machine.restart()
    assert machine.executed == 4
    assert [record.sequence for record in machine.disk.ledger.records()] == [4]
