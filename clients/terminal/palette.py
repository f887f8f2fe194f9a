"""Colours by name, for dark and for light terminals."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

Style = tuple[str, str, str, str]
"""Foreground and background of 16 colours, and of 256."""
Entry = tuple[str, str, str, str, str, str]
"""As `urwid` wants it: name, foreground, background, monochrome, foreground and background of 256 colours."""


class Theme(Enum):
    AUTO = "auto"
    DARK = "dark"
    LIGHT = "light"


_D = ("default", "default")
_DARK: dict[str, Style] = {
    "body": (*_D, *_D),
    "dim": ("dark gray", "default", "g50", "default"),
    "bold": ("default,bold", "default", "default,bold", "default"),
    "italic": ("default,italics", "default", "default,italics", "default"),
    "code": ("dark cyan", "default", "#6aa", "default"),
    "link": ("default,underline", "default", "default,underline", "default"),
    "mark": ("dark green", "default", "#6a6", "default"),
    "pending": ("dark gray", "default", "g60", "default"),
    "warning": ("yellow", "default", "#fd6", "default"),
    "error": ("light red", "default", "#f66", "default"),
    "name": ("light cyan", "default", "#6df", "default"),
    "me": ("white", "default", "g100", "default"),
    "mention": ("yellow,bold", "default", "#fd6,bold", "default"),
    "quote": ("dark cyan", "default", "#699", "default"),
    "thread": ("light magenta", "default", "#d8f", "default"),
    "pin": ("brown", "default", "#da6", "default"),
    "reaction": ("brown", "default", "#da6", "default"),
    "poll": ("light cyan", "default", "#6df", "default"),
    "bar": ("light green", "default", "#6d6", "default"),
    "separator": ("dark gray", "default", "g50", "default"),
    "unread": ("light red", "default", "#f86", "default"),
    "selected": ("white", "dark blue", "g100", "#048"),
    "title": ("white,bold", "dark blue", "g100,bold", "#035"),
    "title dim": ("light gray", "dark blue", "g80", "#035"),
    "status": ("light gray", "dark blue", "g85", "#024"),
    "status good": ("light green", "dark blue", "#8d8", "#024"),
    "status bad": ("light red", "dark blue", "#f88", "#024"),
    "status warn": ("yellow", "dark blue", "#fd6", "#024"),
    "prompt": ("light green", "default", "#6d6", "default"),
    "room": ("light gray", "default", "g70", "default"),
    "room open": ("white,bold", "dark blue", "g100,bold", "#048"),
    "room unread": ("white,bold", "default", "g100,bold", "default"),
    "room urgent": ("yellow,bold", "default", "#fd6,bold", "default"),
    "frame": ("dark gray", "default", "g40", "default"),
    "dialog": ("white", "dark blue", "g100", "#024"),
    "field": ("black", "light gray", "g0", "g85"),
    "button": ("light cyan", "dark blue", "#6df", "#024"),
    "author0": ("light cyan", "default", "#6df", "default"),
    "author1": ("light green", "default", "#6d6", "default"),
    "author2": ("light magenta", "default", "#d8f", "default"),
    "author3": ("brown", "default", "#da6", "default"),
    "author4": ("light blue", "default", "#8af", "default"),
    "author5": ("light red", "default", "#f88", "default"),
    "author6": ("dark cyan", "default", "#6aa", "default"),
    "author7": ("dark green", "default", "#6a6", "default"),
    "author8": ("dark magenta", "default", "#a6a", "default"),
}
_LIGHT: dict[str, Style] = _DARK | {
    "dim": ("dark gray", "default", "g46", "default"),
    "mark": ("dark green", "default", "#060", "default"),
    "pending": ("dark gray", "default", "g46", "default"),
    "warning": ("brown", "default", "#860", "default"),
    "error": ("dark red", "default", "#a00", "default"),
    "name": ("dark blue", "default", "#00a", "default"),
    "me": ("black,bold", "default", "g0,bold", "default"),
    "mention": ("dark red,bold", "default", "#a06,bold", "default"),
    "thread": ("dark magenta", "default", "#808", "default"),
    "pin": ("brown", "default", "#860", "default"),
    "reaction": ("brown", "default", "#860", "default"),
    "poll": ("dark blue", "default", "#00a", "default"),
    "bar": ("dark green", "default", "#080", "default"),
    "unread": ("dark red", "default", "#a00", "default"),
    "selected": ("black", "light gray", "g0", "#8df"),
    "title": ("black,bold", "light gray", "g0,bold", "#adf"),
    "title dim": ("dark blue", "light gray", "g30", "#adf"),
    "status": ("black", "light gray", "g0", "g85"),
    "status good": ("dark green", "light gray", "#060", "g85"),
    "status bad": ("dark red", "light gray", "#a00", "g85"),
    "status warn": ("dark magenta", "light gray", "#a06", "g85"),
    "prompt": ("dark green", "default", "#060", "default"),
    "room": ("black", "default", "g20", "default"),
    "room open": ("black,bold", "light gray", "g0,bold", "#adf"),
    "room unread": ("black,bold", "default", "g0,bold", "default"),
    "room urgent": ("dark red,bold", "default", "#a06,bold", "default"),
    "frame": ("dark gray", "default", "g60", "default"),
    "dialog": ("black", "light gray", "g0", "g90"),
    "field": ("white", "dark blue", "g100", "#048"),
    "button": ("dark blue", "light gray", "#00a", "g90"),
    "author0": ("dark cyan", "default", "#068", "default"),
    "author1": ("dark green", "default", "#060", "default"),
    "author2": ("dark magenta", "default", "#808", "default"),
    "author3": ("brown", "default", "#860", "default"),
    "author4": ("dark blue", "default", "#00a", "default"),
    "author5": ("dark red", "default", "#a00", "default"),
    "author6": ("dark cyan", "default", "#066", "default"),
    "author7": ("dark green", "default", "#480", "default"),
    "author8": ("dark magenta", "default", "#60a", "default"),
}
_MONOCHROME = {
    "mention": "bold",
    "bold": "bold",
    "italic": "italics",
    "link": "underline",
    "error": "bold",
    "me": "bold",
    "selected": "standout",
    "title": "standout",
    "title dim": "standout",
    "status": "standout",
    "status good": "standout",
    "status bad": "standout",
    "status warn": "standout",
    "room open": "standout",
    "room unread": "bold",
    "room urgent": "bold",
    "field": "standout",
}


def palette(theme: Theme, environment: Mapping[str, str]) -> list[Entry]:
    """Return the colours of a theme; AUTO: as COLORFGBG tells the background, else dark."""
    if theme is Theme.AUTO:
        theme = Theme.LIGHT if is_light(environment.get("COLORFGBG", "")) else Theme.DARK
    styles = _LIGHT if theme is Theme.LIGHT else _DARK
    return [
        (name, style[0], style[1], _MONOCHROME.get(name, "default"), style[2], style[3])
        for name, style in styles.items()
    ]


def is_light(colorfgbg: str) -> bool:
    """Whether COLORFGBG, `foreground;background` as numbers of 16 colours, speaks of a light background."""
    background = colorfgbg.rpartition(";")[2]
    return background in ("7", "15")


def colours_of(environment: Mapping[str, str]) -> int:
    """Return how many colours the terminal has, as far as its environment tells: 1, 16 or 256."""
    if environment.get("NO_COLOR"):
        return 1
    terminal = environment.get("TERM", "")
    if "256" in terminal or environment.get("COLORTERM") in ("truecolor", "24bit"):
        return 256
    return 1 if terminal in ("vt100", "vt220", "dumb") else 16
