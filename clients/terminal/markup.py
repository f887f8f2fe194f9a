"""How lines look, as markup: texts with the names of their attributes. Everything of others goes through `texts`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from rich.style import Style

from chatsvc.application.schema import MessageKind
from clients.markdown import marked_up
from clients.terminal.lines import Entry, Fate, Happening, Pending, Shown
from clients.terminal.model import Model, ReplicaHealth, RoomState
from clients.terminal.texts import clock, colour_of, counted, day, is_mentioned, one_line, shown

Markup: TypeAlias = list[tuple[str, str]]
"""(attribute, text): see `palette`."""

BAR_CELLS = 12
QUOTE_CHARACTERS_MAX = 60
ACTIVE_ROOMS_MAX = 5
_FATES = {
    Fate.PENDING: ("pending", "…"),
    Fate.UNKNOWN: ("warning", "?"),
    Fate.ACCEPTED: ("mark", "✓"),
    Fate.FAILED: ("error", "✗"),
    Fate.GIVEN_UP: ("error", "?"),
}


@dataclass(frozen=True, slots=True)
class Block:
    """One line of a log: separators above it, time and mark at its left, and what it says."""

    above: Markup
    left: Markup
    body: Markup
    index: int | None = None
    """Of the message."""


def block_of(room: RoomState, line: Shown, before: Shown | None, me: str, zone: tzinfo | None) -> Block:
    """`before`: the line above it."""
    above = separators(room, line, before, zone)
    match line:
        case Entry():
            mark = ("mark", "✓") if line.message.author == me else ("dim", "✓")
            left = [("dim", clock(line.time_ms, zone)), mark]
            return Block(above, left, _entry(room, line, me), line.message.index)
        case Happening():
            return Block(
                above, [("dim", clock(line.time_ms, zone)), ("dim", " ")], [("dim", f"-- {shown(line.text)}")]
            )
        case Pending():
            return Block(above, [("dim", "  …  "), _FATES[line.fate]], _pending(room, line, me))


def separators(room: RoomState, line: Shown, before: Shown | None, zone: tzinfo | None) -> Markup:
    """What stands between two lines: a new day, and where the unread ones begin. Texts without spaces around."""
    found: Markup = []
    if not isinstance(line, Pending):
        today = day(line.time_ms, zone)
        if before is None or isinstance(before, Pending) or day(before.time_ms, zone) != today:
            found.append(("separator", today))
    if room.unread_from is not None and isinstance(line, Entry) and line.message.index >= room.unread_from:
        earlier = room.log.entry(line.message.index - 1)
        if earlier is None or earlier.message.index < room.unread_from:
            found.append(("unread", "unread"))
    return found


def author(name: str, me: str) -> tuple[str, str]:
    return ("me" if name == me else f"author{colour_of(name)}", one_line(name))


def _entry(room: RoomState, entry: Entry, me: str) -> Markup:
    message = entry.message
    found: Markup = []
    if message.reply_to is not None:
        found += [("quote", f"> {quoted(room, message.reply_to)}\n")]
    if message.claimed_ms is not None:
        found += [("dim", "(time claimed) ")]
    colour, name = author(message.author, me)
    if message.kind is MessageKind.ACTION:
        found += [(colour, f"* {name} ")]
    else:
        found += [(colour, f"<{name}> ")]
    if message.thread is not None:
        found += [("thread", f"[{one_line(message.thread)}] ")]
    if entry.pinned:
        found += [("pin", "(pinned) ")]
    if message.deleted_by is not None:
        by = "" if message.deleted_by == message.author else f" by {one_line(message.deleted_by)}"
        return [*found, ("dim", f"(deleted{by})")]
    if message.kind is MessageKind.POLL:
        found += _poll(entry)
    else:
        mentioned = message.author != me and (me in message.mentions or is_mentioned(me, message.body))
        found += marked("mention" if mentioned else "body", message.body)
    if message.edits:
        found += [("dim", " (edited)")]
    if message.reactions:
        counts = "  ".join(f"{one_line(one.reaction)} {one.count}" for one in message.reactions)
        found += [("reaction", f"\n{counts}")]
    return found


def marked(attribute: str, body: str) -> Markup:
    """Return a body as it is meant: with bold, italic, code, links and quotes in attributes of their own."""
    text = marked_up(shown(body))
    attributes = [attribute] * len(text.plain)
    for span in text.spans:
        name = _attribute_of(span.style)
        if name is not None:
            attributes[span.start : span.end] = [name] * len(attributes[span.start : span.end])
    found: Markup = []
    for name, pairs in groupby(zip(attributes, text.plain, strict=True), key=itemgetter(0)):
        found.append((name, "".join(character for _, character in pairs)))
    return found


def _attribute_of(style: str | Style) -> str | None:
    if isinstance(style, str):
        return None
    names = (("link", style.underline), ("code", style.color), ("bold", style.bold), ("italic", style.italic))
    return next((name for name, is_set in names if is_set), "quote" if style.dim else None)


def quoted(room: RoomState, index: int) -> str:
    """What a reply answers, in a few words."""
    entry = room.log.entry(index)
    if entry is None:
        return f"#{index}"
    body = marked_up(shown(entry.message.body.split("\n")[0] if entry.options else entry.message.body)).plain
    said = "(deleted)" if entry.message.deleted_by is not None else one_line(body, QUOTE_CHARACTERS_MAX)
    return f"{one_line(entry.message.author)}: {said}"


def _poll(entry: Entry) -> Markup:
    found: Markup = [("poll", f"Poll: {one_line(entry.message.body.split(chr(10))[0])}")]
    votes = entry.votes or ()
    total = sum(votes)
    for number, option in enumerate(entry.options):
        count = votes[number] if number < len(votes) else 0
        filled = round(BAR_CELLS * count / total) if total else 0
        found += [
            ("body", f"\n {number + 1}. "),
            ("bar", "█" * filled),
            ("dim", "░" * (BAR_CELLS - filled)),
            ("body", f" {count}  {one_line(option)}"),
        ]
    state = "closed" if entry.closed else f"/vote #{entry.message.index} 1"
    return [*found, ("dim", f"\n {counted(total, 'vote')}, {state}")]


def _pending(room: RoomState, line: Pending, me: str) -> Markup:
    found: Markup = []
    if line.reply_to is not None:
        found.append(("quote", f"> {quoted(room, line.reply_to)}\n"))
    found.append(("pending", f"* {one_line(me)} " if line.action else f"<{one_line(me)}> "))
    if line.thread is not None:
        found.append(("thread", f"[{one_line(line.thread)}] "))
    found.append(("pending", shown(line.body)))
    if line.fate is Fate.FAILED:
        found.append(("error", f" (not sent: {one_line(line.why)}; /retry or /discard)"))
    elif line.fate is Fate.GIVEN_UP:
        found.append(("error", f" (not known whether it was sent: {one_line(line.why)}; /retry or /discard)"))
    elif line.fate is Fate.UNKNOWN:
        found.append(("warning", " (outcome unknown; asking again, it is never posted twice)"))
    return found


# -- around the log


def room_row(room: RoomState, *, is_open: bool) -> Markup:
    """A row of the list of rooms."""
    if room.is_urgent:
        attribute, count = "room urgent", f" {room.mentions or room.unread}!"
    elif room.unread:
        attribute, count = "room unread", f" {room.unread}"
    else:
        attribute, count = "room", ""
    return [("room open" if is_open else attribute, room.title), (attribute, count)]


def header(model: Model) -> Markup:
    room = model.room
    if room is None:
        return [("title", f" {one_line(model.group)} "), ("title dim", "no room is open: /join ROOM, or /help")]
    found: Markup = [("title", f" {room.title} ")]
    if room.thread is not None:
        found.append(("title", f"[{one_line(room.thread)}] "))
    topic = one_line(room.topic)
    if topic:
        found.append(("title dim", topic))
    return found


def status(model: Model) -> Markup:
    """Connection, replicas, view, what is unread elsewhere, and the latest remark."""
    found: Markup = [("status", f" {one_line(model.me)} ")]
    if model.connected:
        found.append(("status good", "connected "))
    else:
        found.append(("status bad", "reconnecting... " if model.me else "not connected "))
    found += _replicas(model.health)
    if model.view is not None:
        found.append(("status", f" view {model.view}"))
    if model.selected is not None:
        found.append(("status warn", f" #{model.selected} selected"))
    elsewhere = [room for room in model.ordered_rooms() if room.unread and room.name != model.open]
    elsewhere.sort(key=lambda room: not room.is_urgent)
    for room in elsewhere[:ACTIVE_ROOMS_MAX]:
        attribute = "status warn" if room.is_urgent else "status"
        found.append((attribute, f" {room.title}:{room.unread}{'!' if room.is_urgent else ''}"))
    if len(elsewhere) > ACTIVE_ROOMS_MAX:
        found.append(("status", f" and {len(elsewhere) - ACTIVE_ROOMS_MAX} more"))
    return found


def _replicas(health: Iterable[ReplicaHealth]) -> Markup:
    """`0+`: answers; `1-`: does not; `2~`: lags behind; `3!`: lied."""
    attributes = {"+": "status good", "-": "status bad", "~": "status warn", "!": "status bad"}
    return [(attributes[one.mark], f"{one.replica}{one.mark}") for one in health]


def remark(model: Model) -> Markup:
    return [("error" if model.says_error else "dim", f" {shown(model.says)}")] if model.says else []


def prompt(room: RoomState | None) -> Markup:
    """What stands before the line that is typed."""
    if room is None:
        return [("prompt", "> ")]
    found: Markup = []
    if room.editing is not None:
        found.append(("warning", f"edit #{room.editing} "))
    elif room.reply_to is not None:
        found.append(("quote", f"reply to #{room.reply_to} "))
    if room.thread is not None:
        found.append(("thread", f"[{one_line(room.thread, 20)}] "))
    return [*found, ("prompt", "> ")]
