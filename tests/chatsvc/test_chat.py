"""Operations one after the other: what they give, what they write, and that a refused one writes nothing."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from chatsvc.application.bodies import BODY_BYTES_MAX
from chatsvc.application.operations import (
    OPERATION_BYTES_MAX,
    Create,
    Join,
    Leave,
    Operation,
    Post,
    Read,
    Register,
    encode_operation,
)
from chatsvc.application.queries import ShowAccount, ShowRoom, encode_query
from chatsvc.application.results import (
    Created,
    ErrorCode,
    Joined,
    Left,
    Posted,
    Registered,
    Rejected,
    decode_result,
)
from chatsvc.application.schema import MESSAGES, TABLES, MessageIndex, MessageKind, MessageRow
from crypto.canonical import Value, encode
from crypto.signing import PublicKey
from pbft.core.application import RangePages
from pbft.core.types import EventIndex, Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service


def test_a_story(empty: Service) -> None:
    done: list[tuple[PublicKey, Operation]] = [
        (ALICE, Register("Alice")),
        (ALICE, Register("ALICE")),
        (BOB, Register("Bob")),
        (ALICE, Create("garden", "plants")),
        (BOB, Join("garden")),
        (ALICE, Post(room="garden", body="hello")),
        (BOB, Post(room="garden", body="waves", kind=MessageKind.ACTION, reply_to=MessageIndex(0), nonce=b"n")),
        (BOB, Leave("garden")),
        (BOB, Join("garden")),
        (ALICE, Leave("garden")),
    ]
    assert [str(empty.do(device, operation)) for device, operation in done] == [
        "Registered(name='Alice')",
        "Registered(name='Alice')",
        "Registered(name='Bob')",
        "Created(room='garden')",
        "Joined(room='garden')",
        "Posted(room='garden', index=0)",
        "Posted(room='garden', index=1)",
        "Left(room='garden')",
        "Joined(room='garden')",
        "Left(room='garden')",
    ]
    rows = {(change.table, change.key): change.row for change in empty.rows.all_rows()}
    at = [NOON + 1000 * number for number in range(len(done) + 1)]
    assert rows == {
        ("accounts", ("alice",)): ("Alice", ALICE, at[1]),
        ("accounts", ("bob",)): ("Bob", BOB, at[3]),
        ("counters", ("next_serial",)): (2,),
        ("devices", (ALICE,)): ("alice", "Alice"),
        ("devices", (BOB,)): ("bob", "Bob"),
        ("members", ("garden", "bob")): ("Bob", at[9]),
        ("memberships", ("bob", "garden")): (at[9],),
        ("messages", ("garden", 0)): ("text", "Alice", "hello", None, b"", at[6], None, 6, 0, 0),
        ("messages", ("garden", 1)): ("action", "Bob", "waves", 0, b"n", at[7], None, 7, 0, 1),
        ("rooms", ("garden",)): ("plants", "Alice", at[4], 2, 1),
    }


class Refusal(NamedTuple):
    why: str
    device: PublicKey
    operation: Operation
    code: ErrorCode


REFUSALS = [
    Refusal("a stranger creates", CAROL, Create("attic", ""), ErrorCode.NOT_REGISTERED),
    Refusal("a stranger joins", CAROL, Join("garden"), ErrorCode.NOT_REGISTERED),
    Refusal("a stranger leaves", CAROL, Leave("garden"), ErrorCode.NOT_REGISTERED),
    Refusal("a stranger posts", CAROL, Post(room="garden", body="hi"), ErrorCode.NOT_REGISTERED),
    Refusal("a second name", ALICE, Register("Alicia"), ErrorCode.ALREADY_REGISTERED),
    Refusal("a taken name", CAROL, Register("Alice"), ErrorCode.NAME_TAKEN),
    Refusal("a taken name in other letters", CAROL, Register("\uff21LICE"), ErrorCode.NAME_TAKEN),
    Refusal("another device's name by a registered one", BOB, Register("Alice"), ErrorCode.ALREADY_REGISTERED),
    Refusal("a bad name", CAROL, Register("Carol Danvers"), ErrorCode.BAD_NAME),
    Refusal("a bad name by a registered device", ALICE, Register(""), ErrorCode.BAD_NAME),
    Refusal("a name far too long", CAROL, Register("x" * 8000), ErrorCode.BAD_NAME),
    Refusal("a room again", BOB, Create("garden", ""), ErrorCode.ROOM_EXISTS),
    Refusal("a room with a hash", ALICE, Create("#attic", ""), ErrorCode.BAD_NAME),
    Refusal("a room in capitals", ALICE, Create("Attic", ""), ErrorCode.BAD_NAME),
    Refusal("a room without name", ALICE, Create("", ""), ErrorCode.BAD_NAME),
    Refusal("a topic of two lines", ALICE, Create("attic", "a\nb"), ErrorCode.BAD_TOPIC),
    Refusal("a topic too long", ALICE, Create("attic", "t" * 257), ErrorCode.BAD_TOPIC),
    Refusal("join again", BOB, Join("garden"), ErrorCode.ALREADY_A_MEMBER),
    Refusal("join no room", BOB, Join("attic"), ErrorCode.NO_SUCH_ROOM),
    Refusal("join by another form of the name", BOB, Join("GARDEN"), ErrorCode.NO_SUCH_ROOM),
    Refusal("leave no room", BOB, Leave("attic"), ErrorCode.NO_SUCH_ROOM),
    Refusal("post in no room", BOB, Post(room="attic", body="hi"), ErrorCode.NO_SUCH_ROOM),
    Refusal("post in a room with a nul", BOB, Post(room="\0", body="hi"), ErrorCode.NO_SUCH_ROOM),
    Refusal("an empty body", BOB, Post(room="garden", body=""), ErrorCode.BAD_BODY),
    Refusal("an escape in the body", BOB, Post(room="garden", body="\x1b[2J"), ErrorCode.BAD_BODY),
    Refusal("a body too long", BOB, Post(room="garden", body="x" * 4097), ErrorCode.BODY_TOO_LONG),
    Refusal(
        "a reply to the future",
        BOB,
        Post(room="garden", body="hi", reply_to=MessageIndex(1)),
        ErrorCode.NO_SUCH_MESSAGE,
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal.why for refusal in REFUSALS])
def test_a_refused_operation_says_why_and_writes_nothing(service: Service, refusal: Refusal) -> None:
    service.say(ALICE, "first")
    before, writes = service.rows.all_rows(), service.rows.writes
    outcome = service.execute(refusal.device, encode_operation(refusal.operation))
    result = decode_result(outcome.result)
    assert isinstance(result, Rejected)
    assert result.code == refusal.code
    assert outcome.remember
    assert outcome.topics == ()
    assert (service.rows.all_rows(), service.rows.writes) == (before, writes)


def test_only_members_post_and_leave(service: Service) -> None:
    assert isinstance(service.do(CAROL, Register("Carol")), Registered)
    for operation in (Post(room="garden", body="hi"), Leave("garden")):
        writes = service.rows.writes
        result = service.do(CAROL, operation)
        assert isinstance(result, Rejected)
        assert result.code is ErrorCode.NOT_A_MEMBER
        assert service.rows.writes == writes


DEEP = b"\x81" * 100_000 + b"\x80"
SURROGATE = b"\x82\x68register\x63\xed\xa0\x80"
QUERIES_OF_DEATH: list[bytes] = [
    b"",
    b"\xff",
    DEEP,
    SURROGATE,
    b"\x82\x68register\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9f\xff",
    b"\xbf\xff",
    b"\xd8\x1c\x80",
    b"\xf9\x7e\x00",
    b"\x82\x68register\x65Alice\x00",
    bytes(10_000_000),
    encode(["register", "x" * (OPERATION_BYTES_MAX - 10)])[:-1],
    encode(["post", "garden", "text", "x" * OPERATION_BYTES_MAX, None, b"", None]),
    encode(["read", b"x" * OPERATION_BYTES_MAX]),
    encode([["register", "Alice"]]),
]


@pytest.mark.parametrize("data", QUERIES_OF_DEATH, ids=lambda data: ascii(data)[:40])
def test_what_is_no_operation_is_an_error_result(service: Service, data: bytes) -> None:
    before = service.rows.all_rows()
    outcome = service.execute(ALICE, data)
    result = decode_result(outcome.result)
    assert isinstance(result, Rejected)
    assert result == Rejected(ErrorCode.MALFORMED, "these bytes are no operation of this service")
    assert service.rows.all_rows() == before


HARD_TEXTS: list[str] = [
    "\u202e\u2066\u200b",
    "\ufdfa" * 1365,
    "e" + "\u0301" * 2047,
    "\U0001e030\U00011f04",
    "\U0010ffff\ue000\ufffe",
    "\u1100" * 1365,
    "'\"); DROP TABLE search_messages; -- NEAR(a b) * ^x {body}: OR AND NOT",
    "\n\t \n",
]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=lambda text: ascii(text)[:30])
def test_hard_texts_are_posted_and_found_like_any(service: Service, text: str) -> None:
    posted = service.say(BOB, text)
    assert service.application.events(service.rows, BOB, b"garden", EventIndex(posted.index), 5)
    for value in (["register", text], ["create", text, text], ["join", text]):
        fields: list[Value] = list(value)
        decode_result(service.execute(CAROL, encode(fields)).result)


def test_posts_name_their_topic_and_nothing_else_does(service: Service) -> None:
    outcome = service.execute(ALICE, encode_operation(Post(room="garden", body="hi")))
    assert outcome.topics == (b"garden",)
    for operation in (Register("Carol"), Create("attic", ""), Join("garden")):
        assert service.execute(CAROL, encode_operation(operation)).topics == ()


def test_devices_are_known_once_registered(service: Service) -> None:
    assert service.application.knows(service.rows, ALICE)
    assert not service.application.knows(service.rows, CAROL)
    service.execute_in_batch(CAROL, encode_operation(Register("Carol")))
    assert service.application.knows(service.rows, CAROL), "later in the same batch too"


def test_messages_are_numbered_by_room_and_over_all_rooms_within_a_batch_too(service: Service) -> None:
    service.do(ALICE, Create("attic", ""))
    rooms = ["garden", "attic", "garden", "attic", "garden"]
    service.sequence += 1
    for index, room in enumerate(rooms):
        post = Post(room=room, body=f"number {index}")
        outcome = service.execute_in_batch(ALICE, encode_operation(post), index=index)
        assert isinstance(decode_result(outcome.result), Posted)
    service.commit()
    messages = [
        (change.key, MessageRow.from_row(change.row))
        for change in service.rows.all_rows()
        if change.table == MESSAGES and change.row is not None
    ]
    assert [(key, row.serial, row.batch_index) for key, row in messages] == [
        (("attic", 0), 1, 1),
        (("attic", 1), 3, 3),
        (("garden", 0), 0, 0),
        (("garden", 1), 2, 2),
        (("garden", 2), 4, 4),
    ]


def test_an_import_says_when_it_was_said(service: Service) -> None:
    claimed = Milliseconds(1_100_000_000_000)
    service.do(BOB, Post(room="garden", body="long ago", claimed_ms=claimed))
    row = service.rows.get(MESSAGES, ("garden", 0))
    assert row is not None
    message = MessageRow.from_row(row)
    assert message.claimed_ms == message.shown_ms == claimed
    assert message.time > NOON


def test_a_body_may_have_every_byte_it_is_allowed(service: Service) -> None:
    service.say(ALICE, "x" * BODY_BYTES_MAX)
    (event,) = service.application.events(service.rows, ALICE, b"garden", EventIndex(0), 1) or ()
    assert len(event) > BODY_BYTES_MAX


def test_an_ordered_read_is_the_query_in_its_place(service: Service) -> None:
    query = encode_query(ShowRoom("garden"))
    outcome = service.execute(BOB, encode_operation(Read(query)))
    assert outcome.result == service.application.query(service.rows, BOB, query)
    assert not outcome.remember
    missing = service.execute(BOB, encode_operation(Read(encode_query(ShowAccount("nobody")))))
    assert isinstance(decode_result(missing.result), Rejected)
    garbage = service.execute(BOB, encode_operation(Read(b"\xff")))
    result = decode_result(garbage.result)
    assert isinstance(result, Rejected)
    assert result.code is ErrorCode.BAD_QUERY


def test_creating_joins_and_a_left_room_stays(empty: Service) -> None:
    empty.do(ALICE, Register("Alice"))
    assert empty.do(ALICE, Create("garden", "")) == Created("garden")  # type: ignore[arg-type]  # plain text
    empty.say(ALICE, "hello")
    assert isinstance(empty.do(ALICE, Leave("garden")), Left)
    assert isinstance(empty.do(ALICE, Join("garden")), Joined)
    assert empty.say(ALICE, "again").index == 1


def test_tables_are_what_the_interface_asks_for(service: Service) -> None:
    assert service.application.tables == TABLES
    (messages,) = [table for table in TABLES if table.name == MESSAGES]
    assert messages.pages == RangePages(prefix=1, shift=6)
    written = {change.table for change in service.rows.all_rows()}
    service.say(ALICE, "hello")
    written |= {change.table for change in service.rows.all_rows()}
    assert written == {table.name for table in TABLES}
