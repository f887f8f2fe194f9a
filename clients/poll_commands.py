"""Commands about polls. People count options from 1, the protocol from 0."""

from __future__ import annotations

from chatsvc.application.answers import Poll
from clients.addressing import room_of
from clients.codes import new_nonce
from clients.console import COMMON, Common, Index, Output, Words, title, with_chat
from clients.sdk import Chat, ClientFailure, ExitCode

NO_OPTION = "none"


def poll(room: str, question: Words, *options: Words, thread: Words | None = None, common: Common = COMMON) -> int:
    """Ask a room a question with two to ten options to choose from. It is a message
    like others.

    Example: quorate poll ubuntu "Which editor?" vim emacs nano

    Parameters
    ----------
    options
        What one can choose.
    thread
        Title of the thread within the room that this belongs to.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        done = await chat.open_poll(name, question, options, thread=thread, nonce=new_nonce())
        where = f"{title(done.value.room)} {done.value.index}"
        output.done(done, where, room=done.value.room, index=done.value.index)

    return with_chat(common, body)


def poll_show(room: str, index: Index, *, common: Common = COMMON) -> int:
    """Show how a poll stands, and what you chose. What others chose is nobody's to
    see.

    Example: quorate poll-show ubuntu 1043

    Parameters
    ----------
    index
        The poll's index in the room.
    """

    async def body(chat: Chat, output: Output) -> None:
        found = await chat.poll(await room_of(chat, room), index)
        lines = [found.question if found.closed_ms is None else f"{found.question} (closed)"]
        for number, (option, votes) in enumerate(zip(found.options, found.votes, strict=False)):
            mark = "*" if found.mine == number else " "
            lines.append(f" {mark} {number + 1}. {option}  {votes}")
        output.result(_record(found), "\n".join(lines))

    return with_chat(common, body)


def _record(found: Poll) -> dict[str, object]:
    pairs = zip(found.options, found.votes, strict=False)
    return {
        "question": found.question,
        "options": [{"option": n, "text": text, "votes": votes} for n, (text, votes) in enumerate(pairs, 1)],
        "closed_ms": found.closed_ms,
        "mine": None if found.mine is None else found.mine + 1,
    }


def vote(room: str, index: Index, option: Words, *, common: Common = COMMON) -> int:
    """Choose an option of a poll, or another one than before. Nobody is told what you
    chose.

    The replicas know it, and so do those who run them.

    Example: quorate vote ubuntu 1043 2
    Example: quorate vote ubuntu 1043 none

    Parameters
    ----------
    index
        The poll's index in the room.
    option
        Its number, from 1, or its text; `none` takes the vote back.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        number = None
        if option != NO_OPTION:
            number = option_number((await chat.poll(name, index)).options, option)
        done = await chat.vote(name, index, number)
        chosen = None if number is None else number + 1
        output.done(done, f"{title(name)} {index}: {chosen or 'no vote'}", room=name, index=index, option=chosen)

    return with_chat(common, body)


def option_number(options: tuple[str, ...], text: str) -> int:
    """Return which option is meant, from 0. Raises ClientFailure."""
    if text in options:
        return options.index(text)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= number <= len(options):
        msg = f"option {text[:40]!r}: there are 1 to {len(options)}, or `{NO_OPTION}`; `quorate poll-show` lists them"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    return number - 1


def poll_close(room: str, index: Index, *, common: Common = COMMON) -> int:
    """End a poll: yours, or as moderator or owner anybody's.

    Example: quorate poll-close ubuntu 1043

    Parameters
    ----------
    index
        The poll's index in the room.
    """

    async def body(chat: Chat, output: Output) -> None:
        name = await room_of(chat, room)
        output.done(await chat.close_poll(name, index), f"{title(name)} {index} closed", room=name, index=index)

    return with_chat(common, body)
