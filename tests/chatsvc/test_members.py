"""Who is in a room, who may do what to whom there, and who may not come back."""

from __future__ import annotations

from itertools import product

import pytest

from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    Archive,
    Ban,
    Invite,
    Join,
    Kick,
    Leave,
    Mute,
    Operation,
    Post,
    React,
    SetRole,
    Unban,
    Uninvite,
)
from chatsvc.application.results import ErrorCode, Joined, Left
from chatsvc.application.schema import (
    BANS,
    INVITATIONS,
    INVITED,
    MEMBERS,
    MEMBERSHIPS,
    SILENCED,
    MemberRow,
    MessageIndex,
    Role,
)
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import (
    DAVE,
    NAMES,
    account_row,
    apply,
    garden,
    happenings,
    mute,
    notices,
    put_room,
    refused,
    room_row,
    table,
    why,
)

T = Milliseconds(NOON + 1_000_000)
LATER = Milliseconds(T + 60_000)
OWNER, MODERATOR, MEMBER = Role.OWNER, Role.MODERATOR, Role.MEMBER


def member(service: Service, name: str, room: str = "garden") -> MemberRow | None:
    row = service.rows.get(MEMBERS, (room, name))
    return None if row is None else MemberRow.from_row(row)


def joins(service: Service, device: PublicKey, room: str = "garden") -> None:
    assert isinstance(service.do(device, Join(room)), Joined)


def leaves(service: Service, device: PublicKey, room: str = "garden") -> None:
    assert isinstance(service.do(device, Leave(room)), Left)


# -- joining and leaving


def test_anybody_joins_a_public_room() -> None:
    service = garden()
    service.say(ALICE, "before")
    assert service.do(DAVE, Join("garden"), time=T) == Joined("garden")  # type: ignore[arg-type]
    assert member(service, "dave") == ("Dave", T, "member", 0, 0)
    assert table(service, MEMBERSHIPS)["dave", "garden"] == (T, 1), "what was said before is no news"
    assert room_row(service).member_count == 4
    assert account_row(service, "dave").room_count == 1
    assert happenings(service) == [(EventKind.JOINED, None, "Dave")]
    assert why(service, DAVE, Join("garden")) is ErrorCode.ALREADY_A_MEMBER


def test_a_member_leaves() -> None:
    service = garden()
    joins(service, DAVE)
    leaves(service, DAVE)
    assert member(service, "dave") is None
    assert ("dave", "garden") not in table(service, MEMBERSHIPS)
    assert room_row(service).member_count == 3
    assert account_row(service, "dave").room_count == 0
    assert happenings(service)[-1] == (EventKind.LEFT, None, "Dave")
    assert why(service, DAVE, Leave("garden")) is ErrorCode.NOT_A_MEMBER


def test_the_last_owner_stays_while_others_do() -> None:
    service = garden()
    assert why(service, ALICE, Leave("garden")) is ErrorCode.LAST_OWNER
    assert why(service, ALICE, SetRole("garden", "Alice", MEMBER)) is ErrorCode.LAST_OWNER
    apply(service, ALICE, SetRole("garden", "Carol", OWNER))
    leaves(service, ALICE)
    assert why(service, CAROL, Leave("garden")) is ErrorCode.LAST_OWNER
    leaves(service, BOB)
    leaves(service, CAROL)
    row = room_row(service)
    assert (row.member_count, row.owner_count) == (0, 0)


def test_who_comes_back_has_no_role_any_more() -> None:
    service = garden()
    leaves(service, BOB)
    joins(service, BOB)
    found = member(service, "bob")
    assert found is not None
    assert found.role == MEMBER.value


# -- roles: who may do what to whom


@pytest.mark.parametrize("act", ["kick", "ban", "mute"])
@pytest.mark.parametrize(("own", "others"), list(product([*Role], [*Role])))
def test_only_lower_ranks_are_moderated(act: str, own: Role, others: Role) -> None:
    """Bob, of each role, does it to Carol, of each role."""
    service = garden()
    put_room(service, "attic", {ALICE: OWNER, BOB: own, CAROL: others})
    operations: dict[str, Operation] = {
        "kick": Kick("attic", "Carol", "why"),
        "ban": Ban("attic", "Carol", "why"),
        "mute": Mute("attic", "Carol", LATER),
    }
    operation = operations[act]
    if own is MEMBER or own.rank <= others.rank:
        assert why(service, BOB, operation, time=T) is ErrorCode.NOT_ALLOWED
        return
    apply(service, BOB, operation, time=T)
    said: dict[str, tuple[object, ...]] = {
        "kick": (EventKind.KICKED, None, "Bob", "Carol", "why"),
        "ban": (EventKind.BANNED, None, "Bob", "Carol", "why"),
        "mute": (EventKind.MUTED, None, "Bob", "Carol", LATER),
    }
    assert happenings(service, "attic") == [said[act]]
    assert (member(service, "carol", "attic") is None) == (act != "mute")
    row = room_row(service, "attic")
    assert (row.member_count, row.owner_count) == (3 - (act != "mute"), 1 + (own is OWNER))


