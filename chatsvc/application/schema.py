"""The tables of the chat and what stands in their rows."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, NewType, Self, cast

from chatsvc.application.bodies import MessageText
from chatsvc.application.names import AccountKey, DisplayName
from crypto.signing import PublicKey
from pbft.core.application import HashedPages, Key, KeyType, RangePages, Row, TableSpec
from pbft.core.types import Milliseconds, SequenceNumber

MessageIndex = NewType("MessageIndex", int)
"""Position of a message in its room, from 0, without gaps; also the index of its event."""
MessageSerial = NewType("MessageSerial", int)
"""Position of a message among those of all rooms, from 0, without gaps."""


class MessageKind(Enum):
    """How a message is shown: said, or done (`/me`)."""

    TEXT = "text"
    ACTION = "action"


class AccountRow(NamedTuple):
    """A registered name and the device that holds it. Key: the name's key form."""

    display: DisplayName
    device: PublicKey
    registered_ms: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class DeviceRow(NamedTuple):
    """Whose device it is. Key: the device's public key."""

    account: AccountKey
    display: DisplayName

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class RoomRow(NamedTuple):
    """A room. Key: its name."""

    topic: str
    creator: DisplayName
    created_ms: Milliseconds
    message_count: int
    member_count: int

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class MemberRow(NamedTuple):
    """A member of a room. Key: room, account key."""

    display: DisplayName
    joined_ms: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class MessageRow(NamedTuple):
    """A message. Key: room, index. Never changed, never deleted."""

    kind: str
    """The value of a MessageKind."""
    author: DisplayName
    body: MessageText
    reply_to: MessageIndex | None
    nonce: bytes
    """Chosen by the author's client, which recognises its own message by it."""
    time: Milliseconds
    """Agreed, of the batch that ordered it."""
    claimed_ms: Milliseconds | None
    """When it was said originally, according to whoever imported it."""
    sequence: SequenceNumber
    batch_index: int
    serial: MessageSerial

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))

    @property
    def shown_ms(self) -> Milliseconds:
        return self.time if self.claimed_ms is None else self.claimed_ms


ACCOUNTS = "accounts"
DEVICES = "devices"
ROOMS = "rooms"
MEMBERS = "members"
MEMBERSHIPS = "memberships"
"""The members table by account: key account key, room; row (joined_ms,)."""
MESSAGES = "messages"
COUNTERS = "counters"

NEXT_SERIAL: Key = ("next_serial",)
"""Of `counters`; row (serial,)."""

TABLES = (
    TableSpec(name=ACCOUNTS, key=(KeyType.TEXT,), pages=HashedPages(prefix=1)),
    TableSpec(name=DEVICES, key=(KeyType.BYTES,), pages=HashedPages(prefix=1)),
    TableSpec(name=ROOMS, key=(KeyType.TEXT,), pages=HashedPages(prefix=1)),
    # Paged by both parts: a page for each room would be hashed whole whenever somebody joins a large one.
    TableSpec(name=MEMBERS, key=(KeyType.TEXT, KeyType.TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=MEMBERSHIPS, key=(KeyType.TEXT, KeyType.TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=MESSAGES, key=(KeyType.TEXT, KeyType.INTEGER), pages=RangePages(prefix=1, shift=6)),
    TableSpec(name=COUNTERS, key=(KeyType.TEXT,), pages=HashedPages(prefix=1, count=1)),
)
