"""What a query gives: canonical CBOR, `[what, ...]` or `["error", code, detail, when to retry]`.

An answer is believed when f+1 replicas give it, out of states that may be a little older or newer than each other's.
What changes all the time (counts, reactions) therefore makes an answer harder to agree on, and is left out where the
question was not about it; where it was, the client asks again, in the end in the order of all writes. A page says
where to go on when it is full by itself, whether or not there is more by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, cast

from chatsvc.application.bodies import BODY_BYTES_MAX, MessageText
from chatsvc.application.events import NoticeHead
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.results import Rejected
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial, Role
from chatsvc.application.wire import Wire, decode_wire, encode_wire, from_value
from crypto.canonical import Encodable, Value, encode
from crypto.digest import Digest, digest_of
from crypto.signing import PublicKey
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber

ANSWER_BYTES_MAX = 256 * 1024
MESSAGE_BYTES_MAX = BODY_BYTES_MAX + 5120
"""Of an encoded message: its body, and its names, numbers, mentions and reactions at most."""
PAGE_BYTES_FULL = ANSWER_BYTES_MAX - 2 * MESSAGE_BYTES_MAX
"""A page of messages that has reached this size takes no further one."""
_DEPTH_MAX = 5


class Reaction(Wire, frozen=True):
    reaction: str
    count: int


class Message(Wire, frozen=True, kw_only=True):
    """A message as a room's history and searches show it, and as transcripts digest it."""

    room: RoomName
    index: MessageIndex
    kind: MessageKind
    author: DisplayName
    body: MessageText
    """Empty for a deleted one. Of a poll: the question, and on lines of their own its options."""
    reply_to: MessageIndex | None = None
    thread: str | None = None
    mentions: tuple[str, ...] = ()
    nonce: bytes = b""
    time: Milliseconds
    """Agreed, of the batch that ordered it."""
    claimed_ms: Milliseconds | None = None
    """When it was said originally, according to whoever imported it."""
    sequence: SequenceNumber
    batch_index: int
    serial: MessageSerial
    event: EventIndex
    """Of the room, where it was posted."""
    edits: int = 0
    edited_ms: Milliseconds | None = None
    deleted_by: DisplayName | None = None
    reactions: tuple[Reaction, ...] = ()

    @property
    def shown_ms(self) -> Milliseconds:
        return self.time if self.claimed_ms is None else self.claimed_ms

    @property
    def digest(self) -> Digest:
        """What `DigestMessages` answers for it."""
        return digest_of(encode_wire(self))


class RoomHeader(Wire, frozen=True, kw_only=True):
    """What seldom changes about a room."""

    room: RoomName
    topic: str
    description: str
    creator: DisplayName
    created_ms: Milliseconds
    private: bool
    direct: bool
    archived: bool
    slow_s: int
    retention_s: int


class RoomList(Wire, frozen=True, tag="rooms"):
    rooms: tuple[RoomHeader, ...]
    next: str | None
    """Pass it as `after` for the page after this one; None at the end. The same in the other pages."""


class RoomDetails(Wire, frozen=True, tag="room"):
    header: RoomHeader
    message_count: int
    member_count: int
    first_message: MessageIndex
    """The oldest message that is kept."""
    event_count: EventIndex
    """Subscribe from here to be told of what happens from now on."""
    first_event: EventIndex
    role: Role | None
    """The caller's; None for one who is no member."""
    muted_until_ms: Milliseconds


class Member(Wire, frozen=True):
    name: DisplayName
    joined_ms: Milliseconds
    role: Role
    muted_until_ms: Milliseconds


class MemberList(Wire, frozen=True, tag="members"):
    members: tuple[Member, ...]
    next: str | None


class Banned(Wire, frozen=True):
    name: DisplayName
    by: DisplayName
    time: Milliseconds
    reason: str


class BanList(Wire, frozen=True, tag="bans"):
    bans: tuple[Banned, ...]
    next: str | None


class Link(Wire, frozen=True):
    link: PublicKey
    by: DisplayName
    made_ms: Milliseconds
    expires_ms: Milliseconds
    uses_left: int


class LinkList(Wire, frozen=True, tag="links"):
    links: tuple[Link, ...]


class AccountDetails(Wire, frozen=True, tag="account"):
    name: DisplayName
    display: str
    registered_ms: Milliseconds
    devices: tuple[PublicKey, ...]
    """Those not revoked, in the order in which they were added."""
    has_recovery: bool


class Device(Wire, frozen=True):
    device: PublicKey
    label: str
    added_ms: Milliseconds
    revoked_ms: Milliseconds | None


