"""The log holds at most two windows of slots, wherever its replica stands."""

from __future__ import annotations

from adversary.craft import Craft, digest
from adversary.keys import make_group
from pbft.core.log import Log
from pbft.core.types import Milliseconds, SequenceNumber

MEMBERS = make_group(4, checkpoint_interval=4, pipeline_depth=2)
CRAFT = Craft(MEMBERS)
WINDOW = MEMBERS.group.parameters.window


def certify(log: Log, sequence: int) -> None:
    slot = log.slot(SequenceNumber(sequence), Milliseconds(0))
    slot.certificate = CRAFT.commit_certificate(sequence, digest("batch"), range(3))


def test_a_replica_that_executes_nothing_while_the_group_goes_on_keeps_two_windows() -> None:
    """It fetches a state, which takes long; certificates of all that is ordered meanwhile reach it."""
    log = Log(MEMBERS.group)
    for sequence in range(1, 10 * WINDOW + 1):
        certify(log, sequence)
        if sequence % 4 == 0:
            log.advance(SequenceNumber(sequence - 4))
        assert len(log) <= 2 * WINDOW
    assert log.get(WINDOW) is not None
    assert log.get(WINDOW + 1) is None
    assert log.get(10 * WINDOW) is not None


def test_what_is_next_to_be_executed_outlives_the_checkpoint_above_it() -> None:
    log = Log(MEMBERS.group)
    for sequence in range(1, 9):
        certify(log, sequence)
    log.advance(SequenceNumber(8))
    assert [slot.sequence for slot in log.slots()] == list(range(1, 9))
    log.executed(SequenceNumber(1))
    assert log.get(1) is None
