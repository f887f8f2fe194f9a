"""Who is in a room, and who may do what there."""

from __future__ import annotations

from typing import Final

from chatsvc.application.bodies import BadText
from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.names import RoomName
from chatsvc.application.operations import Ban, Invite, Join, Kick, Leave, Mute, SetRole, Unban, Uninvite
from chatsvc.application.results import Applied, ErrorCode, Joined, Left, Result
from chatsvc.application.rules.membership import (
    account_of,
    check_may_enter,
    enter,
    forget_invitation,
    is_pair,
    remove,
    save_account,
)
from chatsvc.application.rules.posting import refuse_muted
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import (
    BANS,
    INVITATIONS,
    INVITED,
    MEMBERS,
    ROOMS,
    BanRow,
    InvitationRow,
    MemberRow,
    Role,
    RoomRow,
)
from chatsvc.application.state import Account, Refusal, Room, State, find_account, is_banned
from chatsvc.application.texts import parse_reason
from pbft.core.application import Row


def join(state: State, operation: Join) -> Result:
    caller = state.caller()
    room = _room_to_join(state, operation.room, caller.account)
    account = account_of(state, caller.account)
    if state.member(room.name, account.key) is not None:
        raise Refusal(ErrorCode.ALREADY_A_MEMBER, "you have joined this room already")
    check_may_enter(state, room, account)
    save_account(state, enter(state, room, account))
    state.save(room)
    return Joined(room.name)


def _room_to_join(state: State, name: str, account: str) -> Room:
    """A private room exists for its members and for those it has invited."""
    row = state.rows.get(ROOMS, (name,))
    if row is not None:
        room = Room(RoomName(name), RoomRow.from_row(row), None)
        is_open = not room.row.private or state.rows.get(INVITATIONS, (account, name)) is not None
        if is_open or state.rows.get(MEMBERS, (name, account)) is not None:
            return room
    raise Refusal(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")


def leave(state: State, operation: Leave) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller)
    if room.row.direct and is_pair(state, room):
        raise Refusal(ErrorCode.DIRECT_ROOM, "a conversation of two cannot be left; it may be left unread")
    member = room.member
    if member is None:
        raise KeyError(room.name)
    others = room.row.member_count - 1
    if member.role == Role.OWNER.value and room.row.owner_count == 1 and others:
        raise Refusal(
            ErrorCode.LAST_OWNER, f"you are the only owner of {room.title}: make another member its owner first"
        )
    remove(state, room, account_of(state, caller.account), member)
    state.happened(room, EventKind.LEFT, caller)
    state.save(room)
    return Left(room.name)


def invite(state: State, operation: Invite) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    if room.row.direct:
        raise Refusal(
            ErrorCode.DIRECT_ROOM, "nobody is invited to a direct conversation: open one with all who are to be in it"
        )
    if room.row.private and room.role is Role.MEMBER:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"{room.title} is private: only a moderator may invite")
    refuse_muted(state, room)
    invited = find_account(state.rows, operation.name)
    if is_banned(state.rows, room.name, invited.key):
        raise Refusal(ErrorCode.BANNED, f"{invited.row.name} is banned from {room.title}")
    if state.member(room.name, invited.key) is not None:
        raise Refusal(ErrorCode.ALREADY_A_MEMBER, f"{invited.row.name} is in {room.title} already")
    if state.rows.get(INVITATIONS, (invited.key, room.name)) is not None:
        return Applied()
    most = state.limits.invitations_per_account
    if invited.row.invitation_count >= most:
        raise Refusal(ErrorCode.TOO_MANY, f"{invited.row.name} has {most} open invitations, the most there can be")
    invitation: Row = tuple(InvitationRow(caller.name, state.call.time))
    state.rows.put(INVITATIONS, (invited.key, room.name), invitation)
    state.rows.put(INVITED, (room.name, invited.key), invitation)
    row = invited.row._replace(invitation_count=invited.row.invitation_count + 1)
    save_account(state, Account(invited.key, row))
    state.happened(room, EventKind.INVITED, caller, data=[invited.row.name])
    state.tell(invited.key, NoticeKind.INVITATION, room.name, caller)
    state.save(room)
    return Applied()


def uninvite(state: State, operation: Uninvite) -> Result:
    """By a moderator of the room; or by the one invited, who declines."""
    caller = state.caller()
    invited = find_account(state.rows, operation.name)
    if invited.key != caller.account:
        state.member_room(operation.room, caller, least=Role.MODERATOR)
    if state.rows.get(INVITATIONS, (invited.key, operation.room)) is None:
        raise Refusal(ErrorCode.NO_SUCH_INVITATION, f"{invited.row.name} has no invitation to this room")
    save_account(state, forget_invitation(state, RoomName(operation.room), invited))
    return Applied()


