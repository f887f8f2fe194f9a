"""Operations one after the other: whatever comes in, a result comes out, and a refused one writes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    OPERATION_BYTES_MAX,
    AddDevice,
    ClosePoll,
    Delete,
    Edit,
    InviteDevice,
    MarkRead,
    OpenPoll,
    Operation,
    Pin,
    Post,
    React,
    Read,
    Recover,
    Register,
    RevokeDevice,
    RotateDevice,
    SetDisplay,
    SetRecovery,
    Vote,
    encode_operation,
)
from chatsvc.application.results import ErrorCode, Posted, Rejected, decode_result
from chatsvc.application.schema import (
    ACCOUNT_DEVICES,
    ACCOUNTS,
    COUNTERS,
    DEVICES,
    EVENTS,
    MESSAGES,
    NEXT_SERIAL,
    PINS,
    POLLS,
    REACTION_COUNTS,
    REACTIONS,
    RETAINED,
    TABLES,
    THREAD_MESSAGES,
    THREADS,
    VERSIONS,
    VOTES,
    AccountRow,
    DeviceRow,
    MessageIndex,
    MessageRow,
    Role,
    ThreadRow,
)
from crypto.canonical import Value, encode
from crypto.signing import Ed25519Signer, PublicKey, SecretSeed
from pbft.core.application import RangePages
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, garden, put_room, room_row, table

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
    encode([]),
    encode([7]),
    encode(["register", "x" * (OPERATION_BYTES_MAX - 10)])[:-1],
    encode(["register", "Alice"]),
    encode(["register", "Alice", None, "", "more"]),
    encode(["nothing", "Alice"]),
    encode(["mark-read", "garden", True]),
    encode(["pin", "garden", 0, 1]),
    encode(["invite-device", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", 0]),
    encode(["read", b"x" * OPERATION_BYTES_MAX]),
    encode([["register", "Alice", None, ""]]),
]


@pytest.mark.parametrize("data", QUERIES_OF_DEATH, ids=lambda data: ascii(data)[:40])
def test_what_is_no_operation_is_an_error_result(data: bytes) -> None:
    service = garden()
    before = service.rows.all_rows()
    outcome = service.execute(ALICE, data)
    assert decode_result(outcome.result) == Rejected(
        ErrorCode.MALFORMED, "these bytes are no operation of this service"
    )
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
    "@" + "\u0301@" * 1000,
]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=lambda text: ascii(text)[:30])
def test_hard_texts_are_posted_like_any_and_break_nothing_elsewhere(text: str) -> None:
    service = garden()
    assert service.say(BOB, text).index == 0
    values: list[list[Value]] = [
        ["register", text, None, text],
        ["display", text],
        ["react", "garden", 0, text, True],
        ["post", "garden", "hi", "text", None, text, b"", None],
        ["poll", "garden", text, [text, "b"], text, b""],
        ["edit", text, 0, text, b""],
    ]
    for value in values:
        decode_result(service.execute(CAROL, encode(value)).result)


def test_devices_are_known_once_registered() -> None:
    service = garden()
    stranger = PublicKey(b"S" * 32)
    assert service.application.knows(service.rows, ALICE)
    assert not service.application.knows(service.rows, stranger)
    service.execute_in_batch(stranger, encode_operation(Register("Stranger")))
    assert service.application.knows(service.rows, stranger), "later in the same batch too"


def test_messages_are_numbered_by_room_and_over_all_rooms_within_a_batch_too() -> None:
    service = garden()
    put_room(service, "attic", {ALICE: Role.OWNER})
    rooms = ["garden", "attic", "garden", "attic", "garden"]
    service.sequence += 1
    for index, room in enumerate(rooms):
        post = Post(room=room, body=f"number {index}", thread="counting")
        outcome = service.execute_in_batch(ALICE, encode_operation(post), index=index)
        assert isinstance(decode_result(outcome.result), Posted)
    service.commit()
    messages = {key: MessageRow.from_row(row) for key, row in table(service, MESSAGES).items()}  # type: ignore[arg-type]
    assert [(key, row.serial, row.batch_index) for key, row in messages.items()] == [
        (("attic", 0), 1, 1),
        (("attic", 1), 3, 3),
        (("garden", 0), 0, 0),
        (("garden", 1), 2, 2),
        (("garden", 2), 4, 4),
    ]
    assert table(service, THREAD_MESSAGES)["garden", "counting", 2] == (2,)


def test_an_ordered_read_is_the_query_in_its_place() -> None:
    service = garden()
    outcome = service.execute(BOB, encode_operation(Read(b"\xff")))
    assert outcome.result == service.application.query(service.rows, BOB, b"\xff")
    assert not outcome.remember
    result = decode_result(outcome.result)
    assert isinstance(result, Rejected)
    assert result.code is ErrorCode.BAD_QUERY


def test_messages_and_events_lie_in_pages_of_neighbours() -> None:
    pages = {spec.name: spec.pages for spec in TABLES}
    assert len(pages) == len(TABLES)
    assert pages[MESSAGES] == pages[EVENTS] == RangePages(prefix=1, shift=6)


# -- whatever happens

KEYS = [Ed25519Signer(SecretSeed(bytes([number]) * 32)) for number in range(3)]
PHONE = PublicKey(b"P" * 32)
LIMITS = ChatLimits(
    operations_per_minute=60,
    operations_burst=12,
    message_bytes_per_day=60,
    devices_per_account=2,
    edits_per_message=2,
    pins_per_room=1,
    reactions_per_message=2,
    mentions_per_message=2,
    threads_per_room=2,
    notices_per_account=3,
)

devices = st.sampled_from([ALICE, ALICE, BOB, BOB, CAROL, DAVE, PHONE])
rooms = st.sampled_from(["garden", "garden", "garden", "secret", "attic"])
words = st.sampled_from(["hi", "@bob", "@alice @dave", "", "a b", "x" * 20, "Release", "\x00"])
indexes = st.integers(0, 4).map(MessageIndex)
keys = st.sampled_from(KEYS)
times = st.integers(0, 30).map(lambda minutes: Milliseconds(NOON + 60_000 * minutes))
purposes = st.sampled_from([Purpose.DEVICE, Purpose.ROTATION, Purpose.RECOVERY])
proofs = st.builds(prove, keys, purposes, st.sampled_from([ALICE, PHONE]))
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Register, words),
    st.builds(SetDisplay, words),
    st.builds(SetRecovery, keys.map(lambda key: key.public_key)),
    st.builds(InviteDevice, keys.map(lambda key: key.public_key), times),
    st.builds(AddDevice, keys.map(lambda key: key.public_key), proofs),
    st.builds(RotateDevice, keys.map(lambda key: key.public_key), proofs),
    st.builds(RevokeDevice, devices),
    st.builds(Recover, st.just("alice"), proofs),
    st.builds(Post, room=rooms, body=words, reply_to=st.none() | indexes, thread=st.none() | words),
    st.builds(OpenPoll, room=rooms, question=words, options=st.tuples(words, words)),
    st.builds(Edit, rooms, indexes, words),
    st.builds(Delete, rooms, indexes),
    st.builds(React, rooms, indexes, words, st.booleans()),
    st.builds(Pin, rooms, indexes, st.booleans()),
    st.builds(Vote, rooms, indexes, st.none() | st.integers(0, 2)),
    st.builds(ClosePoll, rooms, indexes),
    st.builds(MarkRead, rooms, indexes),
)
posts = st.builds(
    Post, room=st.just("garden"), body=st.sampled_from(["hi", "hi @bob"]), thread=st.sampled_from([None, "T"])
)
histories = st.lists(st.tuples(devices, posts | operations, st.booleans()), max_size=40)


@settings(max_examples=150, deadline=None)
@given(histories, st.booleans())
def test_a_refused_operation_writes_nothing_and_the_rows_stay_in_order(
    history: list[tuple[PublicKey, Operation, bool]], limited: bool
) -> None:
    service = garden(LIMITS if limited else None, retention_s=60)
    put_room(service, "secret", {ALICE: Role.OWNER, BOB: Role.MEMBER}, private=True, slow_s=2)
    service.rows.put(RETAINED, ("garden",), ())
    for number, (device, operation, tidies) in enumerate(history):
        service.sequence += 1
        time = Milliseconds(NOON + 5000 * number)
        before, writes = dict(service.rows.pending), service.rows.writes
        outcome = service.execute_in_batch(device, encode_operation(operation), time=time)
        if isinstance(decode_result(outcome.result), Rejected):
            assert (service.rows.pending, service.rows.writes) == (before, writes)
            assert outcome.topics == ()
        if tidies:
            service.application.tidy(service.rows, SequenceNumber(service.sequence), time)
            service.commit()
    service.commit()
    for room in ("garden", "secret"):
        check_room(service, room)
    check_accounts(service)


def check_room(service: Service, name: str) -> None:
    row = room_row(service, name)
    messages = {key[1]: MessageRow.from_row(found) for key, found in rows_of(service, MESSAGES, name)}
    assert list(messages) == list(range(row.first_message, row.message_count))
    assert [key[1] for key, _ in rows_of(service, EVENTS, name)] == list(range(row.first_event, row.event_count))
    pins, threads = rows_of(service, PINS, name), rows_of(service, THREADS, name)
    assert (len(pins), len(threads)) == (row.pin_count, row.thread_count)
    for index, message in messages.items():
        versions = message.edits if message.deleted_by is None else 0
        assert len(rows_of(service, VERSIONS, name, index)) == versions
        standing = message.deleted_by is None
        reactions = [key[2] for key, _ in rows_of(service, REACTIONS, name, index)]
        counts = rows_of(service, REACTION_COUNTS, name, index)
        votes = [found[0] for _, found in rows_of(service, VOTES, name, index)]
        polls = rows_of(service, POLLS, name, index)
        if standing:
            counted: dict[Value, Value] = {} if not counts else dict(counts[0][1][0])  # type: ignore[arg-type]
            assert counted == {reaction: reactions.count(reaction) for reaction in dict.fromkeys(reactions)}
            assert bool(polls) == (message.kind == "poll")
            assert all(poll[1][1] == [votes.count(0), votes.count(1)] for poll in polls)
        else:
            assert counts == polls == []
    hanging = (VERSIONS, REACTION_COUNTS, PINS, POLLS)
    assert all(key[1] in messages for hung in hanging for key, _ in rows_of(service, hung, name))
    for key, found in threads:
        thread = ThreadRow.from_row(found)
        positions = rows_of(service, THREAD_MESSAGES, name, key[1])
        assert [key[2] for key, _ in positions] == list(
            range(thread.message_count - len(positions), thread.message_count)
        )
        assert [entry[0] for _, entry in positions] == [
            index for index, message in messages.items() if message.thread == thread.title
        ]
    serial = service.rows.get(COUNTERS, NEXT_SERIAL)
    assert serial is None or all(message.serial < serial[0] for message in messages.values())  # type: ignore[operator]


def rows_of(service: Service, name: str, *prefix: object) -> list[tuple[tuple[object, ...], tuple[Value, ...]]]:
    rows = service.rows.committed.get(name, {})
    return [(key, rows[key]) for key in sorted(rows) if key[: len(prefix)] == prefix]


def check_accounts(service: Service) -> None:
    for (key,), found in rows_of(service, ACCOUNTS):
        account = AccountRow.from_row(found)
        numbered = [entry[0] for _, entry in rows_of(service, ACCOUNT_DEVICES, key)]
        owned = {
            device: DeviceRow.from_row(row)
            for (device,), row in rows_of(service, DEVICES)
            if DeviceRow.from_row(row).account == key
        }
        assert sorted(numbered) == sorted(owned)  # type: ignore[type-var]
        assert account.device_count == len(owned)
        assert account.active_count == sum(row.revoked_ms is None for row in owned.values()) >= 1
