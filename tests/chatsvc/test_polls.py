"""Questions put to a room."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.operations import ClosePoll, Delete, Edit, OpenPoll, Operation, Post, Vote
from chatsvc.application.results import ErrorCode, Posted
from chatsvc.application.schema import LEFTOVERS, POLLS, VOTES, MessageIndex, MessageKind
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, apply, garden, happenings, message, mute, notices, room_row, table, why

FIRST = MessageIndex(0)
LUNCH = OpenPoll(room="garden", question="Lunch, @bob?", options=("soup", "salad", "nothing"), thread="Food")
T = Milliseconds(NOON + 1_000_000)


def with_poll() -> Service:
    service = garden()
    assert isinstance(service.do(CAROL, LUNCH), Posted)
    return service


def test_a_poll_is_a_message_with_options() -> None:
    service = with_poll()
    row = message(service, 0)
    assert (row.kind, row.body) == (MessageKind.POLL.value, "Lunch, @bob?\nsoup\nsalad\nnothing")
    assert (row.thread, row.mentions) == ("Food", ["Bob"])
    assert notices(service, "bob") == [(NoticeKind.MENTION, "garden", 0, "Carol")]
    assert table(service, POLLS) == {("garden", 0): (["soup", "salad", "nothing"], [0, 0, 0], None)}
    assert room_row(service).message_count == 1


def test_an_account_has_one_vote_and_may_change_it() -> None:
    service = with_poll()
    for device, option in ((ALICE, 0), (BOB, 0), (BOB, 1), (BOB, 1), (ALICE, None), (ALICE, None), (CAROL, 2)):
        apply(service, device, Vote("garden", FIRST, option))
    assert table(service, POLLS)["garden", 0][1] == [0, 1, 1]
    assert table(service, VOTES) == {("garden", 0, "bob"): (1,), ("garden", 0, "carol"): (2,)}
    assert happenings(service) == [
        (EventKind.VOTED, 0, "", 1, 0, 0),
        (EventKind.VOTED, 0, "", 2, 0, 0),
        (EventKind.VOTED, 0, "", 1, 1, 0),
        (EventKind.VOTED, 0, "", 0, 1, 0),
        (EventKind.VOTED, 0, "", 0, 1, 1),
    ]


@pytest.mark.parametrize("device", [CAROL, BOB, ALICE])
def test_whoever_asked_and_moderators_close_a_poll(device: PublicKey) -> None:
    service = with_poll()
    apply(service, BOB, Vote("garden", FIRST, 0))
    apply(service, device, ClosePoll("garden", FIRST), time=T)
    assert table(service, POLLS)["garden", 0] == (["soup", "salad", "nothing"], [1, 0, 0], T)
    assert happenings(service)[-1][:2] == (EventKind.POLL_CLOSED, 0)
    assert why(service, ALICE, Vote("garden", FIRST, 1)) is ErrorCode.POLL_CLOSED
    writes = service.rows.writes
    apply(service, device, ClosePoll("garden", FIRST))
    assert service.rows.writes == writes, "closed once"


def poll(*options: str, question: str = "?") -> OpenPoll:
    return OpenPoll(room="garden", question=question, options=options)


@pytest.mark.parametrize(
    ("device", "operation", "code"),
    [
        (CAROL, poll("a", "a"), ErrorCode.BAD_TEXT),
        (CAROL, poll("a", ""), ErrorCode.BAD_TEXT),
        (CAROL, poll("a", "b\nc"), ErrorCode.BAD_TEXT),
        (CAROL, poll("a", "b", question=" "), ErrorCode.BAD_TEXT),
        (CAROL, poll("a", "x" * 257), ErrorCode.BAD_TEXT),
        (DAVE, poll("a", "b"), ErrorCode.NOT_A_MEMBER),
        (CAROL, Vote("garden", FIRST, 3), ErrorCode.NO_SUCH_OPTION),
        (CAROL, Vote("garden", MessageIndex(1), 0), ErrorCode.NO_SUCH_POLL),
        (CAROL, Vote("garden", MessageIndex(2), 0), ErrorCode.NO_SUCH_MESSAGE),
        (CAROL, Vote("attic", FIRST, 0), ErrorCode.NO_SUCH_ROOM),
        (DAVE, Vote("garden", FIRST, 0), ErrorCode.NOT_A_MEMBER),
        (CAROL, ClosePoll("garden", MessageIndex(1)), ErrorCode.NO_SUCH_POLL),
        (DAVE, ClosePoll("garden", FIRST), ErrorCode.NOT_A_MEMBER),
        (CAROL, Edit("garden", FIRST, "Dinner?"), ErrorCode.NOT_ALLOWED),
    ],
)
def test_what_is_refused(device: PublicKey, operation: Operation, code: ErrorCode) -> None:
    service = with_poll()
    service.say(BOB, "no poll")
    assert why(service, device, operation) is code


def test_members_do_not_close_others_polls() -> None:
    service = garden()
    service.do(ALICE, LUNCH)
    assert why(service, CAROL, ClosePoll("garden", FIRST)) is ErrorCode.NOT_ALLOWED


def test_the_muted_do_not_vote() -> None:
    service = with_poll()
    mute(service, "carol", T + 1)
    for operation in (Vote("garden", FIRST, 0), poll("a", "b")):
        assert why(service, CAROL, operation, time=T) is ErrorCode.MUTED


def test_a_poll_is_subject_to_slow_mode_like_a_message() -> None:
    service = garden(slow_s=10)
    apply(service, CAROL, Post(room="garden", body="hi"), time=T)
    assert why(service, CAROL, LUNCH, time=T) is ErrorCode.SLOW_MODE
    assert table(service, POLLS) == {}


def test_a_deleted_poll_leaves_no_votes() -> None:
    service = with_poll()
    apply(service, BOB, Vote("garden", FIRST, 0))
    apply(service, CAROL, Delete("garden", FIRST))
    assert why(service, BOB, Vote("garden", FIRST, 1)) is ErrorCode.MESSAGE_DELETED
    assert table(service, POLLS) == {}
    service.application.tidy(service.rows, SequenceNumber(128), T)
    service.commit()
    assert table(service, VOTES) == table(service, LEFTOVERS) == {}


votes = st.lists(st.tuples(st.sampled_from([ALICE, BOB, CAROL]), st.none() | st.integers(0, 2)), max_size=12)


@settings(max_examples=40)
@given(votes)
def test_the_counts_are_those_of_the_votes(cast: list[tuple[PublicKey, int | None]]) -> None:
    service = with_poll()
    last: dict[PublicKey, int | None] = {}
    for device, option in cast:
        apply(service, device, Vote("garden", FIRST, option))
        last[device] = option
    counted = Counter(last.values())
    assert table(service, POLLS)["garden", 0][1] == [counted[option] for option in range(3)]
