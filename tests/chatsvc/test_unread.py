"""What an account is told, and what it has not read yet."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import NoticeList, Unread, UnreadList
from chatsvc.application.events import NoticeHead, NoticeKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    Create,
    Invite,
    Join,
    Leave,
    MarkRead,
    OpenDirect,
    Post,
    SetRetention,
)
from chatsvc.application.queries import ListNotices, ListUnread
from chatsvc.application.results import Created, ErrorCode, Rejected
from chatsvc.application.schema import MessageIndex
from crypto.signing import PublicKey
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import apply, garden

T = Milliseconds(NOON + 1_000_000)
STRANGER = PublicKey(b"S" * 32)


def unread(service: Service, device: PublicKey = CAROL) -> dict[str, Unread]:
    answer = service.ask(ListUnread(), device)
    assert isinstance(answer, UnreadList)
    return {room.room: room for room in answer.rooms}


def told(service: Service, device: PublicKey = CAROL, *, before: int | None = None, limit: int = 200) -> NoticeList:
    answer = service.ask(ListNotices(before=None if before is None else EventIndex(before), limit=limit), device)
    assert isinstance(answer, NoticeList)
    return answer


def test_what_was_not_read_is_counted() -> None:
    service = garden(topic="plants")
    service.say(ALICE, "@carol look")
    service.say(CAROL, "what?")
    service.do(ALICE, Post(room="garden", body="this", reply_to=MessageIndex(1)))
    service.say(ALICE, "and @carol that")
    service.say(BOB, "not for her")
    assert unread(service) == {
        "garden": Unread(
            room="garden",  # type: ignore[arg-type]  # plain text and numbers
            topic="plants",
            direct=False,
            with_=(),
            read=MessageIndex(0),
            message_count=5,
            mentions=3,
        )
    }
    for read, mentions in ((1, 2), (3, 1), (4, 0), (99, 0)):
        apply(service, CAROL, MarkRead("garden", MessageIndex(read)))
        assert (unread(service)["garden"].mentions, unread(service)["garden"].read) == (mentions, min(read, 5))


def test_many_mentions_are_a_hundred() -> None:
    service = garden()
    for _ in range(101):
        service.say(ALICE, "@carol")
    assert unread(service)["garden"].mentions == 100


def test_a_direct_conversation_is_unread_without_mentions() -> None:
    service = garden()
    opened = service.do(ALICE, OpenDirect(("Carol",)))
    assert isinstance(opened, Created)
    service.say(ALICE, "hi", room=opened.room)
    service.say(ALICE, "@carol?", room=opened.room)
    room = unread(service)[opened.room]
    assert (room.direct, room.with_, room.message_count, room.read, room.mentions) == (True, ("Alice",), 2, 0, 1)


def test_mentions_that_retention_has_taken_count_no_longer() -> None:
    service = garden()
    apply(service, ALICE, SetRetention("garden", 60), time=T)
    for number in range(3):
        apply(service, ALICE, Post(room="garden", body="@carol"), time=Milliseconds(T + 1000 * number))
    service.application.tidy(service.rows, SequenceNumber(128), Milliseconds(T + 61_000))
    service.commit()
    assert unread(service)["garden"].mentions == 1


def test_what_was_said_while_away_is_no_news() -> None:
    service = garden()
    service.say(ALICE, "@carol")
    service.do(CAROL, Leave("garden"))
    service.say(ALICE, "@carol")
    service.do(CAROL, Join("garden"))
    assert (unread(service)["garden"].read, unread(service)["garden"].mentions) == (2, 0)


def test_unread_rooms_come_in_pages() -> None:
    service = garden()
    for name in ("attic", "zoo"):
        service.do(CAROL, Create(name, ""))
    first = service.ask(ListUnread(limit=2), CAROL)
    assert isinstance(first, UnreadList)
    assert ([room.room for room in first.rooms], first.next) == (["attic", "garden"], "garden")
    rest = service.ask(ListUnread(after="garden", limit=2), CAROL)
    assert isinstance(rest, UnreadList)
    assert ([room.room for room in rest.rooms], rest.next) == (["zoo"], None)


def test_notices_are_read_backwards() -> None:
    service = garden(ChatLimits(notices_per_account=5))
    for number in range(7):
        service.say(ALICE, f"@carol {number}")
    first = told(service, limit=2)
    assert ([notice.notice for notice in first.notices], first.next, first.end) == ([6, 5], 5, 7)
    pages = [[notice.notice for notice in first.notices]]
    while first.next is not None:
        first = told(service, before=first.next, limit=2)
        pages.append([notice.notice for notice in first.notices])
    assert pages == [[6, 5], [4, 3], [2]], "five are kept"
    assert told(service, before=1) == NoticeList((), None, EventIndex(7))


def test_a_notice_says_who_and_where() -> None:
    service = garden()
    service.do(ALICE, Create("attic", "", private=True))
    apply(service, ALICE, Invite("attic", "Carol"), time=T)
    assert told(service).notices == (
        NoticeHead(
            notice=EventIndex(0),
            kind=NoticeKind.INVITATION,
            room="attic",  # type: ignore[arg-type]
            index=None,
            by="Alice",  # type: ignore[arg-type]
            time=T,
        ),
    )
    assert told(service, BOB).notices == ()


@pytest.mark.parametrize("query", [ListUnread(), ListNotices()])
def test_strangers_are_told_nothing(query: ListUnread | ListNotices) -> None:
    answer = garden().ask(query, STRANGER)
    assert isinstance(answer, Rejected)
    assert answer.code is ErrorCode.NOT_REGISTERED
