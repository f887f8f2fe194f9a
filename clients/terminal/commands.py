"""The table of what can be typed after a slash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from chatsvc.application.bearer import Purpose
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import Role
from clients.codes import new_code, new_nonce
from clients.sdk import ChatError
from clients.terminal import sides
from clients.terminal.arguments import (
    BadCommand,
    only_index,
    person,
    poll_parts,
    reaction_of,
    take_number,
    take_word,
)
from clients.terminal.emoji import with_emoji
from clients.terminal.lines import Entry, Fate
from clients.terminal.model import RoomState
from clients.terminal.session import Session
from clients.times import DAY_MS, span_ms

LINK_MS = 7 * DAY_MS
DIGITS_MAX = 9
"""Of numbers: one that is longer is too high with so many digits already."""
Run: TypeAlias = Callable[[Session, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """`usage`: what follows the name. `run` raises BadCommand, and what the SDK raises."""

    name: str
    usage: str
    help: str
    run: Run


def open_room(session: Session) -> RoomState:
    room = session.model.room
    if room is None:
        raise BadCommand("no room is open: /join one, or choose one in the list")
    return room


def target(session: Session, index: int | None, *, mine: bool = False) -> int:
    """Return the message that a command is about: the one named, or selected, or the last one. Raises BadCommand."""
    if index is None:
        index = session.model.selected
    if index is not None:
        return index
    last = open_room(session).log.last(mine=mine)
    if last is None:
        raise BadCommand("there is no message yet" if not mine else "you have said nothing here yet")
    return last.message.index


# -- rooms


async def join(session: Session, rest: str) -> None:
    word, _ = take_word(rest, "which room: /join ROOM, or the code of an invitation")
    known = word.removeprefix("#").casefold()
    if known in session.model.rooms:
        await session.enter(known)
        return
    try:
        done = await session.chat.join(word)
    except ChatError as error:
        if word.startswith("#") or error.code not in (ErrorCode.BAD_NAME, ErrorCode.NO_SUCH_ROOM):
            raise
        try:
            done = await session.chat.join_by_link(word)
        except ChatError as link:
            raise error if link.code is ErrorCode.BAD_PROOF else link from None
    await session.load_rooms()
    await session.enter(done.value.room)


async def part(session: Session, rest: str) -> None:
    name = rest or open_room(session).name
    done = await session.chat.leave(name)
    session.forget(done.value.room)
    session.model.say(f"left #{done.value.room}")
    following = session.model.next_room(1)
    if session.model.open is None and following is not None:
        await session.enter(following)


async def create(session: Session, rest: str) -> None:
    private = rest == "-p" or rest.startswith("-p ")
    word, topic = take_word(rest[2:].strip() if private else rest, "how the room is to be called: /create ROOM")
    done = await session.chat.create(word, topic, private=private)
    await session.load_rooms()
    await session.enter(done.value.room)


async def message(session: Session, rest: str) -> None:
    word, text = take_word(rest, "whom: /msg NAME[,NAME...] TEXT")
    done = await session.chat.open_direct([person(name) for name in word.split(",") if name])
    await session.load_rooms()
    await session.enter(done.value.room)
    if text:
        session.say(open_room(session), with_emoji(text))


async def topic(session: Session, rest: str) -> None:
    room = open_room(session)
    if not rest:
        session.model.say(f"{room.title}: {room.topic or 'no topic'}")
        return
    await session.chat.set_topic(room.name, rest)


async def invite(session: Session, rest: str) -> None:
    word, _ = take_word(rest, "whom: /invite NAME")
    room = open_room(session)
    await session.chat.invite(room.name, person(word))
    session.model.say(f"{person(word)} may join {room.title} now")


async def link(session: Session, rest: str) -> None:
    room = open_room(session)
    words = rest.split()
    uses = int(words[0][:DIGITS_MAX]) if words and words[0].isdecimal() else 1
    valid_ms = span_ms(words[-1]) if words and not words[-1].isdecimal() else LINK_MS
    code = new_code(Purpose.LINK)
    await session.chat.make_link(room.name, code, session.now_ms() + valid_ms, uses=uses)
    session.model.say(f"whoever types /join {code} comes into {room.title}")


async def kick(session: Session, rest: str) -> None:
    word, reason = take_word(rest, "whom: /kick NAME [REASON]")
    await session.chat.kick(open_room(session).name, person(word), reason)


async def ban(session: Session, rest: str) -> None:
    word, reason = take_word(rest, "whom: /ban NAME [REASON]")
    await session.chat.ban(open_room(session).name, person(word), reason)


async def unban(session: Session, rest: str) -> None:
    word, _ = take_word(rest, "whom: /unban NAME")
    await session.chat.unban(open_room(session).name, person(word))


async def mute(session: Session, rest: str) -> None:
    word, how_long = take_word(rest, "whom: /mute NAME [10m]")
    for_ms = span_ms(how_long or "10m")
    await session.chat.mute(open_room(session).name, person(word), session.now_ms() + for_ms if for_ms else 0)


async def role(session: Session, rest: str) -> None:
    word, name = take_word(rest, "whom: /role NAME owner|moderator|member")
    if name not in {role.value for role in Role}:
        raise BadCommand("say /role NAME owner, moderator or member")
    await session.chat.set_role(open_room(session).name, person(word), Role(name))


# -- messages


async def action(session: Session, rest: str) -> None:
    room = open_room(session)
    session.say(room, with_emoji(rest), action=True, thread=room.thread)


async def reply(session: Session, rest: str) -> None:
    number, text = take_number(rest)
    room, index = open_room(session), target(session, number)
    if not text:
        room.reply_to = index
        return
    session.say(room, with_emoji(text), reply_to=index)


async def edit(session: Session, rest: str) -> None:
    index, text = take_number(rest)
    room, index = open_room(session), target(session, index, mine=True)
    if not text:
        raise BadCommand("say what it is to be: /edit [N] TEXT")
    await session.chat.edit(room.name, index, with_emoji(text), nonce=new_nonce())


async def delete(session: Session, rest: str) -> None:
    await session.chat.delete(open_room(session).name, target(session, only_index(rest), mine=True))


async def react(session: Session, rest: str) -> None:
    number, text = take_number(rest)
    word, off = take_word(text, "with what: /react [N] :+1:, and `off` to take it back")
    room, index = open_room(session), target(session, number)
    entry = room.log.entry(index)
    there = () if entry is None else [one.reaction for one in entry.message.reactions]
    await session.chat.react(room.name, index, reaction_of(word, there), on=off != "off")


async def pin(session: Session, rest: str) -> None:
    index = target(session, only_index(rest))
    room = open_room(session)
    entry = room.log.entry(index)
    await session.chat.pin(room.name, index, on=entry is None or not entry.pinned)


async def poll(session: Session, rest: str) -> None:
    question, options = poll_parts(rest)
    room = open_room(session)
    await session.chat.open_poll(room.name, question, options, thread=room.thread, nonce=new_nonce())


def _poll(session: Session, index: int | None) -> Entry:
    log = open_room(session).log
    index = session.model.selected if index is None else index
    found = log.entry(index) if index is not None else next((e for e in reversed(log.entries()) if e.options), None)
    if found is None or not found.options:
        raise BadCommand("there is no poll: give its number, or select it with Ctrl-Up")
    return found


async def vote(session: Session, rest: str) -> None:
    index, text = take_number(rest)
    entry = _poll(session, index)
    text = text[:DIGITS_MAX]
    if text != "none" and not (text.isdecimal() and 1 <= int(text) <= len(entry.options)):
        raise BadCommand(f"say which option: /vote [N] 1 to {len(entry.options)}, or none")
    option = None if text == "none" else int(text) - 1
    await session.chat.vote(open_room(session).name, entry.message.index, option)
    session.model.say("your vote is counted")


async def close(session: Session, rest: str) -> None:
    entry = _poll(session, only_index(rest))
    await session.chat.close_poll(open_room(session).name, entry.message.index)


async def retry(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    room = open_room(session)
    failed = [line for line in room.log.pending if line.fate in (Fate.FAILED, Fate.GIVEN_UP)]
    for line in failed:
        session.say_again(room, line)
    if not failed:
        raise BadCommand("nothing was refused here; what is unknown is asked for by itself")


async def discard(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    log = open_room(session).log
    for line in [line for line in log.pending if line.fate in (Fate.FAILED, Fate.GIVEN_UP, Fate.UNKNOWN)]:
        log.drop(line)


async def jump(session: Session, rest: str) -> None:
    index = only_index(rest)
    if index is None:
        raise BadCommand("say where to: /jump N")
    room = open_room(session)
    first = room.log.first_index
    while first is not None and index < first and first - index <= sides.JUMP_MAX:
        if not await session.load_older(room):
            break
        first = room.log.first_index
    if room.log.entry(index) is None:
        await sides.around(session, room.name, index)
    else:
        session.model.selected = index


# -- you


async def nick(session: Session, rest: str) -> None:
    await session.chat.set_display(rest)
    session.model.say(f"you wish to be called {rest}" if rest else "you are called by your name only")


async def quit_(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    session.leave()


async def help_(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    rows = [(f"/{command.name} {command.usage}".strip(), command.help) for command in COMMANDS]
    session.model.side = sides.table("Commands (Esc closes)", rows)


COMMANDS: tuple[Command, ...] = (
    Command(
        "join",
        "ROOM | CODE",
        "Go to a room, joining it if need be, or to the one that an invitation's code leads to.",
        join,
    ),
    Command("part", "[ROOM]", "Leave a room; what you said stays.", part),
    Command("create", "[-p] ROOM [TOPIC]", "Make a room, with -p a private one.", create),
    Command("msg", "NAME[,NAME] [TEXT]", "Talk with somebody, or with a few.", message),
    Command("rooms", "", "List the rooms that you may see.", sides.rooms),
    Command("who", "", "List the members of this room.", sides.who),
    Command("topic", "[TOPIC]", "Show or change the topic.", topic),
    Command("invite", "NAME", "Let somebody join this room.", invite),
    Command("link", "[USES] [7d]", "Make a code with which others can join.", link),
    Command("kick", "NAME [REASON]", "Remove a member.", kick),
    Command("ban", "NAME [REASON]", "Remove a member and let it not come back.", ban),
    Command("unban", "NAME", "Let somebody come back.", unban),
    Command("mute", "NAME [10m | off]", "Let a member only read for a while.", mute),
    Command("role", "NAME owner|moderator|member", "Say what a member may do.", role),
    Command("me", "TEXT", "Say what you do.", action),
    Command("reply", "[N] [TEXT]", "Answer a message: now, or with what you type next.", reply),
    Command("edit", "[N] TEXT", "Change what you said.", edit),
    Command("delete", "[N]", "Take a message away.", delete),
    Command("react", "[N] :EMOJI: [off]", "React to a message, or take it back.", react),
    Command("pin", "[N]", "Pin a message, or take its pin out.", pin),
    Command("pins", "", "List what is pinned here.", sides.pins),
    Command("poll", "QUESTION? | A | B", "Ask, with options; `A | B` alone asks which of the two.", poll),
    Command("vote", "[N] 1 | none", "Choose an option of a poll.", vote),
    Command("close", "[N]", "Close a poll.", close),
    Command("thread", "[TITLE]", "Open a thread and talk in it; without title, the message's.", sides.thread),
    Command("threads", "", "List the threads of this room.", sides.threads),
    Command("search", "WORDS", "Search all rooms; from:NAME and in:ROOM narrow it.", sides.search),
    Command("mentions", "", "List what you were told: mentions, replies, direct messages.", sides.mentions),
    Command("jump", "N", "Go to a message.", jump),
    Command("receipt", "[N]", "Show which replicas vouch for a message.", sides.receipt),
    Command("versions", "[N]", "Show what a message said before.", sides.versions),
    Command("replicas", "", "Show how each replica is doing.", sides.replicas),
    Command("retry", "", "Send refused lines again, and those given up, unless they stand in the room.", retry),
    Command(
        "discard", "", "Forget refused lines and those of unknown outcome; what happened shows all the same.", discard
    ),
    Command("nick", "[NAME]", "Say how you wish to be called beside your name.", nick),
    Command("help", "", "List the commands.", help_),
    Command("quit", "", "Leave.", quit_),
)
BY_NAME = {command.name: command for command in COMMANDS} | {
    alias: command
    for command in COMMANDS
    for alias in {"part": ("leave",), "msg": ("dm",), "receipt": ("show",), "quit": ("exit",)}.get(command.name, ())
}


def find(name: str) -> Command:
    """Return a command by its name or the beginning of it. Raises BadCommand."""
    found = BY_NAME.get(name)
    if found is not None:
        return found
    close_ones = [command for command in COMMANDS if name and command.name.startswith(name)]
    if len(close_ones) == 1:
        return close_ones[0]
    if close_ones:
        raise BadCommand(f"/{name} may be " + " or ".join(f"/{command.name}" for command in close_ones))
    raise BadCommand(f"there is no command /{name[:20]}: /help lists them; // says a line that begins with a slash")
