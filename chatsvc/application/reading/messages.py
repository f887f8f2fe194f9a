"""Messages of a room: its history, its threads, what was pinned, what was said before."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.answers import (
    PAGE_BYTES_FULL,
    Digests,
    MomentFound,
    Reacted,
    ReactionList,
    Thread,
    ThreadList,
    Version,
    VersionList,
    encode_page,
)
from chatsvc.application.bodies import MessageText
from chatsvc.application.names import DisplayName
from chatsvc.application.queries import (
    ROWS_MAX,
    DigestMessages,
    FindMoment,
    ListPins,
    ListReactions,
    ListThreads,
    ListVersions,
    ReadHistory,
    ReadThread,
)
from chatsvc.application.reading.question import Answering, Question, last_of
from chatsvc.application.reading.values import (
    INDEX,
    digest,
    fill,
    message_value,
    message_values,
    number,
)
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import (
    MESSAGES,
    PINS,
    REACTIONS,
    THREAD_MESSAGES,
    THREADS,
    VERSIONS,
    MessageIndex,
    MessageRow,
    ThreadRow,
    VersionRow,
)
from chatsvc.application.state import Refusal, Room, find_message
from chatsvc.application.texts import thread_key
from chatsvc.application.wire import Wire, encode_wire
from crypto.canonical import encode
from pbft.core.application import Reader
from pbft.core.types import Milliseconds


def _history(question: Question, query: ReadHistory) -> bytes:
    room = question.room(query.room)
    least, count = room.row.first_message, room.row.message_count
    if query.after is not None:
        first = max(least, min(query.after + 1, count))
        end = min(first + query.limit, count)
        page, is_full = fill(message_values(question.reader, room.name, first, end), query.limit, PAGE_BYTES_FULL)
        return encode_page("history", page, number(page[-1], INDEX) if is_full else None)
    end = count if query.before is None else min(query.before, count)
    first = max(least, end - query.limit)
    newest_first = reversed(list(message_values(question.reader, room.name, first, end)))
    page, _ = fill(newest_first, query.limit, PAGE_BYTES_FULL)
    page.reverse()
    first_on_page = number(page[0], INDEX) if page else 0
    return encode_page("history", page, first_on_page if first_on_page > least else None)


def _thread(question: Question, query: ReadThread) -> bytes:
    room = question.room(query.room)
    key = thread_key(query.thread)
    row = question.reader.get(THREADS, (room.name, key))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_MESSAGE, f"there is no thread of this title in {room.title}")
    thread = ThreadRow.from_row(row)
    end = thread.message_count if query.before is None else min(query.before, thread.message_count)
    first = max(0, end - query.limit)
    positions = [
        (position, index)
        for position in range(end - 1, first - 1, -1)
        if (index := _in_thread(question.reader, room, key, position)) is not None
    ]
    newest_first = (message_value(question.reader, room.name, index) for _, index in positions)
    page, _ = fill(newest_first, query.limit, PAGE_BYTES_FULL)
    lowest = positions[len(page) - 1][0] if page else 0
    page.reverse()
    goes_on = lowest > 0 and _in_thread(question.reader, room, key, lowest - 1) is not None
    return encode(["thread", thread.title, page, lowest if goes_on else None])


def _in_thread(reader: Reader, room: Room, key: str, position: int) -> int | None:
    """None for a message that retention has taken."""
    row = reader.get(THREAD_MESSAGES, (room.name, key, position))
    return None if row is None else cast("int", row[0])


def _threads(question: Question, query: ListThreads) -> bytes:
    room = question.room(query.room)
    found = question.page(THREADS, (room.name,), query.after, query.limit)
    rows = [ThreadRow.from_row(row) for _, row in found]
    threads = tuple(Thread(row.title, row.message_count, row.last_ms) for row in rows)
    return encode_wire(ThreadList(threads, last_of(found, query.limit)))


def _moment(question: Question, query: FindMoment) -> bytes:
    """Agreed times never go back along a room; those that are claimed may."""
    room = question.room(query.room)
    low, high = room.row.first_message, room.row.message_count
    while low < high:
        middle = (low + high) // 2
        row = question.reader.get(MESSAGES, (room.name, middle))
        if row is not None and MessageRow.from_row(row).time < query.time:
            low = middle + 1
        else:
            high = middle
    return encode_wire(MomentFound(MessageIndex(low)))


def _versions(question: Question, query: ListVersions) -> bytes:
    room = question.room(query.room)
    message = find_message(question.reader, room, query.index)
    if message.deleted_by is not None:
        raise Refusal(ErrorCode.MESSAGE_DELETED, f"message {query.index} was deleted by {message.deleted_by}")
    versions: list[Version] = []
    for version in range(message.edits):
        row = question.reader.get(VERSIONS, (room.name, query.index, version))
        if row is not None:
            older = VersionRow.from_row(row)
            versions.append(Version(older.body, older.time))
    now = message.time if message.edited_ms is None else message.edited_ms
    versions.append(Version(MessageText(message.body), now))
    return encode_wire(VersionList(tuple(versions)))


def _reactions(question: Question, query: ListReactions) -> bytes:
    """The cursor is the reaction and the account's key, with a space between: neither holds one."""
    room = question.room(query.room)
    if find_message(question.reader, room, query.index).deleted_by is not None:
        return encode_wire(ReactionList((), None))  # rows of theirs may stand until the next checkpoint
    start = None
    if query.after is not None:
        reaction, _, account = query.after.partition(" ")
        start = (room.name, query.index, reaction, account)
    prefix = (room.name, query.index)
    scanned = question.reader.scan(REACTIONS, prefix=prefix, start=start, limit=query.limit + 1)
    found = [item for item in scanned if item[0] != start][: query.limit]
    reacted = tuple(
        Reacted(str(key[2]), DisplayName(str(row[0])), Milliseconds(cast("int", row[1]))) for key, row in found
    )
    last = found[-1][0] if len(found) == query.limit else None
    cursor = None if last is None else f"{last[2]!s} {last[3]!s}"
    return encode_wire(ReactionList(reacted, cursor))


def _pins(question: Question, query: ListPins) -> bytes:
    room = question.room(query.room)
    pinned = question.page(PINS, (room.name,), query.after, ROWS_MAX)
    indexes = [cast("int", key[1]) for key, _ in pinned]
    kept = (index for index in indexes if question.reader.get(MESSAGES, (room.name, index)) is not None)
    messages = (message_value(question.reader, room.name, index) for index in kept)
    page, is_full = fill(messages, ROWS_MAX, PAGE_BYTES_FULL)
    return encode_page("pins", page, number(page[-1], INDEX) if is_full else None)


def _digests(question: Question, query: DigestMessages) -> bytes:
    room = question.room(query.room)
    count = room.row.message_count
    first = max(room.row.first_message, min(query.first, count))
    end = min(first + query.limit, count)
    digests = b"".join(digest(value) for value in message_values(question.reader, room.name, first, end))
    answer = Digests(
        room=room.name,
        first=MessageIndex(first),
        digests=digests,
        message_count=count,
        first_message=MessageIndex(room.row.first_message),
    )
    return encode_wire(answer)


ANSWERING: Final[dict[type[Wire], Answering]] = {
    ReadHistory: _history,
    ReadThread: _thread,
    ListThreads: _threads,
    FindMoment: _moment,
    ListVersions: _versions,
    ListReactions: _reactions,
    ListPins: _pins,
    DigestMessages: _digests,
}
