"""Direct conversations: one for each set of people, and nobody above the others."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import Found, RoomDetails, RoomList, UnreadList
from chatsvc.application.bearer import Purpose, code_of, key_of_code
from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import RoomName
from chatsvc.application.operations import (
    Archive,
    Ban,
    Create,
    Describe,
    Invite,
    Join,
    Kick,
    Leave,
    MakeLink,
    Mute,
    OpenDirect,
    Operation,
    Post,
    Register,
    SetRetention,
    SetRole,
    SetSlowMode,
    SetTopic,
    Unban,
    encode_operation,
)
from chatsvc.application.queries import ListRooms, ListUnread, SearchMessages, ShowRoom
from chatsvc.application.results import Created, ErrorCode, Joined, Left, Rejected
from chatsvc.application.rules.rooms import direct_name
from chatsvc.application.schema import MEMBERS, Role
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, garden, happenings, notices, put_room, refused, room_row, table, why

LATER = Milliseconds(NOON + 60_000_000)


def opened(service: Service, device: PublicKey, *names: str) -> RoomName:
    result = service.do(device, OpenDirect(names))
    assert isinstance(result, Created), result
    return result.room


def people(service: Service, room: str) -> dict[object, object]:
    return {key[1]: row[2] for key, row in table(service, MEMBERS).items() if key[0] == room}


def test_there_is_one_conversation_for_each_set_of_people() -> None:
    service = garden()
    name = opened(service, ALICE, "Bob")
    assert name == direct_name(["bob", "alice"])
    assert (name[0], len(name)) == ("@", 21)
    writes = service.rows.writes
    assert opened(service, BOB, "ALICE") == opened(service, ALICE, "bob", "Bob", "Alice") == name
    assert service.rows.writes == writes, "it was there"
    three = opened(service, CAROL, "bob", "alice")
    assert three != name
    assert people(service, name) == {"alice": "member", "bob": "member"}
    assert people(service, three) == {"alice": "member", "bob": "member", "carol": "member"}
    row = room_row(service, name)
    assert (row.direct, row.private, row.member_count, row.owner_count) == (True, True, 2, 0)
    assert happenings(service, name) == [(EventKind.JOINED, None, "Alice"), (EventKind.JOINED, None, "Bob")]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("Alice",), ErrorCode.NO_SUCH_ACCOUNT),
        (("nobody",), ErrorCode.NO_SUCH_ACCOUNT),
        (("Bob", ""), ErrorCode.NO_SUCH_ACCOUNT),
    ],
)
def test_a_conversation_needs_others(names: tuple[str, ...], code: ErrorCode) -> None:
    assert why(garden(), ALICE, OpenDirect(names)) is code


def test_a_conversation_has_so_many_people() -> None:
    service = garden(ChatLimits(members_per_direct=3))
    rejected = refused(service, ALICE, OpenDirect(("Bob", "Carol", "Dave")))
    assert (rejected.code, "at most 3 people" in rejected.detail) == (ErrorCode.TOO_MANY, True)
    opened(service, ALICE, "Bob", "Carol")


def test_conversations_that_others_open_keep_nobody_out_of_rooms() -> None:
    service = garden(ChatLimits(memberships_per_account=2))
    for device in (ALICE, BOB, CAROL):
        opened(service, device, "Dave")
    opened(service, ALICE, "Bob", "Dave")
    assert service.do(DAVE, Join("garden")) == Joined(RoomName("garden"))
    assert service.do(DAVE, Create("mine", "")) == Created(RoomName("mine"))
    assert why(service, DAVE, Create("another", "")) is ErrorCode.TOO_MANY
    opened(service, DAVE, "Carol", "Bob")


def test_rooms_are_searched_however_many_conversations_there_are() -> None:
    service = garden(ChatLimits(memberships_per_account=1))
    names = [opened(service, device, "Dave") for device in (ALICE, BOB, CAROL)]
    for name in names:
        service.say(DAVE, "treasure", room=name)
    put_room(service, "vault", {DAVE: Role.OWNER}, private=True)
    service.say(DAVE, "treasure", room="vault")
    found = service.ask(SearchMessages(text="treasure"), DAVE)
    assert isinstance(found, Found)
    assert [message.room for message in found.messages] == ["vault", min(names)]


def test_what_is_said_is_told_to_the_others_once() -> None:
    service = garden()
    name = opened(service, ALICE, "Bob", "Carol")
    service.say(ALICE, "hi @bob", room=name)
    assert notices(service, "bob") == [(NoticeKind.MENTION, name, 0, "Alice")]
    assert notices(service, "carol") == [(NoticeKind.DIRECT, name, 0, "Alice")]
    assert notices(service, "alice") == []


def test_who_is_told_in_the_batch_that_opens_it() -> None:
    """A scan would not see the members yet."""
    service = garden()
    name = direct_name(["alice", "bob"])
    service.execute_in_batch(ALICE, encode_operation(OpenDirect(("Bob",))))
    service.execute_in_batch(ALICE, encode_operation(Post(room=name, body="hi")), index=1)
    service.commit()
    assert notices(service, "bob") == [(NoticeKind.DIRECT, name, 0, "Alice")]


def ranked(room: str) -> list[Operation]:
    link = key_of_code(code_of(bytes(10), Purpose.LINK), Purpose.LINK).public_key
    return [
        SetTopic(room, "x"),
        Describe(room, "x"),
        SetSlowMode(room, 5),
        SetRetention(room, 60),
        Archive(room, archived=True),
        Kick(room, "Bob"),
        Ban(room, "Bob"),
        Unban(room, "Bob"),
        Mute(room, "Bob", LATER),
        SetRole(room, "Bob", Role.OWNER),
        Invite(room, "Dave"),
        MakeLink(room, link, LATER, 1),
    ]


@pytest.mark.parametrize("number", range(12))
def test_there_is_nothing_to_decide_over_others(number: int) -> None:
    service = garden()
    name = opened(service, ALICE, "Bob")
    operation = ranked(name)[number]
    assert why(service, ALICE, operation) is ErrorCode.DIRECT_ROOM
    assert why(service, DAVE, operation) is ErrorCode.NO_SUCH_ROOM


def test_two_stay_together_and_more_may_part() -> None:
    service = garden()
    pair = opened(service, ALICE, "Bob")
    assert why(service, ALICE, Leave(pair)) is ErrorCode.DIRECT_ROOM
    three = opened(service, ALICE, "Bob", "Carol")
    assert isinstance(service.do(BOB, Leave(three)), Left)
    assert isinstance(service.do(CAROL, Leave(three)), Left), "of three, though two are left"
    service.say(ALICE, "alone", room=three)
    assert notices(service, "bob") == notices(service, "carol") == []
    assert why(service, BOB, Post(room=three, body="x")) is ErrorCode.NO_SUCH_ROOM
    assert why(service, BOB, Join(three)) is ErrorCode.NO_SUCH_ROOM
    assert opened(service, BOB, "Alice", "Carol") == three, "the way back"
    assert people(service, three) == {"alice": "member", "bob": "member"}


def test_a_conversation_that_all_have_left_has_no_owner_later() -> None:
    service = garden()
    three = opened(service, ALICE, "Bob", "Carol")
    for device in (ALICE, BOB, CAROL):
        assert isinstance(service.do(device, Leave(three)), Left)
    assert opened(service, CAROL, "Alice", "Bob") == three
    assert people(service, three) == {"carol": "member"}
    assert room_row(service, three).owner_count == 0


def test_only_those_in_it_see_it() -> None:
    service = garden()
    name = opened(service, ALICE, "Bob")
    assert isinstance(service.ask(ShowRoom(name), BOB), RoomDetails)
    assert service.ask(ShowRoom(name), DAVE) == Rejected(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")
    rooms = service.ask(ListRooms(), ALICE)
    assert isinstance(rooms, RoomList)
    assert [header.room for header in rooms.rooms] == ["garden"], "it is no room to be found by its name"
    unread = service.ask(ListUnread(), BOB)
    assert isinstance(unread, UnreadList)
    assert [(room.room, room.direct, room.with_) for room in unread.rooms] == [
        (name, True, ("Alice",)),
        ("garden", False, ()),
    ]


def test_names_of_conversations_are_of_the_keys_alone(empty: Service) -> None:
    for device, name in ((ALICE, "Stra\u00dfe"), (BOB, "bob")):
        empty.do(device, Register(name))
    assert opened(empty, BOB, "STRASSE") == direct_name(["bob", "strasse"])
