"""What a client may ask the group to do: requests of canonical CBOR lists that begin with the operation's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from chatsvc.application.schema import MessageIndex, MessageKind
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
from pbft.core.types import Milliseconds

OPERATION_BYTES_MAX = 8192
"""Twice the longest body, so that one a little too long can be told so."""
NONCE_BYTES_MAX = 16
CLAIMED_MS_MAX = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Register:
    """Give the calling device a name. Again with the same name: nothing changes."""

    name: str


@dataclass(frozen=True, slots=True)
class Create:
    """Make a room and join it."""

    room: str
    topic: str


@dataclass(frozen=True, slots=True)
class Join:
    room: str


@dataclass(frozen=True, slots=True)
class Leave:
    room: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Say something in a room one is a member of."""

    room: str
    body: str
    kind: MessageKind = MessageKind.TEXT
    reply_to: MessageIndex | None = None
    nonce: bytes = b""
    claimed_ms: Milliseconds | None = None
    """When it was said originally, for imports; since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class Read:
    """Answer a query in its place in the order: linearizable."""

    query: bytes


Operation: TypeAlias = Register | Create | Join | Leave | Post | Read

_KINDS: Final = {kind.value: kind for kind in MessageKind}


def encode_operation(operation: Operation) -> bytes:
    """Return the one encoding of `operation`. Raises MalformedEncoding for text that is no Unicode."""
    return encode(_value(operation))


def _value(operation: Operation) -> list[Encodable]:
    match operation:
        case Register(name):
            return ["register", name]
        case Create(room, topic):
            return ["create", room, topic]
        case Join(room):
            return ["join", room]
        case Leave(room):
            return ["leave", room]
        case Post() as post:
            fields = (post.room, post.kind.value, post.body, post.reply_to, post.nonce, post.claimed_ms)
            return ["post", *fields]
        case Read(query):
            return ["read", query]
        case _:
            assert_never(operation)


def decode_operation(data: bytes) -> Operation:
    """Return the operation that `data` encodes; names and texts may still be bad ones.

    Total: raises MalformedEncoding, and nothing else, for any other bytes.
    """
    match decode(data, bytes_max=OPERATION_BYTES_MAX, depth_max=1):
        case ["register", name]:
            return Register(_text(name))
        case ["create", room, topic]:
            return Create(_text(room), _text(topic))
        case ["join", room]:
            return Join(_text(room))
        case ["leave", room]:
            return Leave(_text(room))
        case ["post", *fields]:
            return _post(fields)
        case ["read", query]:
            return Read(expect_bytes(query))
        case _:
            raise MalformedEncoding("no operation of this service")


def _post(fields: list[Value]) -> Post:
    room, kind, body, reply_to, nonce, claimed_ms = expect_list(fields, 6)
    known_kind = _KINDS.get(_text(kind))
    if known_kind is None:
        raise MalformedEncoding("no kind of message")
    return Post(
        room=_text(room),
        kind=known_kind,
        body=_text(body),
        reply_to=None if reply_to is None else MessageIndex(expect_int(reply_to)),
        nonce=expect_bytes(nonce, bytes_max=NONCE_BYTES_MAX),
        claimed_ms=None if claimed_ms is None else Milliseconds(expect_int(claimed_ms, maximum=CLAIMED_MS_MAX)),
    )


def _text(value: Value) -> str:
    return expect_text(value, bytes_max=OPERATION_BYTES_MAX)
