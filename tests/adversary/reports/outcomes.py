"""Outcomes and moments written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adversary.attacks.model import AboveF, Attack, Expect
from adversary.attacks.outcome import Moment, Outcome
from adversary.simulator.scenario import Liar


def attack(**changes: Any) -> Attack:
    given: dict[str, Any] = {
        "number": 1,
        "name": "split_primary",
        "family": "primary",
        "title": "Two stories",
        "story": "It tells two.",
        "cast": (Liar(replica=0, strategy="split_primary"),),
        "expect": Expect(evidence=("E1",)),
        "above_f": AboveF(expect=Expect(live=False, breaks=("agreement",)), story="Now they are two."),
    }
    return Attack(**given | changes)


def outcome(*moments: Moment, **changes: Any) -> Outcome:
    given: dict[str, Any] = {
        "attack": attack(),
        "world": "simulator",
        "seed": 7,
        "replicas": 4,
        "above_f": False,
        "faulty": (0,),
        "safe": True,
        "live": True,
        "as_expected": True,
        "replay": "quorate attack run split_primary --seed 7",
        "moments": moments,
    }
    return Outcome(**given | changes)


def said(at_ms: float, what: str, source: int | str, *to: int | str, **about: Any) -> Iterator[Moment]:
    """One message to several. Numbers are replicas."""
    for number, each in enumerate(to):
        yield Moment(at_ms=at_ms + number / 10, source=place(source), to=place(each), what=what, **about)


def happens(at_ms: float, what: str, *places: int | str, **about: Any) -> Iterator[Moment]:
    for each in places:
        yield Moment(at_ms=at_ms, source=place(each), what=what, **about)


def place(who: int | str) -> str:
    return f"replica {who}" if isinstance(who, int) else f"client {who}"


def ordered(sequence: int, digest: str = "aa", *, at_ms: float = 0.0, view: int = 0) -> list[Moment]:
    """A batch's honest way through a group of four."""
    slot = {"view": view, "sequence": sequence, "digest": digest}
    primary = view % 4
    others = [replica for replica in range(4) if replica != primary]
    moments = [*said(at_ms, "PRE-PREPARE", primary, *others, **slot)]
    for me in others:
        moments += said(at_ms + 1, "PREPARE", me, *(r for r in range(4) if r != me), **slot)
    for me in range(4):
        moments += said(at_ms + 2, "COMMIT", me, *(r for r in range(4) if r != me), **slot)
    moments += happens(at_ms + 3, "executes", 0, 1, 2, 3, sequence=sequence, digest=digest)
    return moments


def split(sequence: int, *, at_ms: float = 0.0) -> list[Moment]:
    """Replica 0 proposes two batches; that of the majority wins, and the liar is caught."""
    slot: dict[str, Any] = {"view": 0, "sequence": sequence}
    return [
        *said(at_ms, "PRE-PREPARE", 0, 1, 2, **slot, digest="aa"),
        *said(at_ms + 0.5, "PRE-PREPARE", 0, 3, **slot, digest="bb", lie=True),
        *said(at_ms + 1, "PREPARE", 1, 0, 2, 3, **slot, digest="aa"),
        *said(at_ms + 1, "PREPARE", 2, 0, 1, 3, **slot, digest="aa"),
        *said(at_ms + 1, "PREPARE", 3, 0, 1, 2, **slot, digest="bb"),
        *happens(at_ms + 3, "executes", 0, 1, 2, 3, sequence=sequence, digest="aa"),
        *happens(at_ms + 4, "proves", 1, 2, 3, text="E1 against replica 0"),
    ]
