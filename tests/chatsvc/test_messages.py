"""What is said in a room, and what becomes of it."""

from __future__ import annotations

import pytest

from chatsvc.application.events import Content, EventKind, content_digest
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    Delete,
    Edit,
    MarkRead,
    Operation,
    Pin,
    Post,
    React,
    encode_operation,
)
from chatsvc.application.results import Applied, ErrorCode, Posted, decode_result
from chatsvc.application.schema import (
    EVENTS,
    LEFTOVERS,
    MEMBERSHIPS,
    PINS,
    REACTION_COUNTS,
    REACTIONS,
    THREAD_MESSAGES,
    THREADS,
    VERSIONS,
    MessageIndex,
    MessageKind,
    MessageRow,
    Role,
)
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import (
    DAVE,
    apply,
    garden,
    happenings,
    message,
    mute,
    notices,
    put_room,
    refused,
    room_row,
    table,
    why,
)

FIRST = MessageIndex(0)
T = Milliseconds(NOON + 1_000_000)


def post(body: str, reply_to: int | None = None, thread: str | None = None) -> Post:
    return Post(
        room="garden", body=body, reply_to=None if reply_to is None else MessageIndex(reply_to), thread=thread
    )


def with_message(limits: ChatLimits | None = None, body: str = "hello") -> Service:
    """Carol has said something."""
    service = garden(limits)
    assert service.say(CAROL, body).index == 0
    return service


# -- posting


def test_a_message_is_kept_with_what_is_said_of_it() -> None:
    service = garden()
    operation = Post(
        room="garden", body="waves", kind=MessageKind.ACTION, nonce=b"n", claimed_ms=Milliseconds(1_100_000_000_000)
    )
    outcome = service.execute(CAROL, encode_operation(operation), time=T)
    assert decode_result(outcome.result) == Posted("garden", FIRST)  # type: ignore[arg-type]
    assert outcome.topics == (b"garden",)
    row = message(service, 0)
    assert row == MessageRow(
        kind="action",
        author="Carol",  # type: ignore[arg-type]
        body="waves",
        reply_to=None,
        thread=None,
        mentions=[],
        nonce=b"n",
        time=T,
        claimed_ms=Milliseconds(1_100_000_000_000),
        sequence=row.sequence,
        batch_index=0,
        serial=row.serial,
        event=row.event,
        digest=content_digest(Content("waves", b"n")),
        private=False,
        edits=0,
        edited_ms=None,
        deleted_by=None,
    )
    assert table(service, EVENTS) == {("garden", 0): ("posted", 0)}
    assert (room_row(service).message_count, room_row(service).event_count) == (1, 1)


@pytest.mark.parametrize(
    ("device", "operation", "code"),
    [
        (DAVE, post("hi"), ErrorCode.NOT_A_MEMBER),
        (CAROL, Post(room="attic", body="hi"), ErrorCode.NO_SUCH_ROOM),
        (CAROL, Post(room="\0", body="hi"), ErrorCode.NO_SUCH_ROOM),
        (CAROL, post(""), ErrorCode.BAD_BODY),
        (CAROL, post("\x1b[2J"), ErrorCode.BAD_BODY),
        (CAROL, post("x" * 4097), ErrorCode.BODY_TOO_LONG),
        (CAROL, Post(room="garden", body="a\nb", kind=MessageKind.POLL), ErrorCode.BAD_BODY),
        (CAROL, post("hi", reply_to=1), ErrorCode.NO_SUCH_MESSAGE),
        (CAROL, post("hi", thread=" "), ErrorCode.BAD_TEXT),
        (CAROL, post("hi", thread="x" * 65), ErrorCode.BAD_TEXT),
        (CAROL, Edit("garden", MessageIndex(1), "x"), ErrorCode.NO_SUCH_MESSAGE),
        (CAROL, Edit("garden", FIRST, ""), ErrorCode.BAD_BODY),
        (ALICE, Edit("garden", FIRST, "x"), ErrorCode.NOT_ALLOWED),
        (CAROL, Delete("garden", MessageIndex(1)), ErrorCode.NO_SUCH_MESSAGE),
        (DAVE, Delete("garden", FIRST), ErrorCode.NOT_A_MEMBER),
        (CAROL, React("garden", FIRST, "two words"), ErrorCode.BAD_TEXT),
        (CAROL, React("garden", MessageIndex(9), "+1"), ErrorCode.NO_SUCH_MESSAGE),
        (CAROL, Pin("garden", FIRST), ErrorCode.NOT_ALLOWED),
        (ALICE, Pin("garden", MessageIndex(9)), ErrorCode.NO_SUCH_MESSAGE),
        (DAVE, MarkRead("garden", FIRST), ErrorCode.NOT_A_MEMBER),
    ],
)
def test_what_is_refused(device: PublicKey, operation: Operation, code: ErrorCode) -> None:
    assert why(with_message(), device, operation) is code


