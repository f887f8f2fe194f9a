"""Forgetting at checkpoints: messages that rooms keep no longer, and what deleted ones have left behind.

A scan does not see what the batch under execution has written. So it only tells where to look: whether there is
something to forget is decided by `get`, and what was written too late for a scan waits for the next checkpoint.
"""

from __future__ import annotations

from typing import cast

from chatsvc.application.events import EventKind
from chatsvc.application.names import RoomName
from chatsvc.application.rules.messages import forget_belongings
from chatsvc.application.schema import (
    COUNTERS,
    EVENTS,
    LEFTOVERS,
    MESSAGES,
    REACTIONS,
    RETAINED,
    RETENTION_CURSOR,
    ROOMS,
    THREAD_MESSAGES,
    THREADS,
    VOTES,
    EventRow,
    MessageIndex,
    MessageRow,
    RoomRow,
    ThreadRow,
)
from chatsvc.application.state import Room
from chatsvc.application.texts import thread_key
from pbft.core.application import Key, Rows
from pbft.core.types import Milliseconds

MESSAGES_MAX = 512
"""In one call; so the others."""
EVENTS_MAX = 2048
ROOMS_MAX = 128
LEFTOVERS_MAX = 2048


def prune(rows: Rows, time: Milliseconds) -> None:
    """Forget what is older at `time` than its room keeps, a bounded amount, going on where the last call stopped."""
    _sweep(rows)
    messages_left, events_left = MESSAGES_MAX, EVENTS_MAX
    last: str | None = None
    for name in _rooms(rows):
        if not (messages_left and events_left):
            break
        stored = rows.get(ROOMS, (name,))
        row = None if stored is None else RoomRow.from_row(stored)
        last = name
        if row is None or not row.retention_s:
            continue
        room = Room(RoomName(name), row, None)
        before_ms = Milliseconds(time - 1000 * row.retention_s)
        messages_left -= _forget_messages(rows, room, before_ms, messages_left)
        events_left -= _forget_events(rows, room, before_ms, events_left)
        if room.row != row:
            rows.put(ROOMS, (name,), tuple(room.row))
    if last is not None and rows.get(COUNTERS, RETENTION_CURSOR) != (last,):
        rows.put(COUNTERS, RETENTION_CURSOR, (last,))


def _rooms(rows: Rows) -> list[str]:
    """Return the rooms with a retention whose turn it is: those after the last one, then from the beginning."""
    row = rows.get(COUNTERS, RETENTION_CURSOR)
    after = "" if row is None else cast("str", row[0])
    later = [str(key[0]) for key, _ in rows.scan(RETAINED, start=(after,), limit=ROOMS_MAX + 1)]
    later = [name for name in later if name != after][:ROOMS_MAX]
    if after:
        first = [str(key[0]) for key, _ in rows.scan(RETAINED, limit=ROOMS_MAX - len(later))]
        later += [name for name in first if name <= after]
    return later


def _forget_messages(rows: Rows, room: Room, before_ms: Milliseconds, most: int) -> int:
    """Remove the oldest messages, `most` at the most; return how many. Agreed times never go back along a room."""
    first = index = room.row.first_message
    positions: dict[str, int] = {}
    while index < room.row.message_count and index - first < most:
        key = (room.name, index)
        row = rows.get(MESSAGES, key)
        if row is None:
            raise KeyError(key)
        message = MessageRow.from_row(row)
        if message.time > before_ms:
            break
        forget_belongings(rows, room, MessageIndex(index), message)
        if message.thread is not None:
            _forget_in_thread(rows, room, thread_key(message.thread), positions)
        rows.delete(MESSAGES, key)
        index += 1
    room.row = room.row._replace(first_message=index)
    return index - first


def _forget_in_thread(rows: Rows, room: Room, thread: str, positions: dict[str, int]) -> None:
    """Remove the oldest entry of a thread, and the thread with the last one.

    `positions` keeps where the oldest entry stands of those threads that this call has looked at.
    """
    if thread not in positions:
        for key, _ in rows.scan(THREAD_MESSAGES, prefix=(room.name, thread), limit=1):
            positions[thread] = cast("int", key[2])
    position = positions.get(thread)
    if position is None:
        return
    rows.delete(THREAD_MESSAGES, (room.name, thread, position))
    positions[thread] = position + 1
    row = rows.get(THREADS, (room.name, thread))
    if row is not None and ThreadRow.from_row(row).message_count == position + 1:
        rows.delete(THREADS, (room.name, thread))
        del positions[thread]
        room.row = room.row._replace(thread_count=room.row.thread_count - 1)


def _forget_events(rows: Rows, room: Room, before_ms: Milliseconds, most: int) -> int:
    """Remove the oldest events, up to the one of the oldest message that is kept or to the first that is not old
    enough; return how many."""
    first = index = room.row.first_event
    while index < room.row.event_count and index - first < most:
        row = rows.get(EVENTS, (room.name, index))
        if row is None:
            raise KeyError(room.name, index)
        event = EventRow.from_row(row)
        if event.kind == EventKind.POSTED.value:
            is_over = event.message is not None and event.message < room.row.first_message
        else:
            is_over = event.time <= before_ms
        if not is_over:
            break
        rows.delete(EVENTS, (room.name, index))
        index += 1
    room.row = room.row._replace(first_event=index)
    return index - first


def _sweep(rows: Rows) -> None:
    """Remove the reactions to messages that are gone or deleted, and the votes."""
    left = LEFTOVERS_MAX
    for key, _ in rows.scan(LEFTOVERS, limit=ROOMS_MAX):
        for table in (REACTIONS, VOTES):
            found = [entry for entry, _ in rows.scan(table, prefix=key, limit=left)] if left else []
            _delete_all(rows, table, found)
            left -= len(found)
        if not left:
            return
        rows.delete(LEFTOVERS, key)


def _delete_all(rows: Rows, table: str, keys: list[Key]) -> None:
    for key in keys:
        rows.delete(table, key)
