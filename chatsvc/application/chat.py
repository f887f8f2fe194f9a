"""The chat: operations carried out on the rows, one after the other, equally at every replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never, cast

from chatsvc.application.bodies import BadText, TextTooLong, parse_body, parse_topic
from chatsvc.application.names import BadName, RoomName, is_room_name, parse_account
from chatsvc.application.operations import Create, Join, Leave, Post, Read, Register, decode_operation
from chatsvc.application.reading import NO_SUCH_ROOM, NOT_REGISTERED, SearchPort, answer, message_values
from chatsvc.application.results import (
    Created,
    ErrorCode,
    Joined,
    Left,
    Posted,
    Registered,
    Rejected,
    Result,
    encode_result,
)
from chatsvc.application.schema import (
    ACCOUNTS,
    COUNTERS,
    DEVICES,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    NEXT_SERIAL,
    ROOMS,
    TABLES,
    AccountRow,
    DeviceRow,
    MemberRow,
    MessageIndex,
    MessageRow,
    MessageSerial,
    RoomRow,
)
from crypto.canonical import encode
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey
from pbft.core.application import Call, Outcome, Reader, Rows, TableSpec
from pbft.core.types import EventIndex

MALFORMED = Rejected(ErrorCode.MALFORMED, "these bytes are no operation of this service")
NAME_TAKEN = Rejected(ErrorCode.NAME_TAKEN, "another device has registered this name")
BAD_ROOM_NAME = Rejected(ErrorCode.BAD_NAME, "a room's name is given in its normal form, without #")
ROOM_EXISTS = Rejected(ErrorCode.ROOM_EXISTS, "there is a room of this name already")
NOT_A_MEMBER = Rejected(ErrorCode.NOT_A_MEMBER, "join the room first")
ALREADY_A_MEMBER = Rejected(ErrorCode.ALREADY_A_MEMBER, "you have joined this room already")
NO_SUCH_MESSAGE = Rejected(ErrorCode.NO_SUCH_MESSAGE, "the message replied to is not in this room")


class ChatApplication:
    """Implements `pbft.core.application.Application`. Holds nothing: all state is in the rows."""

    def __init__(self, search: SearchPort) -> None:
        self._search = search

    @property
    def tables(self) -> Sequence[TableSpec]:
        return TABLES

    def knows(self, rows: Reader, device: PublicKey) -> bool:
        return rows.get(DEVICES, (device,)) is not None

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        try:
            decoded = decode_operation(operation)
        except MalformedEncoding:
            return Outcome(encode_result(MALFORMED))
        match decoded:
            case Register():
                result = _register(rows, call, decoded)
            case Create():
                result = _create(rows, call, decoded)
            case Join():
                result = _join(rows, call, decoded)
            case Leave():
                result = _leave(rows, call, decoded)
            case Post():
                result = _post(rows, call, decoded)
            case Read(query):
                return Outcome(answer(rows, self._search, call.device, query), remember=False)
            case _:
                assert_never(decoded)
        topics = (result.room.encode(),) if isinstance(result, Posted) else ()
        return Outcome(encode_result(result), topics=topics)

    def query(self, reader: Reader, device: PublicKey, query: bytes) -> bytes:
        return answer(reader, self._search, device, query)

    def events(
        self,
        reader: Reader,
        device: PublicKey,  # noqa: ARG002 - every room is open to every reader
        topic: bytes,
        start: EventIndex,
        limit: int,
    ) -> Sequence[bytes] | None:
        """Event i of a room's topic, its name in UTF-8, is the message of index i."""
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            return None
        room = _room(reader, name)
        if room is None:
            return None
        end = min(start + limit, room.message_count)
        return [encode(message) for message in message_values(reader, name, start, end)]


def _register(rows: Rows, call: Call, register: Register) -> Result:
    try:
        name = parse_account(register.name)
    except BadName as error:
        return Rejected(ErrorCode.BAD_NAME, str(error))
    device = _device(rows, call)
    if device is not None:
        if device.account == name.key:
            return Registered(device.display)
        return Rejected(ErrorCode.ALREADY_REGISTERED, f"this device is registered as {device.display}")
    if rows.get(ACCOUNTS, (name.key,)) is not None:
        return NAME_TAKEN
    rows.put(ACCOUNTS, (name.key,), tuple(AccountRow(name.display, call.device, call.time)))
    rows.put(DEVICES, (call.device,), tuple(DeviceRow(name.key, name.display)))
    return Registered(name.display)


