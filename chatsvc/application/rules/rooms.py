"""Rooms: making them, and what is set about them."""

from __future__ import annotations

from typing import Final

from chatsvc.application.bodies import BadText, parse_topic
from chatsvc.application.events import EventKind
from chatsvc.application.names import RoomName, is_room_name
from chatsvc.application.operations import (
    Archive,
    Create,
    Describe,
    OpenDirect,
    SetRetention,
    SetSlowMode,
    SetTopic,
)
from chatsvc.application.results import Applied, Created, ErrorCode, Result
from chatsvc.application.rules.membership import account_of, check_may_enter, enter, save_account
from chatsvc.application.rules.posting import refuse_muted
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import PUBLIC_ROOMS, RETAINED, ROOMS, Role, RoomRow
from chatsvc.application.state import Account, Caller, Refusal, Room, State, find_account
from chatsvc.application.texts import parse_description
from crypto.canonical import Value, encode
from crypto.digest import digest_of

SLOW_S_MAX = 86_400
RETENTION_S_MIN = 60
_DIRECT_NAME_BYTES = 10


def direct_name(accounts: list[str]) -> RoomName:
    """Return the name of the conversation of these account keys: one for each set of them."""
    members: list[Value] = [*sorted(set(accounts))]
    return RoomName(f"@{digest_of(encode(members))[:_DIRECT_NAME_BYTES].hex()}")


def _empty_room(state: State, caller: Caller) -> RoomRow:
    return RoomRow(
        topic="",
        description="",
        creator=caller.name,
        created_ms=state.call.time,
        private=False,
        direct=False,
        archived=False,
        slow_s=0,
        retention_s=0,
        message_count=0,
        first_message=0,
        event_count=0,
        first_event=0,
        member_count=0,
        owner_count=0,
        pin_count=0,
        link_count=0,
        ban_count=0,
        thread_count=0,
    )


def _topic(text: str) -> str:
    try:
        return parse_topic(text)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TOPIC, str(error)) from error


def _description(text: str) -> str:
    try:
        return parse_description(text)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error


def create(state: State, operation: Create) -> Result:
    caller = state.caller()
    if not is_room_name(operation.room):
        raise Refusal(ErrorCode.BAD_NAME, "a room's name is given in its normal form, without #")
    topic = _topic(operation.topic)
    description = _description(operation.description)
    if state.rows.get(ROOMS, (operation.room,)) is not None:
        raise Refusal(ErrorCode.ROOM_EXISTS, "there is a room of this name already")
    account = account_of(state, caller.account)
    most = state.limits.rooms_created_per_account
    if account.row.rooms_created >= most:
        raise Refusal(ErrorCode.TOO_MANY, f"an account makes at most {most} rooms, and you have made them")
    row = _empty_room(state, caller)._replace(topic=topic, description=description, private=operation.private)
    room = Room(RoomName(operation.room), row, None)
    check_may_enter(state, room, account)
    account = Account(account.key, account.row._replace(rooms_created=account.row.rooms_created + 1))
    save_account(state, enter(state, room, account))
    state.save(room)
    if not room.row.private:
        state.rows.put(PUBLIC_ROOMS, (room.name,), ())
    return Created(room.name)


def open_direct(state: State, operation: OpenDirect) -> Result:
    caller = state.caller()
    accounts = {caller.account: account_of(state, caller.account)}
    for name in operation.names:
        found = find_account(state.rows, name)
        accounts[found.key] = found
    if len(accounts) == 1:
        raise Refusal(ErrorCode.NO_SUCH_ACCOUNT, "a conversation needs somebody else in it")
    most = state.limits.members_per_direct
    if len(accounts) > most:
        raise Refusal(ErrorCode.TOO_MANY, f"a direct conversation has at most {most} people: make a private room")
    name = direct_name(list(accounts))
    row = state.rows.get(ROOMS, (name,))
    if row is not None:
        return _open_again(state, Room(name, RoomRow.from_row(row), None), accounts[caller.account])
    room = Room(name, _empty_room(state, caller)._replace(private=True, direct=True), None)
    for account in accounts.values():
        check_may_enter(state, room, account)
    for key in sorted(accounts):
        save_account(state, enter(state, room, accounts[key]))
    state.save(room)
    return Created(name)


def _open_again(state: State, room: Room, account: Account) -> Result:
    """The conversation is there; one who had left it comes back."""
    if state.member(room.name, account.key) is None:
        check_may_enter(state, room, account)
        save_account(state, enter(state, room, account))
        state.save(room)
    return Created(room.name)


def set_topic(state: State, operation: SetTopic) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller, least=Role.MODERATOR)
    refuse_muted(state, room)
    topic = _topic(operation.topic)
    if topic != room.row.topic:
        room.row = room.row._replace(topic=topic)
        state.happened(room, EventKind.TOPIC, caller, data=[topic])
        state.save(room)
    return Applied()


def describe(state: State, operation: Describe) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller, least=Role.MODERATOR)
    refuse_muted(state, room)
    description = _description(operation.description)
    if description != room.row.description:
        room.row = room.row._replace(description=description)
        state.happened(room, EventKind.DESCRIPTION, caller, data=[description])
        state.save(room)
    return Applied()


def set_slow_mode(state: State, operation: SetSlowMode) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller, least=Role.MODERATOR)
    if operation.seconds > SLOW_S_MAX:
        raise Refusal(ErrorCode.BAD_TIME, f"slow mode is at most {SLOW_S_MAX} seconds")
    if operation.seconds != room.row.slow_s:
        room.row = room.row._replace(slow_s=operation.seconds)
        state.happened(room, EventKind.SLOW_MODE, caller, data=[operation.seconds])
        state.save(room)
    return Applied()


def set_retention(state: State, operation: SetRetention) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller, least=Role.OWNER)
    if 0 < operation.seconds < RETENTION_S_MIN:
        raise Refusal(ErrorCode.BAD_TIME, f"messages are kept for {RETENTION_S_MIN} seconds at least, or for ever: 0")
    if operation.seconds == room.row.retention_s:
        return Applied()
    if operation.seconds:
        state.rows.put(RETAINED, (room.name,), ())
    else:
        state.rows.delete(RETAINED, (room.name,))
    room.row = room.row._replace(retention_s=operation.seconds)
    state.happened(room, EventKind.RETENTION, caller, data=[operation.seconds])
    state.save(room)
    return Applied()


def archive(state: State, operation: Archive) -> Result:
    caller = state.caller()
    room = state.member_room(operation.room, caller, least=Role.OWNER)
    if operation.archived != room.row.archived:
        room.row = room.row._replace(archived=operation.archived)
        state.happened(room, EventKind.ARCHIVED, caller, data=[int(operation.archived)])
        state.save(room)
    return Applied()


RULES: Final[Rules] = {
    Create: create,
    OpenDirect: open_direct,
    SetTopic: set_topic,
    Describe: describe,
    SetSlowMode: set_slow_mode,
    SetRetention: set_retention,
    Archive: archive,
}
