"""A private room is not there for who is no member: no question, search, stream or refusal tells of it."""

from __future__ import annotations

import msgspec
import pytest

from chatsvc.application.answers import (
    AccountDetails,
    Answer,
    Found,
    History,
    InvitationList,
    MembershipList,
    RoomList,
    decode_answer,
)
from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.events import NoticeKind
from chatsvc.application.operations import (
    AddDevice,
    Archive,
    Ban,
    ClosePoll,
    Create,
    Delete,
    Describe,
    DropLink,
    Edit,
    Invite,
    InviteDevice,
    Join,
    Kick,
    Leave,
    MakeLink,
    MarkRead,
    Mute,
    OpenDirect,
    OpenPoll,
    Operation,
    Pin,
    Post,
    React,
    Read,
    RevokeDevice,
    RotateDevice,
    SetRetention,
    SetRole,
    SetSlowMode,
    SetTopic,
    Unban,
    Uninvite,
    Vote,
    encode_operation,
)
from chatsvc.application.queries import (
    DigestMessages,
    FindMoment,
    ListBans,
    ListInvitations,
    ListLinks,
    ListMembers,
    ListMemberships,
    ListPins,
    ListReactions,
    ListRooms,
    ListThreads,
    ListVersions,
    Query,
    ReadHistory,
    ReadThread,
    SearchMessages,
    ShowAccount,
    ShowPoll,
    ShowRoom,
    WhoAmI,
    encode_query,
)
from chatsvc.application.results import ErrorCode, Rejected, decode_result
from chatsvc.application.rules.rooms import direct_name
from chatsvc.application.schema import MessageIndex, Role
from crypto.signing import Ed25519Signer, PublicKey, SecretSeed
from pbft.core.types import EventIndex, Milliseconds
from tests.chatsvc.fakes import BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, apply, garden, notices

