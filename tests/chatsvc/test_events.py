"""What subscribers of rooms and accounts are sent, for how long, and to whom."""

from __future__ import annotations

import pytest

from chatsvc.application.events import (
    HEAD_BYTES_MAX,
    Content,
    EventKind,
    Head,
    NoticeKind,
    content_digest,
    decode_content,
    decode_head,
    decode_notice,
    notices_topic,
)
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey
from chatsvc.application.operations import (
    Archive,
    Ban,
    ClosePoll,
    Create,
    Delete,
    Describe,
    Edit,
    Invite,
    Join,
    Kick,
    Leave,
    Mute,
    OpenPoll,
    Operation,
    Pin,
    Post,
    React,
    Register,
    SetRetention,
    SetRole,
    SetSlowMode,
    SetTopic,
    Unban,
    Vote,
    encode_operation,
)
from chatsvc.application.results import Rejected
from chatsvc.application.rules import retention
from chatsvc.application.schema import MessageIndex, Role
from crypto.digest import digest_of
from crypto.signing import PublicKey
from pbft.core.application import EventItem
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, apply, garden, room_row

FIRST, SECOND = MessageIndex(0), MessageIndex(1)
T = Milliseconds(NOON + 1_000_000)
FAR = Milliseconds(T + 10**9)
STRANGER = PublicKey(b"S" * 32)

EVERYTHING: list[tuple[PublicKey, Operation]] = [
    (CAROL, Post(room="garden", body="hello", nonce=b"n", thread="Roses")),
    (BOB, OpenPoll(room="garden", question="tea?", options=("yes", "no"))),
    (CAROL, Edit("garden", FIRST, "hello there", b"m")),
    (BOB, React("garden", FIRST, ":tada:")),
    (BOB, React("garden", FIRST, ":tada:", on=False)),
    (BOB, Pin("garden", FIRST)),
    (BOB, Pin("garden", FIRST, on=False)),
    (CAROL, Vote("garden", SECOND, 1)),
    (BOB, ClosePoll("garden", SECOND)),
    (CAROL, Delete("garden", FIRST)),
    (CAROL, Invite("garden", "Dave")),
    (DAVE, Join("garden")),
    (DAVE, Leave("garden")),
    (BOB, Mute("garden", "Carol", FAR)),
    (BOB, Kick("garden", "Carol", "r" * 256)),
    (BOB, Ban("garden", "Carol", "spam")),
    (BOB, Unban("garden", "Carol")),
    (ALICE, SetRole("garden", "Bob", Role.OWNER)),
    (ALICE, SetTopic("garden", "t" * 256)),
    (ALICE, Describe("garden", "d" * 1024)),
    (ALICE, SetSlowMode("garden", 5)),
    (ALICE, SetRetention("garden", 60)),
    (ALICE, Archive("garden", archived=True)),
]


def everything_happens() -> Service:
    service = garden()
    for number, (device, operation) in enumerate(EVERYTHING):
        result = service.do(device, operation, time=Milliseconds(T + number))
        assert not isinstance(result, Rejected), (operation, result)
    return service


def items(service: Service, device: PublicKey = ALICE, start: int = 0, topic: bytes = b"garden") -> list[EventItem]:
    found = service.application.events(service.rows, device, topic, EventIndex(start), 10_000)
    assert found is not None
    return list(found)


def contents(service: Service) -> list[Content | None]:
    return [None if item.content is None else decode_content(item.content) for item in items(service)]


def is_open(service: Service, device: PublicKey, topic: bytes = b"garden", start: int = 0) -> bool:
    return service.application.events(service.rows, device, topic, EventIndex(start), 10) is not None


def test_events_of_every_kind_are_read_back() -> None:
    service = everything_happens()
    heads = [decode_head(item.head) for item in items(service)]
    assert {head.kind for head in heads} == set(EventKind)
    assert (
        [head.event for head in heads] == list(range(room_row(service).event_count)) == list(range(len(EVERYTHING)))
    )
    assert [head.time for head in heads] == [T + number for number in range(len(EVERYTHING))]
    assert all(head.room == "garden" and head.batch_index == 0 for head in heads)
    sequences = [head.sequence for head in heads]
    assert sequences == list(range(sequences[0], sequences[0] + len(heads)))
    assert all(len(item.head) <= HEAD_BYTES_MAX for item in items(service))
    first: Head = heads[0]
    assert (first.actor, first.index, first.data) == ("Carol", 0, ["text", -1, "Roses", -1, 0])
    voted = next(head for head in heads if head.kind is EventKind.VOTED)
    assert (voted.actor, voted.data) == ("", [0, 1]), "nobody is told who voted"


def test_the_longest_head_is_no_longer_than_said(empty: Service) -> None:
    wide = "\U0001f600" * 16
    empty.do(ALICE, Register(wide))
    empty.do(ALICE, Create(wide, ""))
    apply(empty, ALICE, Describe(wide, "d" * 1024))
    longest = max(len(item.head) for item in items(empty, topic=wide.encode()))
    assert 1024 < longest < HEAD_BYTES_MAX


def test_content_goes_along_and_fits_its_head() -> None:
    service = garden()
    apply(service, CAROL, Post(room="garden", body="one", nonce=b"n"))
    apply(service, CAROL, Edit("garden", FIRST, "two", b"m"))
    apply(service, CAROL, Edit("garden", FIRST, "three", b"o"))
    apply(service, BOB, React("garden", FIRST, "+1"))
    said = [Content("one", b"n"), Content("two", b"m"), Content("three", b"o"), None]
    assert contents(service) == said
    for item, content in zip(items(service), said, strict=True):
        head = decode_head(item.head)
        if content is None:
            assert head.digest == item.content_digest == b""
        else:
            assert head.digest == item.content_digest == content_digest(content) == digest_of(item.content or b"")