class DeviceList(Wire, frozen=True, tag="devices"):
    devices: tuple[Device, ...]


class Membership(Wire, frozen=True):
    room: RoomName
    joined_ms: Milliseconds


class MembershipList(Wire, frozen=True, tag="memberships"):
    memberships: tuple[Membership, ...]
    next: str | None


class Unread(Wire, frozen=True, kw_only=True):
    room: RoomName
    topic: str
    direct: bool
    with_: tuple[str, ...]
    """The others in a direct conversation."""
    read: MessageIndex
    """Messages below this one have been read."""
    message_count: int
    mentions: int
    """Notices of mentions and replies there since then; 100 stands for more."""


class UnreadList(Wire, frozen=True, tag="unread"):
    rooms: tuple[Unread, ...]
    next: str | None


class Invitation(Wire, frozen=True):
    room: RoomName
    topic: str
    by: DisplayName
    time: Milliseconds


class InvitationList(Wire, frozen=True, tag="invitations"):
    invitations: tuple[Invitation, ...]


class NoticeList(Wire, frozen=True, tag="notices"):
    """Newest first. `next` is the index to pass as `before`; `end`: subscribe to notices from here."""

    notices: tuple[NoticeHead, ...]
    next: EventIndex | None
    end: EventIndex


class History(Wire, frozen=True, tag="history"):
    """Messages in ascending order. `next` is the index to pass as `after` again, or else as `before`."""

    messages: tuple[Message, ...]
    next: MessageIndex | None


class ThreadPage(Wire, frozen=True, tag="thread"):
    """Messages in ascending order. `next` is the position to pass as `before`."""

    title: str
    messages: tuple[Message, ...]
    next: int | None


class Thread(Wire, frozen=True):
    title: str
    count: int
    last_ms: Milliseconds


class ThreadList(Wire, frozen=True, tag="threads"):
    threads: tuple[Thread, ...]
    next: str | None


class MomentFound(Wire, frozen=True, tag="moment"):
    """The first message of that time or later, or the index that the next message will have."""

    index: MessageIndex


class Version(Wire, frozen=True):
    body: MessageText
    time: Milliseconds


class VersionList(Wire, frozen=True, tag="versions"):
    versions: tuple[Version, ...]


class Reacted(Wire, frozen=True):
    reaction: str
    name: DisplayName
    time: Milliseconds


class ReactionList(Wire, frozen=True, tag="reactions"):
    reactions: tuple[Reacted, ...]
    next: str | None


class PinList(Wire, frozen=True, tag="pins"):
    messages: tuple[Message, ...]
    next: MessageIndex | None


class Poll(Wire, frozen=True, tag="poll"):
    question: str
    options: tuple[str, ...]
    votes: tuple[int, ...]
    """For each option."""
    closed_ms: Milliseconds | None
    mine: int | None
    """The caller's choice."""


class Found(Wire, frozen=True, tag="found"):
    """Messages newest first. `next` is the serial to pass as `before`."""

    messages: tuple[Message, ...]
    next: MessageSerial | None


class Digests(Wire, frozen=True, kw_only=True, tag="digests"):
    """Of messages `first`, `first + 1`, ...; 32 bytes each, one after the other."""

    room: RoomName
    first: MessageIndex
    digests: bytes
    message_count: int
    first_message: MessageIndex


class Limits(Wire, frozen=True, kw_only=True, tag="limits"):
    """The group's limits by name, and what is left to the caller of those that run out."""

    limits: tuple[tuple[str, int], ...]
    operations_left: int | None
    """None where there is no limit."""
    bytes_left_today: int | None


Answer: TypeAlias = (
    RoomList | RoomDetails | MemberList | BanList | LinkList | AccountDetails | DeviceList | MembershipList
    | UnreadList | InvitationList | NoticeList | History | ThreadPage | ThreadList | MomentFound | VersionList
    | ReactionList | PinList | Poll | Found | Digests | Limits | Rejected
)  # fmt: skip

_ANSWER: Final = Answer


def encode_page(what: str, rows: Sequence[Encodable], next_cursor: str | int | None) -> bytes:
    """Return the encoding of a page whose rows are values already: long ones are not made into structures first."""
    return encode([what, rows, next_cursor])


def decode_message(value: Value) -> Message:
    """Return the message that `value` is made of. Raises MalformedEncoding."""
    return cast("Message", from_value(value, Message))


def decode_answer(data: bytes) -> Answer:
    """Return the answer to a query. Total: raises MalformedEncoding only."""
    return cast("Answer", decode_wire(data, _ANSWER, bytes_max=ANSWER_BYTES_MAX, depth_max=_DEPTH_MAX))
