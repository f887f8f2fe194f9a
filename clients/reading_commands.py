"""Commands that read: every answer is one that f+1 replicas gave."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from chatsvc.application.answers import Message
from clients.console import COMMON, Common, Output, message_record, message_text, with_chat
from clients.sdk import Chat

PAGE = 200


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _print(output: Output, messages: tuple[Message, ...]) -> None:
    for message in messages:
        output.result(message_record(message), message_text(message))


def rooms(*, common: Common = COMMON) -> int:
    """List the rooms of the group.

    Example: quorate rooms
    """

    async def body(chat: Chat, output: Output) -> None:
        async for header in chat.rooms():
            record = {
                "room": header.room,
                "topic": header.topic,
                "creator": header.creator,
                "created_ms": header.created_ms,
            }
            topic = f"  {header.topic}" if header.topic else ""
            output.result(record, f"#{header.room}{topic}  (by {header.creator}, {_day(header.created_ms)})")

    return with_chat(common, body)


def members(room: str, *, common: Common = COMMON) -> int:
    """List who is in a room.

    Example: quorate members ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        async for member in chat.members(room):
            record = {"name": member.name, "joined_ms": member.joined_ms}
            output.result(record, f"{member.name}  (since {_day(member.joined_ms)})")

    return with_chat(common, body)


def history(
    room: str,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
    common: Common = COMMON,
) -> int:
    """Show a page of a room's history, oldest first; the last page unless told otherwise.

    Example: quorate history ubuntu --before 1000 --limit 20

    Parameters
    ----------
    before
        Show the messages just before this index.
    after
        Show the messages just after this index.
    limit
        How many at most.
    """

    async def body(chat: Chat, output: Output) -> None:
        _print(output, await chat.history(room, before=before, after=after, limit=limit))

    return with_chat(common, body)


def search(
    *query: Annotated[str, Parameter(allow_leading_hyphen=True)],
    limit: int = 20,
    common: Common = COMMON,
) -> int:
    """Search the messages of all rooms, newest first.

    Words, "a phrase", from:NAME, in:ROOM, before:YYYY-MM-DD, after:YYYY-MM-DD; a leading - excludes.

    Example: quorate search '"apt-get install" from:bob2 -kernel'

    Parameters
    ----------
    query
        What to look for; several arguments are one query.
    limit
        How many messages at most.
    """

    async def body(chat: Chat, output: Output) -> None:
        _print(output, await chat.search(" ".join(query), limit=limit))

    return with_chat(common, body)


def tail(
    room: str,
    *,
    lines: Annotated[int, Parameter(name=["--lines", "-n"])] = 10,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Show the last messages of a room; with -f go on showing new ones until Ctrl-C.

    Each is shown once and in order, when f+1 replicas have streamed it.

    Example: quorate tail ubuntu -f

    Parameters
    ----------
    lines
        How many of the last messages.
    follow
        Wait for new messages.
    """

    async def body(chat: Chat, output: Output) -> None:
        last = await chat.history(room, limit=lines) if lines > 0 else ()
        _print(output, last)
        if follow:
            start = last[-1].index + 1 if last else await chat.message_count(room)
            async with chat.subscribe(room, start) as messages:
                async for message in messages:
                    output.result(message_record(message), message_text(message))

    return with_chat(common, body)
