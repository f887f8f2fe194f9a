"""The picture: one line of life for each place, time from top to bottom. SVG without script, readable in grey."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from adversary.attacks.outcome import Outcome
from adversary.reports.captions import about, sentence, short, subject
from adversary.reports.choosing import ACCEPTED, BREAKS, CUT, EXECUTES, PROVES, WHOLE, Chosen
from adversary.reports.folding import Row
from adversary.reports.html import Child, Html, el
from adversary.reports.layout import GUTTER, Layout, Line, Span, lay_out
from adversary.reports.words import clock, happening, pause

TINTS: Final = 6
HEAD_TOP: Final = 10
NARROW: Final = 100.0
"""A column that has no room for the word replica."""
CHAR: Final = 7.1
"""Width of a character of a label: they are set in a face whose characters are all equally wide."""

ALARM: Final = "alarm"
_CULPRIT: Final = re.compile(r"replica (\d+)\b")


def tint(letter: str) -> str:
    """The class of a batch's colour; letters tell apart what colours cannot."""
    return f"t{(ord(letter[-1]) - ord('A')) % TINTS}"


def diagram(outcome: Outcome, chosen: Chosen) -> Html:
    layout = lay_out(chosen, outcome.replicas)
    drawing = _Drawing(outcome, chosen, layout)
    return el(
        "svg",
        drawing.everything(),
        viewBox=f"0 0 {layout.width:.0f} {layout.height:.0f}",
        width=layout.width,
        height=layout.height,
        role="img",
        aria_labelledby="diagram-title diagram-words",
        class_="diagram",
    )


