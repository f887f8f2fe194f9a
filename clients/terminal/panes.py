"""What the screen is made of: the messages, lists beside them, and the line that is typed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, TypeAlias, cast

import urwid

from clients.terminal import markup
from clients.terminal.lines import Pending, Shown
from clients.terminal.markup import Markup
from clients.terminal.model import Model, RoomState

LEFT_CELLS = 8
"""For time and mark."""
INPUT_ROWS_MAX = 6
WHEEL_ROWS = 3
KEPT_CANVASES = 600
_PENDING_EVENT = 2**62
Click = Callable[[int], None]
Size: TypeAlias = tuple[()] | tuple[int] | tuple[int, int]
"""As urwid hands it on: nothing, columns, or columns and rows."""


def box(size: Size) -> tuple[int, int]:
    """Return columns and rows of a widget that is given both."""
    return cast("tuple[int, int]", size)


def flow(size: Size) -> tuple[int]:
    """Return the columns of a widget that has as many rows as it needs."""
    return cast("tuple[int]", size)


def text_of(parts: Markup, wrap: str = "space") -> urwid.Text:
    """A widget of markup; none of its texts is empty."""
    return urwid.Text([part for part in parts if part[1]], wrap=wrap)  # type: ignore[arg-type]


def stacked(canvases: Sequence[urwid.Canvas], cols: int, rows: int, *, cut_top: int, at_bottom: bool) -> urwid.Canvas:
    """Canvases one below the other, without the first `cut_top` rows, in just so many rows."""
    if not canvases:
        return urwid.SolidCanvas(" ", cols, rows)
    combined = urwid.CompositeCanvas(urwid.CanvasCombine([(canvas, None, False) for canvas in canvases]))
    have = combined.rows() - cut_top
    if cut_top or have > rows:
        combined.trim(cut_top, min(rows, have))
    if have < rows:
        spare = rows - have
        combined.pad_trim_top_bottom(spare if at_bottom else 0, 0 if at_bottom else spare)
    return combined


class MessagePane(urwid.Widget):
    """The open room's log. Follows its end, or stays where it was scrolled to while more comes in."""

    _sizing = frozenset([urwid.BOX])
    no_cache = ["render"]  # noqa: RUF012 - urwid's own name and form

    def __init__(self, model: Model, *, zone: tzinfo | None, on_click: Click) -> None:
        super().__init__()
        self._model = model
        self._zone = zone
        self._on_click = on_click
        self._room: RoomState | None = None
        self._anchor: tuple[int, int] | None = None
        """The event of the lowest line, and how many of its rows are below the edge; None to follow the end."""
        self._size = (80, 20)
        self._rows: list[int | None] = []
        """The message that each row of the screen belongs to."""
        self._canvases: OrderedDict[tuple[object, ...], tuple[urwid.Canvas, Shown, Shown | None]] = OrderedDict()
        """With the lines themselves: while they are kept, no others have their identities."""

    @property
    def follows(self) -> bool:
        return self._anchor is None

    def to_end(self) -> None:
        self._anchor = None
        if self._room is not None:
            self._room.log.held = False

    def render(self, size: Size, focus: bool = False) -> urwid.Canvas:  # noqa: ARG002, FBT001, FBT002 - urwid's
        cols, rows = self._size = box(size)
        self._change_room()
        shown, bottom, cut = self._position()
        canvases: list[urwid.Canvas] = []
        owners: list[int | None] = []
        have, place = -cut, bottom
        while place >= 0 and have < rows:
            canvas, index = self._canvas(shown, place, cols)
            canvases.append(canvas)
            owners[:0] = [index] * canvas.rows()
            have += canvas.rows()
            place -= 1
        canvases.reverse()
        if cut and owners:
            del owners[-cut:]
        spare = rows - len(owners)
        nobody: list[int | None] = [None] * max(0, spare)
        self._rows = nobody + owners[-rows:]
        if not canvases:
            return urwid.SolidCanvas(" ", cols, rows)
        whole = urwid.CompositeCanvas(urwid.CanvasCombine([(canvas, None, False) for canvas in canvases]))
        if cut:
            whole.trim(0, whole.rows() - cut)
        return stacked([whole], cols, rows, cut_top=max(0, whole.rows() - rows), at_bottom=True)

    def _change_room(self) -> None:
        room = self._model.room
        if room is not self._room:
            self._room = room
            self._anchor = None
            self._canvases.clear()

    def _position(self) -> tuple[Sequence[Shown], int, int]:
        """Return the lines, the place of the lowest one on the screen, and how many of its rows are below it."""
        shown: Sequence[Shown] = [] if self._room is None else self._room.log.shown
        last = len(shown) - 1
        if self._anchor is None or self._room is None or last < 0:
            return shown, last, 0
        event, cut = self._anchor
        place = min(self._room.log.place(event), last)
        return shown, place, min(cut, max(0, self._canvas(shown, place, self._size[0])[0].rows() - 1))

    def _canvas(self, shown: Sequence[Shown], place: int, cols: int) -> tuple[urwid.Canvas, int | None]:
        room = self._room
        if room is None:
            raise RuntimeError("a line is drawn in its room")
        line, before = shown[place], shown[place - 1] if place else None
        index = None if isinstance(line, Pending) else getattr(getattr(line, "message", None), "index", None)
        selected = index is not None and index == self._model.selected
        reply = getattr(getattr(line, "message", line), "reply_to", None)
        answered = None if reply is None else room.log.entry(reply)
        key = (
            id(line),
            line.version,
            id(before),
            None if answered is None else answered.version,
            room.unread_from,
            selected,
            cols,
        )
        kept = self._canvases.get(key)
        if kept is not None:
            canvas = kept[0]
        else:
            block = markup.block_of(room, line, before, self._model.me, self._zone)
            canvas = _block_canvas(block, cols, selected=selected)
            self._canvases[key] = canvas, line, before
            if len(self._canvases) > KEPT_CANVASES:
                self._canvases.popitem(last=False)
        return canvas, index

    # -- moving

    def scroll(self, rows: int) -> bool:
        """Go up by so many rows, or down by a negative number. Returns whether the top is on the screen."""
        self._change_room()
        cols, height = self._size
        shown, place, cut = self._position()
        if self._room is None or place < 0:
            return True
        last = len(shown) - 1

        def rows_at(where: int) -> int:
            return self._canvas(shown, where, cols)[0].rows()

        place, cut = _moved(place, cut + rows, last, rows_at)
        have, above = -cut, place
        while above >= 0 and have < height:
            have += rows_at(above)
            above -= 1
        if have < height:
            place, cut = _moved(place, cut - (height - have), last, rows_at)
        if cut <= 0 and place >= last:
            self.to_end()
        else:
            line = shown[place]
            self._anchor = (_PENDING_EVENT if isinstance(line, Pending) else line.event, max(0, cut))
            self._room.log.held = True
        return above < 0

    def page(self) -> int:
        return max(1, self._size[1] - 2)

    def reveal(self, index: int) -> None:
        """Scroll so that the message is on the screen."""
        self._change_room()
        entry = None if self._room is None else self._room.log.entry(index)
        if self._room is not None and entry is not None and index not in self._rows:
            self._anchor = (entry.event, 0)
            self._room.log.held = True

    def mouse_event(  # noqa: PLR0917 - urwid's
        self,
        size: Size,  # noqa: ARG002 - urwid's
        event: str,
        button: int,
        col: int,  # noqa: ARG002 - urwid's
        row: int,
        focus: bool,  # noqa: ARG002, FBT001 - urwid's
    ) -> bool:
        if not event.startswith("mouse press") or button != 1:
            return False
        if row < len(self._rows) and self._rows[row] is not None:
            self._on_click(self._rows[row] or 0)
        return True


