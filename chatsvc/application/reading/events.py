"""Events of a room, and notices of an account, as they go out to subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from chatsvc.application.events import Content, EventKind, Head, account_of_topic
from chatsvc.application.names import AccountKey, DisplayName, RoomName
from chatsvc.application.reading.people import notice_head
from chatsvc.application.schema import (
    EVENTS,
    MESSAGES,
    NOTICE_RANGES,
    NOTICES,
    VERSIONS,
    EventRow,
    MessageIndex,
    MessageRow,
    NoticeRange,
    NoticeRow,
    VersionRow,
)
from chatsvc.application.state import Refusal, Room, caller_or_none, find_room
from chatsvc.application.wire import encode_wire
from crypto.canonical import Value
from crypto.signing import PublicKey
from pbft.core.application import EventItem, Reader
from pbft.core.errors import InvariantViolation
from pbft.core.types import EventIndex


def events(
    reader: Reader, device: PublicKey, topic: bytes, start: EventIndex, limit: int
) -> Sequence[EventItem] | None:
    """Return events from `start` on; None for a topic that is not there for this device, or not any more so far back.

    A room's topic is its name in UTF-8, an account's `events.notices_topic`.
    """
    try:
        name = topic.decode()
        caller = caller_or_none(reader, device)
        account = account_of_topic(name)
        if account is not None:
            return None if caller is None or caller.account != account else _notices(reader, account, start, limit)
        room = find_room(reader, name, caller)
    except (UnicodeDecodeError, Refusal):
        return None
    if start < room.row.first_event:
        return None
    end = min(start + limit, room.row.event_count)
    return [_event(reader, room, index) for index in range(start, end)]


def _notices(reader: Reader, account: AccountKey, start: EventIndex, limit: int) -> Sequence[EventItem] | None:
    row = reader.get(NOTICE_RANGES, (account,))
    kept = NoticeRange(0, 0) if row is None else NoticeRange.from_row(row)
    if start < kept.first:
        return None
    found: list[EventItem] = []
    for index in range(start, min(start + limit, kept.end)):
        stored = reader.get(NOTICES, (account, index))
        if stored is None:
            raise InvariantViolation("a notice is missing")
        head = encode_wire(notice_head(index, NoticeRow.from_row(stored)))
        found.append(EventItem(head=head, content_digest=b"", content=None))
    return found


def _event(reader: Reader, room: Room, index: int) -> EventItem:
    stored = reader.get(EVENTS, (room.name, index))
    if stored is None:
        raise InvariantViolation("an event is missing")
    event = EventRow.from_row(stored)
    kind = EventKind(event.kind)
    if event.message is None or kind not in (EventKind.POSTED, EventKind.EDITED):
        return _item(_head(room.name, index, event), None)
    row = reader.get(MESSAGES, (room.name, event.message))
    message = None if row is None else MessageRow.from_row(row)
    if kind is EventKind.EDITED:
        said = None if message is None else _said(reader, room, event.message, message, cast("int", event.data[0]))
        return _item(_head(room.name, index, event), said)
    if message is None:  # retention takes the event along with its message
        raise InvariantViolation("a message is missing")
    return _item(_posted(room.name, index, event.message, message), _said(reader, room, event.message, message, 0))


def _said(reader: Reader, room: Room, index: MessageIndex, message: MessageRow, version: int) -> Content | None:
    """Return what version of a message said, if it is still kept."""
    if message.deleted_by is not None:
        return None
    if version == message.edits:
        return Content(message.body, message.nonce)
    row = reader.get(VERSIONS, (room.name, index, version))
    if row is None:
        return None
    older = VersionRow.from_row(row)
    return Content(older.body, older.nonce)


def _item(head: Head, content: Content | None) -> EventItem:
    encoded = None if content is None else encode_wire(content)
    return EventItem(head=encode_wire(head), content_digest=head.digest, content=encoded)


def _posted(room: RoomName, index: int, number: MessageIndex, message: MessageRow) -> Head:
    """Of what an edit and a deletion leave as it is."""
    reply_to = -1 if message.reply_to is None else message.reply_to
    claimed_ms = -1 if message.claimed_ms is None else message.claimed_ms
    thread = message.thread or ""
    return Head(
        room=room,
        event=EventIndex(index),
        kind=EventKind.POSTED,
        actor=message.author,
        index=number,
        data=[message.kind, reply_to, thread, claimed_ms, message.serial],
        digest=message.digest,
        time=message.time,
        sequence=message.sequence,
        batch_index=message.batch_index,
    )


def _head(room: RoomName, index: int, event: EventRow) -> Head:
    data: list[Value] = event.data
    return Head(
        room=room,
        event=EventIndex(index),
        kind=EventKind(event.kind),
        actor=DisplayName(event.actor),
        index=event.message,
        data=cast("list[str | int]", data),
        digest=event.digest,
        time=event.time,
        sequence=event.sequence,
        batch_index=event.batch_index,
    )
