"""How a run ended, in tiles: each says what came, and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adversary.attacks.judging import is_expected
from adversary.attacks.model import OF_LIVENESS, Expect
from adversary.attacks.outcome import Outcome
from adversary.reports.html import Child, Html, el
from adversary.reports.words import LIVE, SAFE, broken, listed

SEEN_MAX: Final = 300
FLOOR: Final = "floor"
IN_A_ROW: Final = 4
TOO_MANY: Final = (
    "More replicas were faulty than any group of this size can bear, and the break was noticed and reported."
)


def verdict(outcome: Outcome) -> Html:
    expect = outcome.expect
    held = outcome.safe and outcome.live
    if not outcome.as_expected:
        kind, said = "bad", "Not as expected"
        more = outcome.why_not or "The run differs from what this attack should show."
    elif outcome.breaks:
        kind, said, more = "warned", "The group broke, as it must", TOO_MANY
        if outcome.breaks in OF_LIVENESS:
            said = (
                "People waited in vain, as they must" if not outcome.live else "People waited too long, as they must"
            )
    elif held:
        kind, said = "good", "The group held"
        more = "As expected: the faulty did their worst, and the chat went on, safe and whole."
    else:
        kind, said = "warned", "As expected"
        more = "The run ended as this attack should."
    tiles = list(_tiles(outcome, expect))
    return el(
        "section",
        el("h2", said, class_="said"),
        el("p", more),
        el("div", tiles, class_="tiles many" if len(tiles) > IN_A_ROW else "tiles"),
        class_=f"verdict {kind}",
        aria_label="Verdict",
    )


def _tiles(outcome: Outcome, expect: Expect) -> Iterator[Html]:
    yield _tile("Safe", outcome.safe, _yes(outcome.safe), SAFE[outcome.safe],
                _wanted(expect.must_be_safe))  # fmt: skip
    if outcome.safe:
        late = " Somebody waited too long for it: see the break." if outcome.live and outcome.breaks == FLOOR else ""
        yield _tile("Live", outcome.live and not late, _yes(outcome.live), LIVE[outcome.live] + late,
                    _wanted(expect.must_be_live))  # fmt: skip
    else:
        yield _tile("Live", expect.must_be_live is None, "not asked", "The run ended with the break.",
                    _wanted(expect.must_be_live))  # fmt: skip
    yield from _tile_of_waiting(outcome, expect)
    yield _tile_of_evidence(outcome, expect)
    if expect.culprits:
        named = sorted({*outcome.culprits} & {*outcome.faulty})
        yield _tile(
            "Named",
            len(named) >= expect.culprits,
            listed([f"{each}" for each in named]) or "nobody",
            "Replicas that proofs convict in the end, the ledgers of the correct replicas compared.",
            f"{expect.culprits} or more of the faulty",
        )
    if expect.marks and outcome.world == "simulator":
        yield _tile(
            "Took place",
            not outcome.missed,
            _yes(not outcome.missed),
            f"It did not come to: {listed(outcome.missed)}."
            if outcome.missed
            else "The run came by what makes it this attack.",
            listed(expect.marks),
        )
    if outcome.breaks or expect.breaks:
        rule: Child = "Nothing broke."
        if outcome.breaks:
            seen = el("span", "The checker noticed: ", outcome.breaks_text[:SEEN_MAX], class_="quiet")
            rule = [f"What should hold: {broken(outcome.breaks)}. ", seen]
        is_as_told = is_expected(expect.breaks, outcome.breaks, outcome.breaks_text)
        yield _tile("Break", is_as_told, outcome.breaks or "none", rule, _one_of(expect.breaks) or "none")


def _tile_of_waiting(outcome: Outcome, expect: Expect) -> Iterator[Html]:
    """In virtual time; how patient one is with real processes depends on the machine."""
    waited, allowed = outcome.figures.get("longest_wait_ms"), expect.wait_ms
    if not allowed or waited is None or outcome.world != "simulator":
        return
    must_break = FLOOR in expect.breaks
    yield _tile(
        "Longest wait",
        outcome.breaks != FLOOR and not must_break,
        f"{float(waited) / 1_000:.3g} s",
        "The longest that anybody waited for one thing to be accepted.",
        f"{'more than' if must_break else 'at most'} {allowed / 1_000:g} s",
    )


def _tile_of_evidence(outcome: Outcome, expect: Expect) -> Html:
    codes = sorted({proof.code for proof in outcome.proofs})
    wanted = _one_of(expect.evidence) or ("whatever names them" if expect.culprits else "none needed")
    told = (
        f"Signed proof against {_culprits(outcome)}: it convinces anybody who holds the group file."
        if codes
        else "Nobody is accused. Silence, delay and crashes prove nothing, and no honest replica is ever accused."
    )
    is_proven = not expect.evidence or bool({*codes} & {*expect.evidence})
    return _tile("Evidence", is_proven, ", ".join(codes) or "none", told, wanted)


def _wanted(wanted: bool | None) -> str:  # noqa: FBT001 - a word for it
    return "not asked" if wanted is None else _yes(wanted)


def _one_of(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def _yes(is_so: bool) -> str:  # noqa: FBT001 - a word for it
    return "yes" if is_so else "no"


def _tile(name: str, is_good: bool, value: str, text: Child, expected: str) -> Html:  # noqa: FBT001 - which of two
    return el(
        "div",
        el("p", name, class_="tile-name"),
        el("p", value, class_="tile-value"),
        el("p", text),
        el("p", "Expected: ", expected, class_="tile-expected"),
        class_=f"tile {'good' if is_good else 'bad'}",
    )


def _culprits(outcome: Outcome) -> str:
    replicas = sorted({proof.culprit for proof in outcome.proofs if isinstance(proof.culprit, int)})
    people = sorted({proof.culprit for proof in outcome.proofs if isinstance(proof.culprit, str)})
    return listed([*(f"replica {each}" for each in replicas), *(f"the device {each[:12]}" for each in people)])