class _Drawing:
    def __init__(self, outcome: Outcome, chosen: Chosen, layout: Layout) -> None:
        self._outcome = outcome
        self._chosen = chosen
        self._layout = layout
        self._faulty = {f"replica {number}{copy}" for number in outcome.faulty for copy in ("", " (copy)")}

    def everything(self) -> Iterator[Child]:
        yield el("title", f"What happened, {len(self._chosen.rows)} steps", id="diagram-title")
        yield el("desc", "The same is told in words below the picture.", id="diagram-words")
        yield _patterns()
        for lane in self._layout.lanes:
            yield self._life(lane)
        for span in self._layout.spans:
            yield self._span(span)
        for lane in self._layout.lanes:
            yield self._head(lane)
        for line in self._layout.lines:
            yield self._line(line)

    # -- lanes

    def _life(self, lane: str) -> Html:
        x = self._layout.x[lane]
        kind = "life faulty" if lane in self._faulty else "life"
        return el("line", x1=x, x2=x, y1=HEAD_TOP + 40, y2=self._layout.height - 8, class_=kind)

    def _head(self, lane: str) -> Html:
        x, wide = self._layout.x[lane], min(self._layout.lane_width - 10, 118)
        is_faulty, is_person = lane in self._faulty, not lane.startswith("replica ")
        kind = "head faulty" if is_faulty else "head person" if is_person else "head"
        name = lane.removeprefix("client ")
        if self._layout.lane_width < NARROW or "(" in lane:
            name = lane.removeprefix("replica ")
        small = "faulty" if is_faulty else "client" if is_person else "correct"
        return el(
            "g",
            el("rect", x=x - wide / 2, y=HEAD_TOP, width=wide, height=44, rx=9),
            el("text", _cut(name, wide), x=x, y=HEAD_TOP + 19, class_="name"),
            el("text", small, x=x, y=HEAD_TOP + 35, class_="role"),
            class_=kind,
        )

    def _span(self, span: Span) -> Html | None:
        x = self._layout.at(span.lane)
        if x is None:
            return None
        number = 0 if span.kind == "down" else int(span.kind.removeprefix("side "))
        kind = "down" if span.kind == "down" else f"side s{number % 2}"
        wide = 18 if span.kind == "down" else 12
        return el(
            "g",
            el("title", f"{span.lane}: {span.kind}"),
            el("rect", x=x - wide / 2, y=span.top, width=wide, height=max(4, span.bottom - span.top), rx=4),
            class_=kind,
        )

    # -- rows

    def _line(self, line: Line) -> Html:
        row = line.row
        parts: list[Child] = [self._pause(line), self._caption(line)]
        parts.append(el("text", clock(row.at_ms), x=GUTTER - 14, y=line.y + 4, class_="time"))
        drawn = self._arrow(line) if row.is_message else self._event(line)
        step = el("g", el("title", sentence(row, self._chosen.letters)), drawn, class_=self._kind(row))
        return el("g", parts, step)

    def _kind(self, row: Row) -> str:
        letter = self._chosen.letters.get(row.digest)
        return f"step {tint(letter) if letter else 'plain'}{' lie' if row.lie else ''}"

    def _pause(self, line: Line) -> Html | None:
        if not line.pause_ms:
            return None
        return el("text", pause(line.pause_ms), x=GUTTER - 14, y=line.pause_y, class_="pause")

    def _caption(self, line: Line) -> Html | None:
        if not line.caption:
            return None
        y, wide = line.caption_y, self._layout.width
        text = line.caption[:1].upper() + line.caption[1:]
        kind = "caption lie" if line.caption.startswith(("The lie", "The break")) else "caption"
        return el(
            "g",
            el("rect", x=4, y=y - 13, width=wide - 8, height=27, rx=7),
            el("text", text, x=18, y=y + 5),
            class_=kind,
        )

    def _arrow(self, line: Line) -> Iterator[Child]:
        layout, row, y = self._layout, line.row, line.y
        sources = [x for x in (layout.at(place) for place in row.sources) if x is not None]
        heads = [x for x in (layout.at(place) for place in row.to) if x is not None]
        lost = [x for x in (layout.at(place) for place in row.lost_to) if x is not None]
        if not sources or not heads + lost:
            return
        ends = sorted({*sources, *heads, *lost})
        yield el("line", x1=ends[0], x2=ends[-1], y1=y, y2=y, class_="wire")
        for x in sorted(set(heads) - set(sources) if len(sources) > 1 else set(heads)):
            yield _head_at(x, y, from_left=x > sources[0])
        for x in sorted(set(lost)):
            yield el("path", d=f"M{x - 5:.0f} {y - 5:.0f}l10 10m0 -10l-10 10", class_="cross")
        for x in sorted(set(sources)):
            yield el("circle", cx=x, cy=y, r=5, class_="from")
        yield self._label(row, sources[0], ends, y)

    def _label(self, row: Row, source: float, ends: list[float], y: float) -> Html:
        """Above the line, where it leaves its sender; on the longer side of it."""
        text = row.what + about_without_letter(row, self._chosen.letters)
        if row.repeats > 1:
            text += f" \N{MULTIPLICATION SIGN}{row.repeats}"
        letter = self._chosen.letters.get(row.digest, "")
        lie = "LIE" if row.lie else ""
        wide = len(text) * CHAR + (24 if letter else 0) + (36 if lie else 0) + 6
        to_right = ends[-1] - source >= source - ends[0]
        left = source + 9 if to_right else source - 9 - wide
        left = max(GUTTER - 6, min(left, self._layout.width - wide - 2))
        at = left + 3
        parts: list[Child] = [el("rect", x=left, y=y - 20, width=wide, height=16, rx=5, class_="under")]
        if lie:
            parts.append(el("rect", x=at, y=y - 19, width=30, height=14, rx=4, class_="badge"))
            parts.append(el("text", lie, x=at + 15, y=y - 8.5, class_="badge-text"))
            at += 36
        parts.append(el("text", text, x=at, y=y - 8, class_="label"))
        if letter:
            parts.append(_chip(letter, at + len(text) * CHAR + 12, y - 12))
        return el("g", parts)

    def _event(self, line: Line) -> Iterator[Child]:
        row = line.row
        places = [(place, self._layout.at(place)) for place in row.sources]
        known = sorted({x for _, x in places if x is not None})
        if not known or row.what == BREAKS:
            yield self._banner(line)
            return
        match row.what:
            case what if what == EXECUTES:
                letter = self._chosen.letters.get(row.digest, "")
                yield [_box(x, line.y, short(row.sequence or 0), letter) for x in known]
            case what if what == PROVES:
                yield [_seal(x, line.y, self._proof(row.text)) for x in known]
            case what if what == ACCEPTED:
                yield [_tick(x, line.y, f"{row.sequence}" if row.sequence is not None else "") for x in known]
            case _:
                text = _cut(_noted(row), self._layout.lane_width + 40)
                yield [_note(self._inside(x, text), line.y, text) for x in known]

    def _inside(self, x: float, text: str) -> float:
        """As near to its column as the picture has room for it."""
        half = len(text) * CHAR / 2 + 12
        return max(GUTTER + half - 6, min(x, self._layout.width - half))

    def _proof(self, text: str) -> str:
        """The code, and against whom if there is room."""
        code = text.split(" ", 1)[0][:12]
        culprit = _CULPRIT.search(text)
        has_room = self._layout.lane_width >= NARROW
        return f"{code} vs {culprit[1]}" if culprit is not None and has_room else code

    def _banner(self, line: Line) -> Html:
        row, wide = line.row, self._layout.width - GUTTER
        text = row.text if row.what == BREAKS else _of_all(row)
        return el(
            "g",
            el("rect", x=GUTTER - 4, y=line.y - 14, width=wide, height=26, rx=7),
            el("text", _cut(text, wide - 24), x=GUTTER + 10, y=line.y + 3.5),
            class_="banner breaks" if row.what == BREAKS else "banner",
        )


