"""The page of one outcome: what was tried, how it ended, what happened, who is proven guilty, how to do it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from adversary.attacks.model import OF_LIVENESS, Expect
from adversary.attacks.outcome import Outcome, Proof
from adversary.reports.captions import captioned, sentence
from adversary.reports.choosing import Chosen, choose
from adversary.reports.diagram import diagram, tint
from adversary.reports.document import document
from adversary.reports.html import Child, Html, el
from adversary.reports.words import LIVE, SAFE, SHORT, WORLDS, broken, explained, figure, listed
from adversary.simulator.scenario import Damage, Fault, Partition, Route
from pbft.core.group import REPLICAS_MIN

SEEN_MAX: Final = 300
TOO_MANY: Final = (
    "More replicas were faulty than any group of this size can bear, and the break was noticed and reported."
)


def page(outcome: Outcome) -> Html:
    """The whole page. The same outcome gives the same bytes."""
    chosen = choose(outcome.moments, outcome.faulty)
    return document(
        f"{outcome.attack.title} \N{EN DASH} Quorate",
        [
            _header(outcome),
            _verdict(outcome),
            _cast(outcome),
            _picture(outcome, chosen),
            _proofs(outcome),
            _figures(outcome),
            _replay(outcome),
        ],
    )


def faulty_max(replicas: int) -> int:
    """As in `Group`: f."""
    return max(0, (replicas - 1) // (REPLICAS_MIN - 1))


def _header(outcome: Outcome) -> Html:
    attack = outcome.attack
    story = attack.above_f.story if outcome.above_f and attack.above_f else ""
    number = f"Attack {attack.number} of Quorate's catalogue" if attack.number else "An attack on Quorate"
    return el(
        "header",
        el("p", number, " \N{MIDDLE DOT} ", attack.family, class_="eyebrow"),
        el("h1", attack.title),
        [el("p", paragraph, class_="story") for paragraph in _paragraphs(attack.story)],
        [el("p", paragraph, class_="story above") for paragraph in _paragraphs(story)],
    )


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


# -- verdict


def _verdict(outcome: Outcome) -> Html:
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
    return el(
        "section",
        el("h2", said, class_="said"),
        el("p", more),
        el("div", list(_tiles(outcome, expect)), class_="tiles"),
        class_=f"verdict {kind}",
        aria_label="Verdict",
    )


def _tiles(outcome: Outcome, expect: Expect) -> Iterator[Html]:
    kinds = {each.partition(":")[0] for each in expect.breaks}
    is_halt = "progress" in kinds
    yield _tile("Safe", outcome.safe, _yes(outcome.safe), SAFE[outcome.safe], "no" if kinds - OF_LIVENESS else "yes")
    if outcome.safe:
        live_expected = "no" if is_halt or not expect.live else "yes"
        yield _tile("Live", outcome.live, _yes(outcome.live), LIVE[outcome.live], live_expected)
    else:
        yield _tile("Live", True, "not asked", "The run ended with the break.", "nothing")  # noqa: FBT003
    codes = sorted({proof.code for proof in outcome.proofs})
    wanted = _one_of(expect.evidence) if expect.evidence else "none needed"
    is_proven = not expect.evidence or bool(set(codes) & set(expect.evidence))
    told = (
        f"Signed proof against {_culprits(outcome)}: it convinces anybody who holds the group file."
        if codes
        else "Nobody is accused. Silence, delay and crashes prove nothing, and no honest replica is ever accused."
    )
    yield _tile("Evidence", is_proven, ", ".join(codes) or "none", told, wanted)
    if outcome.breaks or expect.breaks:
        said = f"{outcome.breaks}: {outcome.breaks_text}"
        rule: Child = "Nothing broke."
        if outcome.breaks:
            seen = el("span", "Seen: ", outcome.breaks_text[:SEEN_MAX], class_="quiet")
            rule = [f"What should hold: {broken(outcome.breaks)}. ", seen]
        is_expected = any(said.startswith(each) for each in expect.breaks)
        yield _tile("Break", is_expected, outcome.breaks or "none", rule, _one_of(expect.breaks) or "none")


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


# -- cast


def _cast(outcome: Outcome) -> Html:
    f, faulty = faulty_max(outcome.replicas), len(outcome.faulty)
    said = f"{faulty} of {outcome.replicas} are faulty. A group of {outcome.replicas} bears {f}"
    said += ": nothing is promised." if faulty > f else "."
    roles = _roles(outcome)
    return el(
        "section",
        el("h2", "Who is who"),
        el("p", said, " This ran ", WORLDS.get(outcome.world, outcome.world), "."),
        el(
            "ul",
            [
                el(
                    "li",
                    el("span", number, class_="face", aria_hidden="true"),
                    el("span", f"replica {number}: ", class_="quiet"),
                    ", ".join(roles.get(number, [])) or ("faulty" if number in outcome.faulty else "correct"),
                    class_="faulty" if number in outcome.faulty else "correct",
                )
                for number in range(outcome.replicas)
            ],
            class_="faces",
        ),
    )


def _roles(outcome: Outcome) -> dict[int, list[str]]:
    attack = outcome.attack
    plan = attack.above_f if outcome.above_f and attack.above_f is not None else attack
    roles: dict[int, list[str]] = {}
    faulty = set(outcome.faulty)
    for liar in plan.cast:
        roles.setdefault(liar.replica, []).append(liar.strategy.replace("_", " "))
    for fault in plan.happens:
        if isinstance(fault, Partition | Route):
            continue
        name = fault.what.replace("_", " ") if isinstance(fault, Damage) else _spoken(type(fault).__name__)
        for replica in sorted(faulty & _concerned(fault)):
            said = roles.setdefault(replica, [])
            if name not in said:
                said.append(name)
    return roles


def _concerned(fault: Fault) -> set[int]:
    """Replicas that a fault is about; one that chooses its victims as it goes names none."""
    named = getattr(fault, "replicas", None)
    return set(named) if named else {getattr(fault, "replica", -1)}


def _spoken(name: str) -> str:
    """`DiskFull`: disk full."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


