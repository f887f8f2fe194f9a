"""The whole screen, and what keys and the mouse do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any

import urwid

from clients.terminal import commands, markup, sides
from clients.terminal.arguments import BadCommand, said, split_command
from clients.terminal.completion import Cycle, InputHistory
from clients.terminal.dialogs import Answered, Dialog
from clients.terminal.emoji import with_emoji
from clients.terminal.keys import BY_NAME, KEYS
from clients.terminal.markup import Markup
from clients.terminal.model import Model
from clients.terminal.panes import WHEEL_ROWS, InputBox, ListPane, MessagePane, Size, box
from clients.terminal.session import Session
from clients.terminal.texts import one_line, shown

WIDE_COLS = 100
"""From here on the list of rooms is shown unless it was hidden."""
ROOMS_COLS = 22
SIDE_COLS_MAX = 48
NARROW_COLS = 60
"""Below, what stands beside the messages takes their place."""


class Screen(urwid.WidgetWrap):  # type: ignore[type-arg]
    """Draws the model and hands on what is typed. `session`: none until the group is reached."""

    no_cache = ["render"]  # noqa: RUF012 - urwid's own name and form

    def __init__(
        self,
        model: Model,
        *,
        zone: tzinfo | None = None,
        on_quit: Callable[[], None] = lambda: None,
        on_redraw: Callable[[], None] = lambda: None,
    ) -> None:
        urwid.set_encoding("utf-8")  # what is drawn is the same whatever the locale says
        self.model = model
        self.session: Session | None = None
        self.dialog: Dialog | None = None
        self._on_quit, self._on_redraw = on_quit, on_redraw
        self._rooms_wanted: bool | None = None
        self._pasting = False
        self._drafted: str | None = None
        self._cycle, self._history = Cycle(), InputHistory()
        self._cols = 80
        self.messages = MessagePane(model, zone=zone, on_click=self._click_message)
        self._rooms = ListPane(self._room_rows, wrap="clip", on_click=self._click_room)
        self._side = ListPane(self._side_rows, wrap="space", on_click=self._click_side)
        self._header = urwid.Text("", wrap="clip")
        self._side_title = urwid.Text("", wrap="clip")
        self._status = urwid.Text("", wrap="clip")
        self._remark = urwid.Text("")
        self.input = InputBox()
        self._body: Any = urwid.WidgetPlaceholder(self.messages)
        self._layout: tuple[object, ...] = ()
        self._footer = urwid.Pile([("pack", urwid.AttrMap(self._status, "status")), ("pack", self.input)])
        frame = urwid.Frame(
            self._body, header=urwid.AttrMap(self._header, "title"), footer=self._footer, focus_part="footer"
        )
        self._footer.focus_position = 1
        self._frame = frame
        super().__init__(urwid.WidgetPlaceholder(frame))

    # -- drawing

    def render(self, size: Size, focus: bool = False) -> urwid.Canvas:  # noqa: FBT001, FBT002 - urwid's
        self._cols = box(size)[0]
        self._sync()
        return super().render(size, focus)

    def _sync(self) -> None:
        """Put into the widgets what the model says now."""
        model = self.model
        if self._drafted != model.open:
            self._swap_drafts()
        self._header.set_text(markup.header(model))
        self._status.set_text(markup.status(model))
        self.input.edit.set_caption(markup.prompt(model.room))
        if model.side is not None:
            self._side_title.set_text([("title", f" {one_line(model.side.title)}")])
        remark = markup.remark(model)
        self._remark.set_text(remark)
        has_remark = len(self._footer.contents) == 3
        if bool(remark) != has_remark:
            rows: list[Any] = [(self._remark, ("pack", None))] if remark else []
            self._footer.contents = [*rows, *self._footer.contents[-2:]]
            self._footer.focus_position = len(self._footer.contents) - 1
        shows_rooms = self._cols >= WIDE_COLS if self._rooms_wanted is None else self._rooms_wanted
        layout = (shows_rooms, model.side is not None, self._cols)
        if layout != self._layout:
            self._layout = layout
            self._body.original_widget = self._columns(rooms=shows_rooms, side=model.side is not None)
        for pane in (self.messages, self._rooms, self._side):
            pane._invalidate()  # noqa: SLF001 - urwid's way to say that a widget's content changed

    def _columns(self, *, rooms: bool, side: bool) -> urwid.Widget:
        edge = urwid.AttrMap(urwid.SolidFill("│"), "frame")
        columns: list[Any] = [(ROOMS_COLS, self._rooms), (1, edge)] if rooms else []
        beside: urwid.Widget = urwid.Frame(self._side, header=urwid.AttrMap(self._side_title, "title"))
        if side and self._cols < NARROW_COLS:
            return urwid.Columns([*columns, beside])
        columns.append(self.messages)
        if side:
            columns += [(1, edge), (min(SIDE_COLS_MAX, self._cols * 45 // 100), beside)]
        return urwid.Columns(columns)

    def _swap_drafts(self) -> None:
        """Each room keeps what was typed in it."""
        before = self.model.rooms.get(self._drafted or "")
        if before is not None:
            before.draft = self.input.edit.edit_text
        self._drafted = self.model.open
        if before is not None or not self.input.edit.edit_text:
            self._set_input("" if self.model.room is None else self.model.room.draft)

    def _room_rows(self) -> tuple[Sequence[Markup], int | None]:
        rooms = self.model.ordered_rooms()
        here = next((place for place, room in enumerate(rooms) if room.name == self.model.open), None)
        return [markup.room_row(room, is_open=place == here) for place, room in enumerate(rooms)], here

    def _side_rows(self) -> tuple[Sequence[Markup], int | None]:
        side = self.model.side
        if side is None:
            return [], None
        rows: list[Markup] = [
            [("selected" if place == side.selected else row.attribute, shown(row.text))]
            for place, row in enumerate(side.rows)
        ]
        return rows or [[("dim", "nothing")]], side.selected

    # -- typing

    def keypress(self, size: Size, key: str) -> str | None:
        if self.dialog is not None:
            if key == "ctrl c":
                self.quit()
                return None
            return self.dialog.keypress(box(size), key)
        if key in ("begin paste", "end paste"):
            self._pasting = key == "begin paste"
            return None
        if self._pasting:
            typed = {"enter": "\n", "tab": "    "}.get(key, key)
            if len(typed) == 1 or typed.isspace():
                self._type(typed)
            return None
        edit = self.input.edit
        if key == "?" and not edit.edit_text:
            self.show_keys()
            return None
        if key in ("up", "down") and edit.keypress((box(size)[0],), key) is None:
            return None
        bound = BY_NAME.get(key)
        if bound is not None:
            bound.run(self)
            return None
        if len(key) == 1:
            self._type(key)
            return None
        edit.keypress((box(size)[0],), key)
        return None

    def _type(self, text: str) -> None:
        self.input.edit.insert_text(shown(text))

    def _set_input(self, text: str) -> None:
        self.input.edit.set_edit_text(shown(text))
        self.input.edit.set_edit_pos(len(self.input.edit.edit_text))

    def mouse_event(  # noqa: PLR0917 - urwid's
        self,
        size: Size,
        event: str,
        button: int,
        col: int,
        row: int,
        focus: bool,  # noqa: FBT001 - urwid's
    ) -> bool | None:
        if self.dialog is None and event.startswith("mouse press") and button in (4, 5):
            side = self._body.original_widget
            if self.model.side is not None and col > box(size)[0] - SIDE_COLS_MAX and side is not self.messages:
                self._side.scroll(-WHEEL_ROWS if button == 4 else WHEEL_ROWS)
            else:
                self._scroll_rows(WHEEL_ROWS if button == 4 else -WHEEL_ROWS)
            return True
        handled: bool | None = super().mouse_event(size, event, button, col, row, focus)
        self._frame.focus_position = "footer"
        return handled

    def _click_message(self, index: int) -> None:
        self.model.selected = None if self.model.selected == index else index

    def _click_room(self, place: int) -> None:
        rooms = self.model.ordered_rooms()
        if self.session is not None and place < len(rooms):
            self.session.start(self.session.enter, rooms[place].name)

    def _click_side(self, place: int) -> None:
        side = self.model.side
        if side is not None and place < len(side.rows):
            side.selected = place
            self.open_side_row()

    # -- what keys do: `keys.Controls`

    def show_keys(self) -> None:
        self.model.side = sides.table("Keys (Esc closes)", [(key.shown, key.help) for key in KEYS])

    def toggle_rooms(self) -> None:
        shows = self._cols >= WIDE_COLS if self._rooms_wanted is None else self._rooms_wanted
        self._rooms_wanted = not shows

    def send(self) -> None:
        line = self.input.edit.edit_text
        room, session = self.model.room, self.session
        if not line.strip():
            return
        if session is None:
            self.model.complain("not connected yet: what you typed is kept")
            return
        self.model.say("")
        if split_command(line) is not None:
            self._history.add(line)
            self._set_input("")
            self.command(line)
            return
        if room is None:
            self.model.complain("no room is open: /join ROOM or /create ROOM first")
            return
        body = with_emoji(said(line))
        if room.editing is not None:
            session.start(commands.edit, session, f"#{room.editing} {body}")
            room.editing = None
        elif not session.say(room, body, reply_to=room.reply_to, thread=room.thread):
            return
        room.reply_to = None
        self._history.add(line)
        self._set_input("")
        self.to_end()

    def break_line(self) -> None:
        self.input.edit.insert_text("\n")

    def complete(self) -> None:
        edit = self.input.edit
        names = [command.name for command in commands.COMMANDS]
        text, cursor = self._cycle.press(edit.edit_text, edit.edit_pos, self.model, names)
        edit.set_edit_text(shown(text))
        edit.set_edit_pos(min(cursor, len(edit.edit_text)))

    def recall(self, step: int) -> None:
        current = self.input.edit.edit_text
        self._set_input(self._history.up(current) if step < 0 else self._history.down(current))

    def select(self, step: int) -> None:
        self.model.select(step)
        if self.model.selected is not None:
            self.messages.reveal(self.model.selected)

    def scroll(self, pages: int) -> None:
        self._scroll_rows(-pages * self.messages.page())

    def _scroll_rows(self, rows: int) -> None:
        at_top = self.messages.scroll(rows)
        room = self.model.room
        if room is None or self.session is None:
            return
        if self.messages.follows:
            self.session.saw()
        elif at_top and rows > 0 and room.is_loaded:
            self.session.start(self.session.load_older, room)

    def to_end(self) -> None:
        self.messages.to_end()
        if self.session is not None:
            self.session.saw()

    def scroll_side(self, step: int) -> None:
        side = self.model.side
        if side is None:
            return
        places = [place for place, row in enumerate(side.rows) if row.room is not None and row.attribute != "dim"]
        if not places:
            self._side.scroll(step * self.messages.page())
        elif side.selected is None:
            side.selected = places[0 if step > 0 else -1]
        else:
            beyond = [place for place in places if (place - side.selected) * step > 0]
            side.selected = (beyond[0] if step > 0 else beyond[-1]) if beyond else side.selected

    def open_side_row(self) -> None:
        side, session = self.model.side, self.session
        if side is None or side.selected is None or session is None:
            return
        row = side.rows[side.selected]
        if row.room is not None:
            session.start(self._open, row.room, row.index)

    async def _open(self, room: str, index: int | None) -> None:
        session = self.session
        if session is None:
            return
        if room not in self.model.rooms:
            if index is None:
                await commands.join(session, f"#{room}")
                return
            await sides.around(session, room, index)
            return
        await session.enter(room)
        if index is not None:
            await commands.jump(session, str(index))
            if self.model.selected is not None:
                self.messages.reveal(self.model.selected)

    def go(self, step: int, *, unread: bool = False) -> None:
        name = self.model.next_room(step, unread=unread)
        if name is None:
            self.model.say("nothing is unread" if unread else "you are in no room: /join one")
        elif self.session is not None:
            self.session.start(self.session.enter, name)

    def reply_to_selected(self) -> None:
        room = self.model.room
        last = None if room is None else room.log.last()
        if room is not None and last is not None:
            room.reply_to = last.message.index if self.model.selected is None else self.model.selected
            room.editing = None

    def edit_selected(self) -> None:
        room = self.model.room
        if room is None:
            return
        selected = self.model.selected
        entry = room.log.last(mine=True) if selected is None else room.log.entry(selected)
        if entry is None or entry.message.author != self.model.me or entry.message.deleted_by is not None:
            self.model.complain("only what you said yourself can be edited")
            return
        room.editing, room.reply_to = entry.message.index, None
        self._set_input(entry.message.body)

    def command(self, line: str) -> None:
        typed, session = split_command(line), self.session
        if typed is None or session is None:
            return
        try:
            found = commands.find(typed.name)
        except BadCommand as error:
            self.model.complain(str(error))
            return
        session.start(self._run, found, typed.rest)

    async def _run(self, command: commands.Command, rest: str) -> None:
        if self.session is not None:
            before = self.model.selected
            await command.run(self.session, rest)
            if self.model.selected is not None and self.model.selected != before:
                self.messages.reveal(self.model.selected)

    def escape(self) -> None:
        room = self.model.room
        if room is not None and room.editing is not None:
            self._set_input("")
        self.model.say("")
        self.model.side = self.model.selected = None
        if room is not None:
            room.thread = room.reply_to = room.editing = None

    def redraw(self) -> None:
        self._on_redraw()

    def quit(self) -> None:
        self._on_quit()

    # -- asking

    async def ask(self, dialog: Dialog) -> Answered:
        """Show a dialog in the middle of the screen until it is answered."""
        self.dialog = dialog
        self._w.original_widget = dialog.over(self._frame)
        try:
            return await dialog.wait()
        finally:
            self.dialog = None
            self._w.original_widget = self._frame
