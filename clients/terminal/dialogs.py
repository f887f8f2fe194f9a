"""Questions in the middle of the screen, for the first steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio
import urwid

from clients.terminal.texts import shown

DIALOG_COLS = 64


@dataclass(frozen=True, slots=True)
class Answered:
    choice: str
    text: str


class Dialog:
    """A text, perhaps a field, and buttons. Enter in the field is the first button, Esc the last one."""

    def __init__(
        self, title: str, text: str, choices: Sequence[str], *, field: str | None = None, error: str = ""
    ) -> None:
        self._done = trio.Event()
        self._answer = Answered(choices[-1], "")
        self._choices = choices
        self._field = None if field is None else urwid.Edit(("prompt", f"{field}: "))
        rows: list[Any] = [urwid.Text(shown(text)), urwid.Divider()]
        if error:
            rows += [urwid.Text(("error", shown(error))), urwid.Divider()]
        if self._field is not None:
            rows += [urwid.AttrMap(self._field, "field"), urwid.Divider()]
        self._field_place = len(rows) - 2
        first = len(rows) if self._field is None else len(rows) - 2
        for choice in choices:
            button = urwid.Button(shown(choice), on_press=self._press, user_data=choice)
            rows.append(urwid.AttrMap(button, "button", "selected"))
        self._pile = urwid.Pile(rows, focus_item=rows[first])
        self.box = urwid.AttrMap(urwid.LineBox(urwid.Filler(self._pile), title=title), "dialog")
        self._overlay: urwid.Overlay[Any, Any] | None = None

    def over(self, below: urwid.Widget) -> urwid.Widget:
        self._overlay = urwid.Overlay(
            self.box,
            below,
            align="center",
            width=DIALOG_COLS,
            valign="middle",
            height=("relative", 80),
            min_height=12,
        )
        return self._overlay

    def keypress(self, size: tuple[int, int], key: str) -> str | None:
        if key == "esc":
            self._finish(self._choices[-1])
        elif key == "enter" and self._field is not None and self._pile.focus_position == self._field_place:
            self._finish(self._choices[0])
        elif key == "tab":
            self._next()
        elif self._overlay is not None:
            self._overlay.keypress(size, key)
        return None

    def _next(self) -> None:
        places = [place for place, (widget, _) in enumerate(self._pile.contents) if widget.selectable()]
        here = places.index(self._pile.focus_position)
        self._pile.focus_position = places[(here + 1) % len(places)]

    def _press(self, button: urwid.Button, choice: str) -> None:  # noqa: ARG002 - urwid's
        self._finish(choice)

    def _finish(self, choice: str) -> None:
        self._answer = Answered(choice, "" if self._field is None else self._field.edit_text.strip())
        self._done.set()

    async def wait(self) -> Answered:
        await self._done.wait()
        return self._answer
