"""Messages as a file for people or programs: a function of the messages alone, to be done again and compared.

Whatever is changed here changes what older proofs are compared with: then the format needs a new number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import assert_never

from chatsvc.application.answers import Message
from chatsvc.application.schema import MessageKind
from clients.transcripts.proof import Form

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_AS_CODES = {
    code: f"<U+{code:04X}>"
    for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0x2028, 0x2029, 0x0085)
}
"""What turns text around, or breaks a line in some programs only: with it one message could pass for others."""

_STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;line-height:1.4}"
    "article{margin:.4em 0}time,.mark,.reaction{color:#666;font-size:.85em}"
    ".body{white-space:pre-wrap;margin-left:1em;padding-left:.6em;border-left:2px solid #ddd}"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines. `index`: of the message that they are; None for what stands around."""

    index: int | None
    text: str


def render(form: Form, room: str, first: int, messages: Sequence[Message]) -> Iterator[Piece]:
    """Yield the file in its order. A receipt has none."""
    match form:
        case Form.JSONL:
            for message in messages:
                yield Piece(message.index, json.dumps(record_of(message), ensure_ascii=False) + "\n")
        case Form.TEXT:
            yield Piece(None, f"{_heading(room, first, messages)}\n\n")
            for message in messages:
                yield Piece(message.index, as_text(message) + "\n")
        case Form.HTML:
            yield from _html(room, first, messages)
        case Form.RECEIPT:
            return
        case _:
            assert_never(form)


def record_of(message: Message) -> dict[str, object]:
    """All that there is to a message, for JSON."""
    return {
        "room": message.room,
        "index": message.index,
        "kind": message.kind.value,
        "author": message.author,
        "body": message.body,
        "reply_to": message.reply_to,
        "thread": message.thread,
        "mentions": list(message.mentions),
        "nonce": message.nonce.hex(),
        "time_ms": message.time,
        "claimed_ms": message.claimed_ms,
        "sequence": message.sequence,
        "batch_index": message.batch_index,
        "serial": message.serial,
        "event": message.event,
        "edits": message.edits,
        "edited_ms": message.edited_ms,
        "deleted_by": message.deleted_by,
        "reactions": {reaction.reaction: reaction.count for reaction in message.reactions},
    }


def room_title(room: str) -> str:
    """A direct conversation's name has a mark of its own."""
    return room if room.startswith("@") else f"#{room}"


def as_text(message: Message) -> str:
    """One message: when the group ordered it, its index, `[marks]`, `(reactions)`, its author, and what it says.

    The body stands last and its further lines are set in, and names and reactions have no spaces: nothing that
    somebody writes can pass for a mark, or for another message.
    """
    who = f"* {message.author}" if message.kind is MessageKind.ACTION else f"<{message.author}>"
    marks = "".join(f"[{mark}] " for mark in _marks(message))
    reactions = "".join(f"({reaction}) " for reaction in _reactions(message))
    body = plain(message.body).replace("\n", "\n    ")
    return f"{_moment(message.time)} {message.index} {marks}{reactions}{who}" + (f" {body}" if body else "")


def _heading(room: str, first: int, messages: Sequence[Message]) -> str:
    if not messages:
        return f"{room_title(room)}: no messages from {first} on"
    return f"{room_title(room)}: messages {first} to {first + len(messages) - 1}; times are UTC"


def _html(room: str, first: int, messages: Sequence[Message]) -> Iterator[Piece]:
    heading = escape(_heading(room, first, messages))
    yield Piece(
        None,
        f'<!doctype html>\n<html>\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n",
    )
    for message in messages:
        marks = "".join(f'<span class="mark">[{escape(mark)}]</span> ' for mark in _marks(message))
        reactions = "".join(f'<span class="reaction">({escape(each)})</span> ' for each in _reactions(message))
        who = escape(f"* {message.author}" if message.kind is MessageKind.ACTION else message.author)
        yield Piece(
            message.index,
            f'<article id="m{message.index}"><time>{_moment(message.time)}</time> '
            f'<a href="#m{message.index}">{message.index}</a> {marks}{reactions}<b>{who}</b>\n'
            f'<div class="body">{escape(plain(message.body))}</div></article>\n',
        )
    yield Piece(None, "</body>\n</html>\n")


def _marks(message: Message) -> list[str]:
    marks = []
    if message.claimed_ms is not None:
        marks.append(f"claimed {_moment(message.claimed_ms)}")
    if message.reply_to is not None:
        marks.append(f"to {message.reply_to}")
    if message.thread is not None:
        marks.append(f"in {json.dumps(plain(message.thread), ensure_ascii=False)}")  # quoted: it may say anything
    if message.kind is MessageKind.POLL:
        marks.append("poll")
    if message.deleted_by is not None:
        marks.append(f"deleted by {message.deleted_by}")
    elif message.edits:
        marks.append("edited")
    return marks


def _reactions(message: Message) -> list[str]:
    return [f"{plain(reaction.reaction)} {reaction.count}" for reaction in message.reactions]


def plain(text: str) -> str:
    """Show as codes what cannot be seen and turns text around."""
    return text.translate(_SHOWN_AS_CODES)


def _moment(time_ms: int) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"{time_ms} ms"
