"""Commands that read messages: every answer is one that f+1 replicas gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from chatsvc.application import answers, queries
from chatsvc.application.answers import Message
from clients import times
from clients.addressing import room_of
from clients.console import COMMON, Common, Index, Limit, Output, Words, message_record, with_chat
from clients.sdk import Chat, ClientFailure, ExitCode
from clients.sdk.port import room_name

CONTEXT_MAX = 100


def history(
    room: str,
    *,
    before: Index | None = None,
    after: Index | None = None,
    at: str | None = None,
    around: Index | None = None,
    limit: Limit = 50,
    common: Common = COMMON,
) -> int:
    """Show a page of a room's history, oldest first; the last page unless told
    otherwise.

    Example: quorate history ubuntu --before 1000 --limit 20
    Example: quorate history ubuntu --at "2026-05-31 14:00"

    Parameters
    ----------
    before
        Show the messages just before this index.
    after
        Show the messages just after this index.
    at
        Show the messages from this moment on: a date, a date and time of day, yesterday, or 2h for two hours ago.
    around
        Show this message and those around it.
    limit
        How many at most.
    """

    async def body(chat: Chat, output: Output) -> None:
        if sum(each is not None for each in (before, after, at, around)) > 1:
            msg = "--before, --after, --at and --around: give one of them"
            raise ClientFailure(msg, exit_code=ExitCode.USAGE)
        name = await room_of(chat, room)
        start = after
        if at is not None:
            start = await chat.index_at(name, times.moment_ms(at, utc=common.utc)) - 1
        elif around is not None:
            start = max(-1, around - limit // 2 - 1)
        messages = await chat.history(name, before=before, after=start, limit=limit)
        await print_messages(chat, output, name, messages)

    return with_chat(common, body)


async def print_messages(chat: Chat, output: Output, room: str, messages: Sequence[Message]) -> None:
    """Print messages of one room, and which of them are pinned."""
    pinned = {message.index for message in await chat.pins(room)} if messages else set()
    for message in messages:
        is_pinned = message.index in pinned
        output.message(message, pinned=is_pinned)


def thread(
    room: str,
    title: Words | None = None,
    *,
    before: Index | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=queries.ROWS_MAX))] = 50,
    common: Common = COMMON,
) -> int:
    """Show the last messages of a thread, or list a room's threads.

    Example: quorate thread ubuntu
    Example: quorate thread ubuntu "mounting CDs"

    Parameters
    ----------
    title
        The thread's title, whatever its case.
    before
        Show the messages before this position in the thread, which a page that is not the first tells.
    limit
        How many messages at most, up to 200.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        if title is None:
            await _list_threads(chat, output, name)
            return
        page = await chat.thread(name, title, before=before, limit=limit)
        await print_messages(chat, output, name, page.messages)
        if page.next is not None:
            output.remark(f"earlier ones: --before {page.next}")

    return with_chat(common, body)


async def _list_threads(chat: Chat, output: Output, room: str) -> None:
    after: str | None = None
    while True:
        page = await chat.read(queries.ListThreads(room=room_name(room), after=after), answers.ThreadList)
        for found in page.threads:
            record = {"thread": found.title, "count": found.count, "last_ms": found.last_ms}
            count = f"{found.count} message{'' if found.count == 1 else 's'}"
            output.result(record, f"{found.title}  ({count}, the last {output.minute(found.last_ms)})")
        after = page.next
        if after is None:
            return


def search(
    *query: Words,
    limit: Limit = 20,
    before: Index | None = None,
    context: Annotated[int, Parameter(name=["--context", "-C"], validator=Number(gte=0, lte=CONTEXT_MAX))] = 0,
    common: Common = COMMON,
) -> int:
    """Search the messages of all rooms that you may read, newest first.

    Words, "a phrase", from:NAME, in:ROOM, mentions:NAME, has:link, has:poll,
    before:YYYY-MM-DD, after:YYYY-MM-DD; a leading - excludes. NAME may be me.
    Dates are days in UTC.

    Example: quorate search '"apt-get install" from:bob2 -kernel'
    Example: quorate search mentions:me after:2026-05-01 -C 2

    Parameters
    ----------
    query
        What to look for; several arguments are one query.
    limit
        How many messages at most.
    before
        Go on with messages of a serial below this one, which a page that was full tells.
    context
        Show so many messages before and after each that was found.
    """

    async def body(chat: Chat, output: Output) -> None:
        found = await chat.search(" ".join(query), limit=limit, before=before)
        for number, message in enumerate(found):
            if context <= 0:
                output.message(message)
                continue
            if number and not output.as_json:
                output.result({}, "--")
            start = max(-1, message.index - context - 1)
            # Forgotten messages leave a hole at the beginning, which the page would go beyond at its end.
            around = await chat.history(message.room, after=start, limit=message.index - start + context)
            for each in around:
                if each.index <= message.index + context:
                    output.message(each, match=each.index == message.index)
        if len(found) == limit > 0:
            output.remark(f"there may be more: --before {found[-1].serial}")

    return with_chat(common, body)


def show(room: str, index: Index, *, common: Common = COMMON) -> int:
    """Show one message with all that it said before, who reacted to it and how, and
    whether it is pinned.

    Example: quorate show ubuntu 1042

    Parameters
    ----------
    index
        The message's index in the room.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        message = await chat.message(name, index)
        is_pinned = any(pinned.index == index for pinned in await chat.pins(name))
        versions = await chat.versions(name, index) if message.edits and message.deleted_by is None else ()
        reactions = await chat.reactions(name, index)
        if output.as_json:
            record = message_record(message) | {
                "pinned": is_pinned,
                "versions": [{"body": version.body, "time_ms": version.time} for version in versions],
                "reacted": [{"reaction": r.reaction, "name": r.name, "time_ms": r.time} for r in reactions],
            }
            output.result(record, "")
            return
        output.message(message, pinned=is_pinned)
        output.result({}, f"    ordered at {message.sequence}, {output.second(message.time)}")
        for version in versions[:-1]:
            output.result({}, f"    until then, from {output.second(version.time)}: {_set_in(version.body)}")
        for reaction in reactions:
            output.result({}, f"    {reaction.reaction} by {reaction.name}, {output.minute(reaction.time)}")

    return with_chat(common, body)


def _set_in(body: str) -> str:
    return body.replace("\n", "\n        ")


def pins(room: str, *, common: Common = COMMON) -> int:
    """Show the messages that are pinned to a room.

    Example: quorate pins ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        for message in await chat.pins(await room_of(chat, room)):
            output.message(message)

    return with_chat(common, body)