FIRST = MessageIndex(0)
LATER = Milliseconds(NOON + 60_000_000)
STRANGER = PublicKey(b"S" * 32)
KEY = Ed25519Signer(SecretSeed(bytes(32)))
NOT_THERE = Rejected(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")

QUESTIONS: list[Query] = [
    ShowRoom("garden"),
    ListMembers(room="garden"),
    ListBans(room="garden"),
    ListLinks("garden"),
    ReadHistory(room="garden"),
    ReadThread(room="garden", thread="roses"),
    ListThreads(room="garden"),
    FindMoment("garden", NOON),
    ListVersions("garden", FIRST),
    ListReactions(room="garden", index=FIRST),
    ListPins(room="garden"),
    ShowPoll("garden", FIRST),
    DigestMessages(room="garden", first=FIRST),
]
OPERATIONS: list[Operation] = [
    SetTopic("garden", "x"),
    Describe("garden", "x"),
    SetSlowMode("garden", 1),
    SetRetention("garden", 60),
    Archive("garden", archived=True),
    Join("garden"),
    Leave("garden"),
    Invite("garden", "Dave"),
    Uninvite("garden", "Carol"),
    MakeLink("garden", KEY.public_key, LATER, 1),
    DropLink("garden", KEY.public_key),
    Kick("garden", "Carol"),
    Ban("garden", "Carol"),
    Unban("garden", "Carol"),
    Mute("garden", "Carol", LATER),
    SetRole("garden", "Carol", Role.OWNER),
    Post(room="garden", body="x"),
    Edit("garden", FIRST, "x"),
    Delete("garden", FIRST),
    React("garden", FIRST, "+1"),
    Pin("garden", FIRST),
    OpenPoll(room="garden", question="q", options=("a", "b")),
    Vote("garden", FIRST, 0),
    ClosePoll("garden", FIRST),
    MarkRead("garden", FIRST),
]


def secret() -> Service:
    """The garden is private; Carol has said something in it that can be searched for."""
    service = garden(private=True)
    service.do(CAROL, Post(room="garden", body="buried treasure @bob", thread="roses"))
    return service


def banned() -> Service:
    service = secret()
    apply(service, BOB, Ban("garden", "Dave"))
    return service


def found(service: Service, device: PublicKey, text: str = "treasure") -> int:
    answer = service.ask(SearchMessages(text=text), device)
    assert isinstance(answer, Found)
    return len(answer.messages)


@pytest.mark.parametrize("device", [DAVE, STRANGER])
@pytest.mark.parametrize("query", QUESTIONS)
def test_questions_are_answered_as_if_it_were_not_there(query: Query, device: PublicKey) -> None:
    assert secret().ask(query, device) == banned().ask(query, device) == NOT_THERE


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_are_refused_as_if_it_were_not_there(operation: Operation) -> None:
    for service in (secret(), banned()):
        outcome = service.execute(DAVE, encode_operation(operation))
        assert decode_result(outcome.result) == NOT_THERE
    elsewhere = msgspec.structs.replace(operation, room="nowhere")
    assert garden().do(DAVE, elsewhere) == NOT_THERE, "the same words as for a room that nobody made"


def test_declining_an_invitation_that_was_never_made_tells_nothing() -> None:
    there = secret().do(DAVE, Uninvite("garden", "Dave"))
    assert there == garden().do(DAVE, Uninvite("nowhere", "Dave"))
    assert isinstance(there, Rejected)


@pytest.mark.parametrize("device", [DAVE, STRANGER])
def test_lists_and_searches_leave_it_out(device: PublicKey) -> None:
    service = secret()
    rooms, joined = service.ask(ListRooms(), device), service.ask(ListMemberships(name="Carol"), device)
    assert isinstance(rooms, RoomList)
    assert isinstance(joined, MembershipList)
    assert (rooms.rooms, joined.memberships) == ((), ())
    for text in ("treasure", "in:garden", "from:carol", "mentions:bob"):
        assert (found(service, device, text), found(service, BOB, text)) == (0, 1)


def names_told(service: Service, device: PublicKey, query: ListRooms | ListMemberships) -> list[str]:
    """All names that pages of one row give away, cursors too."""
    told: list[str] = []
    after = None
    while True:
        answer = service.ask(msgspec.structs.replace(query, after=after, limit=1), device)
        assert isinstance(answer, RoomList | MembershipList)
        rows = answer.rooms if isinstance(answer, RoomList) else answer.memberships
        told += [row.room for row in rows]
        after = answer.next
        if after is None:
            return told
        told.append(after)


@pytest.mark.parametrize("device", [DAVE, STRANGER])
def test_no_page_ends_with_the_name_of_a_room_that_is_not_seen(device: PublicKey) -> None:
    service = secret()
    service.do(CAROL, Create("layoffs", "", private=True))
    service.do(CAROL, OpenDirect(("Bob",)))
    service.do(CAROL, Create("zoo", ""))
    assert set(names_told(service, device, ListRooms())) == {"zoo"}
    assert set(names_told(service, device, ListMemberships(name="Carol"))) == {"zoo"}
    pair = direct_name(["bob", "carol"])
    assert set(names_told(service, CAROL, ListRooms())) == {"garden", "layoffs", "zoo"}
    assert set(names_told(service, BOB, ListMemberships(name="Carol"))) == {"garden", "zoo"}
    assert set(names_told(service, CAROL, ListMemberships(name="Carol"))) == {"garden", "layoffs", "zoo", pair}


def test_who_is_invited_knows_the_name_and_reads_nothing_yet() -> None:
    service = secret()
    apply(service, BOB, Invite("garden", "Dave"))
    invitations = service.ask(ListInvitations(), DAVE)
    assert isinstance(invitations, InvitationList)
    assert [invitation.room for invitation in invitations.invitations] == ["garden"]
    assert service.ask(ReadHistory(room="garden"), DAVE) == NOT_THERE
    assert found(service, DAVE) == 0


@pytest.mark.parametrize("way", [Kick("garden", "Carol"), Ban("garden", "Carol")])
def test_who_is_put_out_finds_nothing_any_more(way: Operation) -> None:
    service = secret()
    assert found(service, CAROL) == 1
    apply(service, BOB, way)
    assert found(service, CAROL) == 0
    assert service.ask(ReadHistory(room="garden"), CAROL) == NOT_THERE
    assert service.application.events(service.rows, CAROL, b"garden", EventIndex(0), 10) is None
    assert service.do(CAROL, Delete("garden", FIRST)) == NOT_THERE, "not even what it said itself"


def test_who_is_not_in_it_is_not_told_of_being_named() -> None:
    service = secret()
    service.say(CAROL, "about @dave")
    assert notices(service, "dave") == []
    assert notices(service, "bob") == [(NoticeKind.MENTION, "garden", 0, "Carol")]


def test_a_revoked_device_reads_nothing_at_all() -> None:
    service = secret()
    phone = PublicKey(b"P" * 32)
    apply(service, CAROL, InviteDevice(KEY.public_key, LATER))
    service.do(phone, AddDevice(KEY.public_key, prove(KEY, Purpose.DEVICE, phone)))
    assert found(service, phone) == 1
    apply(service, CAROL, RevokeDevice(phone))
    for query in (*QUESTIONS, ListRooms(), SearchMessages(text="treasure"), WhoAmI(), ShowAccount("Alice")):
        answer = service.ask(query, phone)
        assert answer == Rejected(ErrorCode.DEVICE_REVOKED, "this device was revoked by Carol")
    assert service.application.events(service.rows, phone, b"garden", EventIndex(0), 10) is None
    assert service.application.events(service.rows, phone, b":carol", EventIndex(0), 10) is None
    outcome = service.execute(phone, encode_operation(Read(encode_query(ReadHistory(room="garden")))))
    assert decode_answer(outcome.result) == Rejected(ErrorCode.DEVICE_REVOKED, "this device was revoked by Carol")


def test_a_rotated_key_takes_the_rooms_along() -> None:
    service = secret()
    phone = PublicKey(b"P" * 32)
    invitation = Ed25519Signer(SecretSeed(b"i" * 32))
    apply(service, CAROL, InviteDevice(invitation.public_key, LATER))
    proof = prove(invitation, Purpose.DEVICE, KEY.public_key)
    service.do(KEY.public_key, AddDevice(invitation.public_key, proof))
    apply(service, phone, RotateDevice(KEY.public_key, prove(KEY, Purpose.ROTATION, phone)))
    assert found(service, phone) == 1
    account = service.ask(WhoAmI(), phone)
    assert isinstance(account, AccountDetails)
    assert account.devices == (CAROL, phone)


def read_in_batch(service: Service, device: PublicKey, query: Query, *before: tuple[PublicKey, Operation]) -> Answer:
    """What an ordered read gives that stands in one batch behind these operations."""
    service.sequence += 1
    for index, (who, operation) in enumerate(before):
        outcome = service.execute_in_batch(who, encode_operation(operation), index=index)
        assert not isinstance(decode_result(outcome.result), Rejected)
    outcome = service.execute_in_batch(device, encode_operation(Read(encode_query(query))), index=len(before))
    service.commit()
    return decode_answer(outcome.result)


@pytest.mark.parametrize("query", [ReadHistory(room="garden"), SearchMessages(text="treasure")])
def test_an_ordered_read_shows_nothing_that_its_batch_has_deleted(query: Query) -> None:
    answer = read_in_batch(secret(), BOB, query, (CAROL, Delete("garden", FIRST)))
    assert isinstance(answer, History | Found)
    assert [(message.body, message.deleted_by) for message in answer.messages if message.body] == []


def test_an_ordered_search_shows_nothing_said_behind_who_was_put_out() -> None:
    edited = Edit("garden", FIRST, "the treasure is moved")
    kicked = (BOB, Kick("garden", "Carol"))
    service = secret()
    service.say(BOB, "treasure")
    hidden = msgspec.structs.replace(edited, index=MessageIndex(1))
    answer = read_in_batch(service, CAROL, SearchMessages(text="treasure"), kicked, (BOB, hidden))
    assert answer == Found((), None)
