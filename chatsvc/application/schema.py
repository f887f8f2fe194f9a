"""The tables of the chat and what stands in their rows."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, NewType, Self, cast

from chatsvc.application.bodies import MessageText
from chatsvc.application.names import AccountKey, DisplayName
from crypto.canonical import Value
from pbft.core.application import HashedPages, Key, KeyType, RangePages, Row, TableSpec
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber

MessageIndex = NewType("MessageIndex", int)
"""Position of a message in its room, from 0, without gaps."""
MessageSerial = NewType("MessageSerial", int)
"""Position of a message among those of all rooms, from 0, without gaps."""


class MessageKind(Enum):
    """How a message is shown: said, done (`/me`), or asked (a poll)."""

    TEXT = "text"
    ACTION = "action"
    POLL = "poll"


class Role(Enum):
    """What a member may do. `rank` orders them."""

    MEMBER = "member"
    MODERATOR = "moderator"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return {"member": 0, "moderator": 1, "owner": 2}[self.value]


class AccountRow(NamedTuple):
    """A registered name. Key: the name's key form."""

    name: DisplayName
    display: str
    """How the account wishes to be called; may be empty, and is not unique."""
    registered_ms: Milliseconds
    recovery: bytes
    invitation: bytes
    """Public keys, of the recovery and of the open device invitation, or nothing."""
    device_count: int
    active_count: int
    """Devices ever added, and those of them that are not revoked."""
    rooms_created: int
    room_count: int
    """Rooms it is a member of, but direct conversations."""
    invitation_count: int
    """Rooms it was invited to and has not joined."""

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class DeviceRow(NamedTuple):
    """Whose device it is. Key: the device's public key. Never deleted: a revoked key never comes back."""

    account: AccountKey
    name: DisplayName
    label: str
    added_ms: Milliseconds
    revoked_ms: Milliseconds | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class AllowanceRow(NamedTuple):
    """What is left of an account's rate and quota. Key: account key."""

    credit: int
    """Of the token bucket, in 1/60000 operations: a millisecond brings as many as there are operations a minute."""
    updated_ms: Milliseconds
    day: int
    """Days since 1970-01-01 UTC."""
    bytes_today: int

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class RoomRow(NamedTuple):
    """A room. Key: its name. A direct conversation's name begins with `@` and is made of its members' keys."""

    topic: str
    description: str
    creator: DisplayName
    created_ms: Milliseconds
    private: bool
    direct: bool
    archived: bool
    slow_s: int
    retention_s: int
    message_count: int
    """Messages ever; the next one's index."""
    first_message: int
    """Index of the oldest message that is kept."""
    event_count: int
    first_event: int
    member_count: int
    owner_count: int
    pin_count: int
    link_count: int
    ban_count: int
    thread_count: int
    silenced_count: int = 0

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class MemberRow(NamedTuple):
    """A member of a room. Key: room, account key."""

    name: DisplayName
    joined_ms: Milliseconds
    role: str
    """The value of a Role."""
    muted_until_ms: Milliseconds
    """0 for one who may speak."""
    spoke_ms: Milliseconds
    """Time of its last message, for slow mode; kept only while there is one."""

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class MembershipRow(NamedTuple):
    """The members table by account. Key: account key, room."""

    joined_ms: Milliseconds
    read: int
    """Messages below this index have been read."""

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class BanRow(NamedTuple):
    """Who may not come back. Key: room, account key."""

    name: DisplayName
    by: DisplayName
    time: Milliseconds
    reason: str

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class InvitationRow(NamedTuple):
    """Who was invited and has not joined. Key of `invitations`: account key, room; of `invited`: the reverse."""

    by: DisplayName
    time: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class LinkRow(NamedTuple):
    """An invitation link. Key of `links`: its public key."""

    room: str
    by: DisplayName
    made_ms: Milliseconds
    expires_ms: Milliseconds
    uses_left: int

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class MessageRow(NamedTuple):
    """A message as it stands. Key: room, index. Changed by edits and by being deleted; the row goes by retention."""

    kind: str
    """The value of a MessageKind."""
    author: DisplayName
    body: str
    """A MessageText; empty once deleted. Of a poll: the question, and on lines of their own its options."""
    reply_to: MessageIndex | None
    thread: str | None
    """The topic within the room, as its first message wrote it."""
    mentions: list[Value]
    """Names of accounts that the body names, as they are registered, in the order of their first mention."""
    nonce: bytes
    """Chosen by the author's client, to know its message by; salts the content's digest. Empty once deleted."""
    time: Milliseconds
    """Agreed, of the batch that ordered it."""
    claimed_ms: Milliseconds | None
    """When it was said originally, according to whoever imported it."""
    sequence: SequenceNumber
    batch_index: int
    serial: MessageSerial
    event: EventIndex
    """Of the room: where it was posted."""
    digest: bytes
    """SHA-256 of its first content: of what the event said of it then."""
    private: bool
    """Whether the room is: for the search index, which sees no room."""
    edits: int
    edited_ms: Milliseconds | None
    deleted_by: DisplayName | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))

    @property
    def shown_ms(self) -> Milliseconds:
        return self.time if self.claimed_ms is None else self.claimed_ms


