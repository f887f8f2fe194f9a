"""What happens in rooms and to accounts, as subscribers are told.

An event has a head and may have content. The head says what happened, once and for ever: replicas vouch for it by
its digest, whatever else they have executed since. Content is what may be taken away one day (the body of a message):
the head holds its digest, and whoever still has it sends it along. A deletion is an event of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, cast

from msgspec import Meta

from chatsvc.application.bodies import BODY_BYTES_MAX
from chatsvc.application.names import AccountKey, DisplayName, RoomName
from chatsvc.application.operations import NONCE_BYTES_MAX
from chatsvc.application.schema import MessageIndex
from chatsvc.application.wire import Wire, decode_wire, encode_wire
from crypto.digest import Digest, digest_of
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber

HEAD_BYTES_MAX = 4096
CONTENT_BYTES_MAX = BODY_BYTES_MAX + 64
_TOPIC_OF_NOTICES = ":"


class EventKind(Enum):
    """What happened in a room, and what `data` says of it."""

    POSTED = "posted"
    """[kind, reply_to or -1, thread or "", claimed_ms or -1, serial]; has content."""
    EDITED = "edited"
    """[edits so far, this one too]; has content."""
    DELETED = "deleted"
    REACTED = "reacted"
    """[reaction, how many now]"""
    UNREACTED = "unreacted"
    """[reaction, how many now]"""
    PINNED = "pinned"
    UNPINNED = "unpinned"
    VOTED = "voted"
    """[votes for each option now, ...]; the actor is not named: what it chose is not either."""
    POLL_CLOSED = "poll-closed"
    """[votes for each option, ...]"""
    JOINED = "joined"
    LEFT = "left"
    INVITED = "invited"
    """[name]"""
    KICKED = "kicked"
    """[name, reason]"""
    BANNED = "banned"
    """[name, reason]"""
    UNBANNED = "unbanned"
    """[name]"""
    MUTED = "muted"
    """[name, until, in milliseconds since 1970, or 0]"""
    ROLE = "role"
    """[name, role]"""
    TOPIC = "topic"
    """[topic]"""
    DESCRIPTION = "description"
    """[description]"""
    SLOW_MODE = "slow-mode"
    """[seconds]"""
    RETENTION = "retention"
    """[seconds]"""
    ARCHIVED = "archived"
    """[1, or 0 for opened again]"""


class NoticeKind(Enum):
    """Why an account is told of something."""

    MENTION = "mention"
    REPLY = "reply"
    DIRECT = "direct"
    INVITATION = "invitation"


class Head(Wire, frozen=True, kw_only=True):
    """An event of a room."""

    room: RoomName
    event: EventIndex
    kind: EventKind
    actor: DisplayName
    index: MessageIndex | None
    """The message it is about."""
    data: list[str | int]
    digest: Annotated[bytes, Meta(max_length=32)]
    """SHA-256 of the content's encoding; empty for an event without."""
    time: Milliseconds
    """Agreed, of the batch that ordered it."""
    sequence: SequenceNumber
    batch_index: int


class Content(Wire, frozen=True):
    """What a message said, when it was posted or edited."""

    body: str
    nonce: Annotated[bytes, Meta(max_length=NONCE_BYTES_MAX)]


class NoticeHead(Wire, frozen=True, kw_only=True):
    """An event of an account."""

    notice: EventIndex
    kind: NoticeKind
    room: RoomName
    index: MessageIndex | None
    by: DisplayName
    time: Milliseconds


_HEAD: Final = Head
_NOTICE: Final = NoticeHead
_CONTENT: Final = Content


def content_digest(content: Content) -> Digest:
    return digest_of(encode_wire(content))


def decode_head(data: bytes) -> Head:
    """Return the event of a room. Total: raises MalformedEncoding only."""
    return cast("Head", decode_wire(data, _HEAD, bytes_max=HEAD_BYTES_MAX, depth_max=2))


def decode_notice(data: bytes) -> NoticeHead:
    """Return the event of an account. Total: raises MalformedEncoding only."""
    return cast("NoticeHead", decode_wire(data, _NOTICE, bytes_max=HEAD_BYTES_MAX, depth_max=1))


def decode_content(data: bytes) -> Content:
    """Return the content of an event. Total: raises MalformedEncoding only."""
    return cast("Content", decode_wire(data, _CONTENT, bytes_max=CONTENT_BYTES_MAX, depth_max=1))


def notices_topic(account: AccountKey) -> bytes:
    """The topic of what an account is told; no room's name contains the colon."""
    return f"{_TOPIC_OF_NOTICES}{account}".encode()


def account_of_topic(topic: str) -> AccountKey | None:
    """Return whose notices the topic has; None for a room."""
    return AccountKey(topic.removeprefix(_TOPIC_OF_NOTICES)) if topic.startswith(_TOPIC_OF_NOTICES) else None
