"""A restart from the ledger: what it gives back, and what it refuses to start from."""

from __future__ import annotations

import pytest

from pbft.core.codec import Opener
from pbft.core.effects import Alarm, Effects, Record, RecordKind, Recovered, Send, SetTimer, Timer, merge_effects
from pbft.core.errors import InvariantViolation, UnsafeVote
from pbft.core.frames import wire_of
from pbft.core.messages import Fetch, PeerMessage, Status
from pbft.core.replica import Replica
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber, View
from pbft.core.voting_rules import VotingRules
from tests.harness.craft import Craft, digest
from tests.harness.executor import MemoryExecutor
from tests.harness.keys import make_group

K = 4
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
CRAFT = Craft(MEMBERS)
X, Y = (CRAFT.batch(CRAFT.request(name)) for name in "ab")


def start(*records: Record, me: int = 1, last_executed: int = 0) -> tuple[Replica, Effects]:
    replica = Replica(
        group=MEMBERS.group,
        me=ReplicaId(me),
        rules=VotingRules(MEMBERS.group, ReplicaId(me), MEMBERS.signers[me]),
        opener=Opener(MEMBERS.group, MEMBERS.verifier),
        executed=MemoryExecutor(MEMBERS.group),
    )
    recovered = Recovered(
        now=Now(steady=Milliseconds(0), wall=Milliseconds(0)),
        records=records,
        last_executed=SequenceNumber(last_executed),
        checkpoint=None,
    )
    return replica, replica.step(recovered)


def record(kind: RecordKind, sequence: int, data: bytes) -> Record:
    return Record(kind, SequenceNumber(sequence), data)


def proposal(sequence: int = 1, *, me: int = 0) -> Record:
    return record(RecordKind.PROPOSAL, sequence, CRAFT.proposal(me, sequence, X).wire)


# -- what it gives back


def test_an_empty_ledger_is_a_first_start() -> None:
    replica, effects = start()
    assert replica.log.last_executed == 0
    assert [timer.timer for timer in effects.timers] == [Timer.STATUS]
    assert effects.persist == ()


def test_everything_in_the_window_is_there_again() -> None:
    certificate = CRAFT.commit_certificate(1, X.digest, (0, 2, 3))
    replica, effects = start(
        proposal(),
        record(RecordKind.PREPARE, 1, CRAFT.prepare(1, 1, X.digest).wire),
        record(RecordKind.PREPARED, 1, CRAFT.prepared(1, X.digest, (1, 2)).wire),
        record(RecordKind.COMMIT, 1, CRAFT.commit(1, 1, X.digest).wire),
        record(RecordKind.COMMITTED, 1, certificate.wire),
        record(RecordKind.COMMITTED, 2, CRAFT.commit_certificate(2, Y.digest, (0, 2, 3)).wire),
        record(RecordKind.BODY, 2, Y.wire),
    )
    slot = replica.log.get(1)
    assert slot is not None
    assert (set(slot.prepares), set(slot.commits)) == ({1}, {1})
    assert slot.prepared == CRAFT.prepared(1, X.digest, (1, 2))
    assert [(execute.sequence, execute.batch.digest) for execute in effects.execute] == [(1, X.digest), (2, Y.digest)]
    assert effects.persist == ()
    assert effects.send == ()


def test_what_the_state_has_is_not_executed_again() -> None:
    committed = record(RecordKind.COMMITTED, 1, CRAFT.commit_certificate(1, X.digest, (0, 2, 3)).wire)
    _, effects = start(proposal(), committed, last_executed=1)
    assert effects.execute == ()


def test_what_is_below_the_stable_checkpoint_is_forgotten() -> None:
    stable = record(RecordKind.STABLE, K, CRAFT.checkpoint_certificate(K, digest("r"), (0, 1, 2)).wire)
    older = record(RecordKind.STABLE, K, CRAFT.checkpoint_certificate(K, digest("r"), (1, 2, 3)).wire)
    replica, _ = start(proposal(1), stable, older, proposal(K + 1), last_executed=K)
    assert replica.log.low_watermark == K
    assert replica.log.get(1) is None
    assert replica.log.get(K + 1) is not None


def test_the_votes_read_back_bind_like_those_just_made() -> None:
    replica, _ = start(proposal(), record(RecordKind.PREPARE, 1, CRAFT.prepare(1, 1, X.digest).wire))
    with pytest.raises(UnsafeVote):
        replica.rules.sign_prepare(CRAFT.proposal(0, 1, Y))


# -- what it refuses to start from


STATUS = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())