class VersionRow(NamedTuple):
    """What a message said before an edit. Key: room, index, version from 0."""

    body: MessageText
    nonce: bytes
    time: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class EventRow(NamedTuple):
    """Something that happened in a room. Key: room, event index. Never changed.

    Of a POSTED event only `kind` and `message` are kept: the rest stands in the message.
    """

    kind: str
    """The value of an EventKind (`events`)."""
    message: MessageIndex | None
    """What it is about."""
    actor: DisplayName = DisplayName("")
    data: list[Value] = []  # noqa: RUF012 - never written to
    """What the kind says."""
    digest: bytes = b""
    """SHA-256 of what it carries that may be taken away one day: the content of an edit."""
    time: Milliseconds = Milliseconds(0)
    sequence: SequenceNumber = SequenceNumber(0)
    batch_index: int = 0

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class PollRow(NamedTuple):
    """A poll, and the votes for each of its options. Key: room, index of its message."""

    options: list[Value]
    votes: list[Value]
    closed_ms: Milliseconds | None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class ThreadRow(NamedTuple):
    """A topic within a room. Key: room, key form of the title."""

    title: str
    message_count: int
    """Messages ever; the next one's position."""
    last_ms: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class NoticeRow(NamedTuple):
    """Something an account was told. Key: account key, notice index."""

    kind: str
    """The value of a NoticeKind (`events`)."""
    room: str
    message: MessageIndex | None
    by: DisplayName
    time: Milliseconds

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


class NoticeRange(NamedTuple):
    """Which notices of an account are kept: from `first` up to, but not, `end`. Key: account key."""

    first: int
    end: int

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(*cast("tuple[Any, ...]", row))


ACCOUNTS = "accounts"
DEVICES = "devices"
ACCOUNT_DEVICES = "account_devices"
"""Key: account key, number from 0; row (public key,)."""
DEVICE_INVITATIONS = "device_invitations"
"""Key: the invitation's public key; row (account key, expires_ms)."""
ALLOWANCES = "allowances"
ROOMS = "rooms"
MEMBERS = "members"
MEMBERSHIPS = "memberships"
BANS = "bans"
SILENCED = "silenced"
"""Who left while it was muted, for it to be so when it comes back. Key: room, account key; row (until_ms,)."""
INVITATIONS = "invitations"
INVITED = "invited"
LINKS = "links"
ROOM_LINKS = "room_links"
"""Key: room, link's public key; row ()."""
MESSAGES = "messages"
VERSIONS = "versions"
EVENTS = "events"
REACTIONS = "reactions"
"""Key: room, index, reaction, account key; row (display name, time)."""
REACTION_COUNTS = "reaction_counts"
"""Key: room, index; row ([[reaction, count], ...],) in the order of their first use. No row without reactions."""
PINS = "pins"
"""Key: room, index; row (by, time)."""
POLLS = "polls"
VOTES = "votes"
"""Key: room, index, account key; row (option,)."""
THREADS = "threads"
THREAD_MESSAGES = "thread_messages"
"""Key: room, key form of the thread, position in it from 0; row (index,)."""
NOTICES = "notices"
NOTICE_RANGES = "notice_ranges"
LEFTOVERS = "leftovers"
"""Key: room, index; row (). Deleted or gone messages whose reactions and votes a later checkpoint removes."""
PUBLIC_ROOMS = "public_rooms"
RETAINED = "retained"
"""Rooms that anybody finds, and those with a retention. Key: room; row ()."""
COUNTERS = "counters"
NEXT_SERIAL: Key = ("next_serial",)
"""Of `counters`; row (serial,)."""
RETENTION_CURSOR: Key = ("retention_cursor",)
"""Of `counters`; row (room,): where pruning goes on at the next checkpoint."""