def _noted(row: Row) -> str:
    """Short, for a column: an alarm without its reasons, which the words have."""
    if row.what == ALARM:
        return f"alarm: {row.text.partition(':')[0]}"
    return f"{happening(row.what)} {row.text}".strip()


def _of_all(row: Row) -> str:
    match row.what:
        case what if what == CUT:
            return f"{row.text}: those who share no side do not hear each other"
        case what if what == WHOLE:
            return f"the network is whole again: {row.text}".removesuffix(": ")
        case _:
            text = f": {row.text}" if row.text else ""
            return f"{subject(row)} {happening(row.what, many=len(row.sources) > 1)}{text}"


def about_without_letter(row: Row, letters: dict[str, str]) -> str:
    letter = letters.get(row.digest)
    return about(row, letters).removesuffix(f" {letter}") if letter else about(row, letters)


def _head_at(x: float, y: float, *, from_left: bool) -> Html:
    tip = x - 1 if from_left else x + 1
    back = -10 if from_left else 10
    return el("path", d=f"M{tip:.0f} {y:.0f}l{back} -5v10z", class_="tip")


def _chip(letter: str, x: float, y: float) -> Html:
    return el(
        "g",
        el("rect", x=x - 9, y=y - 8, width=18, height=16, rx=5),
        el("text", letter, x=x, y=y + 4),
        class_=f"chip {tint(letter)}",
    )


def _box(x: float, y: float, place: str, letter: str) -> Html:
    return el(
        "g",
        el("rect", x=x - 26, y=y - 13, width=52, height=23, rx=6),
        el("text", f"{place} {letter}".strip(), x=x, y=y + 3.5),
        class_=f"box {tint(letter) if letter else 'plain'}",
    )


def _seal(x: float, y: float, code: str) -> Html:
    wide = 36 + len(code) * CHAR
    return el(
        "g",
        el("rect", x=x - wide / 2, y=y - 14, width=wide, height=25, rx=12),
        el("path", d=f"M{x - wide / 2 + 10:.1f} {y - 1.5:.1f}l3.5 4 6 -7", class_="tick"),
        el("text", code, x=x + 9, y=y + 3.5),
        class_="seal",
    )


def _tick(x: float, y: float, place: str) -> Html:
    text = f"seen {place}".strip()
    wide = 34 + len(text) * CHAR
    return el(
        "g",
        el("rect", x=x - wide / 2, y=y - 13, width=wide, height=23, rx=11),
        el("path", d=f"M{x - wide / 2 + 9:.1f} {y - 1.5:.1f}l3.5 4 6 -7", class_="tick"),
        el("text", text, x=x + 9, y=y + 3.5),
        class_="accepted",
    )


def _note(x: float, y: float, text: str) -> Html:
    wide = len(text) * CHAR + 20
    return el(
        "g",
        el("rect", x=x - wide / 2, y=y - 13, width=wide, height=23, rx=5),
        el("text", text, x=x, y=y + 3.5),
        class_="note",
    )


def _patterns() -> Html:
    """Stripes for those who are away, and for the sides of a cut network."""
    return el(
        "defs",
        [
            el(
                "pattern",
                el("line", x1=0, y1=0, x2=0, y2=8, class_=f"stripe {name}"),
                id=f"stripes-{name}",
                width=wide,
                height=8,
                patternUnits="userSpaceOnUse",
                patternTransform=f"rotate({angle})",
            )
            for name, wide, angle in (("down", 5, 45), ("s0", 6, 0), ("s1", 6, 90))
        ],
    )


def _cut(text: str, wide: float) -> str:
    most = max(3, int(wide / CHAR))
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
