"""What rooms forget at checkpoints."""

from __future__ import annotations

import pytest

from chatsvc.application.events import EventKind
from chatsvc.application.operations import (
    Delete,
    Edit,
    OpenPoll,
    Operation,
    Pin,
    Post,
    React,
    Vote,
    encode_operation,
)
from chatsvc.application.results import ErrorCode, Posted
from chatsvc.application.rules import retention
from chatsvc.application.schema import (
    COUNTERS,
    EVENTS,
    LEFTOVERS,
    MESSAGES,
    PINS,
    POLLS,
    REACTION_COUNTS,
    REACTIONS,
    RETAINED,
    RETENTION_CURSOR,
    ROOMS,
    THREAD_MESSAGES,
    THREADS,
    VERSIONS,
    VOTES,
    MessageIndex,
    Role,
)
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import apply, garden, message, put_room, room_row, table, why

HOUR_S = 3600
T = Milliseconds(NOON + 1_000_000)


def minute(count: int) -> Milliseconds:
    return Milliseconds(T + 60_000 * count)


def keeps_an_hour(*rooms: str) -> Service:
    service = garden(retention_s=HOUR_S)
    for room in rooms:
        put_room(service, room, {CAROL: Role.OWNER}, retention_s=HOUR_S)
    for room in ("garden", *rooms):
        service.rows.put(RETAINED, (room,), ())
    service.commit()
    return service


def tidy(service: Service, time: Milliseconds) -> int:
    """A checkpoint; returns how many rows it wrote."""
    before = service.rows.writes
    service.application.tidy(service.rows, SequenceNumber(128), time)
    service.commit()
    return service.rows.writes - before


def kept(service: Service, room: str = "garden") -> list[int]:
    return [int(str(key[1])) for key in table(service, MESSAGES) if key[0] == room]


def say_every_minute(service: Service, count: int, room: str = "garden") -> None:
    for number in range(count):
        assert isinstance(service.do(CAROL, Post(room=room, body=f"at {number}"), time=minute(number)), Posted)


def test_messages_go_when_they_are_old_enough() -> None:
    service = keeps_an_hour()
    say_every_minute(service, 4)
    tidy(service, Milliseconds(minute(60) - 1))
    assert kept(service) == [0, 1, 2, 3]
    tidy(service, minute(61))
    assert kept(service) == [2, 3]
    row = room_row(service)
    assert (row.first_message, row.message_count, row.first_event, row.event_count) == (2, 4, 2, 4)
    assert set(table(service, EVENTS)) == {("garden", 2), ("garden", 3)}
    for operation in (
        Edit("garden", MessageIndex(1), "x"),
        Delete("garden", MessageIndex(1)),
        Post(room="garden", body="hi", reply_to=MessageIndex(1)),
    ):
        assert why(service, CAROL, operation) is ErrorCode.NO_SUCH_MESSAGE
    assert service.say(CAROL, "goes on").index == 4


def test_a_room_that_keeps_everything_is_left_alone() -> None:
    service = garden()
    say_every_minute(service, 2)
    assert tidy(service, minute(10**6)) == 0
    put_room(service, "attic", {CAROL: Role.OWNER})
    service.rows.put(RETAINED, ("attic",), ())  # its retention was ended in this batch
    service.commit()
    say_every_minute(service, 2, "attic")
    tidy(service, minute(10**6))
    assert kept(service, "attic") == [0, 1]


def test_all_that_hangs_on_a_message_goes_with_it() -> None:
    service = keeps_an_hour()
    done: list[tuple[PublicKey, Operation]] = [
        (CAROL, OpenPoll(room="garden", question="?", options=("a", "b"), thread="Food")),
        (CAROL, Post(room="garden", body="soup", thread="food")),
        (CAROL, Post(room="garden", body="later", thread="Other")),
        (BOB, Vote("garden", MessageIndex(0), 1)),
        (BOB, Pin("garden", MessageIndex(0))),
        (BOB, React("garden", MessageIndex(1), "+1")),
        (ALICE, React("garden", MessageIndex(1), "+1")),
        (CAROL, Edit("garden", MessageIndex(1), "salad")),
        (CAROL, Edit("garden", MessageIndex(1), "nothing")),
    ]
    for device, operation in done:
        apply(service, device, operation, time=T)
    tidy(service, minute(60))
    assert (room_row(service).pin_count, room_row(service).thread_count) == (0, 0)
    tidy(service, minute(61))
    for name in (
        MESSAGES,
        EVENTS,
        VERSIONS,
        REACTIONS,
        REACTION_COUNTS,
        PINS,
        POLLS,
        VOTES,
        THREADS,
        THREAD_MESSAGES,
        LEFTOVERS,
    ):
        assert table(service, name) == {}, name
    assert tidy(service, minute(62)) == 0


