"""Attacks and outcomes as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import fill

from adversary.attacks.model import Attack, Expect
from adversary.attacks.outcome import FORENSICS, Outcome, Proof

WIDTH = 100


def attack_in_words(attack: Attack) -> str:
    """Several lines, each ended."""
    where = "in virtual time and against real processes" if attack.live else "in virtual time"
    lines = [
        f"{attack.number} {attack.name}: {attack.title}",
        "",
        fill(attack.story, WIDTH),
        "",
        f"{attack.family}; {attack.replicas} replicas; runs {where}",
        *(f"replica {liar.replica}: {liar.strategy}{_options(liar.options)}" for liar in attack.cast),
        *(f"from {fault.at_ms} ms: {type(fault).__name__.lower()} for {fault.for_ms} ms" for fault in attack.happens),
        f"expected: {expected_in_words(attack.expect)}",
        *_marks(attack.expect),
    ]
    if attack.above_f is not None:
        cast = ", ".join(f"{liar.replica} {liar.strategy}" for liar in attack.above_f.cast)
        lines += ["", f"above f{f' ({cast})' if cast else ''}: {expected_in_words(attack.above_f.expect)}"]
        lines += _marks(attack.above_f.expect)
        if attack.above_f.story:
            lines.append(fill(attack.above_f.story, WIDTH))
    return "\n".join(lines) + "\n"


def _marks(expect: Expect) -> list[str]:
    return [f"a run must come by: {', '.join(expect.marks)}"] if expect.marks else []


def _options(options: Mapping[str, object]) -> str:
    return "".join(f" {name}={value}" for name, value in options.items())


def expected_in_words(expect: Expect, world: str = "simulator") -> str:
    """What a run in `simulator` or `live` is held against."""
    parts = [f"broken: {' or '.join(expect.breaks)}"] if expect.breaks else ["safe"]
    if not expect.breaks and expect.live:
        parts.append("live")
    if expect.evidence:
        parts.append(f"proven: {' or '.join(expect.evidence)}")
    if expect.culprits:
        parts.append(f"{expect.culprits} or more of the faulty named")
    wait_ms = expect.wait_ms_in(world)
    if wait_ms:
        parts.append(f"nobody waits longer than {wait_ms / 1000:g} s")
    return ", ".join(parts)


def one_line(outcome: Outcome) -> str:
    """The verdict, for a list of many."""
    attack = outcome.attack
    where = "above f" if outcome.above_f else "at f"
    said = "as expected" if outcome.as_expected else "NOT AS EXPECTED"
    text = f"{attack.number:2} {attack.name:19} {where:7} {said:15} {verdict_in_words(outcome)}"
    return text if outcome.as_expected else f"{text}\n   {outcome.why_not}"


def verdict_in_words(outcome: Outcome) -> str:
    if outcome.breaks:
        parts = [f"{outcome.breaks} broke"]
    else:
        parts = ["safe" if outcome.safe else "not safe", "live" if outcome.live else "not live"]
    proofs = ", ".join(_proofs(outcome.proofs))
    return "; ".join([", ".join(parts), *([proofs] if proofs else [])])


def _proofs(proofs: tuple[Proof, ...]) -> Iterator[str]:
    culprits = sorted({proof.culprit for proof in proofs}, key=str)
    for culprit in culprits:
        codes = " ".join(sorted(proof.code for proof in proofs if proof.culprit == culprit))
        who = f"replica {culprit}" if isinstance(culprit, int) else f"device {culprit[:8]}"
        yield f"{codes} against {who}"


def _held(proof: Proof) -> str:
    if proof.held_by == (FORENSICS,):
        return "is found by comparing the ledgers of the correct replicas"
    return f"is held by {', '.join(proof.held_by)}"


def outcome_in_words(outcome: Outcome) -> str:
    """Several lines, each ended."""
    attack, figures = outcome.attack, outcome.figures
    faulty = ", ".join(map(str, outcome.faulty)) or "none"
    more = " (more than the group bears)" if outcome.above_f else ""
    lines = [
        f"{attack.name}: {attack.title}",
        f"{outcome.replicas} replicas, faulty: {faulty}{more}; seed {outcome.seed}",
        f"expected: {expected_in_words(outcome.expect, outcome.world)}",
        f"it came to: {verdict_in_words(outcome)}",
    ]
    if outcome.breaks:
        lines.append(f"  {outcome.breaks}: {outcome.breaks_text}")
    lines.extend(f"  {proof.code} {_held(proof)}" for proof in outcome.proofs)
    lines.append(", ".join(f"{name} {value}" for name, value in figures.items()))
    lines.extend(f"tried before, with seed {seed}: {why_not}" for seed, why_not in outcome.earlier_tries)
    lines.append("as expected" if outcome.as_expected else f"NOT AS EXPECTED: {outcome.why_not}")
    lines.append(f"again: {outcome.replay}")
    return "\n".join(lines) + "\n"