WRITING: list[Operation] = [
    post("hi"),
    Edit("garden", FIRST, "x"),
    Delete("garden", FIRST),
    React("garden", FIRST, "+1"),
    Pin("garden", FIRST),
]


@pytest.mark.parametrize("operation", WRITING, ids=lambda operation: type(operation).__name__)
def test_an_archived_room_is_read_only(operation: Operation) -> None:
    service = with_message()
    put_room(service, "garden", {CAROL: Role.OWNER}, archived=True, message_count=1)
    assert why(service, CAROL, operation) is ErrorCode.ROOM_ARCHIVED
    apply(service, CAROL, MarkRead("garden", MessageIndex(1)))


@pytest.mark.parametrize("operation", WRITING, ids=lambda operation: type(operation).__name__)
def test_a_private_room_is_not_there_for_others(operation: Operation) -> None:
    service = garden(private=True)
    assert why(service, DAVE, operation) is ErrorCode.NO_SUCH_ROOM


def test_a_private_rooms_messages_say_so() -> None:
    service = garden(private=True)
    service.say(CAROL, "secret")
    assert message(service, 0).private


def test_the_muted_only_read() -> None:
    service = with_message()
    mute(service, "carol", T + 90_000)
    for operation in (post("hi"), Edit("garden", FIRST, "x"), React("garden", FIRST, "+1")):
        rejected = refused(service, CAROL, operation, time=T)
        assert (rejected.code, rejected.retry_ms) == (ErrorCode.MUTED, T + 90_000)
        assert "for another 90 seconds" in rejected.detail
    assert isinstance(service.do(CAROL, Delete("garden", FIRST), time=T), Applied)
    assert isinstance(service.do(CAROL, post("hi"), time=Milliseconds(T + 90_000)), Posted)


def test_in_slow_mode_members_wait_and_moderators_do_not() -> None:
    service = garden(slow_s=30)
    assert isinstance(service.do(CAROL, post("one"), time=T), Posted)
    rejected = refused(service, CAROL, post("two"), time=Milliseconds(T + 29_000))
    assert (rejected.code, rejected.retry_ms) == (ErrorCode.SLOW_MODE, T + 30_000)
    assert rejected.detail == "in #garden members wait 30 seconds between two messages: try again in 1 second"
    for _ in range(2):
        assert isinstance(service.do(BOB, post("as moderator"), time=T), Posted)
    assert isinstance(service.do(CAROL, post("two"), time=Milliseconds(T + 30_000)), Posted)


def test_an_edit_is_as_slow_as_a_message() -> None:
    service = garden(slow_s=30)
    apply(service, CAROL, Post(room="garden", body="hi"), time=T)
    rejected = refused(service, CAROL, Edit("garden", FIRST, "ho"), time=T)
    assert (rejected.code, rejected.retry_ms) == (ErrorCode.SLOW_MODE, T + 30_000)
    apply(service, CAROL, Edit("garden", FIRST, "ho"), time=Milliseconds(T + 30_000))
    assert why(service, CAROL, Post(room="garden", body="x"), time=Milliseconds(T + 59_999)) is ErrorCode.SLOW_MODE


def test_without_slow_mode_a_member_is_not_written_for_a_message() -> None:
    service = garden()
    before = service.rows.writes
    service.say(CAROL, "hi")
    assert service.rows.writes - before == 4, "message, event, counter, room"


# -- threads


def test_a_reply_belongs_where_the_message_replied_to_does() -> None:
    service = garden()
    for operation in (
        post("plan", thread="Release 2"),
        post("no thread"),
        post("about the plan", reply_to=0),
        post("the same", thread="\uff32ELEASE 2"),
        post("away with it", reply_to=0, thread="Other"),
    ):
        assert isinstance(service.do(CAROL, operation, time=T), Posted)
    assert [message(service, index).thread for index in range(5)] == [
        "Release 2",
        None,
        "Release 2",
        "Release 2",
        "Other",
    ]
    assert table(service, THREADS) == {
        ("garden", "other"): ("Other", 1, T),
        ("garden", "release 2"): ("Release 2", 3, T),
    }
    assert table(service, THREAD_MESSAGES) == {
        ("garden", "other", 0): (4,),
        ("garden", "release 2", 0): (0,),
        ("garden", "release 2", 1): (2,),
        ("garden", "release 2", 2): (3,),
    }
    assert room_row(service).thread_count == 2


