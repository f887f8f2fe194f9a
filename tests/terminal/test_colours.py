"""Colours: every name has one, in both themes, for as many colours as the terminal has."""

from __future__ import annotations

from datetime import UTC

import pytest
import urwid

from chatsvc.application.events import EventKind
from chatsvc.application.schema import MessageKind
from clients.terminal.markup import block_of
from clients.terminal.palette import Theme, colours_of, is_light, palette
from tests.terminal.test_screen import Desk


def test_every_colour_that_lines_use_is_in_both_palettes() -> None:
    desk = Desk()
    desk.says("hello @Alice **b** *i* `c` https://example.org", thread="Roses", reply_to=0)
    desk.says("Tea?\nyes\nno", kind=MessageKind.POLL)
    desk.happens(EventKind.REACTED, "👍", 2, index=0)
    desk.happens(EventKind.PINNED, index=0)
    garden = desk.model.rooms["garden"]
    used = {
        attribute
        for line in garden.log.lines
        for block in [block_of(garden, line, None, "Alice", UTC)]
        for attribute, _ in (*block.above, *block.left, *block.body)
    }
    for theme in (Theme.DARK, Theme.LIGHT):
        names = {entry[0] for entry in palette(theme, {})}
        assert used <= names
        for entry in palette(theme, {}):
            assert len(entry) == 6
            urwid.AttrSpec(entry[1], entry[2], 16)
            urwid.AttrSpec(entry[4], entry[5], 256)


@pytest.mark.parametrize(
    ("variable", "light"), [("15;0", False), ("0;15", True), ("0;default;15", True), ("", False)]
)
def test_the_theme_follows_the_terminals_background(variable: str, light: bool) -> None:
    assert is_light(variable) is light
    theme = Theme.LIGHT if light else Theme.DARK
    assert palette(Theme.AUTO, {"COLORFGBG": variable}) == palette(theme, {})


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"TERM": "xterm"}, 16),
        ({"TERM": "xterm-256color"}, 256),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, 256),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, 1),
        ({"TERM": "vt100"}, 1),
    ],
)
def test_as_many_colours_as_the_terminal_has(environment: dict[str, str], colours: int) -> None:
    assert colours_of(environment) == colours