@pytest.mark.parametrize("device", [ALICE, BOB, CAROL])
@pytest.mark.parametrize("operation", [Kick, Ban])
def test_nobody_moderates_itself(device: PublicKey, operation: type[Kick | Ban]) -> None:
    assert why(garden(), device, operation("garden", NAMES[device])) is ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize(("before", "after"), list(product([*Role], [*Role])))
def test_owners_give_and_take_roles(before: Role, after: Role) -> None:
    service = garden()
    put_room(service, "attic", {ALICE: OWNER, CAROL: before})
    for device in (BOB, CAROL):
        if before is not OWNER:
            expected = ErrorCode.NOT_A_MEMBER if device is BOB else ErrorCode.NOT_ALLOWED
            assert why(service, device, SetRole("attic", "Carol", OWNER)) is expected
    apply(service, ALICE, SetRole("attic", "carol", after))
    found = member(service, "carol", "attic")
    assert found is not None
    assert found.role == after.value
    assert room_row(service, "attic").owner_count == 1 + (after is OWNER)
    changed = [(EventKind.ROLE, None, "Alice", "Carol", after.value)] if after is not before else []
    assert happenings(service, "attic") == changed


MODERATION: list[Operation] = [
    Kick("garden", "Carol"),
    Ban("garden", "Carol"),
    Unban("garden", "Carol"),
    Mute("garden", "Carol", LATER),
    SetRole("garden", "Carol", MEMBER),
    Uninvite("garden", "Carol"),
]


@pytest.mark.parametrize("operation", MODERATION)
def test_moderating_is_not_for_members_or_strangers(operation: Operation) -> None:
    service = garden()
    joins(service, DAVE)
    assert why(service, DAVE, operation, time=T) is ErrorCode.NOT_ALLOWED
    leaves(service, DAVE)
    assert why(service, DAVE, operation, time=T) is ErrorCode.NOT_A_MEMBER
    assert why(garden(private=True), DAVE, operation, time=T) is ErrorCode.NO_SUCH_ROOM


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (Kick("garden", "Dave"), ErrorCode.NOT_A_MEMBER),
        (Kick("garden", "nobody"), ErrorCode.NO_SUCH_ACCOUNT),
        (Kick("garden", "no body"), ErrorCode.NO_SUCH_ACCOUNT),
        (Kick("garden", "Carol", "a\nb"), ErrorCode.BAD_TEXT),
        (Kick("garden", "Carol", "x" * 257), ErrorCode.BAD_TEXT),
        (Ban("garden", "nobody"), ErrorCode.NO_SUCH_ACCOUNT),
        (Ban("garden", "Carol", "\u202e"), ErrorCode.BAD_TEXT),
        (Unban("garden", "nobody"), ErrorCode.NO_SUCH_ACCOUNT),
        (Mute("garden", "Dave", LATER), ErrorCode.NOT_A_MEMBER),
        (Mute("garden", "Carol", T), ErrorCode.BAD_TIME),
        (Mute("garden", "Carol", Milliseconds(1)), ErrorCode.BAD_TIME),
        (SetRole("garden", "Dave", MODERATOR), ErrorCode.NOT_A_MEMBER),
        (SetRole("garden", "nobody", MODERATOR), ErrorCode.NO_SUCH_ACCOUNT),
        (Join("attic"), ErrorCode.NO_SUCH_ROOM),
        (Leave("attic"), ErrorCode.NO_SUCH_ROOM),
        (Invite("attic", "Dave"), ErrorCode.NO_SUCH_ROOM),
        (Invite("garden", "nobody"), ErrorCode.NO_SUCH_ACCOUNT),
        (Invite("garden", "Carol"), ErrorCode.ALREADY_A_MEMBER),
        (Uninvite("garden", "Dave"), ErrorCode.NO_SUCH_INVITATION),
    ],
)
def test_what_is_refused_to_an_owner(operation: Operation, code: ErrorCode) -> None:
    assert why(garden(), ALICE, operation, time=T) is code