def test_a_room_has_so_many_threads() -> None:
    service = garden(ChatLimits(threads_per_room=2))
    for thread in ("a", "b", "A"):
        apply(service, CAROL, post("hi", thread=thread))
    rejected = refused(service, CAROL, post("hi", thread="c"))
    assert (rejected.code, "has 2 threads" in rejected.detail) == (ErrorCode.TOO_MANY, True)


# -- edits and deletions


def test_an_edit_keeps_what_was_said_before() -> None:
    service = garden()
    service.do(CAROL, Post(room="garden", body="helo @bob", nonce=b"0"), time=T)
    first = message(service, 0)
    service.do(CAROL, Edit("garden", FIRST, "hello @alice", b"1"), time=Milliseconds(T + 5))
    service.do(CAROL, Edit("garden", FIRST, "hello", b"2"), time=Milliseconds(T + 9))
    assert message(service, 0) == first._replace(
        body="hello", nonce=b"2", mentions=[], edits=2, edited_ms=Milliseconds(T + 9)
    )
    assert table(service, VERSIONS) == {
        ("garden", 0, 0): ("helo @bob", b"0", T),
        ("garden", 0, 1): ("hello @alice", b"1", T + 5),
    }
    assert happenings(service) == [(EventKind.EDITED, 0, "Carol", 1), (EventKind.EDITED, 0, "Carol", 2)]
    row = service.rows.get(EVENTS, ("garden", 1))
    assert row is not None
    assert row[4] == content_digest(Content("hello @alice", b"1"))
    assert notices(service, "alice") == [], "an edit tells nobody"


def test_an_edit_to_the_same_changes_nothing() -> None:
    service = with_message()
    writes = service.rows.writes
    apply(service, CAROL, Edit("garden", FIRST, "hello", b"other"))
    assert service.rows.writes == writes


def test_edits_are_limited_in_number_and_time() -> None:
    service = with_message(ChatLimits(edits_per_message=2, edit_minutes=10))
    posted_ms = message(service, 0).time
    apply(service, CAROL, Edit("garden", FIRST, "a"), time=Milliseconds(posted_ms + 600_000))
    too_late = Milliseconds(posted_ms + 600_001)
    assert why(service, CAROL, Edit("garden", FIRST, "b"), time=too_late) is ErrorCode.NOT_ALLOWED
    apply(service, CAROL, Edit("garden", FIRST, "b"), time=posted_ms)
    assert why(service, CAROL, Edit("garden", FIRST, "c"), time=posted_ms) is ErrorCode.TOO_MANY


@pytest.mark.parametrize(("device", "name"), [(CAROL, "Carol"), (BOB, "Bob"), (ALICE, "Alice")])
def test_a_deletion_takes_all_of_a_message_but_that_it_was_there(device: PublicKey, name: str) -> None:
    service = with_message(body="@bob secret")
    apply(service, CAROL, Edit("garden", FIRST, "@bob secrets"))
    apply(service, BOB, React("garden", FIRST, "+1"))
    apply(service, ALICE, Pin("garden", FIRST))
    before = message(service, 0)
    apply(service, device, Delete("garden", FIRST))
    assert message(service, 0) == before._replace(body="", nonce=b"", mentions=[], deleted_by=name)  # type: ignore[arg-type]
    for emptied in (VERSIONS, REACTION_COUNTS, PINS):
        assert table(service, emptied) == {}
    assert "secret" not in str(service.rows.all_rows())
    assert room_row(service).pin_count == 0
    assert happenings(service)[-1] == (EventKind.DELETED, 0, name)
    assert set(table(service, LEFTOVERS)) == {("garden", 0)}

    service.application.tidy(service.rows, before.sequence, before.time)
    service.commit()
    assert table(service, REACTIONS) == table(service, LEFTOVERS) == {}

    writes = service.rows.writes
    apply(service, CAROL, Delete("garden", FIRST))
    assert service.rows.writes == writes, "deleted once"
    for operation in (Edit("garden", FIRST, "x"), React("garden", FIRST, "+1")):
        assert why(service, CAROL, operation) is ErrorCode.MESSAGE_DELETED
    assert why(service, ALICE, Pin("garden", FIRST)) is ErrorCode.MESSAGE_DELETED
    assert isinstance(service.do(BOB, post("what was it?", reply_to=0)), Posted)
    assert notices(service, "carol") == []


