"""The page of one outcome: what was tried, how it ended, what happened, who is proven guilty, how to do it again."""

from __future__ import annotations

import re

from adversary.attacks.model import AboveF, Attack
from adversary.attacks.outcome import FORENSICS, Outcome, Proof
from adversary.reports.captions import captioned, sentence
from adversary.reports.choosing import Chosen, choose
from adversary.reports.diagram import diagram, tint
from adversary.reports.document import document
from adversary.reports.html import Child, Html, el
from adversary.reports.verdict import verdict
from adversary.reports.words import SHORT, WORLDS, explained, figure, listed
from adversary.simulator.scenario import Damage, Fault, Partition, Route
from pbft.core.group import REPLICAS_MIN


def page(outcome: Outcome) -> Html:
    """The whole page. The same outcome gives the same bytes."""
    chosen = choose(outcome.moments, outcome.faulty)
    return document(
        f"{outcome.attack.title} \N{EN DASH} Quorate",
        [
            _header(outcome),
            verdict(outcome),
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


# -- cast


def _cast(outcome: Outcome) -> Html:
    roles = _roles(outcome)
    return el(
        "section",
        el("h2", "Who is who"),
        el("p", _borne(outcome), " This ran ", WORLDS.get(outcome.world, outcome.world), "."),
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


def _borne(outcome: Outcome) -> str:
    """How many are faulty, and how many the group bears. Of those who fail without lying, more cost time only."""
    size, f, faulty = outcome.replicas, faulty_max(outcome.replicas), len(outcome.faulty)
    lying = len({liar.replica for liar in _plan(outcome).cast} & {*outcome.faulty})
    said = f"{faulty or 'None'} of {size} {'are' if faulty > 1 else 'is'} faulty."
    if faulty <= f:
        return f"{said} A group of {size} bears {f}."
    if outcome.above_f:
        return f"{said} A group of {size} bears {f}: nothing is promised."
    fail = "fail" if faulty - lying > 1 else "fails"
    return (
        f"{said} The adversary plays {lying or 'none'} of them, and {faulty - lying} only {fail} for a while: "
        f"a group of {size} bears {f} that may say anything; "
        "what others miss costs time alone."
    )


def _plan(outcome: Outcome) -> Attack | AboveF:
    attack = outcome.attack
    return attack.above_f if outcome.above_f and attack.above_f is not None else attack


def _roles(outcome: Outcome) -> dict[int, list[str]]:
    plan = _plan(outcome)
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
        el("p", _held(proof), class_="quiet"),
        class_="proof",
    )


def _held(proof: Proof) -> str:
    if proof.held_by == (FORENSICS,):
        return "Found by comparing the ledgers of the correct replicas: none of them knew it alone."
    return f"Held by {listed(proof.held_by) or 'nobody'}."


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