def _moved(place: int, cut: int, last: int, rows_at: Callable[[int], int]) -> tuple[int, int]:
    """Return the same position with `cut` within its line, as far as there are lines."""
    while place > 0 and cut >= rows_at(place):
        cut -= rows_at(place)
        place -= 1
    while cut < 0 and place < last:
        place += 1
        cut += rows_at(place)
    return place, cut


def _block_canvas(block: markup.Block, cols: int, *, selected: bool) -> urwid.Canvas:
    left: Markup = []
    for attribute, text in block.left:
        left += [(attribute, text), ("body", " ")]
    line: urwid.Widget = urwid.Columns([(LEFT_CELLS, text_of(left, "clip")), text_of(block.body)])
    if selected:
        line = urwid.AttrMap(line, dict.fromkeys([None, *sorted(_names(block))], "selected"))
    rows: list[Any] = []
    for attribute, text in block.above:
        rows.append(urwid.Text((attribute, f"── {text} ".ljust(cols, "─")), wrap="clip"))
    return urwid.Pile([*rows, line]).render((cols,))


def _names(block: markup.Block) -> set[str]:
    return {attribute for attribute, _ in (*block.left, *block.body)} | {"body"}


class ListPane(urwid.Widget):
    """Rows of markup, of which the selected one is always on the screen."""

    _sizing = frozenset([urwid.BOX])
    no_cache = ["render"]  # noqa: RUF012 - urwid's own name and form

    def __init__(
        self, rows: Callable[[], tuple[Sequence[Markup], int | None]], *, wrap: str, on_click: Click
    ) -> None:
        """`rows`: called for every drawing; also says which row is selected."""
        super().__init__()
        self._content = rows
        self._wrap = wrap
        self._on_click = on_click
        self._first = 0
        self._rows: list[int] = []

    def render(self, size: Size, focus: bool = False) -> urwid.Canvas:  # noqa: ARG002, FBT001, FBT002 - urwid's
        cols, rows = box(size)
        content, selected = self._content()
        self._first = max(0, min(self._first, len(content) - 1))
        if selected is not None and selected < self._first:
            self._first = selected
        while True:
            canvases: list[urwid.Canvas] = []
            self._rows = []
            place = self._first
            while place < len(content) and len(self._rows) < rows:
                canvas = text_of(content[place] or [("body", " ")], self._wrap).render((cols,))
                canvases.append(canvas)
                self._rows += [place] * canvas.rows()
                place += 1
            if selected is None or self._first >= selected or selected in self._rows[:rows]:
                break
            self._first = min(selected, max(self._first + 1, selected - rows + 1))
        return stacked(canvases, cols, rows, cut_top=0, at_bottom=False)

    def scroll(self, step: int) -> None:
        self._first = max(0, self._first + step)

    def mouse_event(  # noqa: PLR0917 - urwid's
        self,
        size: Size,  # noqa: ARG002 - urwid's
        event: str,
        button: int,
        col: int,  # noqa: ARG002 - urwid's
        row: int,
        focus: bool,  # noqa: ARG002, FBT001 - urwid's
    ) -> bool:
        if event.startswith("mouse press") and button in (4, 5):
            self.scroll(-WHEEL_ROWS if button == 4 else WHEEL_ROWS)
            return True
        if event.startswith("mouse press") and button == 1 and row < len(self._rows):
            self._on_click(self._rows[row])
            return True
        return False


