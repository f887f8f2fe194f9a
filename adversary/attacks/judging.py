"""What a run showed, against what the attack says it must show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adversary.attacks.model import OF_LIVENESS, Attack, Expect
from adversary.attacks.outcome import FORENSICS, Outcome, Proof
from adversary.behaviours.catalogue import TWIN
from adversary.simulator.run import Failure, Result, Simulation
from adversary.simulator.scenario import Damage, Scenario
from pbft.core.forensics import forensics_of


def judged(attack: Attack, run: Simulation, result: Result, *, above_f: bool, faulty: tuple[int, ...]) -> Outcome:
    """The outcome of a simulated run that is over."""
    expect, failure = attack.expected(above_f=above_f), result.failure
    proofs = proofs_of(run)
    if failure is not None and failure.invariant not in OF_LIVENESS:
        proofs += found_afterwards(run)
    culprits = {proof.culprit for proof in proofs if isinstance(proof.culprit, int)} & run.scenario.untrusted
    safe = failure is None or failure.invariant in OF_LIVENESS
    problems = [
        *_of_breaks(expect, failure),
        *_of_liveness(expect, run, failure),
        *_of_proofs(expect, proofs, run.scenario),
        *_of_taking_place(expect, run, result),
    ]
    seed = run.scenario.seed
    return Outcome(
        attack=attack,
        world="simulator",
        seed=seed,
        replicas=run.scenario.replicas,
        above_f=above_f,
        faulty=faulty,
        safe=safe,
        live=run.settled,
        breaks="" if failure is None else failure.invariant,
        breaks_text="" if failure is None else failure.text,
        proofs=proofs,
        culprits=tuple(sorted(culprits)),
        as_expected=not problems,
        why_not="; ".join(problems),
        missed=_missed(expect, result),
        figures=figures_of(run, result),
        replay=f"quorate attack run {attack.name} --seed {seed}"
        + (f" --replicas {run.group.size}" if run.group.size != attack.replicas else "")
        + (" --above-f" if above_f else ""),
    )


def proofs_of(run: Simulation) -> tuple[Proof, ...]:
    """What correct replicas and clients can prove in the end."""
    return tuple(
        Proof(code=code, culprit=culprit.hex() if isinstance(culprit, bytes) else culprit, held_by=tuple(sorted(who)))
        for (code, culprit), (_, who) in sorted(
            run.checker.proofs.items(), key=lambda item: (item[0][0], str(item[0]))
        )
    )


def found_afterwards(run: Simulation) -> tuple[Proof, ...]:
    """What the ledgers of the correct replicas and their proofs show together that none of them knew alone."""
    kept = [evidence for evidence, _ in run.checker.proofs.values()]
    findings = forensics_of(run.frames.opener, run.ledgers, kept)
    new = {(each.code, each.culprit) for each in findings.evidence} - set(run.checker.proofs)
    return tuple(
        Proof(code=code, culprit=culprit if isinstance(culprit, int) else culprit.hex(), held_by=(FORENSICS,))
        for code, culprit in sorted(new, key=str)
    )


def figures_of(run: Simulation, result: Result) -> dict[str, int | float | str]:
    misdeeds = sum(client.misdeeds for client in run.clients)
    bad = {"misdeeds_of_clients": misdeeds} if any(plan.behaves for plan in run.scenario.clients) else {}
    return {
        "operations_asked": run.patience.asked,
        "operations_accepted": result.accepted,
        "longest_wait_ms": run.patience.longest_wait_ms(result.virtual_ms),
        "longest_gap_ms": run.patience.longest_gap_ms(result.virtual_ms),
        "view_changes": result.view_changes,
        "state_transfers": result.transfers,
        "lies": lies_of(run),
        **bad,
        "messages_delivered": result.deliveries,
        "virtual_ms": result.virtual_ms,
    }


def lies_of(run: Simulation) -> int:
    """Steps in which somebody did what no honest replica would; a twin does so by being there."""
    twins = sum(liar.strategy == TWIN for liar in run.scenario.liars)
    return twins + sum(host.lies for host in run.hosts)


def is_expected(breaks: Sequence[str], invariant: str, text: str) -> bool:
    """Whether what broke is one of these: `agreement`, or with the text as well, `progress: halt`."""
    return any(f"{invariant}: {text}".startswith(each) for each in breaks)


def _of_breaks(expect: Expect, failure: Failure | None) -> Iterator[str]:
    if failure is None:
        if expect.breaks:
            yield f"{' or '.join(expect.breaks)} should have broken, and nothing did"
        return
    if not is_expected(expect.breaks, failure.invariant, failure.text):
        wanted = f"; expected was {' or '.join(expect.breaks)}" if expect.breaks else ""
        yield f"{failure.invariant} broke{wanted}: {failure.text}"


def _of_liveness(expect: Expect, run: Simulation, failure: Failure | None) -> Iterator[str]:
    """A run that ended with a broken invariant says nothing more, unless it was only late."""
    came_to_an_end = failure is None or failure.invariant == "floor"
    if came_to_an_end and expect.live and not run.settled:
        yield "not everything was accepted in the end"


def _of_proofs(expect: Expect, proofs: tuple[Proof, ...], scenario: Scenario) -> Iterator[str]:
    """A replica that is paused, slow, down or deaf is honest: it counts for nothing, and nobody may accuse it.

    One whose rows rotted told clients what is false, and E9 says no more than that.
    """
    untrusted = scenario.untrusted
    rotted = {each.replica for each in scenario.faults if isinstance(each, Damage) and each.what == "flipped_state"}
    accused = {proof.culprit for proof in proofs if isinstance(proof.culprit, int)}
    for proof in proofs:
        excused = untrusted | rotted if proof.code == "E9" else untrusted
        if isinstance(proof.culprit, int) and proof.culprit not in excused:
            yield f"{proof.code} accuses replica {proof.culprit}, which is honest"
    held = {proof.code for proof in proofs if isinstance(proof.culprit, str) or proof.culprit in untrusted}
    if expect.evidence and not held & {*expect.evidence}:
        yield f"{' or '.join(expect.evidence)} should be proven, and found was {', '.join(sorted(held)) or 'none'}"
    if len(accused & untrusted) < expect.culprits:
        yield f"{expect.culprits} culprits should be named, not {len(accused & untrusted)}"


def _missed(expect: Expect, result: Result) -> tuple[str, ...]:
    return tuple(mark for mark in expect.marks if mark not in result.marks)


def _of_taking_place(expect: Expect, run: Simulation, result: Result) -> Iterator[str]:
    """An attack that nobody carried out was not survived."""
    missing = _missed(expect, result)
    if missing:
        yield f"it did not come to: {', '.join(missing)}"
    if run.scenario.liars and not lies_of(run):
        yield "nobody lied"
    idle = {client.name for client in run.clients if not client.misdeeds}
    for plan in run.scenario.clients:
        if plan.behaves and plan.name in idle:
            yield f"{plan.name} did nothing of what was meant: {plan.behaves}"