# -- muting


def test_a_muted_member_only_reads_until_then() -> None:
    service = garden()
    service.say(ALICE, "hi")
    apply(service, BOB, Mute("garden", "Carol", LATER), time=T)
    for operation in (Post(room="garden", body="x"), React("garden", MessageIndex(0), "+1")):
        rejected = refused(service, CAROL, operation, time=Milliseconds(LATER - 1))
        assert (rejected.code, rejected.retry_ms) == (ErrorCode.MUTED, LATER)
    apply(service, CAROL, Post(room="garden", body="again"), time=LATER)


def test_a_mute_is_taken_back() -> None:
    service = garden()
    apply(service, BOB, Mute("garden", "Carol", LATER), time=T)
    writes = service.rows.writes
    apply(service, BOB, Mute("garden", "Carol", LATER), time=T)
    assert service.rows.writes == writes, "it was so before"
    apply(service, ALICE, Mute("garden", "Carol", Milliseconds(0)), time=T)
    apply(service, CAROL, Post(room="garden", body="again"), time=T)


@pytest.mark.parametrize("way_out", ["leaves", "is kicked", "is banned"])
def test_a_mute_holds_for_who_comes_back(way_out: str) -> None:
    service = garden()
    apply(service, BOB, Mute("garden", "Carol", LATER), time=T)
    if way_out == "leaves":
        assert isinstance(service.do(CAROL, Leave("garden"), time=T), Left)
    elif way_out == "is kicked":
        apply(service, BOB, Kick("garden", "Carol"), time=T)
    else:
        apply(service, BOB, Ban("garden", "Carol"), time=T)
        apply(service, BOB, Unban("garden", "Carol"), time=T)
    assert table(service, SILENCED) == {("garden", "carol"): (LATER,)}
    assert room_row(service).silenced_count == 1
    assert isinstance(service.do(CAROL, Join("garden"), time=T), Joined)
    assert why(service, CAROL, Post(room="garden", body="x"), time=T) is ErrorCode.MUTED
    assert (table(service, SILENCED), room_row(service).silenced_count) == ({}, 0)


def test_a_mute_ends_while_its_member_is_away() -> None:
    service = garden()
    mute(service, "carol", LATER)
    assert isinstance(service.do(CAROL, Leave("garden"), time=T), Left)
    assert isinstance(service.do(CAROL, Join("garden"), time=LATER), Joined)
    apply(service, CAROL, Post(room="garden", body="back"), time=LATER)
    assert (table(service, SILENCED), room_row(service).silenced_count) == ({}, 0)


def test_mutes_of_the_absent_are_kept_for_so_many() -> None:
    service = garden(ChatLimits(bans_per_room=1))
    joins(service, DAVE)
    for name in ("carol", "dave"):
        mute(service, name, LATER)
    for device in (CAROL, DAVE):
        assert isinstance(service.do(device, Leave("garden"), time=T), Left)
    assert set(table(service, SILENCED)) == {("garden", "carol")}


# -- bans


def test_who_is_banned_does_not_come_back() -> None:
    service = garden()
    apply(service, BOB, Ban("garden", "Carol", "spam"), time=T)
    assert table(service, BANS) == {("garden", "carol"): ("Carol", "Bob", T, "spam")}
    assert room_row(service).ban_count == 1
    rejected = refused(service, CAROL, Join("garden"))
    assert rejected.code is ErrorCode.BANNED
    assert rejected.detail == "Carol is banned from #garden: ask its moderators"
    assert why(service, ALICE, Invite("garden", "Carol")) is ErrorCode.BANNED
    writes = service.rows.writes
    apply(service, ALICE, Ban("garden", "Carol", "again"))
    assert service.rows.writes == writes, "it was so before"
    apply(service, ALICE, Unban("garden", "Carol"))
    assert (table(service, BANS), room_row(service).ban_count) == ({}, 0)
    assert happenings(service)[-1] == (EventKind.UNBANNED, None, "Alice", "Carol")
    joins(service, CAROL)
    writes = service.rows.writes
    apply(service, ALICE, Unban("garden", "Carol"))
    assert service.rows.writes == writes


def test_who_is_no_member_is_banned_in_advance_and_loses_the_invitation() -> None:
    service = garden(private=True)
    apply(service, BOB, Invite("garden", "Dave"))
    apply(service, BOB, Ban("garden", "Dave"))
    assert table(service, INVITATIONS) == table(service, INVITED) == {}
    assert account_row(service, "dave").invitation_count == 0
    assert room_row(service).member_count == 3
    assert why(service, DAVE, Join("garden")) is ErrorCode.NO_SUCH_ROOM


