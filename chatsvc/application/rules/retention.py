"""Forgetting at checkpoints: messages that rooms keep no longer, and what deleted ones have left behind.

A scan does not see what the batch under execution has written. So it only tells where to look: whether there is
something to forget is decided by `get`, and what was written too late for a scan waits for the next checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
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
"""Messages whose leftovers are looked for: well above MESSAGES_MAX, for deletions add to them."""
REACTIONS_MAX = 8192
"""Reactions and votes."""


@dataclass(slots=True)
class _Left:
    """How much one call may still remove."""

    messages: int
    events: int


def prune(rows: Rows, time: Milliseconds) -> None:
    """Forget what is older at `time` than its room keeps, a bounded amount, going on where the last call stopped."""
    _sweep(rows)
    left = _Left(MESSAGES_MAX, EVENTS_MAX)
    last: str | None = None
    for name in _rooms(rows):
        if not (left.messages and left.events):
            break
        stored = rows.get(ROOMS, (name,))
        row = None if stored is None else RoomRow.from_row(stored)
        last = name
        if row is None or not row.retention_s:
            continue
        room = Room(RoomName(name), row, None)
        _forget(rows, room, Milliseconds(time - 1000 * row.retention_s), left)
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


def _forget(rows: Rows, room: Room, before_ms: Milliseconds, left: _Left) -> None:
    """Remove the oldest events, and with each the message that it posted, as far as `left` goes.

    An event so never outlives its message. Agreed times never go back along a room.
    """
    event, message = room.row.first_event, room.row.first_message
    positions: dict[str, int] = {}
    while event < room.row.event_count and left.messages and left.events:
        row = rows.get(EVENTS, (room.name, event))
        if row is None:
            raise KeyError(room.name, event)
        happened = EventRow.from_row(row)
        if happened.kind == EventKind.POSTED.value:
            if not _forget_message(rows, room, MessageIndex(message), before_ms, positions):
                break
            message += 1
            left.messages -= 1
        elif happened.time > before_ms:
            break
        rows.delete(EVENTS, (room.name, event))
        event += 1
        left.events -= 1
    room.row = room.row._replace(first_event=event, first_message=message)


def _forget_message(
    rows: Rows, room: Room, index: MessageIndex, before_ms: Milliseconds, positions: dict[str, int]
) -> bool:
    """Remove a message and what belongs to it; return whether it was old enough."""
    key = (room.name, index)
    row = rows.get(MESSAGES, key)
    if row is None:
        raise KeyError(key)
    message = MessageRow.from_row(row)
    if message.time > before_ms:
        return False
    forget_belongings(rows, room, index, message)
    if message.thread is not None:
        _forget_in_thread(rows, room, thread_key(message.thread), positions)
    rows.delete(MESSAGES, key)
    return True


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


def _sweep(rows: Rows) -> None:
    """Remove the reactions to messages that are gone or deleted, and the votes."""
    left = REACTIONS_MAX
    for key, _ in rows.scan(LEFTOVERS, limit=LEFTOVERS_MAX):
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
