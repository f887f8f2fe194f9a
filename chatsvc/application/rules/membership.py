"""Entering and leaving rooms: what the rules of rooms, links and invitations have in common."""

from __future__ import annotations

from typing import cast

from chatsvc.application.events import EventKind
from chatsvc.application.names import AccountKey, RoomName
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import (
    ACCOUNTS,
    EVENTS,
    INVITATIONS,
    INVITED,
    MEMBERS,
    MEMBERSHIPS,
    SILENCED,
    AccountRow,
    MemberRow,
    MembershipRow,
    Role,
)
from chatsvc.application.state import Account, Caller, Refusal, Room, State, is_banned
from pbft.core.types import Milliseconds


def account_of(state: State, key: AccountKey) -> Account:
    """Return an account that is known to be there."""
    row = state.rows.get(ACCOUNTS, (key,))
    if row is None:
        raise KeyError(key)
    return Account(key, AccountRow.from_row(row))


def save_account(state: State, account: Account) -> None:
    state.rows.put(ACCOUNTS, (account.key,), tuple(account.row))


def check_may_enter(state: State, room: Room, account: Account, *, called: str | None = None) -> None:
    """Raise Refusal for an account that cannot become a member now, invited or not.

    `called`: how a room is spoken of whose name the caller may not know.
    """
    title = room.title if called is None else called
    if is_banned(state.rows, room.name, account.key):
        raise Refusal(ErrorCode.BANNED, f"{account.row.name} is banned from {title}: ask its moderators")
    if room.row.archived:
        raise Refusal(ErrorCode.ROOM_ARCHIVED, f"{title} is archived: nobody can join it")
    most = state.limits.memberships_per_account
    if account.row.room_count >= most and not room.row.direct:
        raise Refusal(ErrorCode.TOO_MANY, f"{account.row.name} is in {most} rooms, the most an account can be in")


def enter(state: State, room: Room, account: Account) -> Account:
    """Make `account` a member; whoever enters an empty room that is not direct owns it. The room and the account
    returned are to be saved by the caller.

    Conversations are not counted: others open them, and must not keep anybody out of rooms by that.
    Neither a mute nor slow mode is escaped by leaving and coming back.
    """
    is_owner = room.row.member_count == 0 and not room.row.direct
    role = Role.OWNER if is_owner else Role.MEMBER
    spoke_ms = state.call.time if room.row.slow_s else Milliseconds(0)
    muted_until_ms = _take_silence(state, room, account.key)
    joined = MemberRow(account.row.name, state.call.time, role.value, muted_until_ms, spoke_ms)
    state.save_member(room.name, account.key, joined)
    # What was said before is no news to a newcomer.
    unread_from = room.row.message_count
    state.rows.put(MEMBERSHIPS, (account.key, room.name), tuple(MembershipRow(state.call.time, unread_from)))
    room.row = room.row._replace(
        member_count=room.row.member_count + 1, owner_count=room.row.owner_count + int(is_owner)
    )
    account = Account(account.key, account.row._replace(room_count=account.row.room_count + _counted(room)))
    account = forget_invitation(state, room.name, account)
    state.happened(room, EventKind.JOINED, Caller(account.key, account.row.name))
    return account


def remove(state: State, room: Room, account: Account, member: MemberRow) -> None:
    """Take a member out. The room is to be saved by the caller; the account is saved here."""
    state.rows.delete(MEMBERS, (room.name, account.key))
    state.rows.delete(MEMBERSHIPS, (account.key, room.name))
    if member.muted_until_ms > state.call.time and room.row.silenced_count < state.limits.bans_per_room:
        state.rows.put(SILENCED, (room.name, account.key), (member.muted_until_ms,))
        room.row = room.row._replace(silenced_count=room.row.silenced_count + 1)
    room.row = room.row._replace(
        member_count=room.row.member_count - 1,
        owner_count=room.row.owner_count - int(member.role == Role.OWNER.value),
    )
    row = account.row._replace(room_count=account.row.room_count - _counted(room))
    save_account(state, Account(account.key, row))


def _counted(room: Room) -> int:
    return int(not room.row.direct)


def forget_invitation(state: State, room: RoomName, account: Account) -> Account:
    """Return the account without an invitation to the room, if it had one; to be saved by the caller."""
    if state.rows.get(INVITATIONS, (account.key, room)) is None:
        return account
    state.rows.delete(INVITATIONS, (account.key, room))
    state.rows.delete(INVITED, (room, account.key))
    return Account(account.key, account.row._replace(invitation_count=account.row.invitation_count - 1))


def is_pair(state: State, room: Room) -> bool:
    """Whether a direct conversation was opened for two. Such a one is never left: it begins with two who join, and
    a third never does."""
    third = state.rows.get(EVENTS, (room.name, 2))
    return third is None or third[0] != EventKind.JOINED.value


def _take_silence(state: State, room: Room, account: AccountKey) -> Milliseconds:
    """Return until when a newcomer is still muted. The room is to be saved by the caller."""
    row = state.rows.get(SILENCED, (room.name, account))
    if row is None:
        return Milliseconds(0)
    state.rows.delete(SILENCED, (room.name, account))
    room.row = room.row._replace(silenced_count=room.row.silenced_count - 1)
    until_ms = Milliseconds(cast("int", row[0]))
    return until_ms if until_ms > state.call.time else Milliseconds(0)