@pytest.mark.parametrize("kind", RecordKind)
@pytest.mark.parametrize(
    "data", [b"", b"garbage", wire_of(MEMBERS.group.epoch, STATUS)], ids=["", "garbage", "status"]
)
def test_a_record_that_does_not_open_stops_the_node(kind: RecordKind, data: bytes) -> None:
    with pytest.raises(InvariantViolation, match="record"):
        start(record(kind, 1, data))


def test_a_record_of_another_group_stops_the_node() -> None:
    other = Craft(make_group(4, epoch=1))
    with pytest.raises(InvariantViolation, match="epoch"):
        start(record(RecordKind.PREPARE, 1, other.prepare(1, 1, X.digest).wire))


def test_a_stable_checkpoint_that_the_state_has_not_reached_stops_the_node() -> None:
    stable = record(RecordKind.STABLE, K, CRAFT.checkpoint_certificate(K, digest("r"), (0, 1, 2)).wire)
    with pytest.raises(InvariantViolation, match="the state only reaches 3"):
        start(stable, last_executed=K - 1)


@pytest.mark.parametrize(
    "records",
    [
        (CRAFT.prepare(1, 1, X.digest), CRAFT.prepare(1, 1, Y.digest)),
        (CRAFT.commit(1, 1, X.digest), CRAFT.commit(1, 1, Y.digest)),
        (CRAFT.checkpoint(1, K, digest("x")), CRAFT.checkpoint(1, K, digest("y"))),
    ],
    ids=["prepare", "commit", "checkpoint"],
)
def test_a_ledger_that_contradicts_itself_stops_the_node(records: tuple[object, ...]) -> None:
    kinds = {"Prepare": RecordKind.PREPARE, "Commit": RecordKind.COMMIT, "Checkpoint": RecordKind.CHECKPOINT}
    written = [
        record(kinds[type(vote.message).__name__], vote.message.sequence, vote.wire)  # type: ignore[attr-defined]
        for vote in records
    ]
    with pytest.raises(UnsafeVote):
        start(*written)


def test_a_primary_whose_ledger_holds_two_proposals_for_one_slot_stops() -> None:
    second = record(RecordKind.PROPOSAL, 1, CRAFT.proposal(0, 1, Y).wire)
    with pytest.raises(UnsafeVote):
        start(proposal(), second, me=0)


# -- effects of several steps


def test_effects_of_several_steps_are_carried_out_field_by_field() -> None:
    fetch = Send(to=(ReplicaId(1),), message=Fetch(wanted=()))
    first = Effects(send=(fetch,), alarms=(Alarm(text="one"),))
    second = Effects(
        persist=(record(RecordKind.PREPARE, 1, b""),),
        timers=(SetTimer(Timer.STATUS, Milliseconds(1)),),
        alarms=(Alarm(text="two"),),
    )
    merged = merge_effects([first, second])
    assert merged == Effects(
        persist=second.persist, send=first.send, timers=second.timers, alarms=(*first.alarms, *second.alarms)
    )
    assert merge_effects([first]) is first
    assert merge_effects([]) == Effects()


# -- what need not be checked


def test_useless_is_what_would_be_ignored_whatever_its_signatures() -> None:
    """What contradicts something never is: it may be evidence."""
    replica, _ = start(
        proposal(), record(RecordKind.COMMITTED, 1, CRAFT.commit_certificate(1, X.digest, (0, 2, 3)).wire)
    )
    messages: dict[str, PeerMessage] = {
        "the same proposal": CRAFT.proposal(0, 1, X),
        "another proposal": CRAFT.proposal(0, 1, Y),
        "the next proposal": CRAFT.proposal(0, 2, Y),
        "a proposal by a backup": CRAFT.proposal(2, 2, Y),
        "a proposal far ahead": CRAFT.proposal(0, 1000, Y),
        "a prepare": CRAFT.prepare(3, 1, X.digest),
        "a prepare of another view": CRAFT.prepare(3, 1, X.digest, view=1),
        "a commit": CRAFT.commit(3, 1, Y.digest),
        "a commit far ahead": CRAFT.commit(3, 1000, Y.digest),
        "the same certificate": CRAFT.commit_certificate(1, X.digest, (0, 1, 2)),
        "the next certificate": CRAFT.commit_certificate(2, X.digest, (0, 1, 2)),
        "a checkpoint": CRAFT.checkpoint(3, K, digest("r")),
        "a status": STATUS,
    }
    assert {what for what, message in messages.items() if replica.is_useless(message)} == {
        "the same proposal",
        "a proposal by a backup",
        "a proposal far ahead",
        "a prepare of another view",
        "a commit far ahead",
        "the same certificate",
    }
