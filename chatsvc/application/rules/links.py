"""Invitation links: whoever holds the secret of one may join its room."""

from __future__ import annotations

from typing import Final

from chatsvc.application.bearer import Purpose, check
from chatsvc.application.names import RoomName
from chatsvc.application.operations import DropLink, JoinByLink, MakeLink
from chatsvc.application.results import Applied, ErrorCode, Joined, Result
from chatsvc.application.rules.membership import account_of, check_may_enter, enter, save_account
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import LINKS, ROOM_LINKS, ROOMS, LinkRow, Role, RoomRow
from chatsvc.application.state import Refusal, Room, State

DAY_MS = 86_400_000


def make_link(state: State, operation: MakeLink) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller, least=Role.MODERATOR)
    days = state.limits.invitation_days
    if not state.call.time < operation.expires_ms <= state.call.time + days * DAY_MS:
        raise Refusal(ErrorCode.BAD_TIME, f"a link is good until a moment within the next {days} days")
    if state.rows.get(LINKS, (operation.link,)) is not None:
        raise Refusal(ErrorCode.BAD_PROOF, "this link was made before: make another one")
    if room.row.link_count >= state.limits.links_per_room:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"{room.title} has {state.limits.links_per_room} links, the most it can: drop one first",
        )
    row = LinkRow(room.name, caller.name, state.call.time, operation.expires_ms, operation.uses)
    state.rows.put(LINKS, (operation.link,), tuple(row))
    state.rows.put(ROOM_LINKS, (room.name, operation.link), ())
    room.row = room.row._replace(link_count=room.row.link_count + 1)
    state.save(room)
    return Applied()


def drop_link(state: State, operation: DropLink) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.MODERATOR)
    if state.rows.get(ROOM_LINKS, (room.name, operation.link)) is None:
        raise Refusal(ErrorCode.NO_SUCH_INVITATION, f"{room.title} has no such link")
    state.rows.delete(LINKS, (operation.link,))
    state.rows.delete(ROOM_LINKS, (room.name, operation.link))
    room.row = room.row._replace(link_count=room.row.link_count - 1)
    state.save(room)
    return Applied()


def join_by_link(state: State, operation: JoinByLink) -> Result:
    caller = state.caller()
    row = state.rows.get(LINKS, (operation.link,))
    link = None if row is None else LinkRow.from_row(row)
    if link is None or link.uses_left == 0 or link.expires_ms <= state.call.time:
        raise Refusal(
            ErrorCode.NO_SUCH_INVITATION, "this link is not known, was used up, or has expired: ask for a new one"
        )
    check(operation.link, Purpose.LINK, state.call.device, operation.proof)
    found = state.rows.get(ROOMS, (link.room,))
    if found is None:
        raise KeyError(link.room)
    room = Room(RoomName(link.room), RoomRow.from_row(found), None)
    account = account_of(state, caller.account)
    if state.member(room.name, account.key) is not None:
        return Joined(room.name)
    # Who is refused is not told the room's name: it may be a private one.
    check_may_enter(state, room, account, called="the room of this link")
    state.rows.put(LINKS, (operation.link,), tuple(link._replace(uses_left=link.uses_left - 1)))
    save_account(state, enter(state, room, account))
    state.save(room)
    return Joined(room.name)


RULES: Final[Rules] = {MakeLink: make_link, DropLink: drop_link, JoinByLink: join_by_link}
