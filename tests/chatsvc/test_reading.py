"""Queries, pages and events."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from chatsvc.application.answers import (
    ANSWER_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    AccountDetails,
    Found,
    History,
    Member,
    MemberList,
    MembershipList,
    RoomDetails,
    RoomList,
    decode_answer,
)
from chatsvc.application.bodies import BODY_BYTES_MAX
from chatsvc.application.events import Content, EventKind, Head, decode_content, decode_head
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import DisplayName
from chatsvc.application.operations import Create, Delete, Edit, Join, Post, React, Register, encode_operation
from chatsvc.application.queries import (
    ROWS_MAX,
    ListMembers,
    ListMemberships,
    ListRooms,
    Query,
    ReadHistory,
    SearchMessages,
    ShowAccount,
    ShowRoom,
    WhoAmI,
    encode_query,
)
from chatsvc.application.results import Applied, ErrorCode, Posted, Rejected
from chatsvc.application.schema import MESSAGES, MessageIndex, MessageKind, Role
from chatsvc.application.wire import encode_wire
from crypto.canonical import encode
from crypto.signing import PublicKey
from pbft.core.errors import InvariantViolation
from pbft.core.types import EventIndex, Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service, device_of


def indexes(answer: object) -> list[int]:
    assert isinstance(answer, History), answer
    assert all(after.index == before.index + 1 for before, after in pairwise(answer.messages))
    return [message.index for message in answer.messages]


def history(service: Service, *, before: int | None = None, after: int | None = None, limit: int = 3) -> History:
    answer = service.ask(
        ReadHistory(
            room="garden",
            before=None if before is None else MessageIndex(before),
            after=None if after is None else MessageIndex(after),
            limit=limit,
        )
    )
    assert isinstance(answer, History)
    return answer


@pytest.fixture
def ten(service: Service) -> Service:
    """Ten messages in `garden`."""
    for number in range(10):
        service.say(ALICE if number % 2 else BOB, f"number {number}")
    return service


def test_history_pages(ten: Service) -> None:
    pages = {
        "last": history(ten),
        "before 7": history(ten, before=7),
        "before 2": history(ten, before=2),
        "before 3": history(ten, before=3),
        "before 0": history(ten, before=0),
        "before 99": history(ten, before=99),
        "after 0": history(ten, after=0),
        "after 6": history(ten, after=6),
        "after 7": history(ten, after=7),
        "after 9": history(ten, after=9),
        "after far": history(ten, after=2**63 - 1),
        "all": history(ten, limit=200),
    }
    assert {name: (indexes(page), page.next) for name, page in pages.items()} == {
        "last": ([7, 8, 9], 7),
        "before 7": ([4, 5, 6], 4),
        "before 2": ([0, 1], None),
        "before 3": ([0, 1, 2], None),
        "before 0": ([], None),
        "before 99": ([7, 8, 9], 7),
        "after 0": ([1, 2, 3], 3),
        "after 6": ([7, 8, 9], 9),
        "after 7": ([8, 9], None),
        "after 9": ([], None),
        "after far": ([], None),
        "all": (list(range(10)), None),
    }


def test_a_message_shows_everything(service: Service) -> None:
    service.say(ALICE, "first")
    service.do(BOB, Post(room="garden", kind=MessageKind.ACTION, body="nods", reply_to=MessageIndex(0), nonce=b"x"))
    _, message = history(service).messages
    assert (message.room, message.index, message.kind, message.author) == ("garden", 1, MessageKind.ACTION, "Bob")
    assert (message.body, message.reply_to, message.nonce, message.claimed_ms) == ("nods", 0, b"x", None)
    assert (message.sequence, message.batch_index, message.serial) == (6, 0, 1)
    assert (message.event, message.edits, message.deleted_by, message.reactions) == (3, 0, None, ())
    assert message.time == message.shown_ms == NOON + 6000


def test_a_page_of_the_past_stays_the_same_while_the_room_goes_on(ten: Service) -> None:
    queries: list[Query] = [
        ReadHistory(room="garden", before=MessageIndex(9), limit=5),
        ReadHistory(room="garden", after=MessageIndex(3), limit=6),
        ReadHistory(room="garden", after=MessageIndex(6), limit=3),
        ListRooms(),
        ListMembers(room="garden", limit=2),
    ]
    before = [ten.application.query(ten.rows, ALICE, encode_query(query)) for query in queries]
    ten.say(ALICE, "more")
    assert [ten.application.query(ten.rows, BOB, encode_query(query)) for query in queries] == before


def test_pages_of_long_messages_stay_below_the_limit_and_say_where_to_go_on(service: Service) -> None:
    count = 150
    for _ in range(count):
        service.say(ALICE, "\u00e9" * (BODY_BYTES_MAX // 2))
    query: ReadHistory = ReadHistory(room="garden", limit=ROWS_MAX)
    seen: list[int] = []
    pages = 0
    while True:
        data = service.application.query(service.rows, ALICE, encode_query(query))
        assert len(data) <= ANSWER_BYTES_MAX
        page = decode_answer(data)
        seen = indexes(page) + seen
        pages += 1
        assert isinstance(page, History)
        if page.next is None:
            break
        query = ReadHistory(room="garden", before=page.next, limit=ROWS_MAX)
    assert seen == list(range(count))
    assert pages == 3
    forward = history(service, after=0, limit=ROWS_MAX)
    assert forward.next == forward.messages[-1].index < count - 1
    found = service.ask(SearchMessages(text="in:garden", limit=ROWS_MAX))
    assert isinstance(found, Found)
    assert found.next == found.messages[-1].serial > 0


def test_the_largest_message_is_no_larger_than_said(empty: Service) -> None:
    limits, wide, thread = ChatLimits(), "\U0001f600" * 16, "\U0001f600" * 48
    named = [f"{number:02}" + "\u1e9e" * 20 for number in range(limits.mentions_per_message)]
    for number, name in enumerate(named):
        empty.do(device_of(f"{number}"), Register(name))
    empty.do(ALICE, Register(wide))
    empty.do(ALICE, Create(wide, ""))
    empty.say(ALICE, "first", wide)
    body = "".join(f" @{name}" for name in named)
    operation = Post(
        room=wide,
        kind=MessageKind.ACTION,
        body="x" * (BODY_BYTES_MAX - len(body.encode())) + body,
        reply_to=MessageIndex(0),
        thread=thread,
        nonce=b"n" * 16,
        claimed_ms=NOON,
    )
    assert isinstance(empty.do(ALICE, operation), Posted)
    for number in range(limits.reactions_per_message):
        assert empty.do(ALICE, React(wide, MessageIndex(1), f"{number:032}")) == Applied()
    answer = empty.ask(ReadHistory(room=wide, limit=1))
    assert isinstance(answer, History)
    (message,) = answer.messages
    assert (len(message.mentions), len(message.reactions)) == (16, 32)
    nine_numbers_of_at_most_9_bytes = (9 + limits.reactions_per_message) * 9
    assert len(encode_wire(message)) + nine_numbers_of_at_most_9_bytes <= MESSAGE_BYTES_MAX


def test_rooms(service: Service) -> None:
    for name in ("attic", "zoo", "ärger", "cellar"):
        service.do(ALICE, Create(name, f"topic of {name}"))
    first = service.ask(ListRooms(limit=3))
    assert isinstance(first, RoomList)
    assert [header.room for header in first.rooms] == ["attic", "cellar", "garden"]
    assert first.next == "garden"
    second = service.ask(ListRooms(after=first.next, limit=3))
    assert isinstance(second, RoomList)
    assert [(header.room, header.topic) for header in second.rooms] == [
        ("zoo", "topic of zoo"),
        ("ärger", "topic of ärger"),
    ]
    assert second.next is None
    between = service.ask(ListRooms(after="d", limit=1))
    assert isinstance(between, RoomList)
    assert [header.room for header in between.rooms] == ["garden"]


def test_a_room(ten: Service) -> None:
    answer = ten.ask(ShowRoom("garden"))
    assert isinstance(answer, RoomDetails)
    assert (answer.message_count, answer.member_count) == (10, 2)
    assert (answer.header.topic, answer.header.creator) == ("plants and such", "Alice")


def test_members_and_memberships(service: Service) -> None:
    service.do(CAROL, Register("carol"))
    service.do(CAROL, Join("garden"))
    service.do(CAROL, Create("attic", ""))
    members = service.ask(ListMembers(room="garden"))
    assert members == MemberList(
        tuple(
            Member(DisplayName(name), Milliseconds(NOON + 1000 * at), role, Milliseconds(0))
            for name, at, role in (("Alice", 3, Role.OWNER), ("Bob", 4, Role.MEMBER), ("carol", 6, Role.MEMBER))
        ),
        None,
    )
    page = service.ask(ListMembers(room="garden", after="alice", limit=1))
    assert isinstance(page, MemberList)
    assert ([member.name for member in page.members], page.next) == (["Bob"], "bob")
    rooms = service.ask(ListMemberships(name="Carol"))
    assert isinstance(rooms, MembershipList)
    assert ([membership.room for membership in rooms.memberships], rooms.next) == (["attic", "garden"], None)
    rest = service.ask(ListMemberships(name="CAROL", after="attic", limit=1))
    assert isinstance(rest, MembershipList)
    assert ([membership.room for membership in rest.memberships], rest.next) == (["garden"], "garden")


def test_accounts(service: Service) -> None:
    registered_ms = Milliseconds(NOON + 1000)
    alice = AccountDetails(DisplayName("Alice"), "", registered_ms, (ALICE,), has_recovery=False)
    assert service.ask(ShowAccount("aLICE")) == alice
    assert service.ask(WhoAmI(), device=ALICE) == alice


@pytest.mark.parametrize(
    ("query", "device", "code"),
    [
        (ShowRoom("attic"), ALICE, ErrorCode.NO_SUCH_ROOM),
        (ShowRoom("Garden"), ALICE, ErrorCode.NO_SUCH_ROOM),
        (ListMembers(room="attic"), ALICE, ErrorCode.NO_SUCH_ROOM),
        (ReadHistory(room="attic"), ALICE, ErrorCode.NO_SUCH_ROOM),
        (ShowAccount("nobody"), ALICE, ErrorCode.NO_SUCH_ACCOUNT),
        (ShowAccount("no body"), ALICE, ErrorCode.NO_SUCH_ACCOUNT),
        (ListMemberships(name="nobody"), ALICE, ErrorCode.NO_SUCH_ACCOUNT),
        (ListMemberships(name=""), ALICE, ErrorCode.NO_SUCH_ACCOUNT),
        (WhoAmI(), CAROL, ErrorCode.NOT_REGISTERED),
        (SearchMessages(text="before:2016-12-19"), ALICE, ErrorCode.BAD_QUERY),
        (SearchMessages(text='x "open'), ALICE, ErrorCode.BAD_QUERY),
    ],
)
def test_queries_that_have_no_answer(service: Service, query: Query, device: PublicKey, code: ErrorCode) -> None:
    answer = service.ask(query, device)
    assert isinstance(answer, Rejected)
    assert answer.code is code


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x81" * 5000, encode(["rooms"]), encode(["search", "x" * 3000, None, 1])]
)
def test_what_is_no_query_is_an_error_answer(service: Service, data: bytes) -> None:
    answer = decode_answer(service.application.query(service.rows, ALICE, data))
    assert answer == Rejected(ErrorCode.BAD_QUERY, "these bytes are no query of this service")


def test_a_bad_search_is_explained(service: Service) -> None:
    answer = service.ask(SearchMessages(text="hello before:tomorrow"))
    assert isinstance(answer, Rejected)
    assert answer.detail == "before: wants a day of the calendar as YYYY-MM-DD (at character 7)"


def test_search_pages(ten: Service) -> None:
    first = ten.ask(SearchMessages(text="number from:bob", limit=2))
    assert isinstance(first, Found)
    assert ([message.index for message in first.messages], first.next) == ([8, 6], 6)
    rest = ten.ask(SearchMessages(text="number from:bob", before=first.next, limit=4))
    assert isinstance(rest, Found)
    assert ([message.index for message in rest.messages], rest.next) == ([4, 2, 0], None)
    assert rest.messages[-1] == history(ten, before=1).messages[0]


def heads(service: Service, start: int, limit: int) -> list[tuple[Head, Content | None]]:
    items = service.application.events(service.rows, CAROL, b"garden", EventIndex(start), limit)
    assert items is not None
    return [
        (decode_head(item.head), None if item.content is None else decode_content(item.content)) for item in items
    ]


def test_events_tell_what_history_shows(ten: Service) -> None:
    (alice, _), (bob, _), *posted = heads(ten, 0, 100)
    assert [(head.kind, head.actor, head.event) for head in (alice, bob)] == [
        (EventKind.JOINED, "Alice", 0),
        (EventKind.JOINED, "Bob", 1),
    ]
    messages = history(ten, limit=100).messages
    assert [(head.index, head.event, head.time, head.actor) for head, _ in posted] == [
        (message.index, message.event, message.time, message.author) for message in messages
    ]
    assert [content for _, content in posted] == [Content(message.body, message.nonce) for message in messages]


def test_an_event_stays_what_it_was_and_only_its_content_goes(ten: Service) -> None:
    before = ten.application.events(ten.rows, ALICE, b"garden", EventIndex(0), 100) or ()
    ten.do(BOB, Edit("garden", MessageIndex(0), "number nought"))
    ten.do(ALICE, React("garden", MessageIndex(1), "+1"))
    edited = ten.application.events(ten.rows, ALICE, b"garden", EventIndex(0), len(before))
    assert edited == before
    ten.do(BOB, Delete("garden", MessageIndex(0)))
    first, *rest = (ten.application.events(ten.rows, ALICE, b"garden", EventIndex(2), 100) or ())[: len(before) - 2]
    assert rest == list(before[3:])
    assert first == replace(before[2], content=None)
    assert [(head.kind, content) for head, content in heads(ten, len(before), 100)] == [
        (EventKind.EDITED, None),
        (EventKind.REACTED, None),
        (EventKind.DELETED, None),
    ]


def test_events_end_where_the_room_ends(ten: Service) -> None:
    def count(topic: bytes, start: int, limit: int) -> int | None:
        events = ten.application.events(ten.rows, ALICE, topic, EventIndex(start), limit)
        return None if events is None else len(events)

    assert count(b"garden", 10, 100) == 2
    assert count(b"garden", 12, 100) == 0
    assert count(b"garden", 2**63 - 1, 100) == 0
    assert count(b"garden", 0, 0) == 0
    assert count(b"attic", 0, 10) is None
    assert count(b"\xff", 0, 10) is None
    assert count(b"Garden", 0, 10) is None


def test_an_ordered_read_of_history_sees_what_its_batch_wrote(ten: Service) -> None:
    """`scan` does not show it, `get` does."""
    ten.execute_in_batch(ALICE, encode_operation(Post(room="garden", body="number 10")))
    ten.execute_in_batch(BOB, encode_operation(Post(room="garden", body="number 11")), index=1)
    assert indexes(ten.ask(ReadHistory(room="garden", limit=4))) == [8, 9, 10, 11]
    assert indexes(ten.ask(ReadHistory(room="garden", before=MessageIndex(11), limit=1))) == [10]
    first_ever = Create("attic", "")
    ten.execute_in_batch(BOB, encode_operation(first_ever), index=2)
    assert isinstance(ten.ask(ShowRoom("attic")), RoomDetails)


def test_a_gap_among_the_messages_is_our_bug_and_said_so(ten: Service) -> None:
    del ten.rows.committed[MESSAGES]["garden", 8]
    with pytest.raises(InvariantViolation):
        history(ten)
    del ten.rows.committed[MESSAGES]["garden", 9]
    with pytest.raises(InvariantViolation):
        history(ten)
