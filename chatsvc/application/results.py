"""What an operation gives: `["ok", what, ...]` or `["error", code, detail]`, canonical CBOR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never

from chatsvc.application.names import NAME_BYTES_MAX, DisplayName, RoomName
from chatsvc.application.schema import MessageIndex
from crypto.canonical import Encodable, Value, decode, encode, expect_int, expect_text
from crypto.errors import MalformedEncoding

RESULT_BYTES_MAX = 1024
DETAIL_BYTES_MAX = 512


class ErrorCode(Enum):
    """Why nothing was done."""

    MALFORMED = "MALFORMED"
    """Not an operation at all."""
    NOT_REGISTERED = "NOT_REGISTERED"
    ALREADY_REGISTERED = "ALREADY_REGISTERED"
    """The device has another name."""
    NAME_TAKEN = "NAME_TAKEN"
    """Another device has the name."""
    BAD_NAME = "BAD_NAME"
    BAD_TOPIC = "BAD_TOPIC"
    ROOM_EXISTS = "ROOM_EXISTS"
    NO_SUCH_ROOM = "NO_SUCH_ROOM"
    NO_SUCH_ACCOUNT = "NO_SUCH_ACCOUNT"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    ALREADY_A_MEMBER = "ALREADY_A_MEMBER"
    BAD_BODY = "BAD_BODY"
    BODY_TOO_LONG = "BODY_TOO_LONG"
    NO_SUCH_MESSAGE = "NO_SUCH_MESSAGE"
    """The message replied to."""
    BAD_QUERY = "BAD_QUERY"
    INTERNAL = "INTERNAL"
    """The service itself failed, at every replica alike; said by the replica, not by this application."""


@dataclass(frozen=True, slots=True)
class Registered:
    name: DisplayName


@dataclass(frozen=True, slots=True)
class Created:
    room: RoomName


@dataclass(frozen=True, slots=True)
class Joined:
    room: RoomName


@dataclass(frozen=True, slots=True)
class Left:
    room: RoomName


@dataclass(frozen=True, slots=True)
class Posted:
    room: RoomName
    index: MessageIndex


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was changed. `detail` is for a person to read."""

    code: ErrorCode
    detail: str


Result: TypeAlias = Registered | Created | Joined | Left | Posted | Rejected

_CODES: Final = {code.value: code for code in ErrorCode}


def encode_result(result: Result) -> bytes:
    """Return the one encoding of `result`."""
    return encode(_value(result))


def _value(result: Result) -> list[Encodable]:
    match result:
        case Registered(name):
            return ["ok", "registered", name]
        case Created(room):
            return ["ok", "created", room]
        case Joined(room):
            return ["ok", "joined", room]
        case Left(room):
            return ["ok", "left", room]
        case Posted(room, index):
            return ["ok", "posted", room, index]
        case Rejected(code, detail):
            return ["error", code.value, detail]
        case _:
            assert_never(result)


def decode_result(data: bytes) -> Result:
    """Return the result of an operation other than an ordered read. Total: raises MalformedEncoding only."""
    match decode(data, bytes_max=RESULT_BYTES_MAX, depth_max=1):
        case ["ok", "registered", name]:
            return Registered(DisplayName(_name(name)))
        case ["ok", "created", room]:
            return Created(RoomName(_name(room)))
        case ["ok", "joined", room]:
            return Joined(RoomName(_name(room)))
        case ["ok", "left", room]:
            return Left(RoomName(_name(room)))
        case ["ok", "posted", room, index]:
            return Posted(RoomName(_name(room)), MessageIndex(expect_int(index)))
        case ["error", code, detail]:
            return decode_rejected(code, detail)
        case _:
            raise MalformedEncoding("no result of this service")


def decode_rejected(code: Value, detail: Value) -> Rejected:
    """Return what follows "error" in a result or an answer. Raises MalformedEncoding."""
    known_code = _CODES.get(expect_text(code, bytes_max=DETAIL_BYTES_MAX))
    if known_code is None:
        raise MalformedEncoding("no error code of this service")
    return Rejected(known_code, expect_text(detail, bytes_max=DETAIL_BYTES_MAX))


def _name(value: Value) -> str:
    return expect_text(value, bytes_max=NAME_BYTES_MAX)
