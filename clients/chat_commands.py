"""Commands that say something, or change what was said."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio

from clients.addressing import room_of
from clients.codes import new_nonce
from clients.console import COMMON, Common, Flag, Index, Output, Words, title, with_chat
from clients.outbox_command import queue_messages
from clients.sdk import Chat, ClientFailure, ExitCode


def send(
    room: str,
    text: Words,
    *,
    reply_to: Index | None = None,
    thread: Words | None = None,
    action: Flag = False,
    queue: Flag = False,
    common: Common = COMMON,
) -> int:
    """Say something in a room that you have joined. Says what made it true.

    **bold**, *italic*, `code`, [links](https://...), > quotes and blocks of code
    between ``` are shown as they are meant. @NAME tells somebody of it.

    Example: quorate send ubuntu "does anyone know how to mount a CD?"
    Example: quorate send @bob "lunch?"
    Example: fortune | quorate send ubuntu -

    Parameters
    ----------
    room
        The room's name, with or without #, or @NAME for the conversation with somebody.
    text
        What to say, or - to say every line of stdin.
    reply_to
        Index of the message that this answers; who wrote it is told.
    thread
        Title of the thread within the room that this belongs to. A reply belongs where the other message does.
    action
        Say it as an action (/me).
    queue
        Put it into the outbox, without any network, for quorate outbox send to deliver.
    """
    if queue:
        return queue_messages(room, _lines(text), action=action, reply_to=reply_to, thread=thread, common=common)

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        async with aclosing(_lines(text)) as lines:
            async for line in lines:
                done = await chat.post(name, line, action=action, reply_to=reply_to, thread=thread, nonce=new_nonce())
                where = f"{title(done.value.room)} {done.value.index}"
                output.done(done, where, room=done.value.room, index=done.value.index)

    return with_chat(common, body)


async def _lines(text: str) -> AsyncGenerator[str, None]:
    """The text, or for - the lines of stdin as they come, without empty ones."""
    if text != "-":
        yield text
        return
    try:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"stdin is not UTF-8: {error.reason} at byte {error.start}"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE) from error


def edit(room: str, index: Index, text: Words, *, common: Common = COMMON) -> int:
    """Replace what your message says. What it said before can still be read, with
    `quorate show`.

    Example: quorate edit ubuntu 1042 "does anyone know how to mount a DVD?"

    Parameters
    ----------
    index
        The message's index in the room.
    text
        What it is to say.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        done = await chat.edit(name, index, text, nonce=new_nonce())
        output.done(done, f"{title(name)} {index} edited", room=name, index=index)

    return with_chat(common, body)


def delete(room: str, index: Index, *, common: Common = COMMON) -> int:
    """Take away what a message says, and all that it said before. Yours, or as
    moderator or owner anybody's.

    That there was a message, whose and when, stays.

    Example: quorate delete ubuntu 1042

    Parameters
    ----------
    index
        The message's index in the room.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        output.done(await chat.delete(name, index), f"{title(name)} {index} deleted", room=name, index=index)

    return with_chat(common, body)


def react(room: str, index: Index, reaction: Words, *, off: Flag = False, common: Common = COMMON) -> int:
    """React to a message with an emoji, a :word: or another short text without
    spaces.

    Example: quorate react ubuntu 1042 👍
    Example: quorate react ubuntu 1042 :thanks: --off

    Parameters
    ----------
    index
        The message's index in the room.
    off
        Take the reaction back.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        done = await chat.react(name, index, reaction, on=not off)
        text = f"{title(name)} {index}: {'no ' if off else ''}{reaction}"
        output.done(done, text, room=name, index=index, reaction=reaction, on=not off)

    return with_chat(common, body)


def pin(room: str, index: Index, *, off: Flag = False, common: Common = COMMON) -> int:
    """Pin a message to its room, for everybody to find. For moderators and owners.

    Example: quorate pin ubuntu 1042
    Example: quorate pin ubuntu 1042 --off

    Parameters
    ----------
    index
        The message's index in the room.
    off
        Take the pin out.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        done = await chat.pin(name, index, on=not off)
        output.done(
            done, f"{title(name)} {index} {'unpinned' if off else 'pinned'}", room=name, index=index, on=not off
        )

    return with_chat(common, body)
