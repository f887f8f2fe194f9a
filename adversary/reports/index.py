"""The page over many outcomes: what was tried, what held, and where to read more."""

from __future__ import annotations

from collections.abc import Sequence

from adversary.attacks.model import FAMILIES
from adversary.attacks.outcome import Outcome
from adversary.reports.document import document
from adversary.reports.html import Html, el
from adversary.reports.naming import report_name
from adversary.reports.page import faulty_max


def index_page(outcomes: Sequence[Outcome]) -> Html:
    """In families, in the order of the catalogue, at f before above f."""
    ordered = sorted(outcomes, key=_order)
    good = sum(outcome.as_expected for outcome in ordered)
    families = [family for family in FAMILIES if any(outcome.attack.family == family for outcome in ordered)]
    others = sorted({outcome.attack.family for outcome in ordered} - set(FAMILIES))
    kind = "good" if good == len(ordered) else "bad"
    return document(
        "What Quorate survives",
        [
            el(
                "header",
                el("p", "Quorate \N{MIDDLE DOT} attacks", class_="eyebrow"),
                el("h1", "What Quorate survives, and what it cannot"),
                el(
                    "p",
                    "Each square is one run. Up to f faulty replicas of 3f + 1 the group must hold; "
                    "beyond, some attacks break it, and then the break must be noticed.",
                    class_="story",
                ),
            ),
            el(
                "section",
                el("h2", f"{good} of {len(ordered)} runs as expected", class_="said"),
                el("ol", [_square(outcome) for outcome in ordered], class_="squares"),
                class_=f"verdict {kind}",
            ),
            [_family(family, [o for o in ordered if o.attack.family == family]) for family in [*families, *others]],
        ],
    )


def _order(outcome: Outcome) -> tuple[int, str, bool, str, int, int]:
    attack = outcome.attack
    return attack.number or 1_000, attack.name, outcome.above_f, outcome.world, outcome.replicas, outcome.seed


def _square(outcome: Outcome) -> Html:
    above = "above f" if outcome.above_f else "at f"
    word = "as expected" if outcome.as_expected else "not as expected"
    kind = _kind(outcome)
    label = f"{outcome.attack.title}, {above}: {_ended(outcome)}, {word}"
    number = outcome.attack.number or "\N{MIDDLE DOT}"
    return el("li", el("a", number, href=report_name(outcome), class_=kind, title=label, aria_label=label))


def _kind(outcome: Outcome) -> str:
    if not outcome.as_expected:
        return "bad"
    return "good" if outcome.safe and outcome.live and not outcome.breaks else "warned"


def _family(family: str, outcomes: Sequence[Outcome]) -> Html:
    return el(
        "section",
        el("h2", family.capitalize()),
        el(
            "div",
            el(
                "table",
                el(
                    "thead",
                    el("tr", [el("th", name, scope="col") for name in ("#", "Attack", "Faulty", "Ended", "Proof")]),
                ),
                el("tbody", [_row(outcome) for outcome in outcomes]),
            ),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label=f"Attacks of the family {family}",
        ),
    )


def _row(outcome: Outcome) -> Html:
    f = faulty_max(outcome.replicas)
    codes = ", ".join(sorted({proof.code for proof in outcome.proofs}))
    why = None if outcome.as_expected else el("span", outcome.why_not or "not as expected", class_="why")
    return el(
        "tr",
        el("td", outcome.attack.number or ""),
        el(
            "td",
            el("a", outcome.attack.title, href=report_name(outcome)),
            " ",
            el("span", outcome.world, class_="quiet"),
        ),
        el("td", f"{len(outcome.faulty)} of {outcome.replicas}", el("span", f" f = {f}", class_="quiet")),
        el("td", el("span", _ended(outcome), class_=f"pill {_kind(outcome)}"), why),
        el("td", codes or "\N{EN DASH}"),
    )


def _ended(outcome: Outcome) -> str:
    if outcome.safe and outcome.live and not outcome.breaks:
        return "held"
    if outcome.breaks:
        return f"broke: {outcome.breaks}" if outcome.expect.breaks else f"broke unexpectedly: {outcome.breaks}"
    return "stood still" if outcome.safe else "broke"