# -- picture


def _picture(outcome: Outcome, chosen: Chosen) -> Html | None:
    if not chosen.rows:
        return None
    return el(
        "section",
        el("h2", "What happened"),
        el(
            "p",
            "Time runs downwards, each column is a replica. A message goes from the round dot to the arrowheads. "
            "Batches that are the same have the same letter and colour.",
        ),
        el("div", diagram(outcome, chosen), class_="scroll", tabindex="0", role="region", aria_label="Diagram"),
        _legend(chosen),
        el("p", _left_out(outcome, chosen), class_="quiet"),
        _in_words(chosen),
    )


def _legend(chosen: Chosen) -> Html:
    kinds = sorted({row.what for row in chosen.rows if row.what in SHORT}, key=list(SHORT).index)
    keys: list[Child] = [
        _key("key-lie", "LIE", "dashed and red: no correct replica would send this"),
        _key("key-honest", "", "solid: an honest message, in the colour of what it is about"),
        _key("key-lost", "\N{MULTIPLICATION SIGN}", "lost on the way"),
        _key("key-executes", "7 A", "executes the batch at this place of the order"),
        _key("key-proof", "E1", "holds proof against a liar"),
        _key("key-down", "", "striped: not running, or cut off"),
    ]
    return el(
        "details",
        el("summary", "Legend"),
        el("ul", keys, class_="keys"),
        el("dl", [[el("dt", kind), el("dd", SHORT[kind])] for kind in kinds], class_="kinds"),
        _batches(chosen),
        open="open",
    )


def _key(kind: str, sample: str, text: str) -> Html:
    return el("li", el("span", sample, class_=f"key {kind}", aria_hidden="true"), el("span", text))


def _batches(chosen: Chosen) -> Html | None:
    if not chosen.letters:
        return None
    return el(
        "p",
        "Letters stand for digests: ",
        [
            [el("span", letter, class_=f"letter {tint(letter)}"), " ", el("code", digest), " "]
            for digest, letter in chosen.letters.items()
        ],
        class_="quiet letters",
    )


def _left_out(outcome: Outcome, chosen: Chosen) -> str:
    if not chosen.messages and outcome.world == "live":
        return (
            "Between real processes messages are not recorded: the picture shows what was done, and what came of it."
        )
    most = [f"{count:,} {what}" for what, count in list(chosen.left_out.items())[:5]]
    rest = sum(list(chosen.left_out.values())[5:])
    if rest:
        most.append(f"{rest:,} others")
    said = f"Shown: {chosen.messages_shown:,} of {chosen.messages:,} recorded messages, the decisive ones."
    if most:
        said += f" Left out: {listed(most)}."
    if outcome.moments and chosen.focus.sequence is not None:
        said += f" The picture follows place {chosen.focus.sequence} of the order."
    return said


def _in_words(chosen: Chosen) -> Html:
    items: list[Child] = []
    for caption, row in captioned(chosen):
        if caption:
            items.append(el("li", el("strong", caption[:1].upper() + caption[1:]), class_="heading"))
        items.append(el("li", sentence(row, chosen.letters), class_="lie" if row.lie else None))
    return el("details", el("summary", "The same in words"), el("ol", items, class_="words"))


# -- proofs, figures, replay


def _proofs(outcome: Outcome) -> Html:
    items = [_proof(proof) for proof in outcome.proofs]
    if not items:
        items = [
            el(
                "p",
                "Nobody is accused in this run. What a replica does not say, or says late, is no proof of anything: "
                "its network may be to blame. Proof is what a replica signed, twice over or falsely.",
            )
        ]
    named = sorted(set(outcome.culprits))
    said = (
        f"Named in the end: {listed([f'replica {each}' for each in named])}."
        if named
        else "Named in the end: nobody."
    )
    return el("section", el("h2", "The chain of proof"), items, el("p", said, class_="named"))


def _proof(proof: Proof) -> Html:
    what = explained(proof.code)
    culprit = f"replica {proof.culprit}" if isinstance(proof.culprit, int) else f"device {proof.culprit[:16]}"
    return el(
        "article",
        el("h3", el("span", proof.code, class_="code"), " ", what.name, ", by ", culprit),
        el("p", what.held),
        el("p", el("strong", "Why this convicts. "), what.why) if what.why else None,
        el("p", "Held by ", listed(proof.held_by) or "nobody", ".", class_="quiet"),
        class_="proof",
    )


def _figures(outcome: Outcome) -> Html | None:
    if not outcome.figures:
        return None
    rows = [figure(name, value) for name, value in outcome.figures.items()]
    return el(
        "section",
        el("h2", "In figures"),
        el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in rows], class_="figures"),
    )


def _replay(outcome: Outcome) -> Html:
    again = (
        "It does the same again, message by message."
        if outcome.world == "simulator"
        else "With real processes no two runs are the same; the plan is."
    )
    return el(
        "section",
        el("h2", "Do it again"),
        el("pre", el("code", outcome.replay), tabindex="0") if outcome.replay else None,
        el("p", f"Seed {outcome.seed}, {outcome.replicas} replicas. ", again),
    )
