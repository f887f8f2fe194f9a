"""Commands about rooms: making them, finding one's way in, and what they are about."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from chatsvc.application import answers
from chatsvc.application.bearer import Purpose
from clients import times
from clients.account_commands import ask_code
from clients.addressing import room_of
from clients.codes import is_code, new_nonce
from clients.console import COMMON, Common, Flag, Output, Words, open_chat, run, title, with_chat
from clients.sdk import Chat, ClientFailure, ExitCode


def rooms(*, common: Common = COMMON) -> int:
    """List the rooms that you may see: all public ones, and the private ones that you
    are in.

    Example: quorate rooms
    """

    async def body(chat: Chat, output: Output) -> None:
        async for header in chat.rooms():
            topic = f"  {header.topic}" if header.topic else ""
            made = f"by {header.creator}, {output.minute(header.created_ms)}"
            output.result(room_record(header), f"#{header.room}{topic}  ({'; '.join([made, *_traits(header)])})")

    return with_chat(common, body)


def room(room: str, *, common: Common = COMMON) -> int:
    """Show what a room is about, how many are in it, and what you may do there.

    Example: quorate room garden

    Parameters
    ----------
    room
        The room's name, with or without #, or @NAME for a direct conversation.
    """

    async def body(chat: Chat, output: Output) -> None:
        found = await chat.room(await room_of(chat, room))
        header = found.header
        record = room_record(header) | {
            "message_count": found.message_count,
            "first_message": found.first_message,
            "member_count": found.member_count,
            "role": None if found.role is None else found.role.value,
            "muted_until_ms": found.muted_until_ms,
        }
        made = f"made by {header.creator}, {output.minute(header.created_ms)}"
        lines = [
            f"{title(header.room)}  {header.topic}".rstrip(),
            "; ".join([made, *_traits(header)]),
            f"{found.member_count} members, {found.message_count} messages, kept from {found.first_message} on",
            "you are not in it" if found.role is None else f"you: {found.role.value}",
        ]
        if found.muted_until_ms > times.now_ms():
            lines.append(f"you may only read until {output.minute(found.muted_until_ms)}")
        if header.description:
            lines.append(header.description)
        output.result(record, "\n  ".join("\n".join(lines).split("\n")))

    return with_chat(common, body)


def room_record(header: answers.RoomHeader) -> dict[str, object]:
    return {
        "room": header.room,
        "topic": header.topic,
        "description": header.description,
        "creator": header.creator,
        "created_ms": header.created_ms,
        "private": header.private,
        "direct": header.direct,
        "archived": header.archived,
        "slow_s": header.slow_s,
        "retention_s": header.retention_s,
    }


def _traits(header: answers.RoomHeader) -> list[str]:
    traits = [name for name in ("private", "archived") if getattr(header, name)]
    if header.slow_s:
        traits.append(f"one message in {times.in_words(header.slow_s * 1000)}")
    if header.retention_s:
        traits.append(f"messages are kept for {times.in_words(header.retention_s * 1000)}")
    return traits


def create(
    room: str, *, topic: Words = "", private: Flag = False, description: Words = "", common: Common = COMMON
) -> int:
    """Make a room, join it and own it. Whether it is private cannot be changed later.

    Example: quorate create ubuntu --topic "Questions and answers"
    Example: quorate create plans --private --description "What we do next, and who does it."

    Parameters
    ----------
    room
        The room's name, with or without #.
    topic
        What the room is about, on one line.
    private
        Let nobody see it but those who are invited.
    description
        What it is for, on several lines if need be.
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.create(room, topic, private=private, description=description)
        output.done(done, title(done.value.room), room=done.value.room)

    return with_chat(common, body)


def dm(
    *names: str,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], allow_leading_hyphen=True)] = None,
    common: Common = COMMON,
) -> int:
    """Open the conversation with one or several people, and say something there.

    There is one conversation for each set of people. Afterwards it is called
    @NAME, or @NAME,NAME, in all commands: `quorate tail @bob -f`.

    Example: quorate dm bob -m "lunch?"
    Example: quorate dm bob carol

    Parameters
    ----------
    names
        With whom.
    message
        What to say.
    """

    async def body(chat: Chat, output: Output) -> None:
        if not names:
            raise ClientFailure("with whom? name one account or several", exit_code=ExitCode.USAGE)
        done = await chat.open_direct(names)
        room = done.value.room
        if message is None:
            output.done(done, f"@{','.join(names)} is {room}", room=room)
            return
        posted = await chat.post(room, message, nonce=new_nonce())
        output.done(posted, f"@{','.join(names)} {posted.value.index}", room=room, index=posted.value.index)

    return with_chat(common, body)