def test_others_messages_are_deleted_by_moderators_only() -> None:
    service = garden()
    service.say(ALICE, "the owner's")
    assert why(service, CAROL, Delete("garden", FIRST)) is ErrorCode.NOT_ALLOWED
    apply(service, BOB, Delete("garden", FIRST))


def test_nobody_moderates_a_direct_conversation() -> None:
    service = garden()
    put_room(service, "@x", {ALICE: Role.MEMBER, BOB: Role.MEMBER}, direct=True, private=True)
    service.say(ALICE, "hi", room="@x")
    assert why(service, BOB, Delete("@x", FIRST)) is ErrorCode.NOT_ALLOWED
    apply(service, BOB, Pin("@x", FIRST))


# -- reactions, pins, and what was read


def test_reactions_are_counted() -> None:
    service = with_message()
    for device, reaction, on in (
        (ALICE, ":tada:", True),
        (BOB, "+1", True),
        (BOB, ":tada:", True),
        (BOB, "+1", False),
        (ALICE, "-", False),
    ):
        apply(service, device, React("garden", FIRST, reaction, on))
    assert table(service, REACTION_COUNTS) == {("garden", 0): ([[":tada:", 2]],)}
    assert [key[2:] for key in table(service, REACTIONS)] == [(":tada:", "alice"), (":tada:", "bob")]
    assert happenings(service) == [
        (EventKind.REACTED, 0, "Alice", ":tada:", 1),
        (EventKind.REACTED, 0, "Bob", "+1", 1),
        (EventKind.REACTED, 0, "Bob", ":tada:", 2),
        (EventKind.UNREACTED, 0, "Bob", "+1", 0),
    ]
    for device in (ALICE, BOB):
        apply(service, device, React("garden", FIRST, ":tada:", on=False))
    assert table(service, REACTION_COUNTS) == table(service, REACTIONS) == {}


def test_what_was_reacted_already_changes_nothing() -> None:
    service = with_message()
    apply(service, BOB, React("garden", FIRST, "+1"))
    writes = service.rows.writes
    apply(service, BOB, React("garden", FIRST, "+1"))
    assert service.rows.writes == writes


def test_a_message_has_so_many_different_reactions() -> None:
    service = with_message(ChatLimits(reactions_per_message=2))
    for reaction in ("a", "b"):
        apply(service, BOB, React("garden", FIRST, reaction))
    assert why(service, ALICE, React("garden", FIRST, "c")) is ErrorCode.TOO_MANY
    apply(service, ALICE, React("garden", FIRST, "a"))
    apply(service, BOB, React("garden", FIRST, "b", on=False))
    apply(service, ALICE, React("garden", FIRST, "c"))


def test_pins() -> None:
    service = garden(ChatLimits(pins_per_room=2))
    for number in range(3):
        service.say(CAROL, f"number {number}")
    for index in (2, 0, 0):
        apply(service, BOB, Pin("garden", MessageIndex(index)))
    assert set(table(service, PINS)) == {("garden", 0), ("garden", 2)}
    assert why(service, ALICE, Pin("garden", MessageIndex(1))) is ErrorCode.TOO_MANY
    apply(service, ALICE, Pin("garden", MessageIndex(2), on=False))
    apply(service, ALICE, Pin("garden", MessageIndex(1)))
    assert room_row(service).pin_count == 2
    assert happenings(service) == [
        (EventKind.PINNED, 2, "Bob"),
        (EventKind.PINNED, 0, "Bob"),
        (EventKind.UNPINNED, 2, "Alice"),
        (EventKind.PINNED, 1, "Alice"),
    ]


def test_what_was_read_never_goes_back() -> None:
    service = garden()
    for _ in range(3):
        service.say(CAROL, "hi")
    for index, read in ((2, 2), (1, 2), (3, 3), (99, 3)):
        apply(service, BOB, MarkRead("garden", MessageIndex(index)))
        assert table(service, MEMBERSHIPS)["bob", "garden"] == (NOON, read)
    assert happenings(service) == []