def test_a_thread_goes_with_its_last_message_and_may_begin_anew() -> None:
    service = keeps_an_hour()
    for number, thread in enumerate(("a", "b", "a", None, "a")):
        apply(service, CAROL, Post(room="garden", body="hi", thread=thread), time=minute(number))
    tidy(service, minute(62))
    assert table(service, THREADS) == {("garden", "a"): ("a", 3, minute(4))}
    assert table(service, THREAD_MESSAGES) == {("garden", "a", 2): (4,)}
    assert room_row(service).thread_count == 1
    apply(service, CAROL, Post(room="garden", body="hi", thread="B"), time=minute(62))
    assert table(service, THREAD_MESSAGES)["garden", "b", 0] == (5,)
    tidy(service, minute(200))
    assert table(service, THREADS) == table(service, THREAD_MESSAGES) == {}
    assert room_row(service).thread_count == 0


def test_events_go_with_their_time_but_none_before_its_message() -> None:
    service = keeps_an_hour()
    apply(service, CAROL, Post(room="garden", body="old"), time=minute(0))
    apply(service, BOB, React("garden", MessageIndex(0), "+1"), time=minute(0))
    apply(service, BOB, React("garden", MessageIndex(0), "-1"), time=minute(30))
    apply(service, CAROL, Post(room="garden", body="new"), time=minute(40))
    apply(service, CAROL, Delete("garden", MessageIndex(1)), time=minute(41))
    tidy(service, minute(60))
    kinds = {key[1]: row[0] for key, row in table(service, EVENTS).items()}
    assert kinds == {2: EventKind.REACTED.value, 3: EventKind.POSTED.value, 4: EventKind.DELETED.value}
    assert room_row(service).first_event == 2
    tidy(service, minute(101))
    assert table(service, EVENTS) == {}
    assert (room_row(service).first_event, room_row(service).event_count) == (5, 5)


def test_what_the_batch_of_the_checkpoint_wrote_is_found_too() -> None:
    """A scan does not see it: counts and positions are got, and what is left waits for the next checkpoint."""
    service = keeps_an_hour()
    apply(service, CAROL, Post(room="garden", body="old", thread="a"), time=minute(0))
    apply(service, CAROL, Post(room="garden", body="old too"), time=minute(0))
    for operation in (
        React("garden", MessageIndex(0), "+1"),
        React("garden", MessageIndex(1), "+1"),
        Delete("garden", MessageIndex(1)),
        Post(room="garden", body="new", thread="a"),
    ):
        service.sequence += 1
        service.execute_in_batch(CAROL, encode_operation(operation), time=minute(70))
    tidy(service, minute(70))
    assert kept(service) == [2]
    assert table(service, THREAD_MESSAGES) == {("garden", "a", 1): (2,)}
    assert set(table(service, LEFTOVERS)) == {("garden", 0), ("garden", 1)}
    tidy(service, minute(70))
    assert table(service, REACTIONS) == table(service, LEFTOVERS) == {}


def test_a_call_does_a_bounded_amount_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MESSAGES_MAX", 3)
    service = keeps_an_hour("attic", "cellar")
    for room in ("garden", "attic", "cellar"):
        say_every_minute(service, 5, room)
    left = []
    for _ in range(6):
        tidy(service, minute(1000))
        left.append([len(kept(service, room)) for room in ("attic", "cellar", "garden")])
    assert left == [[2, 5, 5], [2, 2, 5], [2, 2, 2], [0, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert table(service, EVENTS) == {}


def test_events_and_leftovers_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVENTS_MAX", 2)
    monkeypatch.setattr(retention, "REACTIONS_MAX", 2)
    service = keeps_an_hour()
    apply(service, CAROL, Post(room="garden", body="old"), time=T)
    for device in (ALICE, BOB, CAROL):
        apply(service, device, React("garden", MessageIndex(0), "+1"), time=T)
    left = []
    for _ in range(4):
        tidy(service, minute(1000))
        left.append((len(table(service, EVENTS)), len(table(service, REACTIONS)), len(table(service, LEFTOVERS))))
    assert left == [(2, 3, 1), (0, 1, 1), (0, 0, 0), (0, 0, 0)]


def test_leftovers_go_as_fast_as_messages_do() -> None:
    service = keeps_an_hour()
    for index in range(300):
        apply(service, CAROL, Post(room="garden", body="x"), time=T)
        apply(service, CAROL, React("garden", MessageIndex(index), "+1"), time=T)
    tidy(service, minute(1000))
    assert len(table(service, LEFTOVERS)) == 300
    tidy(service, minute(1000))
    assert table(service, LEFTOVERS) == table(service, REACTIONS) == {}


def test_many_rooms_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROOMS_MAX", 2)
    rooms = ["a", "b", "c", "d"]
    service = keeps_an_hour(*rooms)
    for room in rooms:
        say_every_minute(service, 1, room)
    cursors = []
    for _ in range(3):
        tidy(service, minute(1000))
        cursors.append(table(service, COUNTERS)[RETENTION_CURSOR])
    assert cursors == [("b",), ("d",), ("a",)], "two at a time, then the garden and round again"
    assert table(service, MESSAGES) == {}


def test_the_newest_message_of_a_room_is_unchanged_by_tidying() -> None:
    service = keeps_an_hour()
    say_every_minute(service, 3)
    before = message(service, 2), table(service, ROOMS)
    tidy(service, minute(1))
    assert (message(service, 2), table(service, ROOMS)) == before