def test_a_room_bans_so_many() -> None:
    service = garden(ChatLimits(bans_per_room=1))
    apply(service, BOB, Ban("garden", "Dave"))
    rejected = refused(service, BOB, Ban("garden", "Carol"))
    assert (rejected.code, "bans 1 accounts" in rejected.detail) == (ErrorCode.TOO_MANY, True)
    apply(service, BOB, Kick("garden", "Carol"))
    apply(service, BOB, Unban("garden", "Dave"))
    apply(service, BOB, Ban("garden", "Carol"))


# -- invitations


def test_an_invitation_opens_a_private_room_once() -> None:
    service = garden(private=True)
    assert why(service, DAVE, Join("garden")) is ErrorCode.NO_SUCH_ROOM
    apply(service, BOB, Invite("garden", "DAVE"), time=T)
    assert table(service, INVITATIONS) == {("dave", "garden"): ("Bob", T)}
    assert table(service, INVITED) == {("garden", "dave"): ("Bob", T)}
    assert notices(service, "dave") == [(NoticeKind.INVITATION, "garden", None, "Bob")]
    writes = service.rows.writes
    apply(service, ALICE, Invite("garden", "Dave"))
    assert service.rows.writes == writes, "it was so before"
    joins(service, DAVE)
    assert table(service, INVITATIONS) == table(service, INVITED) == {}
    assert account_row(service, "dave").invitation_count == 0
    assert happenings(service) == [(EventKind.INVITED, None, "Bob", "Dave"), (EventKind.JOINED, None, "Dave")]
    leaves(service, DAVE)
    assert why(service, DAVE, Join("garden")) is ErrorCode.NO_SUCH_ROOM


def test_members_invite_to_public_rooms_only() -> None:
    service = garden()
    apply(service, CAROL, Invite("garden", "Dave"))
    assert why(garden(private=True), CAROL, Invite("garden", "Dave")) is ErrorCode.NOT_ALLOWED
    assert why(garden(), DAVE, Invite("garden", "Dave")) is ErrorCode.NOT_A_MEMBER
    assert why(garden(private=True), DAVE, Invite("garden", "Dave")) is ErrorCode.NO_SUCH_ROOM
    assert why(garden(archived=True), ALICE, Invite("garden", "Dave")) is ErrorCode.ROOM_ARCHIVED


@pytest.mark.parametrize("device", [ALICE, BOB, DAVE])
def test_an_invitation_is_withdrawn_or_declined(device: PublicKey) -> None:
    service = garden(private=True)
    apply(service, BOB, Invite("garden", "Dave"))
    assert why(service, CAROL, Uninvite("garden", "Dave")) is ErrorCode.NOT_ALLOWED
    apply(service, device, Uninvite("garden", "Dave"))
    assert table(service, INVITATIONS) == table(service, INVITED) == {}
    assert why(service, DAVE, Join("garden")) is ErrorCode.NO_SUCH_ROOM
    assert why(service, DAVE, Uninvite("garden", "Dave")) is ErrorCode.NO_SUCH_INVITATION


def test_an_account_has_so_many_invitations() -> None:
    service = garden(ChatLimits(invitations_per_account=1))
    put_room(service, "attic", {ALICE: OWNER})
    apply(service, ALICE, Invite("garden", "Dave"))
    rejected = refused(service, ALICE, Invite("attic", "Dave"))
    assert (rejected.code, "has 1 open invitations" in rejected.detail) == (ErrorCode.TOO_MANY, True)
    joins(service, DAVE)
    apply(service, ALICE, Invite("attic", "Dave"))


def test_an_invitation_does_not_open_what_is_archived() -> None:
    service = garden(private=True)
    apply(service, BOB, Invite("garden", "Dave"))
    apply(service, ALICE, Archive("garden", archived=True))
    assert why(service, DAVE, Join("garden")) is ErrorCode.ROOM_ARCHIVED


def test_the_invited_own_what_everybody_has_left() -> None:
    service = garden()
    put_room(service, "attic", {BOB: OWNER}, private=True)
    apply(service, BOB, Invite("attic", "Dave"))
    leaves(service, BOB, "attic")
    joins(service, DAVE, "attic")
    found = member(service, "dave", "attic")
    assert found is not None
    assert found.role == OWNER.value
    assert why(service, BOB, Join("attic")) is ErrorCode.NO_SUCH_ROOM
