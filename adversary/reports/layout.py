"""Where everything of the picture stands: columns for places, lines for rows, and how long somebody was away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from adversary.reports.captions import captioned
from adversary.reports.choosing import CUT, DOWN, UP, WHOLE, Chosen, lanes_of
from adversary.reports.folding import Row

PEOPLE: Final = "people"
PEOPLE_LANES_MAX: Final = 2
LANES_WITH_PEOPLE_MAX: Final = 8
WIDTH: Final = 950.0
"""What a page of a desk shows without scrolling: columns share it, but none is narrower than its head."""
LANE_MAX: Final = 148.0
LANE_MIN: Final = 62.0
GUTTER: Final = 78
HEAD: Final = 84
ROW: Final = 36
CAPTION: Final = 46
PAUSE: Final = 24
PAUSE_FROM_MS: Final = 50.0
FOOT: Final = 22


@dataclass(frozen=True, slots=True)
class Line:
    """A row and how far down it stands. `pause_ms`: how long nothing of interest happened before it."""

    row: Row
    y: float
    caption: str
    caption_y: float
    pause_ms: float
    pause_y: float


@dataclass(frozen=True, slots=True)
class Span:
    """A lane that is away (`kind` is `down`), or on one side of a cut network (`side 0`, `side 1`, ...)."""

    lane: str
    kind: str
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Layout:
    lanes: tuple[str, ...]
    x: dict[str, float]
    lines: tuple[Line, ...]
    spans: tuple[Span, ...]
    width: float
    height: float
    lane_width: float

    def at(self, place: str) -> float | None:
        """The column of a place: several people may share one."""
        if place in self.x:
            return self.x[place]
        return self.x.get(PEOPLE) if place.startswith("client ") else None


def lay_out(chosen: Chosen, replicas: int) -> Layout:
    lanes = lanes_of(chosen.rows, replicas)
    people = [lane for lane in lanes if lane.startswith("client ")]
    if len(people) > PEOPLE_LANES_MAX or (len(people) > 1 and len(lanes) > LANES_WITH_PEOPLE_MAX):
        lanes = (PEOPLE, *(lane for lane in lanes if not lane.startswith("client ")))
    wide = max(LANE_MIN, min(LANE_MAX, (WIDTH - GUTTER) / max(1, len(lanes))))
    x = {lane: GUTTER + wide * (index + 0.5) for index, lane in enumerate(lanes)}
    lines, bottom = _lines(chosen)
    spans = tuple(_spans(lines, bottom))
    return Layout(lanes, x, tuple(lines), spans, GUTTER + wide * len(lanes), bottom + FOOT, wide)


def _lines(chosen: Chosen) -> tuple[list[Line], float]:
    lines: list[Line] = []
    y = float(HEAD)
    before: float | None = None
    for caption, row in captioned(chosen):
        pause_ms = 0.0 if before is None or row.at_ms - before < PAUSE_FROM_MS else row.at_ms - before
        pause_y = y
        if pause_ms:
            y += PAUSE
            pause_y = y - PAUSE / 2 + 4
        caption_y = y
        if caption:
            y += CAPTION
            caption_y = y - CAPTION / 2 + 4
        y += ROW
        lines.append(Line(row, y - 12, caption, caption_y, pause_ms, pause_y))
        before = max(before or 0.0, row.at_ms)
    return lines, y


def _spans(lines: list[Line], bottom: float) -> Iterator[Span]:
    down: dict[str, float] = {}
    sides: list[tuple[str, float, int]] = []
    for line in lines:
        row = line.row
        if row.what in DOWN:
            for place in row.sources:
                down.setdefault(place, line.y)
        elif row.what in UP:
            for place in row.sources:
                if place in down:
                    yield Span(place, "down", down.pop(place), line.y)
        elif row.what == CUT:
            parts = _sides(row.text)
            sides = [
                (lane, line.y, number)
                for number, side in enumerate(parts)
                for lane in side
                if sum(lane in part for part in parts) == 1
            ]
        elif row.what == WHOLE:
            yield from (Span(lane, f"side {number}", top, line.y) for lane, top, number in sides)
            sides = []
    yield from (Span(lane, "down", top, bottom) for lane, top in down.items())
    yield from (Span(lane, f"side {number}", top, bottom) for lane, top, number in sides)


def _sides(text: str) -> list[list[str]]:
    """`0 1 | 2 3`: who hears whom."""
    parts = [part.replace(",", " ").split() for part in text.split("|")]
    return [[f"replica {word}" for word in part if word.isdecimal()] for part in parts if part]