def join(room: Words, *, common: Common = COMMON) -> int:
    """Join a room: a public one, one that you were invited to, or the one that a
    link's code leads to.

    Example: quorate join ubuntu
    Example: quorate join -

    Parameters
    ----------
    room
        The room's name, with or without #, or - for the room of a code, which is then asked for. A code in its place
        is taken too, but all users of this machine could see it; with # it is a name in any case.
    """

    async def body() -> None:
        is_asked_for = room == "-"
        given = ask_code("Code of the link") if is_asked_for else room
        by_code = is_asked_for or is_code(given, Purpose.LINK)
        async with open_chat(common) as (chat, output):
            if by_code and not is_asked_for:
                output.remark("all users of this machine can see a code that is an argument: `quorate join -` asks")
            done = await (chat.join_by_link(given) if by_code else chat.join(given))
            output.done(done, title(done.value.room), room=done.value.room)

    return run(body, utc=common.utc)


def leave(room: str, *, common: Common = COMMON) -> int:
    """Leave a room. What you said there stays.

    Example: quorate leave ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.leave(await room_of(chat, room))
        output.done(done, title(done.value.room), room=done.value.room)

    return with_chat(common, body)


def topic(room: str, topic: Words, *, common: Common = COMMON) -> int:
    """Say what a room is about, on one line; "" for nothing. For moderators and
    owners.

    Example: quorate topic ubuntu "Questions and answers"
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.set_topic(room, topic), f"topic: {topic}", room=room, topic=topic)

    return with_chat(common, body)


def describe(room: str, description: Words, *, common: Common = COMMON) -> int:
    """Say what a room is for, on several lines if need be; "" for nothing. For
    moderators and owners.

    Example: quorate describe ubuntu "Help for beginners. Be patient."
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.describe(room, description)
        output.done(done, "described", room=room, description=description)

    return with_chat(common, body)


def slow(room: str, span: str, *, common: Common = COMMON) -> int:
    """Make members wait between two messages; off ends it. Moderators and owners do
    not wait.

    Example: quorate slow ubuntu 30s
    Example: quorate slow ubuntu off

    Parameters
    ----------
    span
        How long: 30s, 5m, 1h, or off.
    """

    async def body(chat: Chat, output: Output) -> None:
        seconds = times.span_ms(span) // times.SECOND_MS
        done = await chat.set_slow_mode(room, seconds)
        text = f"one message in {times.in_words(seconds * 1000)}" if seconds else "no waiting"
        output.done(done, text, room=room, slow_s=seconds)

    return with_chat(common, body)


def retention(room: str, span: str, *, common: Common = COMMON) -> int:
    """Forget a room's messages so long after they were said; off keeps them for ever.
    For owners.

    What is forgotten is gone from all correct replicas. Who has read it may have
    kept it.

    Example: quorate retention ubuntu 90d

    Parameters
    ----------
    span
        How long: 12h, 90d, 52w, or off.
    """

    async def body(chat: Chat, output: Output) -> None:
        seconds = times.span_ms(span) // times.SECOND_MS
        done = await chat.set_retention(room, seconds)
        kept = f"for {times.in_words(seconds * 1000)}" if seconds else "for ever"
        output.done(done, f"messages are kept {kept}", room=room, retention_s=seconds)

    return with_chat(common, body)


def archive(room: str, *, undo: Flag = False, common: Common = COMMON) -> int:
    """Close a room: it can be read and searched, and nothing can be said in it. For
    owners.

    Example: quorate archive ubuntu
    Example: quorate archive ubuntu --undo

    Parameters
    ----------
    undo
        Open it again.
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.archive(room, archived=not undo)
        output.done(done, "open again" if undo else "archived", room=room, archived=not undo)

    return with_chat(common, body)
