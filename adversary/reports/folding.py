"""Moments as rows of a picture: what one place sends to several is one arrow, and repeats are counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from adversary.attacks.outcome import Moment

FOLD_MS: Final = 400.0
"""What follows itself within this time is one arrow with several heads; later it is said again."""

VOTES: Final = frozenset({"PREPARE", "COMMIT", "CHECKPOINT", "VIEW-CHANGE", "REPLY"})
"""Messages that many send alike, so that those of several senders may share one arrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arrow, or one thing that becomes of places. `sources` and `to` in the order of the lanes.

    `count`: how many moments it stands for. `lost_to`: places that it was sent to and never reached.
    """

    at_ms: float
    last_ms: float
    what: str
    sources: tuple[str, ...]
    to: tuple[str, ...] = ()
    lost_to: tuple[str, ...] = ()
    view: int | None = None
    sequence: int | None = None
    digest: str = ""
    text: str = ""
    lie: bool = False
    count: int = 1
    rank: int = 0
    """How much it matters: 0 most."""

    @property
    def is_message(self) -> bool:
        return bool(self.to or self.lost_to)

    @property
    def repeats(self) -> int:
        """How often all of it was said."""
        heads = max(1, len(self.to) + len(self.lost_to)) * len(self.sources)
        return -(-self.count // heads)


def place_key(place: str) -> tuple[int, int, str]:
    """People first, then replicas by number, a twin (`replica 2 (copy)`) behind the first, then anything else."""
    kind, _, name = place.partition(" ")
    if kind == "client":
        return (0, 0, name)
    number, _, copy = name.partition(" ")
    if kind == "replica" and number.isdecimal():
        return (1, int(number), copy)
    return (2, 0, place)


def fold(ranked: Iterable[tuple[int, Moment]]) -> list[Row]:
    """Rows in the order of time. `ranked`: how much each moment matters, in the order of time."""
    rows: list[Row] = []
    alike: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for rank, moment in ranked:
        key = _key(moment)
        known = next((index for index in reversed(alike[key]) if _joins(rows[index], moment)), None)
        if known is not None:
            rows[known] = _joined(rows[known], moment, rank)
        else:
            alike[key].append(len(rows))
            rows.append(_row(moment, rank))
    return rows


def fold_senders(rows: Sequence[Row], kinds: frozenset[str]) -> list[Row]:
    """The same message of several senders as one row, at the time of the first."""
    out: list[Row] = []
    first: dict[tuple[object, ...], int] = {}
    for row in rows:
        key = (row.what, row.view, row.sequence, row.digest)
        known = first.get(key)
        if row.what in kinds and not row.lie and row.is_message:
            if known is not None and row.at_ms - out[known].at_ms <= FOLD_MS:
                out[known] = _together(out[known], row)
                continue
            first[key] = len(out)
        out.append(row)
    return out


def _key(moment: Moment) -> tuple[object, ...]:
    about = (moment.what, moment.view, moment.sequence, moment.digest, moment.lie)
    if moment.to:
        return (moment.source, *about)
    return about if moment.what in {"executes", "accepted"} else (*about, moment.text)


def _joins(row: Row, moment: Moment) -> bool:
    if moment.at_ms - row.at_ms <= FOLD_MS:
        return True
    # Said again to those who heard it: no news. Reached somebody else at last: another arrow.
    return bool(moment.to) and moment.to in row.to


def _row(moment: Moment, rank: int) -> Row:
    return Row(
        at_ms=moment.at_ms,
        last_ms=moment.at_ms,
        what=moment.what,
        sources=(moment.source,),
        to=(moment.to,) if moment.to and not moment.lost else (),
        lost_to=(moment.to,) if moment.to and moment.lost else (),
        view=moment.view,
        sequence=moment.sequence,
        digest=moment.digest,
        text=moment.text,
        lie=moment.lie,
        rank=rank,
    )


def _joined(row: Row, moment: Moment, rank: int) -> Row:
    to, lost_to = set(row.to), set(row.lost_to)
    if moment.to:
        (lost_to if moment.lost else to).add(moment.to)
    return replace(
        row,
        last_ms=moment.at_ms,
        sources=_ordered({*row.sources, moment.source}),
        to=_ordered(to),
        lost_to=_ordered(lost_to - to),
        count=row.count + 1,
        rank=min(row.rank, rank),
    )


def _together(one: Row, other: Row) -> Row:
    to = {*one.to, *other.to}
    return replace(
        one,
        last_ms=max(one.last_ms, other.last_ms),
        sources=_ordered({*one.sources, *other.sources}),
        to=_ordered(to),
        lost_to=_ordered({*one.lost_to, *other.lost_to} - to),
        count=one.count + other.count,
        rank=min(one.rank, other.rank),
    )


def _ordered(places: set[str]) -> tuple[str, ...]:
    return tuple(sorted(places, key=place_key))
