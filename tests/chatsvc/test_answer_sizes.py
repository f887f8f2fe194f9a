"""The longest answers there can be: none is longer than it may be, and pages leave nothing out."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatsvc.application.answers import (
    ANSWER_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    DeviceList,
    Found,
    History,
    InvitationList,
    Message,
    PinList,
    RoomList,
    ThreadPage,
)
from chatsvc.application.bodies import BODY_BYTES_MAX, TOPIC_BYTES_MAX
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey, DisplayName
from chatsvc.application.queries import (
    ListDevices,
    ListInvitations,
    ListPins,
    ListRooms,
    ListVersions,
    Query,
    ReadHistory,
    ReadThread,
    SearchMessages,
)
from chatsvc.application.schema import (
    ACCOUNT_DEVICES,
    ACCOUNTS,
    DEVICES,
    INVITATIONS,
    MESSAGES,
    PINS,
    REACTION_COUNTS,
    ROOMS,
    THREAD_MESSAGES,
    THREADS,
    VERSIONS,
    DeviceRow,
    MessageIndex,
    MessageRow,
    Role,
)
from chatsvc.application.texts import DESCRIPTION_BYTES_MAX, thread_key
from chatsvc.application.wire import encode_wire
from crypto.canonical import encode
from crypto.digest import digest_of
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import account_row, ask, garden, put_room, room_row

WIDE = "\U0001f600" * 16
"""A name as long as names are."""
HIGHEST = ChatLimits(
    device_keys_per_account=1000,
    invitations_per_account=500,
    pins_per_room=1000,
    edits_per_message=60,
    reactions_per_message=50,
    mentions_per_message=32,
)
LARGEST = 2**62


def stuffed(bodies: list[int]) -> Service:
    """A room of the longest name full of messages that are as large as they can be, but for these lengths of body."""
    service = garden(HIGHEST)
    put_room(
        service,
        WIDE,
        {ALICE: Role.OWNER},
        message_count=len(bodies),
        pin_count=len(bodies),
        topic="t" * TOPIC_BYTES_MAX,
    )
    title = "\U0001f600" * 48
    for index, length in enumerate(bodies):
        row = MessageRow(
            kind="action",
            author=DisplayName(WIDE),
            body="x" * length,
            reply_to=MessageIndex(LARGEST),
            thread=title,
            mentions=[WIDE] * 32,
            nonce=b"n" * 16,
            time=Milliseconds(LARGEST),
            claimed_ms=Milliseconds(LARGEST),
            sequence=SequenceNumber(LARGEST),
            batch_index=LARGEST,
            serial=index,  # type: ignore[arg-type]  # a plain number
            event=LARGEST,  # type: ignore[arg-type]
            digest=bytes(32),
            private=False,
            edits=LARGEST,
            edited_ms=Milliseconds(LARGEST),
            deleted_by=DisplayName(WIDE),
        )
        service.rows.put(MESSAGES, (WIDE, index), tuple(row))
        service.rows.put(PINS, (WIDE, index), ("Alice", NOON))
        service.rows.put(REACTION_COUNTS, (WIDE, index), ([[f"{n:032}", 2**31] for n in range(50)],))
        service.rows.put(THREAD_MESSAGES, (WIDE, thread_key(title), index), (index,))
    service.rows.put(THREADS, (WIDE, thread_key(title)), (title, len(bodies), NOON))
    service.rows.commit()
    return service


def pages(service: Service, first: Query, go_on: Any) -> list[list[int]]:
    """All pages from `first` on, as the indexes of their messages; `go_on` makes the next query."""
    found: list[list[int]] = []
    query = first
    while True:
        answer = ask(service, query)
        assert isinstance(answer, History | ThreadPage | PinList | Found)
        found.append([message.index for message in answer.messages])
        if answer.next is None:
            return found
        assert found[-1], "a page that is followed by another one has something on it"
        query = go_on(answer.next)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 500, BODY_BYTES_MAX - 1, BODY_BYTES_MAX]), min_size=1, max_size=90))
@example([BODY_BYTES_MAX] * 90)
def test_pages_are_never_too_long_and_complete(bodies: list[int]) -> None:
    service = stuffed(bodies)
    title = "\U0001f600" * 48
    everything = list(range(len(bodies)))
    backwards = [
        pages(service, ReadHistory(room=WIDE), lambda at: ReadHistory(room=WIDE, before=at)),
        pages(
            service, ReadThread(room=WIDE, thread=title), lambda at: ReadThread(room=WIDE, thread=title, before=at)
        ),
    ]
    for found in backwards:
        assert [index for page in reversed(found) for index in page] == everything
    forwards = [
        pages(service, ReadHistory(room=WIDE, after=MessageIndex(0)), lambda at: ReadHistory(room=WIDE, after=at)),
        pages(service, ListPins(room=WIDE), lambda at: ListPins(room=WIDE, after=at)),
    ]
    assert [[index for page in found for index in page] for found in forwards] == [everything[1:], everything]


def test_no_message_is_longer_than_said() -> None:
    (message,) = ask(stuffed([BODY_BYTES_MAX]), ReadHistory(room=WIDE)).messages
    assert isinstance(message, Message)
    assert MESSAGE_BYTES_MAX - 1500 < len(encode_message(message)) <= MESSAGE_BYTES_MAX


def encode_message(message: Message) -> bytes:
    data = encode_wire(message)
    assert digest_of(data) == message.digest
    return data


def test_the_longest_lists_fit() -> None:
    """Those that have no pages, at the highest limits there are."""
    service = garden(HIGHEST)
    rows = service.rows
    for number in range(500):
        name = f"{number:03}{WIDE}"[:16]
        rows.put(ROOMS, (name,), tuple(room_row(service)._replace(topic="t" * TOPIC_BYTES_MAX)))
        rows.put(INVITATIONS, ("bob", name), (WIDE, LARGEST))
    for number in range(2000):
        key = PublicKey(number.to_bytes(32, "big"))
        rows.put(DEVICES, (key,), tuple(DeviceRow(AccountKey("bob"), DisplayName("Bob"), "l" * 64, NOON, NOON)))
        rows.put(ACCOUNT_DEVICES, ("bob", number), (key,))
    rows.put(ACCOUNTS, ("bob",), tuple(account_row(service, "bob")._replace(device_count=2000)))
    service.say(CAROL, "x")
    message = rows.get(MESSAGES, ("garden", 0))
    assert message is not None
    rows.put(MESSAGES, ("garden", 0), tuple(MessageRow.from_row(message)._replace(body="x" * 4096, edits=60)))
    for version in range(60):
        rows.put(VERSIONS, ("garden", 0, version), ("x" * 4096, b"n" * 16, LARGEST))
    rows.commit()
    devices = ask(service, ListDevices(), BOB)
    assert isinstance(devices, DeviceList)
    assert len(devices.devices) == 2000
    invitations = ask(service, ListInvitations(), BOB)
    assert isinstance(invitations, InvitationList)
    assert len(invitations.invitations) == 500
    assert len(ask(service, ListVersions("garden", MessageIndex(0))).versions) == 61


def test_rooms_come_in_pages_that_fit() -> None:
    service = garden()
    names = sorted(f"{number:03}{WIDE}"[:16] for number in range(201))
    for name in names:
        put_room(service, name, {}, topic="t" * TOPIC_BYTES_MAX, description="d" * DESCRIPTION_BYTES_MAX)
    seen: list[str] = []
    after: str | None = None
    while True:
        page = ask(service, ListRooms(after=after))
        assert isinstance(page, RoomList)
        seen += [header.room for header in page.rooms]
        after = page.next
        if after is None:
            break
    assert seen == sorted(["garden", *names])


def test_searches_find_all_of_the_longest() -> None:
    service = garden(HIGHEST)
    body = "word " + "x" * (BODY_BYTES_MAX - 5)
    for _ in range(60):
        service.say(CAROL, body)
    found = pages(service, SearchMessages(text="word"), lambda at: SearchMessages(text="word", before=at))
    assert [index for page in found for index in page] == list(reversed(range(60)))
    assert len(encode([body])) * 60 > ANSWER_BYTES_MAX - MESSAGE_BYTES_MAX * 2, "more than one answer"
