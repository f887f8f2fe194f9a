"""What a query gives: `["ok", what, ...]` or `["error", code, detail]`, canonical CBOR.

An answer must be equal at correct replicas that have executed a little more or less than each other, else no client
could believe it: it holds nothing that changes but what was asked for. So a listing has no counts, and a page says
where to go on when it is full by itself, whether or not there is more by now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from chatsvc.application.bodies import BODY_BYTES_MAX, TOPIC_BYTES_MAX, MessageText
from chatsvc.application.names import KEY_BYTES_MAX, NAME_BYTES_MAX, DisplayName, RoomName
from chatsvc.application.operations import NONCE_BYTES_MAX
from chatsvc.application.queries import ROWS_MAX
from chatsvc.application.results import Rejected, decode_rejected
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from crypto.canonical import (
    Encodable,
    Value,
    decode,
    encode,
    expect_bytes,
    expect_int,
    expect_list,
    expect_text,
)
from crypto.errors import MalformedEncoding
from crypto.signing import PUBLIC_KEY_BYTES, PublicKey
from pbft.core.types import Milliseconds, SequenceNumber

ANSWER_BYTES_MAX = 256 * 1024
MESSAGE_BYTES_MAX = BODY_BYTES_MAX + 256
"""Of an encoded message: its names, numbers and heads are less than 256 bytes."""
PAGE_BYTES_FULL = ANSWER_BYTES_MAX - 2 * MESSAGE_BYTES_MAX
"""A page of messages that has reached this size takes no further one."""

_KINDS: Final = {kind.value: kind for kind in MessageKind}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as a room's history, its events and searches show it."""

    room: RoomName
    index: MessageIndex
    kind: MessageKind
    author: DisplayName
    body: MessageText
    reply_to: MessageIndex | None
    nonce: bytes
    time: Milliseconds
    """Agreed, of the batch that ordered it."""
    claimed_ms: Milliseconds | None
    """When it was said originally, according to whoever imported it."""
    sequence: SequenceNumber
    batch_index: int
    serial: MessageSerial

    @property
    def shown_ms(self) -> Milliseconds:
        return self.time if self.claimed_ms is None else self.claimed_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHeader:
    """What never changes about a room."""

    room: RoomName
    topic: str
    creator: DisplayName
    created_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class RoomList:
    rooms: tuple[RoomHeader, ...]
    next: str | None
    """Pass it as `after` for the page after this one; None at the end. The same in the other pages."""


@dataclass(frozen=True, slots=True)
class RoomDetails:
    header: RoomHeader
    message_count: int
    member_count: int


@dataclass(frozen=True, slots=True)
class Member:
    name: DisplayName
    joined_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class MemberList:
    members: tuple[Member, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class AccountDetails:
    name: DisplayName
    device: PublicKey
    registered_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class Membership:
    room: RoomName
    joined_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class MembershipList:
    memberships: tuple[Membership, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class History:
    """Messages in ascending order. `next` is the index to pass as `after` again, or else as `before`."""

    messages: tuple[Message, ...]
    next: MessageIndex | None


@dataclass(frozen=True, slots=True)
class Found:
    """Messages newest first. `next` is the serial to pass as `before`."""

    messages: tuple[Message, ...]
    next: MessageSerial | None


Answer: TypeAlias = RoomList | RoomDetails | MemberList | AccountDetails | MembershipList | History | Found | Rejected


def encode_page(what: str, rows: Sequence[Encodable], next_cursor: str | int | None) -> bytes:
    return encode(["ok", what, rows, next_cursor])


def decode_message(value: Value) -> Message:
    """Return the message, of an answer or decoded from an event. Raises MalformedEncoding."""
    room, index, kind, author, body, reply_to, nonce, time, claimed_ms, sequence, batch_index, serial = expect_list(
        value, 12
    )
    known_kind = _KINDS.get(_name(kind))
    if known_kind is None:
        raise MalformedEncoding("no kind of message")
    return Message(
        room=RoomName(_name(room)),
        index=MessageIndex(expect_int(index)),
        kind=known_kind,
        author=DisplayName(_name(author)),
        body=MessageText(expect_text(body, bytes_max=BODY_BYTES_MAX)),
        reply_to=None if reply_to is None else MessageIndex(expect_int(reply_to)),
        nonce=expect_bytes(nonce, bytes_max=NONCE_BYTES_MAX),
        time=Milliseconds(expect_int(time)),
        claimed_ms=None if claimed_ms is None else Milliseconds(expect_int(claimed_ms)),
        sequence=SequenceNumber(expect_int(sequence)),
        batch_index=expect_int(batch_index),
        serial=MessageSerial(expect_int(serial)),
    )


def decode_event(data: bytes) -> Message:
    """Return the message that an event of a room's topic is. Total: raises MalformedEncoding only."""
    return decode_message(decode(data, bytes_max=MESSAGE_BYTES_MAX, depth_max=1))


def decode_answer(data: bytes) -> Answer:
    """Return the answer to a query. Total: raises MalformedEncoding only."""
    match decode(data, bytes_max=ANSWER_BYTES_MAX, depth_max=3):
        case ["ok", "rooms", rows, cursor]:
            return RoomList(_rows(rows, _header), _text_cursor(cursor))
        case ["ok", "room", header, message_count, member_count]:
            return RoomDetails(_header(header), expect_int(message_count), expect_int(member_count))
        case ["ok", "members", rows, cursor]:
            return MemberList(_rows(rows, _member), _text_cursor(cursor))
        case ["ok", "account", name, device, registered_ms]:
            key = PublicKey(expect_bytes(device, length=PUBLIC_KEY_BYTES))
            return AccountDetails(DisplayName(_name(name)), key, Milliseconds(expect_int(registered_ms)))
        case ["ok", "memberships", rows, cursor]:
            return MembershipList(_rows(rows, _membership), _text_cursor(cursor))
        case ["ok", "history", rows, cursor]:
            index = None if cursor is None else MessageIndex(expect_int(cursor))
            return History(_rows(rows, decode_message), index)
        case ["ok", "found", rows, cursor]:
            serial = None if cursor is None else MessageSerial(expect_int(cursor))
            return Found(_rows(rows, decode_message), serial)
        case ["error", code, detail]:
            return decode_rejected(code, detail)
        case _:
            raise MalformedEncoding("no answer of this service")


def _rows(value: Value, decode_row: Callable[[Value], T]) -> tuple[T, ...]:
    return tuple(map(decode_row, expect_list(value, length_max=ROWS_MAX)))


def _header(value: Value) -> RoomHeader:
    room, topic, creator, created_ms = expect_list(value, 4)
    return RoomHeader(
        room=RoomName(_name(room)),
        topic=expect_text(topic, bytes_max=TOPIC_BYTES_MAX),
        creator=DisplayName(_name(creator)),
        created_ms=Milliseconds(expect_int(created_ms)),
    )


def _member(value: Value) -> Member:
    name, joined_ms = expect_list(value, 2)
    return Member(DisplayName(_name(name)), Milliseconds(expect_int(joined_ms)))


def _membership(value: Value) -> Membership:
    room, joined_ms = expect_list(value, 2)
    return Membership(RoomName(_name(room)), Milliseconds(expect_int(joined_ms)))


def _text_cursor(value: Value) -> str | None:
    return None if value is None else expect_text(value, bytes_max=KEY_BYTES_MAX)


def _name(value: Value) -> str:
    return expect_text(value, bytes_max=NAME_BYTES_MAX)
