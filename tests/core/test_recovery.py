"""A restart from the ledger: what it gives back, and what it refuses to start from."""

from __future__ import annotations

import pytest

from pbft.core.codec import Opener
from pbft.core.effects import Alarm, Effects, Record, RecordKind, Recovered, Send, SetTimer, Timer, merge_effects
from pbft.core.errors import InvariantViolation, UnsafeVote
from pbft.core.frames import NULL_BATCH, wire_of
from pbft.core.messages import Fetch, NewView, PeerMessage, Signed, Status, ViewChange
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
        replica.rules.sign_prepare(CRAFT.proposal(0, 1, Y).pre_prepare.message)


VC1, VC2, VC5 = (CRAFT.view_change(1, view) for view in (1, 2, 5))
NV1, NV2 = (CRAFT.new_view(view, [CRAFT.view_change(signer, view) for signer in (0, 1, 2)]) for view in (1, 2))


@pytest.mark.parametrize(
    ("records", "view", "in_view"),
    [
        ((), 0, True),
        ((VC1,), 1, False),
        ((VC1, NV1), 1, True),
        ((NV1, VC1), 1, True),
        ((VC1, NV1, VC2), 2, False),
        ((VC2, NV1), 2, False),
        ((VC1, NV1, VC2, NV2), 2, True),
        ((VC5, NV2), 5, False),
    ],
    ids=["nothing", "asked", "begun", "begun, in another order", "asked again", "dropped", "begun again", "far"],
)
def test_it_stands_in_the_highest_view_that_its_ledger_tells_of(
    records: tuple[Signed[ViewChange] | Signed[NewView], ...], view: int, in_view: bool
) -> None:
    kinds = {ViewChange: RecordKind.VIEW_CHANGE, NewView: RecordKind.NEW_VIEW}
    replica, _ = start(*[record(kinds[type(each.message)], 0, each.wire) for each in records])
    assert (replica.log.view, replica.log.in_view) == (view, in_view)
    for lower in range(1, view + in_view):
        with pytest.raises(UnsafeVote):
            replica.rules.enter_view(View(lower))
    assert (replica.votes.new_view is not None) == (in_view and view > 0)
    assert (replica.votes.of(ReplicaId(1)) is not None) == (not in_view)


def test_votes_of_a_view_that_was_left_are_not_its_votes_of_the_view_it_is_in() -> None:
    """What it prepared is kept, for its next VIEW-CHANGE must show it."""
    replica, _ = start(
        proposal(),
        record(RecordKind.PREPARE, 1, CRAFT.prepare(1, 1, X.digest).wire),
        record(RecordKind.PREPARED, 1, CRAFT.prepared(1, X.digest, (1, 2)).wire),
        record(RecordKind.COMMIT, 1, CRAFT.commit(1, 1, X.digest).wire),
        record(RecordKind.VIEW_CHANGE, 0, VC1.wire),
    )
    slot = replica.log.get(1)
    assert slot is not None
    assert (slot.pre_prepare, slot.prepares, slot.commits) == (None, {}, {})
    assert slot.prepared == CRAFT.prepared(1, X.digest, (1, 2))
    assert slot.holds(X.digest) == X


def test_what_a_new_view_proposed_again_is_accepted_still() -> None:
    shown = [CRAFT.view_change(signer, 2, CRAFT.prepared(2, X.digest, (1, 2))) for signer in (0, 1, 2)]
    again = CRAFT.new_view(2, shown)
    vote = CRAFT.prepare(1, 2, X.digest, view=2)
    replica, _ = start(record(RecordKind.NEW_VIEW, 0, again.wire), record(RecordKind.PREPARE, 2, vote.wire))
    slots = [replica.log.get(sequence) for sequence in (1, 2)]
    assert [slot.accepted for slot in slots if slot is not None] == [NULL_BATCH.digest, X.digest]
    assert slots[1] is not None
    assert slots[1].prepares == {1: vote}
    with pytest.raises(UnsafeVote):
        replica.rules.sign_prepare(CRAFT.pre_prepare(2, 2, Y.digest, view=2).message)


def test_a_primary_that_restarts_in_its_view_does_not_propose_where_its_new_view_did() -> None:
    shown = [CRAFT.view_change(signer, 1, CRAFT.prepared(2, X.digest, (1, 2))) for signer in (0, 1, 2)]
    replica, _ = start(record(RecordKind.NEW_VIEW, 0, CRAFT.new_view(1, shown).wire))
    for sequence in (1, 2):
        with pytest.raises(UnsafeVote):
            replica.rules.sign_pre_prepare(View(1), SequenceNumber(sequence), Y)
    replica.rules.sign_pre_prepare(View(1), SequenceNumber(3), Y)


@pytest.mark.parametrize(
    ("marks", "mute"),
    [
        ((), False),
        ((("lost", b"1"),), True),
        ((("lost", b"1"), ("back", b"1")), False),
        ((("back", b"1"), ("lost", b"1")), False),
        ((("lost", b"1"), ("back", b"1"), ("lost", b"2")), True),
        ((("lost", b"1"), ("back", b"1"), ("lost", b"2"), ("back", b"2")), False),
    ],
    ids=["never", "lost", "back", "in another order", "lost again", "back again"],
)
def test_it_is_mute_as_long_as_a_loss_has_no_return(marks: tuple[tuple[str, bytes], ...], mute: bool) -> None:
    kinds = {"lost": RecordKind.AMNESIA, "back": RecordKind.REJOINED}
    replica, _ = start(*[record(kinds[what], 0, name) for what, name in marks])
    assert replica.rules.is_mute is mute


def test_a_divergence_counts_until_a_later_repair() -> None:
    diverged = record(RecordKind.DIVERGED, K, CRAFT.checkpoint_certificate(K, digest("r"), (0, 1, 2)).wire)
    for records, at in (
        ((diverged,), K),
        ((diverged, record(RecordKind.REPAIRED, K, b"")), None),
        ((record(RecordKind.REPAIRED, K - 1, b""), diverged), K),
    ):
        assert start(*records)[0].checkpoints.diverged_at == at


# -- what it refuses to start from


STATUS = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())


MARKS = {RecordKind.AMNESIA, RecordKind.REJOINED, RecordKind.REPAIRED}
"""Records that say something by being there."""


@pytest.mark.parametrize("kind", [kind for kind in RecordKind if kind not in MARKS])
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


@pytest.mark.parametrize("kind", [RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW, RecordKind.STABLE])
def test_a_record_of_another_kind_than_it_says_stops_the_node(kind: RecordKind) -> None:
    with pytest.raises(InvariantViolation, match="record"):
        start(record(kind, 1, CRAFT.prepare(1, 1, X.digest).wire))


def test_a_stable_checkpoint_that_the_state_has_not_reached_moves_the_window_and_the_rest_comes_from_peers() -> None:
    """A loss of power can take the state back: it executes again what the ledger has, and asks for the rest."""
    stable = record(RecordKind.STABLE, K, CRAFT.checkpoint_certificate(K, digest("r"), (0, 1, 2)).wire)
    committed = record(RecordKind.COMMITTED, K, CRAFT.commit_certificate(K, X.digest, (0, 2, 3)).wire)
    replica, effects = start(stable, committed, record(RecordKind.BODY, K, X.wire), last_executed=K - 1)
    assert (replica.log.low_watermark, replica.log.last_executed) == (K, K - 1)
    assert [execute.sequence for execute in effects.execute] == [K]
    replica, effects = start(stable, last_executed=K - 1)
    assert effects.execute == ()
    assert replica.log.why_not_to_execute(SequenceNumber(K)) is None


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
