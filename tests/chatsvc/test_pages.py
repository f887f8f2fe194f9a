"""Answers that come in pages: nothing twice, nothing left out, and none longer than it may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatsvc.application.answers import (
    ANSWER_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    Answer,
    DeviceList,
    Digests,
    Found,
    History,
    InvitationList,
    Message,
    MomentFound,
    PinList,
    ReactionList,
    RoomList,
    Thread,
    ThreadList,
    ThreadPage,
    Version,
    VersionList,
    decode_answer,
)
from chatsvc.application.bodies import BODY_BYTES_MAX, TOPIC_BYTES_MAX
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey, DisplayName
from chatsvc.application.operations import Delete, Edit, Pin, Post, React, SetRetention
from chatsvc.application.queries import (
    DigestMessages,
    FindMoment,
    ListDevices,
    ListInvitations,
    ListPins,
    ListReactions,
    ListRooms,
    ListThreads,
    ListVersions,
    Query,
    ReadHistory,
    ReadThread,
    SearchMessages,
    encode_query,
)
from chatsvc.application.results import ErrorCode, Rejected
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
from tests.chatsvc.scenes import account_row, apply, garden, put_room, room_row

T = Milliseconds(NOON + 1_000_000)
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


def ask(service: Service, query: Query, device: PublicKey = ALICE) -> Any:
    data = service.application.query(service.rows, device, encode_query(query))
    assert len(data) <= ANSWER_BYTES_MAX
    answer: Answer = decode_answer(data)
    assert not isinstance(answer, Rejected), answer
    return answer


# -- threads


def thread_positions(service: Service, limit: int) -> list[list[int]]:
    """Pages from the newest on, as the indexes of their messages."""
    pages: list[list[int]] = []
    before: int | None = None
    while True:
        page = ask(service, ReadThread(room="garden", thread="ROSES", before=before, limit=limit))
        assert isinstance(page, ThreadPage)
        assert page.title == "Roses"
        pages.append([message.index for message in page.messages])
        if page.next is None:
            return pages
        before = page.next


def with_thread(count: int) -> Service:
    """Every other message, a minute after the other, is about roses."""
    service = garden()
    apply(service, ALICE, SetRetention("garden", 3600), time=T)
    for number in range(count):
        thread = "Roses" if number % 2 == 0 else None
        apply(service, CAROL, Post(room="garden", body="x", thread=thread), time=Milliseconds(T + 60_000 * number))
    return service


def test_a_thread_is_read_backwards() -> None:
    service = with_thread(9)
    assert thread_positions(service, 2) == [[6, 8], [2, 4], [0]]
    assert thread_positions(service, 5) == [[0, 2, 4, 6, 8]]
    assert why_no_answer(service, ReadThread(room="garden", thread="tulips")) is ErrorCode.NO_SUCH_MESSAGE
    assert why_no_answer(service, ReadThread(room="garden", thread="")) is ErrorCode.NO_SUCH_MESSAGE


@pytest.mark.parametrize("gone", range(9))
def test_a_thread_ends_where_retention_has_taken_it(gone: int) -> None:
    service = with_thread(9)
    service.application.tidy(service.rows, SequenceNumber(128), Milliseconds(T + 3_600_000 + 60_000 * (gone - 1)))
    service.commit()
    kept = [index for index in (0, 2, 4, 6, 8) if index >= gone]
    assert room_row(service).first_message == gone
    for limit in (1, 2, 3):
        pages = thread_positions(service, limit)
        assert [index for page in reversed(pages) for index in page] == kept
        assert all(pages), "no page is asked for in vain"


def test_threads_are_listed_by_their_keys() -> None:
    service = garden()
    for title in ("Zinnia", "apple", "Rose", "ROSE"):
        apply(service, CAROL, Post(room="garden", body="x", thread=title), time=T)
    first = ask(service, ListThreads(room="garden", limit=2))
    assert first == ThreadList((Thread("apple", 1, T), Thread("Rose", 2, T)), "rose")
    assert ask(service, ListThreads(room="garden", after="rose", limit=2)) == ThreadList(
        (Thread("Zinnia", 1, T),), None
    )


# -- moments, versions, reactions


def test_a_moment_is_found() -> None:
    service = garden()
    for number in range(7):
        apply(service, CAROL, Post(room="garden", body="x"), time=Milliseconds(T + 1000 * (number // 2)))
    found = {
        after: ask(service, FindMoment("garden", Milliseconds(T + after))).index for after in (0, 1, 1000, 3000, 9999)
    }
    assert found == {0: 0, 1: 2, 1000: 2, 3000: 6, 9999: 7}
    apply(service, ALICE, SetRetention("garden", 60), time=T)
    service.application.tidy(service.rows, SequenceNumber(128), Milliseconds(T + 61_000))
    service.commit()
    assert ask(service, FindMoment("garden", Milliseconds(0))) == MomentFound(MessageIndex(4))


def test_what_was_imported_is_found_by_what_it_claims() -> None:
    service = garden()
    for claimed_ms in (100, 200, 300):
        apply(service, CAROL, Post(room="garden", body="x", claimed_ms=Milliseconds(claimed_ms)))
    assert ask(service, FindMoment("garden", Milliseconds(200))).index == 1


def test_versions() -> None:
    service = garden()
    apply(service, CAROL, Post(room="garden", body="one"), time=T)
    for number, body in enumerate(("two", "three"), 1):
        apply(service, CAROL, Edit("garden", MessageIndex(0), body), time=Milliseconds(T + number))
    answer = ask(service, ListVersions("garden", MessageIndex(0)))
    assert answer == VersionList(
        (Version("one", T), Version("two", Milliseconds(T + 1)), Version("three", Milliseconds(T + 2)))  # type: ignore[arg-type]
    )
    assert why_no_answer(service, ListVersions("garden", MessageIndex(1))) is ErrorCode.NO_SUCH_MESSAGE
    apply(service, BOB, Delete("garden", MessageIndex(0)))
    assert why_no_answer(service, ListVersions("garden", MessageIndex(0))) is ErrorCode.MESSAGE_DELETED


def why_no_answer(service: Service, query: Query, device: PublicKey = ALICE) -> ErrorCode:
    answer = service.ask(query, device)
    assert isinstance(answer, Rejected), answer
    return answer.code


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
def test_who_reacted_is_paged_whatever_the_reactions_are(limit: int) -> None:
    service = garden()
    service.say(CAROL, "hi")
    reactions = ["+1", "a", "a/b", "a/bob", "/", "\U0001f44d\U0001f3fd"]
    for reaction in reactions:
        for device in (ALICE, BOB):
            apply(service, device, React("garden", MessageIndex(0), reaction))
    seen: list[tuple[str, str]] = []
    after: str | None = None
    for _ in range(20):
        page = ask(service, ListReactions(room="garden", index=MessageIndex(0), after=after, limit=limit))
        seen += [(reacted.reaction, reacted.name) for reacted in page.reactions]
        after = page.next
        if after is None:
            break
    assert seen == [(reaction, name) for reaction in sorted(reactions) for name in ("Alice", "Bob")]


def test_nobody_has_reacted_to_a_deleted_message() -> None:
    """Not even before the next checkpoint, at which it is forgotten who had."""
    service = garden()
    service.say(CAROL, "hi")
    apply(service, BOB, React("garden", MessageIndex(0), "+1"))
    apply(service, CAROL, Delete("garden", MessageIndex(0)))
    for device in (ALICE, BOB):
        answer = service.ask(ListReactions(room="garden", index=MessageIndex(0)), device)
        assert answer == ReactionList((), None)


# -- messages as others see them


def test_digests_are_those_of_the_messages_shown() -> None:
    service = garden()
    for number in range(5):
        service.say(CAROL, f"@alice {number}")
    apply(service, BOB, React("garden", MessageIndex(1), "+1"))
    apply(service, CAROL, Edit("garden", MessageIndex(2), "else"))
    apply(service, BOB, Delete("garden", MessageIndex(3)))
    history = ask(service, ReadHistory(room="garden"))
    answer = ask(service, DigestMessages(room="garden", first=MessageIndex(0)))
    assert answer == Digests(
        room=answer.room,
        first=MessageIndex(0),
        digests=b"".join(message.digest for message in history.messages),
        message_count=MessageIndex(5),
        first_message=MessageIndex(0),
    )
    part = ask(service, DigestMessages(room="garden", first=MessageIndex(3), limit=1))
    assert (part.first, part.digests) == (3, history.messages[3].digest)
    assert ask(service, DigestMessages(room="garden", first=MessageIndex(9))).digests == b""
    before = [message.digest for message in history.messages]
    apply(service, BOB, React("garden", MessageIndex(0), "+1"))
    after = [message.digest for message in ask(service, ReadHistory(room="garden")).messages]
    assert (before[0] != after[0], before[1:]) == (True, after[1:])


def test_pins_are_shown_as_they_stand() -> None:
    service = garden()
    for number in range(4):
        service.say(CAROL, f"number {number}")
    for index in (3, 0, 2):
        apply(service, BOB, Pin("garden", MessageIndex(index)))
    apply(service, CAROL, Edit("garden", MessageIndex(0), "edited"))
    apply(service, CAROL, Delete("garden", MessageIndex(2)))
    answer = ask(service, ListPins(room="garden"))
    assert [(message.index, message.body) for message in answer.messages] == [(0, "edited"), (3, "number 3")]
    assert answer.next is None
    assert [message.index for message in ask(service, ListPins(room="garden", after=MessageIndex(0))).messages] == [3]


# -- the longest there can be


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
        service.rows.put(PINS, (WIDE, index), ("Alice", T))
        service.rows.put(REACTION_COUNTS, (WIDE, index), ([[f"{n:032}", 2**31] for n in range(50)],))
        service.rows.put(THREAD_MESSAGES, (WIDE, thread_key(title), index), (index,))
    service.rows.put(THREADS, (WIDE, thread_key(title)), (title, len(bodies), T))
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
        rows.put(DEVICES, (key,), tuple(DeviceRow(AccountKey("bob"), DisplayName("Bob"), "l" * 64, T, T)))
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