_TEXT, _BYTES, _INTEGER = KeyType.TEXT, KeyType.BYTES, KeyType.INTEGER

TABLES = (
    TableSpec(name=ACCOUNTS, key=(_TEXT,), pages=HashedPages(prefix=1)),
    TableSpec(name=DEVICES, key=(_BYTES,), pages=HashedPages(prefix=1)),
    TableSpec(name=ACCOUNT_DEVICES, key=(_TEXT, _INTEGER), pages=HashedPages(prefix=1)),
    TableSpec(name=DEVICE_INVITATIONS, key=(_BYTES,), pages=HashedPages(prefix=1)),
    TableSpec(name=ALLOWANCES, key=(_TEXT,), pages=HashedPages(prefix=1)),
    TableSpec(name=ROOMS, key=(_TEXT,), pages=HashedPages(prefix=1)),
    TableSpec(name=PUBLIC_ROOMS, key=(_TEXT,), pages=HashedPages(prefix=1)),
    # Paged by all parts: a page for each room would be hashed whole whenever somebody joins a large one.
    TableSpec(name=MEMBERS, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=MEMBERSHIPS, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=BANS, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=SILENCED, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=INVITATIONS, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=INVITED, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=LINKS, key=(_BYTES,), pages=HashedPages(prefix=1)),
    TableSpec(name=ROOM_LINKS, key=(_TEXT, _BYTES), pages=HashedPages(prefix=2)),
    TableSpec(name=MESSAGES, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=6)),
    TableSpec(name=VERSIONS, key=(_TEXT, _INTEGER, _INTEGER), pages=RangePages(prefix=1, shift=0)),
    TableSpec(name=EVENTS, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=6)),
    TableSpec(name=REACTIONS, key=(_TEXT, _INTEGER, _TEXT, _TEXT), pages=HashedPages(prefix=4)),
    TableSpec(name=REACTION_COUNTS, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=6)),
    TableSpec(name=PINS, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=32)),
    TableSpec(name=POLLS, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=0)),
    TableSpec(name=VOTES, key=(_TEXT, _INTEGER, _TEXT), pages=HashedPages(prefix=3)),
    TableSpec(name=THREADS, key=(_TEXT, _TEXT), pages=HashedPages(prefix=2)),
    TableSpec(name=THREAD_MESSAGES, key=(_TEXT, _TEXT, _INTEGER), pages=RangePages(prefix=2, shift=6)),
    TableSpec(name=NOTICES, key=(_TEXT, _INTEGER), pages=RangePages(prefix=1, shift=6)),
    TableSpec(name=NOTICE_RANGES, key=(_TEXT,), pages=HashedPages(prefix=1)),
    TableSpec(name=LEFTOVERS, key=(_TEXT, _INTEGER), pages=HashedPages(prefix=2)),
    TableSpec(name=RETAINED, key=(_TEXT,), pages=HashedPages(prefix=1, count=1)),
    TableSpec(name=COUNTERS, key=(_TEXT,), pages=HashedPages(prefix=1, count=1)),
)
