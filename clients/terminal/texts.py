"""Text of others made fit for a terminal, and how times and authors look."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from hashlib import sha256

AUTHOR_COLOURS = 9
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What moves a cursor, changes a colour, or turns the direction of what follows."""
_TAB = "    "


def shown(text: str) -> str:
    """Return `text` with nothing in it that a terminal obeys: newlines stay, tabs are spaces, the rest is named."""
    return _UNSAFE.sub(lambda found: f"<U+{ord(found.group()):04X}>", text.replace("\t", _TAB))


def one_line(text: str, characters_max: int = 200) -> str:
    """The same in one line, cut short."""
    line = shown(text).replace("\n", " / ")
    return line if len(line) <= characters_max else f"{line[: characters_max - 1]}…"


def colour_of(author: str) -> int:
    """Return the number of an author's colour, the same in every run: 0 to AUTHOR_COLOURS - 1."""
    return sha256(author.encode(errors="replace")).digest()[0] % AUTHOR_COLOURS


def local_time(time_ms: int, zone: tzinfo | None) -> datetime:
    """Return a moment as the clock on the wall shows it, in UTC where local time knows of no such year.

    `zone`: None for this machine's.
    """
    at = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
    try:
        return at.astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return at


def clock(time_ms: int, zone: tzinfo | None) -> str:
    return local_time(time_ms, zone).strftime("%H:%M")


def day(time_ms: int, zone: tzinfo | None) -> str:
    return local_time(time_ms, zone).strftime("%A, %d %B %Y")


def is_mentioned(name: str, body: str) -> bool:
    """Whether `body` seems to say `@name`: for the colour only, the group decides whom it tells."""
    return re.search(rf"@{re.escape(name.casefold())}(?!\w)", body.casefold()) is not None


def counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
