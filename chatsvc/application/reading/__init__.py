"""Answering queries from the rows.

Whoever can ask may read every room: there are no private ones. A query that is ordered like an operation runs in the
middle of a batch, where `Reader.scan` does not show what the batch has written so far and `Reader.get` does. Messages
are therefore completed by `get`; listings and searches then speak of the state before the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, assert_never, cast

from chatsvc.application.answers import MESSAGE_BYTES_MAX, PAGE_BYTES_FULL, encode_page
from chatsvc.application.bodies import BODY_BYTES_MAX
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import BadName, RoomName, parse_account
from chatsvc.application.queries import (
    ListMembers,
    ListMemberships,
    ListRooms,
    Query,
    ReadHistory,
    SearchMessages,
    ShowAccount,
    ShowRoom,
    WhoAmI,
    decode_query,
)
from chatsvc.application.results import ErrorCode, Rejected, encode_result
from chatsvc.application.schema import (
    ACCOUNTS,
    DEVICES,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    ROOMS,
    AccountRow,
    DeviceRow,
    MemberRow,
    MessageIndex,
    MessageRow,
    MessageSerial,
    RoomRow,
)
from chatsvc.application.search_language import SearchError, SearchPlan, parse_search
from crypto.canonical import Encodable, encode
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey
from pbft.core.application import Reader, Row
from pbft.core.errors import InvariantViolation, invariant

NO_QUERY = Rejected(ErrorCode.BAD_QUERY, "these bytes are no query of this service")
NO_SUCH_ROOM = Rejected(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")
NO_SUCH_ACCOUNT = Rejected(ErrorCode.NO_SUCH_ACCOUNT, "there is no account of this name")
NOT_REGISTERED = Rejected(ErrorCode.NOT_REGISTERED, "this device has no account: register a name first")


MessageValue = list[Encodable]
"""What the encoding of a message in answers and events is made of: room, index, then its row."""

_INDEX = 1
_BODY = 2 + MessageRow._fields.index("body")
_SERIAL = 2 + MessageRow._fields.index("serial")


class SearchPort(Protocol):
    """Whoever knows which messages match."""

    def find(
        self, plan: SearchPlan, before_serial: MessageSerial | None, limit: int
    ) -> Sequence[tuple[RoomName, MessageIndex]]:
        """Return at most `limit` matches, those of the highest serials below `before_serial`, highest first."""
        ...


def answer(reader: Reader, search: SearchPort, _limits: ChatLimits, device: PublicKey, data: bytes) -> bytes:
    """Return the answer to the query that `data` encodes; for any bytes whatever."""
    try:
        query = decode_query(data)
    except MalformedEncoding:
        return encode_result(NO_QUERY)
    answered = _answer(reader, search, device, query)
    return encode_result(answered) if isinstance(answered, Rejected) else answered


def message_values(reader: Reader, room: str, first: int, end: int) -> Iterator[MessageValue]:
    """Yield the messages `first` .. `end` - 1, all of which exist, as answers and events show them."""
    if first >= end:
        return
    scanned = reader.scan(MESSAGES, prefix=(room,), start=(room, first), limit=end - first)
    index = first
    for key, row in scanned:
        invariant(key == (room, index), "the messages of a room are not numbered without gaps")
        yield [room, index, *row]
        index += 1
    for later in range(index, end):
        yield _message(reader, room, later)


def _message(reader: Reader, room: str, index: int) -> MessageValue:
    row = reader.get(MESSAGES, (room, index))
    if row is None:
        raise InvariantViolation("a message is missing")
    return [room, index, *row]


def _answer(reader: Reader, search: SearchPort, device: PublicKey, query: Query) -> bytes | Rejected:
    match query:
        case ListRooms():
            return _rooms(reader, query)
        case ShowRoom(name):
            return _room(reader, name)
        case ListMembers():
            return _members(reader, query)
        case ShowAccount(name):
            return _account(reader, name)
        case WhoAmI():
            return _whoami(reader, device)
        case ListMemberships():
            return _memberships(reader, query)
        case ReadHistory():
            return _history(reader, query)
        case SearchMessages():
            return _search(reader, search, query)
        case _:
            assert_never(query)


def _rooms(reader: Reader, query: ListRooms) -> bytes:
    found = list(_after(reader, ROOMS, (), query.after, query.limit))
    rows = [_header(name, RoomRow.from_row(row)) for name, row in found]
    return encode_page("rooms", rows, _last_key(found, query.limit))


def _room(reader: Reader, name: str) -> bytes | Rejected:
    row = reader.get(ROOMS, (name,))
    if row is None:
        return NO_SUCH_ROOM
    room = RoomRow.from_row(row)
    return encode(["ok", "room", _header(name, room), room.message_count, room.member_count])


def _header(name: str, room: RoomRow) -> list[Encodable]:
    return [name, room.topic, room.creator, room.created_ms]


def _members(reader: Reader, query: ListMembers) -> bytes | Rejected:
    if reader.get(ROOMS, (query.room,)) is None:
        return NO_SUCH_ROOM
    found = list(_after(reader, MEMBERS, (query.room,), query.after, query.limit))
    members = [MemberRow.from_row(row) for _, row in found]
    rows: list[Encodable] = [[member.display, member.joined_ms] for member in members]
    return encode_page("members", rows, _last_key(found, query.limit))


def _account(reader: Reader, name: str) -> bytes | Rejected:
    try:
        key = parse_account(name).key
    except BadName:
        return NO_SUCH_ACCOUNT
    row = reader.get(ACCOUNTS, (key,))
    if row is None:
        return NO_SUCH_ACCOUNT
    account = AccountRow.from_row(row)
    return encode(["ok", "account", account.display, account.device, account.registered_ms])


def _whoami(reader: Reader, device: PublicKey) -> bytes | Rejected:
    row = reader.get(DEVICES, (device,))
    return NOT_REGISTERED if row is None else _account(reader, DeviceRow.from_row(row).display)


def _memberships(reader: Reader, query: ListMemberships) -> bytes | Rejected:
    try:
        key = parse_account(query.name).key
    except BadName:
        return NO_SUCH_ACCOUNT
    if reader.get(ACCOUNTS, (key,)) is None:
        return NO_SUCH_ACCOUNT
    found = list(_after(reader, MEMBERSHIPS, (key,), query.after, query.limit))
    return encode_page("memberships", [[room, *row] for room, row in found], _last_key(found, query.limit))


def _after(
    reader: Reader, table: str, prefix: tuple[str, ...], after: str | None, limit: int
) -> Iterator[tuple[str, Row]]:
    """Yield the last part of the key and the row of at most `limit` rows, from the one after `after` on."""
    start = None if after is None else (*prefix, after)
    scanned = reader.scan(table, prefix=prefix, start=start, limit=limit + 1)
    rows = ((str(key[-1]), row) for key, row in scanned)
    yield from islice((item for item in rows if item[0] != after), limit)


def _last_key(found: Sequence[tuple[str, Row]], limit: int) -> str | None:
    return found[-1][0] if len(found) == limit else None


def _history(reader: Reader, query: ReadHistory) -> bytes | Rejected:
    row = reader.get(ROOMS, (query.room,))
    if row is None:
        return NO_SUCH_ROOM
    count = RoomRow.from_row(row).message_count
    if query.after is not None:
        first = min(query.after + 1, count)
        end = min(first + query.limit, count)
        page, is_full = _fill(message_values(reader, query.room, first, end), query.limit)
        return encode_page("history", page, _number(page[-1], _INDEX) if is_full else None)
    end = count if query.before is None else min(query.before, count)
    first = max(0, end - query.limit)
    page, _ = _fill(reversed(list(message_values(reader, query.room, first, end))), query.limit)
    page.reverse()
    first_on_page = _number(page[0], _INDEX) if page else 0
    return encode_page("history", page, first_on_page or None)


def _search(reader: Reader, search: SearchPort, query: SearchMessages) -> bytes | Rejected:
    try:
        plan = parse_search(query.text)
    except SearchError as error:
        return Rejected(ErrorCode.BAD_QUERY, str(error))
    found = search.find(plan, query.before, query.limit)
    page, is_full = _fill((_message(reader, room, index) for room, index in found), query.limit)
    return encode_page("found", page, _number(page[-1], _SERIAL) if is_full else None)


def _fill(messages: Iterable[MessageValue], limit: int) -> tuple[list[MessageValue], bool]:
    """Return the messages that one answer takes, and whether it is full, which only they decide."""
    page: list[MessageValue] = []
    size_bytes = 0
    for message in messages:
        page.append(message)
        size_bytes += MESSAGE_BYTES_MAX - BODY_BYTES_MAX + len(str(message[_BODY]).encode())
        if size_bytes >= PAGE_BYTES_FULL or len(page) == limit:
            return page, True
    return page, False


def _number(message: MessageValue, position: int) -> int:
    return cast("int", message[position])