def kick(state: State, operation: Kick) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.MODERATOR)
    reason = _reason(operation.reason)
    target = find_account(state.rows, operation.name)
    member = _lower_member(state, room, target)
    remove(state, room, target, member)
    state.happened(room, EventKind.KICKED, caller, data=[target.row.name, reason])
    state.save(room)
    return Applied()


def ban(state: State, operation: Ban) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.MODERATOR)
    reason = _reason(operation.reason)
    target = find_account(state.rows, operation.name)
    member = state.member(room.name, target.key)
    if member is not None:
        member = _lower_member(state, room, target)
    if is_banned(state.rows, room.name, target.key):
        return Applied()
    most = state.limits.bans_per_room
    if room.row.ban_count >= most:
        raise Refusal(ErrorCode.TOO_MANY, f"{room.title} bans {most} accounts, the most it can: unban somebody first")
    if member is not None:
        remove(state, room, target, member)
    elif state.rows.get(INVITATIONS, (target.key, room.name)) is not None:
        save_account(state, forget_invitation(state, room.name, target))
    row = BanRow(target.row.name, caller.name, state.call.time, reason)
    state.rows.put(BANS, (room.name, target.key), tuple(row))
    room.row = room.row._replace(ban_count=room.row.ban_count + 1)
    state.happened(room, EventKind.BANNED, caller, data=[target.row.name, reason])
    state.save(room)
    return Applied()


def unban(state: State, operation: Unban) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.MODERATOR)
    target = find_account(state.rows, operation.name)
    if not is_banned(state.rows, room.name, target.key):
        return Applied()
    state.rows.delete(BANS, (room.name, target.key))
    room.row = room.row._replace(ban_count=room.row.ban_count - 1)
    state.happened(room, EventKind.UNBANNED, caller, data=[target.row.name])
    state.save(room)
    return Applied()


def mute(state: State, operation: Mute) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.MODERATOR)
    target = find_account(state.rows, operation.name)
    member = _lower_member(state, room, target)
    if 0 < operation.until_ms <= state.call.time:
        raise Refusal(ErrorCode.BAD_TIME, "this moment has passed; 0 lets the member speak again")
    if member.muted_until_ms == operation.until_ms:
        return Applied()
    state.save_member(room.name, target.key, member._replace(muted_until_ms=operation.until_ms))
    state.happened(room, EventKind.MUTED, caller, data=[target.row.name, operation.until_ms])
    state.save(room)
    return Applied()


def set_role(state: State, operation: SetRole) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.OWNER)
    target = find_account(state.rows, operation.name)
    member = state.member(room.name, target.key)
    if member is None:
        raise Refusal(ErrorCode.NOT_A_MEMBER, f"{target.row.name} is not in {room.title}")
    before, role = Role(member.role), operation.role
    if before is role:
        return Applied()
    if before is Role.OWNER and room.row.owner_count == 1:
        raise Refusal(ErrorCode.LAST_OWNER, f"{room.title} needs an owner: make another member its owner first")
    owners = room.row.owner_count + int(role is Role.OWNER) - int(before is Role.OWNER)
    room.row = room.row._replace(owner_count=owners)
    state.save_member(room.name, target.key, member._replace(role=role.value))
    state.happened(room, EventKind.ROLE, caller, data=[target.row.name, role.value])
    state.save(room)
    return Applied()


def _lower_member(state: State, room: Room, target: Account) -> MemberRow:
    """Return a member below the caller's role. Raises Refusal for another, and for one who is not in the room."""
    member = state.member(room.name, target.key)
    if member is None:
        raise Refusal(ErrorCode.NOT_A_MEMBER, f"{target.row.name} is not in {room.title}")
    role = Role(member.role)
    if room.role is None or role.rank >= room.role.rank:
        raise Refusal(
            ErrorCode.NOT_ALLOWED, f"{target.row.name} is {role.value} of {room.title}: that takes a higher role"
        )
    return member


def _reason(text: str) -> str:
    try:
        return parse_reason(text)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error


RULES: Final[Rules] = {
    Join: join,
    Leave: leave,
    Invite: invite,
    Uninvite: uninvite,
    Kick: kick,
    Ban: ban,
    Unban: unban,
    Mute: mute,
    SetRole: set_role,
}
