"""Messages of a room as questions show them, and answers that come in pages: nothing twice, nothing left out."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import (
    Digests,
    MomentFound,
    ReactionList,
    Thread,
    ThreadList,
    ThreadPage,
    Version,
    VersionList,
)
from chatsvc.application.operations import Delete, Edit, Pin, Post, React, SetRetention
from chatsvc.application.queries import (
    DigestMessages,
    FindMoment,
    ListPins,
    ListReactions,
    ListThreads,
    ListVersions,
    Query,
    ReadHistory,
    ReadThread,
)
from chatsvc.application.results import ErrorCode, Rejected
from chatsvc.application.schema import (
    MessageIndex,
)
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import apply, ask, garden, room_row

T = Milliseconds(NOON + 1_000_000)


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


def test_what_messages_claim_does_not_lead_a_search_for_a_moment_astray() -> None:
    service = garden()
    for number, claimed_ms in enumerate((300, 200, 2**40, 100)):
        operation = Post(room="garden", body="x", claimed_ms=Milliseconds(claimed_ms))
        apply(service, CAROL, operation, time=Milliseconds(T + number))
    assert [ask(service, FindMoment("garden", Milliseconds(T + at))).index for at in range(5)] == [0, 1, 2, 3, 4]


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