class InputBox(urwid.WidgetWrap):  # type: ignore[type-arg]
    """The line that is typed, of which at most INPUT_ROWS_MAX rows are shown: those around the cursor."""

    def __init__(self) -> None:
        self.edit = urwid.Edit(multiline=True)
        super().__init__(self.edit)

    def rows(self, size: Size, focus: bool = False) -> int:  # noqa: FBT001, FBT002 - urwid's
        return min(INPUT_ROWS_MAX, self.edit.rows(flow(size), focus))

    def render(self, size: Size, focus: bool = False) -> urwid.Canvas:  # noqa: FBT001, FBT002 - urwid's
        canvas = urwid.CompositeCanvas(self.edit.render(flow(size), focus))
        if canvas.rows() > INPUT_ROWS_MAX:
            canvas.trim(self._above(size), INPUT_ROWS_MAX)
        return canvas

    def get_cursor_coords(self, size: Size) -> tuple[int, int]:
        col, row = self._cursor(size)
        return col, row - self._above(size)

    def _cursor(self, size: Size) -> tuple[int, int]:
        found = self.edit.get_cursor_coords(flow(size))
        return (0, 0) if found is None else found

    def _above(self, size: Size) -> int:
        rows = self.edit.rows(flow(size), True)  # noqa: FBT003 - urwid's
        return max(0, min(rows - INPUT_ROWS_MAX, self._cursor(size)[1] - INPUT_ROWS_MAX + 1))