def test_heads_never_change_and_content_goes_with_a_deletion() -> None:
    """A replica that has executed the deletion vouches for the same head as one that has not."""
    service = garden()
    apply(service, CAROL, Post(room="garden", body="secret", nonce=b"n"))
    apply(service, CAROL, Edit("garden", FIRST, "less secret"))
    apply(service, BOB, OpenPoll(room="garden", question="q", options=("a", "b")))
    before = [(item.head, item.content_digest) for item in items(service)]
    apply(service, BOB, React("garden", FIRST, "+1"))
    apply(service, BOB, Delete("garden", FIRST))
    apply(service, BOB, Delete("garden", SECOND))
    assert [(item.head, item.content_digest) for item in items(service)][: len(before)] == before
    assert contents(service) == [None] * 6
    assert b"secret" not in b"".join(item.head for item in items(service))


def test_an_edit_that_is_no_longer_kept_has_no_content_and_its_head_stays() -> None:
    service = garden()
    apply(service, CAROL, Post(room="garden", body="one"))
    apply(service, CAROL, Edit("garden", FIRST, "two"))
    before = [item.head for item in items(service)]
    service.rows.delete("versions", ("garden", 0, 0))
    service.commit()
    assert [item.head for item in items(service)] == before
    assert contents(service) == [None, Content("two", b"")]


def test_events_go_with_their_messages_by_retention() -> None:
    service = garden()
    apply(service, ALICE, SetRetention("garden", 60), time=T)
    for number in range(3):
        apply(service, CAROL, Post(room="garden", body=f"{number}"), time=Milliseconds(T + 1000 * number))
        apply(service, BOB, React("garden", MessageIndex(number), "+1"), time=Milliseconds(T + 1000 * number))
    service.application.tidy(service.rows, SequenceNumber(128), Milliseconds(T + 61_000))
    service.commit()
    row = room_row(service)
    assert (row.first_message, row.first_event) == (2, 5)
    assert not is_open(service, ALICE, start=4)
    assert [decode_head(item.head).kind for item in items(service, start=5)] == [EventKind.POSTED, EventKind.REACTED]


@pytest.mark.parametrize("reactions", [1, 3, 5])
def test_no_event_outlives_its_message(reactions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little one checkpoint removes: who reads events from the oldest on never meets one without message."""
    service = garden()
    apply(service, ALICE, SetRetention("garden", 60), time=T)
    for number in range(6):
        apply(service, CAROL, Post(room="garden", body="x"), time=T)
        for reaction in range(reactions):
            apply(service, BOB, React("garden", MessageIndex(number), f":{reaction}:"), time=T)
    monkeypatch.setattr(retention, "EVENTS_MAX", 4)
    while room_row(service).first_message < 6:
        before = room_row(service).first_event
        service.application.tidy(service.rows, SequenceNumber(128), FAR)
        service.commit()
        row = room_row(service)
        assert row.first_event > before
        assert len(items(service, start=row.first_event)) == row.event_count - row.first_event


# -- who is sent them


@pytest.mark.parametrize("way", ["kicked", "banned", "leaves"])
def test_a_stream_of_a_private_room_ends_for_who_is_no_member_any_more(way: str) -> None:
    service = garden(private=True)
    service.say(ALICE, "hi")
    assert is_open(service, CAROL)
    if way == "leaves":
        service.do(CAROL, Leave("garden"))
    else:
        apply(service, BOB, Kick("garden", "Carol") if way == "kicked" else Ban("garden", "Carol"))
    assert not is_open(service, CAROL, start=1)
    assert is_open(service, BOB)


def test_public_rooms_are_followed_by_anybody_and_private_ones_by_members() -> None:
    public, private = garden(), garden(private=True)
    for device in (CAROL, DAVE, STRANGER):
        assert is_open(public, device)
    assert is_open(private, CAROL)
    for device in (DAVE, STRANGER):
        assert not is_open(private, device)


def test_notices_are_for_the_account_alone() -> None:
    service = garden(ChatLimits(notices_per_account=2))
    topic = notices_topic(AccountKey("carol"))
    assert items(service, CAROL, topic=topic) == []
    for number in range(3):
        service.say(ALICE, f"@carol {number}")
    assert not is_open(service, CAROL, topic, start=0), "forgotten"
    told = [decode_notice(item.head) for item in items(service, CAROL, 1, topic)]
    assert [(notice.notice, notice.kind, notice.index, notice.by) for notice in told] == [
        (1, NoticeKind.MENTION, 1, "Alice"),
        (2, NoticeKind.MENTION, 2, "Alice"),
    ]
    assert all(item.content is None for item in items(service, CAROL, 1, topic))
    for device in (ALICE, STRANGER):
        assert not is_open(service, device, topic, start=1)
    assert not is_open(service, CAROL, b":nobody")


def test_topics_that_are_told_of_are_those_that_gained_an_event() -> None:
    service = garden()
    outcome = service.execute(ALICE, encode_operation(Post(room="garden", body="@carol @bob @carol hi")))
    assert outcome.topics == (b"garden", b":carol", b":bob")
    outcome = service.execute(ALICE, encode_operation(Invite("garden", "Dave")))
    assert sorted(outcome.topics) == [b":dave", b"garden"]
