"""The table of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Controls(Protocol):
    """What keys do to the screen."""

    def show_keys(self) -> None: ...
    def toggle_rooms(self) -> None: ...
    def send(self) -> None: ...
    def break_line(self) -> None: ...
    def complete(self) -> None: ...
    def recall(self, step: int) -> None: ...
    def select(self, step: int) -> None: ...
    def scroll(self, pages: int) -> None: ...
    def to_end(self) -> None: ...
    def scroll_side(self, step: int) -> None: ...
    def open_side_row(self) -> None: ...
    def go(self, step: int, *, unread: bool = False) -> None: ...
    def reply_to_selected(self) -> None: ...
    def edit_selected(self) -> None: ...
    def command(self, line: str) -> None: ...
    def escape(self) -> None: ...
    def redraw(self) -> None: ...
    def quit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Key:
    """`names`: as urwid calls them. `shown`: as people do."""

    names: tuple[str, ...]
    shown: str
    help: str
    run: Callable[[Controls], None]


KEYS: tuple[Key, ...] = (
    Key(("f1",), "F1 or ?", "Show these keys (? while nothing is typed).", lambda on: on.show_keys()),
    Key(("enter",), "Enter", "Send the line, or carry out the command.", lambda on: on.send()),
    Key(("meta enter", "ctrl j"), "Alt-Enter", "Begin another line of the same message.", lambda on: on.break_line()),
    Key(
        ("tab",), "Tab", "Complete a name, #room, /command or :emoji:; again for the next.", lambda on: on.complete()
    ),
    Key(("up",), "Up", "Take the line before of those that you sent.", lambda on: on.recall(-1)),
    Key(("down",), "Down", "Take the line after it.", lambda on: on.recall(1)),
    Key(("page up",), "PgUp", "Scroll up; at the top more history is loaded.", lambda on: on.scroll(-1)),
    Key(("page down",), "PgDn", "Scroll down.", lambda on: on.scroll(1)),
    Key(("ctrl end", "meta end"), "Ctrl-End", "Go to the latest message.", lambda on: on.to_end()),
    Key(
        ("ctrl up", "meta up"),
        "Ctrl-Up",
        "Select the message above, for replies and commands.",
        lambda on: on.select(-1),
    ),
    Key(("ctrl down", "meta down"), "Ctrl-Down", "Select the message below.", lambda on: on.select(1)),
    Key(("meta r",), "Alt-R", "Reply to the selected message.", lambda on: on.reply_to_selected()),
    Key(("meta e",), "Alt-E", "Edit the selected message, or your last one.", lambda on: on.edit_selected()),
    Key(("meta t",), "Alt-T", "Open the thread of the selected message.", lambda on: on.command("/thread")),
    Key(
        ("meta v",), "Alt-V", "Verify: show which replicas vouch for the message.", lambda on: on.command("/receipt")
    ),
    Key(("meta m",), "Alt-M", "List mentions and invitations.", lambda on: on.command("/mentions")),
    Key(("meta h",), "Alt-H", "Show how each replica is doing.", lambda on: on.command("/replicas")),
    Key(("ctrl n",), "Ctrl-N", "Go to the next room.", lambda on: on.go(1)),
    Key(("ctrl p",), "Ctrl-P", "Go to the room before.", lambda on: on.go(-1)),
    Key(("meta a",), "Alt-A", "Go to the next room with something unread.", lambda on: on.go(1, unread=True)),
    Key(("f2",), "F2", "Show or hide the list of rooms.", lambda on: on.toggle_rooms()),
    Key(("meta page up",), "Alt-PgUp", "Move up in what stands at the right.", lambda on: on.scroll_side(-1)),
    Key(("meta page down",), "Alt-PgDn", "Move down there.", lambda on: on.scroll_side(1)),
    Key(("meta o",), "Alt-O", "Open the message or room that is marked there.", lambda on: on.open_side_row()),
    Key(
        ("esc",),
        "Esc",
        "Close what stands at the right; end a reply, an edit or a selection.",
        lambda on: on.escape(),
    ),
    Key(("ctrl l",), "Ctrl-L", "Draw the screen again.", lambda on: on.redraw()),
    Key(("ctrl c",), "Ctrl-C", "Leave.", lambda on: on.quit()),
)
BY_NAME = {name: key for key in KEYS for name in key.names}
