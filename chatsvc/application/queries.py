"""What a client may ask without changing anything: canonical CBOR lists that begin with the query's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from chatsvc.application.schema import MessageIndex, MessageSerial
from crypto.canonical import Encodable, Value, decode, encode, expect_int, expect_text
from crypto.errors import MalformedEncoding

QUERY_BYTES_MAX = 2048
ROWS_MAX = 200
"""Rows in an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRooms:
    """Rooms in the order of their names' code points. `after`: the `next` of the page before."""

    after: str | None = None
    limit: int = ROWS_MAX


@dataclass(frozen=True, slots=True)
class ShowRoom:
    room: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMembers:
    """Members in the order of their account keys. `after`: the `next` of the page before."""

    room: str
    after: str | None = None
    limit: int = ROWS_MAX


@dataclass(frozen=True, slots=True)
class ShowAccount:
    name: str


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """The account of the asking device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemberships:
    """The rooms that an account is a member of, in the order of their names. `after`: as above."""

    name: str
    after: str | None = None
    limit: int = ROWS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadHistory:
    """Messages of a room, in ascending order: those just before index `before`, those just after index `after`
    (not both), or with neither the last ones.
    """

    room: str
    before: MessageIndex | None = None
    after: MessageIndex | None = None
    limit: int = ROWS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMessages:
    """Messages that `text` describes (see `search_language`), newest first. `before`: the `next` of the
    page before.
    """

    text: str
    before: MessageSerial | None = None
    limit: int = ROWS_MAX


Query: TypeAlias = (
    ListRooms | ShowRoom | ListMembers | ShowAccount | WhoAmI | ListMemberships | ReadHistory | SearchMessages
)


def encode_query(query: Query) -> bytes:
    """Return the one encoding of `query`. Raises MalformedEncoding for text that is no Unicode."""
    return encode(_value(query))


def _value(query: Query) -> list[Encodable]:
    match query:
        case ListRooms():
            return ["rooms", query.after, query.limit]
        case ShowRoom(room):
            return ["room", room]
        case ListMembers():
            return ["members", query.room, query.after, query.limit]
        case ShowAccount(name):
            return ["account", name]
        case WhoAmI():
            return ["whoami"]
        case ListMemberships():
            return ["memberships", query.name, query.after, query.limit]
        case ReadHistory():
            return ["history", query.room, query.before, query.after, query.limit]
        case SearchMessages():
            return ["search", query.text, query.before, query.limit]
        case _:
            assert_never(query)


def decode_query(data: bytes) -> Query:
    """Return the query that `data` encodes; names and searches may still be bad ones.

    Total: raises MalformedEncoding, and nothing else, for any other bytes.
    """
    match decode(data, bytes_max=QUERY_BYTES_MAX, depth_max=1):
        case ["rooms", after, limit]:
            return ListRooms(after=_cursor(after), limit=_limit(limit))
        case ["room", room]:
            return ShowRoom(_text(room))
        case ["members", room, after, limit]:
            return ListMembers(room=_text(room), after=_cursor(after), limit=_limit(limit))
        case ["account", name]:
            return ShowAccount(_text(name))
        case ["whoami"]:
            return WhoAmI()
        case ["memberships", name, after, limit]:
            return ListMemberships(name=_text(name), after=_cursor(after), limit=_limit(limit))
        case ["history", room, before, after, limit]:
            if before is not None and after is not None:
                raise MalformedEncoding("history is read before or after an index, not both")
            return ReadHistory(
                room=_text(room),
                before=None if before is None else MessageIndex(expect_int(before)),
                after=None if after is None else MessageIndex(expect_int(after)),
                limit=_limit(limit),
            )
        case ["search", text, before, limit]:
            before_serial = None if before is None else MessageSerial(expect_int(before))
            return SearchMessages(text=_text(text), before=before_serial, limit=_limit(limit))
        case _:
            raise MalformedEncoding("no query of this service")


def _text(value: Value) -> str:
    return expect_text(value, bytes_max=QUERY_BYTES_MAX)


def _cursor(value: Value) -> str | None:
    return None if value is None else _text(value)


def _limit(value: Value) -> int:
    return expect_int(value, minimum=1, maximum=ROWS_MAX)