def _create(rows: Rows, call: Call, create: Create) -> Result:
    device = _device(rows, call)
    if device is None:
        return NOT_REGISTERED
    if not is_room_name(create.room):
        return BAD_ROOM_NAME
    try:
        topic = parse_topic(create.topic)
    except BadText as error:
        return Rejected(ErrorCode.BAD_TOPIC, str(error))
    if _room(rows, create.room) is not None:
        return ROOM_EXISTS
    room = RoomRow(topic, device.display, call.time, message_count=0, member_count=0)
    _add_member(rows, call, create.room, room, device)
    return Created(RoomName(create.room))


def _join(rows: Rows, call: Call, join: Join) -> Result:
    found = _in_room(rows, call, join.room)
    if isinstance(found, Rejected):
        return found
    if found.is_member:
        return ALREADY_A_MEMBER
    _add_member(rows, call, join.room, found.room, found.device)
    return Joined(RoomName(join.room))


def _leave(rows: Rows, call: Call, leave: Leave) -> Result:
    found = _in_room(rows, call, leave.room)
    if isinstance(found, Rejected):
        return found
    if not found.is_member:
        return NOT_A_MEMBER
    account, room = found.device.account, found.room
    rows.delete(MEMBERS, (leave.room, account))
    rows.delete(MEMBERSHIPS, (account, leave.room))
    rows.put(ROOMS, (leave.room,), tuple(room._replace(member_count=room.member_count - 1)))
    return Left(RoomName(leave.room))


def _post(rows: Rows, call: Call, post: Post) -> Result:
    found = _in_room(rows, call, post.room)
    if isinstance(found, Rejected):
        return found
    if not found.is_member:
        return NOT_A_MEMBER
    try:
        body = parse_body(post.body)
    except BadText as error:
        code = ErrorCode.BODY_TOO_LONG if isinstance(error, TextTooLong) else ErrorCode.BAD_BODY
        return Rejected(code, str(error))
    index = MessageIndex(found.room.message_count)
    if post.reply_to is not None and post.reply_to >= index:
        return NO_SUCH_MESSAGE
    message = MessageRow(
        kind=post.kind.value,
        author=found.device.display,
        body=body,
        reply_to=post.reply_to,
        nonce=post.nonce,
        time=call.time,
        claimed_ms=post.claimed_ms,
        sequence=call.sequence,
        batch_index=call.index,
        serial=_take_serial(rows),
    )
    rows.put(MESSAGES, (post.room, index), tuple(message))
    rows.put(ROOMS, (post.room,), tuple(found.room._replace(message_count=index + 1)))
    return Posted(RoomName(post.room), index)


class _InRoom(NamedTuple):
    """Who calls, about which room."""

    device: DeviceRow
    room: RoomRow
    is_member: bool


def _in_room(rows: Rows, call: Call, name: str) -> _InRoom | Rejected:
    device = _device(rows, call)
    if device is None:
        return NOT_REGISTERED
    room = _room(rows, name)
    if room is None:
        return NO_SUCH_ROOM
    return _InRoom(device, room, rows.get(MEMBERS, (name, device.account)) is not None)


def _device(rows: Rows, call: Call) -> DeviceRow | None:
    row = rows.get(DEVICES, (call.device,))
    return None if row is None else DeviceRow.from_row(row)


def _room(reader: Reader, name: str) -> RoomRow | None:
    row = reader.get(ROOMS, (name,))
    return None if row is None else RoomRow.from_row(row)


def _add_member(rows: Rows, call: Call, name: str, room: RoomRow, device: DeviceRow) -> None:
    rows.put(ROOMS, (name,), tuple(room._replace(member_count=room.member_count + 1)))
    rows.put(MEMBERS, (name, device.account), tuple(MemberRow(device.display, call.time)))
    rows.put(MEMBERSHIPS, (device.account, name), (call.time,))


def _take_serial(rows: Rows) -> MessageSerial:
    row = rows.get(COUNTERS, NEXT_SERIAL)
    serial = 0 if row is None else cast("int", row[0])
    rows.put(COUNTERS, NEXT_SERIAL, (serial + 1,))
    return MessageSerial(serial)
