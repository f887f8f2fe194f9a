"""What an operation gives: canonical CBOR, `[what, ...]` or `["error", code, detail, when to retry]`."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias, cast

from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex
from chatsvc.application.wire import Wire, decode_wire, encode_wire
from pbft.core.types import Milliseconds

RESULT_BYTES_MAX = 1024
DETAIL_BYTES_MAX = 512


class ErrorCode(Enum):
    """Why nothing was done."""

    MALFORMED = "MALFORMED"
    """Not an operation at all."""
    INTERNAL = "INTERNAL"
    """The service itself failed, at every replica alike; said by the replica, not by this application."""
    BAD_QUERY = "BAD_QUERY"

    NOT_REGISTERED = "NOT_REGISTERED"
    ALREADY_REGISTERED = "ALREADY_REGISTERED"
    """The device belongs to an account already, or did."""
    NAME_TAKEN = "NAME_TAKEN"
    """Another account has the name."""
    NO_SUCH_ACCOUNT = "NO_SUCH_ACCOUNT"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    NO_SUCH_DEVICE = "NO_SUCH_DEVICE"
    LAST_DEVICE = "LAST_DEVICE"
    """Without it nobody could speak for the account."""
    NO_SUCH_INVITATION = "NO_SUCH_INVITATION"
    """There is none of this code, it was used up, or it has expired."""
    BAD_PROOF = "BAD_PROOF"
    """The secret is not the one that is asked for."""
    NO_RECOVERY_KEY = "NO_RECOVERY_KEY"

    BAD_NAME = "BAD_NAME"
    BAD_TEXT = "BAD_TEXT"
    """A topic, description, label, display name, reason, reaction, thread or option that cannot be one."""
    BAD_TOPIC = "BAD_TOPIC"
    BAD_BODY = "BAD_BODY"
    BODY_TOO_LONG = "BODY_TOO_LONG"
    BAD_TIME = "BAD_TIME"
    """A moment that has passed, or is too far away."""

    ROOM_EXISTS = "ROOM_EXISTS"
    NO_SUCH_ROOM = "NO_SUCH_ROOM"
    """There is none of this name, or the caller may not know of it."""
    ROOM_ARCHIVED = "ROOM_ARCHIVED"
    DIRECT_ROOM = "DIRECT_ROOM"
    """A direct conversation has no such thing."""
    NOT_A_MEMBER = "NOT_A_MEMBER"
    ALREADY_A_MEMBER = "ALREADY_A_MEMBER"
    NOT_ALLOWED = "NOT_ALLOWED"
    """The caller's role does not reach for it."""
    LAST_OWNER = "LAST_OWNER"
    """Somebody must own the room: make another member its owner first."""
    BANNED = "BANNED"
    MUTED = "MUTED"

    NO_SUCH_MESSAGE = "NO_SUCH_MESSAGE"
    MESSAGE_DELETED = "MESSAGE_DELETED"
    NO_SUCH_POLL = "NO_SUCH_POLL"
    NO_SUCH_OPTION = "NO_SUCH_OPTION"
    POLL_CLOSED = "POLL_CLOSED"

    RATE_LIMITED = "RATE_LIMITED"
    SLOW_MODE = "SLOW_MODE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    TOO_MANY = "TOO_MANY"
    """A bound on how many of something there are is reached."""


class Registered(Wire, frozen=True, tag="registered"):
    """The calling device speaks for this account now."""

    name: DisplayName


class Created(Wire, frozen=True, tag="created"):
    """The room is there, and the caller its member: also for a direct conversation that was there before."""

    room: RoomName


class Joined(Wire, frozen=True, tag="joined"):
    room: RoomName


class Left(Wire, frozen=True, tag="left"):
    room: RoomName


class Posted(Wire, frozen=True, tag="posted"):
    room: RoomName
    index: MessageIndex


class Applied(Wire, frozen=True, tag="applied"):
    """It is as the caller wished, changed by this operation or before."""


class Rejected(Wire, frozen=True, tag="error"):
    """Nothing was changed. `detail` is for a person to read."""

    code: ErrorCode
    detail: str
    retry_ms: Milliseconds | None = None
    """From this agreed time on the same operation may succeed, since 1970-01-01 UTC."""


Result: TypeAlias = Registered | Created | Joined | Left | Posted | Applied | Rejected

_RESULT: Final = Result


def encode_result(result: Result) -> bytes:
    """Return the one encoding of `result`."""
    return encode_wire(result)


def decode_result(data: bytes) -> Result:
    """Return the result of an operation other than an ordered read. Total: raises MalformedEncoding only."""
    return cast("Result", decode_wire(data, _RESULT, bytes_max=RESULT_BYTES_MAX, depth_max=1))
