"""What a client may ask without changing anything: canonical CBOR lists that begin with the query's name."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, cast

from msgspec import Meta

from chatsvc.application.operations import Index, Moment
from chatsvc.application.schema import MessageSerial
from chatsvc.application.wire import Wire, decode_exact, encode_wire
from crypto.errors import MalformedEncoding
from pbft.core.types import EventIndex

QUERY_BYTES_MAX = 2048
ROWS_MAX = 200
"""Rows in an answer."""
DIGESTS_MAX = 1000
"""Digests in an answer."""

Limit = Annotated[int, Meta(ge=1, le=ROWS_MAX)]
Serial = Annotated[MessageSerial, Meta(ge=0, le=2**63 - 1)]
Ordinal = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Notice = Annotated[EventIndex, Meta(ge=0, le=2**63 - 1)]


class ListRooms(Wire, frozen=True, kw_only=True, tag="rooms"):
    """Rooms that the caller may see, but direct ones, in the order of their names' code points.

    `after`: the `next` of the page before; so in all lists.
    """

    after: str | None = None
    limit: Limit = ROWS_MAX


class ShowRoom(Wire, frozen=True, tag="room"):
    room: str


class ListMembers(Wire, frozen=True, kw_only=True, tag="members"):
    """Members in the order of their account keys."""

    room: str
    after: str | None = None
    limit: Limit = ROWS_MAX


class ListBans(Wire, frozen=True, kw_only=True, tag="bans"):
    """For moderators: who is banned, in the order of their account keys."""

    room: str
    after: str | None = None
    limit: Limit = ROWS_MAX


class ListLinks(Wire, frozen=True, tag="links"):
    """For moderators: invitation links of the room, used up and expired ones too."""

    room: str


class ShowAccount(Wire, frozen=True, tag="account"):
    name: str


class WhoAmI(Wire, frozen=True, tag="whoami"):
    """The account of the asking device."""


class ListDevices(Wire, frozen=True, tag="devices"):
    """Devices of the caller's account, revoked ones too."""


class ListMemberships(Wire, frozen=True, kw_only=True, tag="memberships"):
    """The rooms that an account is a member of and that the caller may see, in the order of their names.

    Direct conversations are among the caller's own only.
    """

    name: str
    after: str | None = None
    limit: Limit = ROWS_MAX


class ListUnread(Wire, frozen=True, kw_only=True, tag="unread"):
    """The caller's rooms, direct ones too, and how much in each was not read yet."""

    after: str | None = None
    limit: Limit = ROWS_MAX


class ListInvitations(Wire, frozen=True, tag="invitations"):
    """Rooms that the caller was invited to and has not joined."""


class ListNotices(Wire, frozen=True, kw_only=True, tag="notices"):
    """What the caller was told, newest first: mentions, replies, direct messages, invitations."""

    before: Notice | None = None
    limit: Limit = ROWS_MAX


class ReadHistory(Wire, frozen=True, kw_only=True, tag="history"):
    """Messages of a room, in ascending order: those just before index `before`, those just after index `after`
    (not both), or with neither the last ones.
    """

    room: str
    before: Index | None = None
    after: Index | None = None
    limit: Limit = ROWS_MAX


class ReadThread(Wire, frozen=True, kw_only=True, tag="thread"):
    """Messages of a room's thread, in ascending order, the last ones or those before position `before` in it."""

    room: str
    thread: str
    before: Ordinal | None = None
    limit: Limit = ROWS_MAX


class ListThreads(Wire, frozen=True, kw_only=True, tag="threads"):
    """Threads of a room in the order of their key forms."""

    room: str
    after: str | None = None
    limit: Limit = ROWS_MAX


class FindMoment(Wire, frozen=True, tag="moment"):
    """The first message of a room that was ordered at this time or later."""

    room: str
    time: Moment


class ListVersions(Wire, frozen=True, tag="versions"):
    """What a message said before it was edited, oldest first, and what it says now."""

    room: str
    index: Index


class ListReactions(Wire, frozen=True, kw_only=True, tag="reactions"):
    """Who reacted to a message, and how."""

    room: str
    index: Index
    after: str | None = None
    limit: Limit = ROWS_MAX


class ListPins(Wire, frozen=True, tag="pins"):
    """The messages pinned to a room, in ascending order, those after index `after`."""

    room: str
    after: Index | None = None


class ShowPoll(Wire, frozen=True, tag="show-poll"):
    room: str
    index: Index


class SearchMessages(Wire, frozen=True, kw_only=True, tag="search"):
    """Messages that `text` describes (see `search_language`) and that the caller may read, newest first.

    `before`: the `next` of the page before.
    """

    text: str
    before: Serial | None = None
    limit: Limit = ROWS_MAX


class DigestMessages(Wire, frozen=True, kw_only=True, tag="digests"):
    """SHA-256 digests of a room's messages from index `first` on, as history shows them: for transcripts."""

    room: str
    first: Index
    limit: Annotated[int, Meta(ge=1, le=DIGESTS_MAX)] = DIGESTS_MAX


class ShowLimits(Wire, frozen=True, tag="limits"):
    """What the group allows, and how much of it is left to the caller."""


Query: TypeAlias = (
    ListRooms | ShowRoom | ListMembers | ListBans | ListLinks | ShowAccount | WhoAmI | ListDevices | ListMemberships
    | ListUnread | ListInvitations | ListNotices | ReadHistory | ReadThread | ListThreads | FindMoment | ListVersions
    | ListReactions | ListPins | ShowPoll | SearchMessages | DigestMessages | ShowLimits
)  # fmt: skip

_QUERY: Final = Query


def encode_query(query: Query) -> bytes:
    """Return the one encoding of `query`. Raises MalformedEncoding for text that is no Unicode."""
    return encode_wire(query)


def decode_query(data: bytes) -> Query:
    """Return the query that `data` encodes; names and searches may still be bad ones.

    Total: raises MalformedEncoding, and nothing else, for any other bytes.
    """
    query = cast("Query", decode_exact(data, _QUERY, bytes_max=QUERY_BYTES_MAX, depth_max=1))
    if isinstance(query, ReadHistory) and query.before is not None and query.after is not None:
        raise MalformedEncoding("history is read before or after an index, not both")
    return query
