"""Commands that tell what is new, and what happens as it happens."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Annotated

from cyclopts import Parameter

from chatsvc.application.events import EventKind, NoticeHead, NoticeKind
from clients.addressing import room_of
from clients.console import (
    COMMON,
    Common,
    Index,
    Limit,
    Output,
    message_record,
    message_text,
    plain,
    title,
    with_chat,
)
from clients.event_lines import event_words, notice_words
from clients.reading_commands import print_messages
from clients.sdk import Chat, RoomEvent

Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="")]
MENTIONS = frozenset({NoticeKind.MENTION, NoticeKind.REPLY})
NOTICES_PAGE = 200


def unread(
    *, all_rooms: Annotated[bool, Parameter(name="--all", negative="")] = False, common: Common = COMMON
) -> int:
    """List your rooms in which there is something that you have not read, and who
    mentioned you there.

    Example: quorate unread

    Parameters
    ----------
    all_rooms
        List the others too.
    """

    async def body(chat: Chat, output: Output) -> None:
        async for room in chat.unread():
            count = room.message_count - room.read
            if not count and not all_rooms:
                continue
            name = f"@{','.join(room.with_)}" if room.direct else f"#{room.room}"
            record = {
                "room": room.room,
                "topic": room.topic,
                "direct": room.direct,
                "with": list(room.with_),
                "read": room.read,
                "message_count": room.message_count,
                "unread": count,
                "mentions": room.mentions,
            }
            many = "100 or more" if room.mentions >= 100 else room.mentions
            told = f", you are mentioned {many} times" if room.mentions > 1 else ""
            told = ", you are mentioned" if room.mentions == 1 else told
            output.result(record, f"{name}  {count} unread{told}, from {room.read} on")

    return with_chat(common, body)


def read(room: str, index: Index | None = None, *, common: Common = COMMON) -> int:
    """Mark messages of a room as read, on all your devices.

    Example: quorate read ubuntu
    Example: quorate read ubuntu 1042

    Parameters
    ----------
    index
        The last message that you have read; everything if it is not given.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        end = await chat.message_count(name) if index is None else index + 1
        output.done(await chat.mark_read(name, end), f"{title(name)} read before {end}", room=name, read=end)

    return with_chat(common, body)


def notices(*, follow: Follow = False, limit: Limit = 50, common: Common = COMMON) -> int:
    """Show what you were told: mentions, replies, direct messages, invitations. The
    newest is the last.

    Example: quorate notices
    Example: quorate notices -f

    Parameters
    ----------
    follow
        Go on with new ones until Ctrl-C.
    limit
        How many of those that there are.
    """
    return _notices(frozenset(NoticeKind), follow=follow, limit=limit, common=common)


def mentions(*, follow: Follow = False, limit: Limit = 50, common: Common = COMMON) -> int:
    """Show who mentioned you, or replied to you. The newest is the last.

    Example: quorate mentions -f

    Parameters
    ----------
    follow
        Go on with new ones until Ctrl-C.
    limit
        How many of those that there are.
    """
    return _notices(MENTIONS, follow=follow, limit=limit, common=common)


def _notices(kinds: AbstractSet[NoticeKind], *, follow: bool, limit: int, common: Common) -> int:
    async def body(chat: Chat, output: Output) -> None:
        await tell_notices(chat, output, kinds, limit=limit, follow=follow)

    return with_chat(common, body)


async def tell_notices(
    chat: Chat, output: Output, kinds: AbstractSet[NoticeKind], *, limit: int, follow: bool
) -> None:
    found: list[NoticeHead] = []
    page = await chat.notices(limit=NOTICES_PAGE)
    end = page.end
    while True:
        found += [notice for notice in page.notices if notice.kind in kinds]
        if len(found) >= limit or page.next is None:
            break
        page = await chat.notices(before=page.next, limit=NOTICES_PAGE)
    for notice in reversed(found[:limit]):
        _tell_notice(output, notice)
    if follow:
        async with await chat.follow_notices(end) as stream:
            async for notice in stream:
                if notice.kind in kinds:
                    _tell_notice(output, notice)


def _tell_notice(output: Output, notice: NoticeHead) -> None:
    record = {
        "notice": notice.notice,
        "kind": notice.kind.value,
        "room": notice.room,
        "index": notice.index,
        "by": notice.by,
        "time_ms": notice.time,
    }
    output.result(record, f"{output.minute(notice.time)} {notice_words(notice, title(notice.room))}")


def tail(
    room: str,
    *,
    lines: Annotated[int, Parameter(name=["--lines", "-n"])] = 10,
    follow: Follow = False,
    messages_only: Annotated[bool, Parameter(name=["--messages-only", "-m"], negative="")] = False,
    from_event: Index | None = None,
    common: Common = COMMON,
) -> int:
    """Show the last messages of a room; with -f go on with all that happens there,
    until Ctrl-C.

    Each message, edit, deletion, reaction, arrival and so on is shown once and in
    order, when f+1 replicas have streamed it. When replicas cannot be reached for
    a while, it goes on where it stopped.

    Example: quorate tail ubuntu -f
    Example: quorate tail ubuntu --from-event 2051 --json

    Parameters
    ----------
    lines
        How many of the last messages.
    follow
        Wait for what happens next.
    messages_only
        Show messages, and nothing else that happens.
    from_event
        Follow from this event of the room on instead: one more than the last `event` that --json showed.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        await tail_room(
            chat, output, name, lines=lines, follow=follow, messages_only=messages_only, from_event=from_event
        )

    return with_chat(common, body)


async def tail_room(
    chat: Chat,
    output: Output,
    room: str,
    *,
    lines: int,
    follow: bool,
    messages_only: bool = False,
    from_event: int | None = None,
) -> None:
    """Returns only if it is not to follow."""
    start, seen = from_event, -1
    if start is None:
        # Asked first: what is posted in between is on the page and in the stream, and skipped in the latter.
        start = (await chat.room(room)).event_count
        last = await chat.history(room, limit=lines) if lines > 0 else ()
        await print_messages(chat, output, room, last)
        seen = last[-1].index if last else -1
        if not follow:
            return
    async with chat.follow(room, start) as happening:
        async for event in happening:
            if event.head.kind is EventKind.POSTED:
                if event.head.index is None or event.head.index > seen:
                    _tell_message(output, event)
            elif not messages_only:
                _tell_event(output, event)


def _tell_message(output: Output, event: RoomEvent) -> None:
    message = event.message
    if message is not None:
        record = message_record(message) | {"event": event.head.event, "happened": EventKind.POSTED.value}
        output.result(record, message_text(message, utc=output.utc, marks=output.out.is_terminal))


def _tell_event(output: Output, event: RoomEvent) -> None:
    head = event.head
    record = {
        "room": head.room,
        "event": head.event,
        "happened": head.kind.value,
        "actor": head.actor,
        "index": head.index,
        "data": head.data,
        "body": None if event.content is None else event.content.body,
        "time_ms": head.time,
        "sequence": head.sequence,
    }
    words = event_words(head, event.content, utc=output.utc).replace("\n", "\n    ")
    who = "" if head.kind is EventKind.VOTED else f"{head.actor} "
    output.result(record, f"{output.minute(head.time)} {title(head.room)} -- {plain(who)}{words}")
