"""The rows as the rules see them: typed, and with who calls and what happens kept track of.

A rule checks everything first, and raises Refusal, and only then changes rows: whatever an operation that is refused
had changed would stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from chatsvc.application.events import EventKind, NoticeKind, notices_topic
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey, BadName, DisplayName, RoomName, parse_account
from chatsvc.application.results import ErrorCode, Rejected
from chatsvc.application.schema import (
    ACCOUNTS,
    BANS,
    COUNTERS,
    DEVICES,
    EVENTS,
    MEMBERS,
    MESSAGES,
    NEXT_SERIAL,
    NOTICE_RANGES,
    NOTICES,
    ROOMS,
    AccountRow,
    DeviceRow,
    EventRow,
    MemberRow,
    MessageIndex,
    MessageRow,
    MessageSerial,
    NoticeRange,
    NoticeRow,
    Role,
    RoomRow,
)
from pbft.core.application import Call, Reader, Rows
from pbft.core.types import EventIndex, Milliseconds

_POSTED = EventKind.POSTED.value


class Refusal(Exception):  # noqa: N818 - it is an answer, no failure
    """The operation or query is refused; the text is for a person, in words that are the same at every replica."""

    def __init__(self, code: ErrorCode, detail: str, *, retry_ms: Milliseconds | None = None) -> None:
        super().__init__(detail)
        self.rejected = Rejected(code, detail, retry_ms)


class Account(NamedTuple):
    """An account found by a name."""

    key: AccountKey
    row: AccountRow


class Caller(NamedTuple):
    """Whose device it is that asks."""

    account: AccountKey
    name: DisplayName


@dataclass(slots=True)
class Room:
    """A room under an operation. `row` is replaced as the operation changes it, and stored by `State.save`."""

    name: RoomName
    row: RoomRow
    member: MemberRow | None
    """The caller as its member."""

    @property
    def role(self) -> Role | None:
        return None if self.member is None else Role(self.member.role)

    @property
    def title(self) -> str:
        """How a person is told of it."""
        return "this conversation" if self.row.direct else f"#{self.name}"


# -- finding, for rules and queries alike


def find_caller(reader: Reader, device: bytes) -> Caller:
    """Raise Refusal for a device of no account, and for a revoked one."""
    row = reader.get(DEVICES, (device,))
    if row is None:
        raise Refusal(ErrorCode.NOT_REGISTERED, "this device has no account: register a name first")
    found = DeviceRow.from_row(row)
    if found.revoked_ms is not None:
        raise Refusal(ErrorCode.DEVICE_REVOKED, f"this device was revoked by {found.name}")
    return Caller(found.account, found.name)


def caller_or_none(reader: Reader, device: bytes) -> Caller | None:
    """The same for reading, which strangers may do where it is public. Raises Refusal for a revoked device."""
    return None if reader.get(DEVICES, (device,)) is None else find_caller(reader, device)


def find_account(reader: Reader, name: str) -> Account:
    """Raise Refusal when there is no account of this name."""
    try:
        key = parse_account(name).key
    except BadName as error:
        raise Refusal(ErrorCode.NO_SUCH_ACCOUNT, f"there is no account of this name: {error}") from error
    row = reader.get(ACCOUNTS, (key,))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_ACCOUNT, "there is no account of this name")
    return Account(key, AccountRow.from_row(row))


def find_room(reader: Reader, name: str, caller: Caller | None) -> Room:
    """Raise Refusal when there is no room of this name, or only one that `caller` may not know of."""
    row = reader.get(ROOMS, (name,))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")
    room = Room(RoomName(name), RoomRow.from_row(row), None)
    if caller is not None:
        room.member = find_member(reader, name, caller.account)
    if room.row.private and room.member is None:
        raise Refusal(ErrorCode.NO_SUCH_ROOM, "there is no room of this name")
    return room


def find_member(reader: Reader, room: str, account: AccountKey) -> MemberRow | None:
    row = reader.get(MEMBERS, (room, account))
    return None if row is None else MemberRow.from_row(row)


def find_message(reader: Reader, room: Room, index: int) -> MessageRow:
    """Raise Refusal for a message that was never there, or that retention has taken."""
    row = None
    if room.row.first_message <= index < room.row.message_count:
        row = reader.get(MESSAGES, (room.name, index))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_MESSAGE, f"there is no message {index} in {room.title}")
    return MessageRow.from_row(row)


def is_banned(reader: Reader, room: str, account: AccountKey) -> bool:
    return reader.get(BANS, (room, account)) is not None


# -- one operation


@dataclass(slots=True)
class State:
    """One operation at work on the rows."""

    rows: Rows
    call: Call
    limits: ChatLimits
    topics: list[bytes] = field(default_factory=list)
    """Those that gained an event."""

    def caller(self) -> Caller:
        return find_caller(self.rows, self.call.device)

    def room(self, name: str, caller: Caller) -> Room:
        return find_room(self.rows, name, caller)

    def member_room(self, name: str, caller: Caller, *, least: Role = Role.MEMBER) -> Room:
        """Return a room in which the caller has this role or a higher one. Raises Refusal."""
        room = self.room(name, caller)
        role = room.role
        if role is None:
            raise Refusal(ErrorCode.NOT_A_MEMBER, f"join {room.title} first")
        if room.row.direct and least is not Role.MEMBER:
            raise Refusal(
                ErrorCode.DIRECT_ROOM,
                "a direct conversation has no owner or moderators, nor what is theirs to do: make a private room",
            )
        if role.rank < least.rank:
            raise Refusal(ErrorCode.NOT_ALLOWED, f"in {room.title} only a {least.value} may do this")
        return room

    def open_room(self, name: str, caller: Caller, *, least: Role = Role.MEMBER) -> Room:
        """The same for what changes a room: one that is not archived."""
        room = self.member_room(name, caller, least=least)
        if room.row.archived:
            raise Refusal(ErrorCode.ROOM_ARCHIVED, f"{room.title} is archived: it can only be read")
        return room

    def member(self, room: RoomName, account: AccountKey) -> MemberRow | None:
        return find_member(self.rows, room, account)

    def save(self, room: Room) -> None:
        self.rows.put(ROOMS, (room.name,), tuple(room.row))

    def save_member(self, room: RoomName, account: AccountKey, member: MemberRow) -> None:
        self.rows.put(MEMBERS, (room, account), tuple(member))

    def take_serial(self) -> MessageSerial:
        row = self.rows.get(COUNTERS, NEXT_SERIAL)
        serial = 0 if row is None else cast("int", row[0])
        self.rows.put(COUNTERS, NEXT_SERIAL, (serial + 1,))
        return MessageSerial(serial)

    def posted(self, room: Room) -> None:
        """Count the room's next message, and add its event. The room must be saved afterwards."""
        event, index = room.row.event_count, room.row.message_count
        self.rows.put(EVENTS, (room.name, event), (_POSTED, index))
        room.row = room.row._replace(event_count=event + 1, message_count=index + 1)
        self.topics.append(room.name.encode())

    def happened(
        self,
        room: Room,
        kind: EventKind,
        actor: Caller | None,
        *,
        message: MessageIndex | None = None,
        data: Sequence[str | int] = (),
        digest: bytes = b"",
    ) -> EventIndex:
        """Add an event other than a message's to the room, which must be saved afterwards.

        `actor`: None for one who is not named.
        """
        event = EventIndex(room.row.event_count)
        row = EventRow(
            kind=kind.value,
            message=message,
            actor=DisplayName("") if actor is None else actor.name,
            data=list(data),
            digest=digest,
            time=self.call.time,
            sequence=self.call.sequence,
            batch_index=self.call.index,
        )
        self.rows.put(EVENTS, (room.name, event), tuple(row))
        room.row = room.row._replace(event_count=event + 1)
        self.topics.append(room.name.encode())
        return event

    def tell(
        self,
        account: AccountKey,
        kind: NoticeKind,
        room: RoomName,
        by: Caller,
        *,
        message: MessageIndex | None = None,
    ) -> None:
        """Tell an account of something; it forgets the oldest when it was told too much."""
        row = self.rows.get(NOTICE_RANGES, (account,))
        known = NoticeRange(0, 0) if row is None else NoticeRange.from_row(row)
        notice = NoticeRow(kind.value, room, message, by.name, self.call.time)
        self.rows.put(NOTICES, (account, known.end), tuple(notice))
        first, end = known.first, known.end + 1
        while end - first > self.limits.notices_per_account:
            self.rows.delete(NOTICES, (account, first))
            first += 1
        self.rows.put(NOTICE_RANGES, (account,), (first, end))
        self.topics.append(notices_topic(account))
