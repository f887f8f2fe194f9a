"""The verdict on a live attack: what must hold of a real group afterwards, and what was expected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from adversary.attacks.judging import is_expected
from adversary.attacks.outcome import Outcome, Proof
from adversary.live.signs import not_done, not_seen
from crypto.signing import Ed25519Verifier
from pbft.core.codec import Opener, frame_bytes_max
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import decode_evidence, verify_evidence
from pbft.core.forensics import forensics_of
from pbft.node.post_mortem import LedgerCopy, ledgers_in

if TYPE_CHECKING:
    from adversary.live.group import LiveGroup
    from adversary.live.stage import Stage

BREAKS_TOLD = 5
"""Of what broke: the rest is more of the same."""
FORENSICS = "forensics"
"""Whoever compares the ledgers afterwards."""


def proofs_of(group: LiveGroup, played: Collection[int]) -> tuple[list[Proof], list[str]]:
    """Everything in the evidence directories of replicas that are not played, and what of it is none."""
    opener = Opener(group.file.group, Ed25519Verifier())
    holders: dict[tuple[str, int | str], set[str]] = {}
    wrong: list[str] = []
    for seat in group.seats:
        if seat.replica in played:
            continue
        for path in sorted((seat.home / "evidence").glob("*.cbor")):
            try:
                evidence = decode_evidence(group.file.group, path.read_bytes())
                verify_evidence(opener, evidence)
            except (ProtocolViolation, OSError) as error:
                wrong.append(f"{path.name} of replica {seat.replica} proves nothing: {error}")
                continue
            culprit = evidence.culprit.hex() if isinstance(evidence.culprit, bytes) else int(evidence.culprit)
            holders.setdefault((evidence.code, culprit), set()).add(f"replica {seat.replica}")
    return [
        Proof(code=code, culprit=culprit, held_by=tuple(sorted(who)))
        for (code, culprit), who in sorted(holders.items(), key=str)
    ], wrong


def proofs_of_clients(group: LiveGroup, evidence: Iterable[tuple[str, Evidence]]) -> tuple[list[Proof], list[str]]:
    """What clients can prove, by whom it was found, and what of it is nothing."""
    opener = Opener(group.file.group, Ed25519Verifier())
    proofs, wrong = [], []
    for who, each in evidence:
        try:
            verify_evidence(opener, each)
        except ProtocolViolation as error:
            wrong.append(f"{each.code} of client {who} proves nothing: {error}")
            continue
        culprit = each.culprit.hex() if isinstance(each.culprit, bytes) else int(each.culprit)
        proofs.append(Proof(code=each.code, culprit=culprit, held_by=(f"client {who}",)))
    return proofs, wrong


def proofs_of_ledgers(group: LiveGroup, played: Collection[int]) -> tuple[list[Proof], list[str]]:
    """What the ledgers of replicas that are not played prove side by side, and where agreement broke.

    All must be stopped.
    """
    opener = Opener(group.file.group, Ed25519Verifier())
    bytes_max = frame_bytes_max(group.file.group)
    ledgers = [
        LedgerCopy(path, bytes_max)
        for seat in group.seats
        if seat.replica not in played
        for path in ledgers_in(seat.home)
    ]
    findings = forensics_of(opener, ledgers)
    proofs = [
        Proof(code=each.code, culprit=int(each.culprit), held_by=(FORENSICS,))
        for each in findings.evidence
        if not isinstance(each.culprit, bytes)
    ]
    return proofs, [str(fork) for fork in findings.forks]


def merged(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    holders: dict[tuple[str, int | str], set[str]] = {}
    for proof in proofs:
        holders.setdefault((proof.code, proof.culprit), set()).update(proof.held_by)
    return tuple(
        Proof(code=code, culprit=culprit, held_by=tuple(sorted(who)))
        for (code, culprit), who in sorted(holders.items(), key=str)
    )


def falsely_accused(stage: Stage, proofs: Sequence[Proof]) -> str | None:
    """Somebody that evidence names and who did nothing, in words.

    One whose rows rotted told clients what is false, and E9 says no more than that.
    """
    for proof in proofs:
        excused = stage.untrusted | stage.rotten if proof.code == "E9" else stage.untrusted
        if isinstance(proof.culprit, int) and proof.culprit not in excused:
            return (
                f"{proof.code} accuses replica {proof.culprit}, which is honest, held by {', '.join(proof.held_by)}"
            )
        if isinstance(proof.culprit, str) and proof.culprit in stage.devices:
            return f"{proof.code} accuses the device of {stage.devices[proof.culprit]}, who is honest"
    return None


def note_floor(stage: Stage) -> None:
    """Whether somebody waited longer than the attack allows, in real time."""
    allowed_ms = stage.attack.expect.wait_ms_in("live")
    waited_ms = stage.journal.longest_wait_s() * 1000
    if allowed_ms and waited_ms > allowed_ms:
        stage.late = f"somebody waited {waited_ms:.0f} ms for an operation, where {allowed_ms} are allowed"


def judge(stage: Stage, proofs: tuple[Proof, ...], *, is_live: bool, why_dead: str, replay: str) -> Outcome:
    """`is_live`: whether everything was accepted and all stood level within the bound."""
    expect = stage.attack.expect
    accused = falsely_accused(stage, proofs)
    if accused is not None:
        stage.breaks.append(("honest evidence", accused))
    stage.breaks += _of_lost_outcomes(stage)
    broken = [*stage.breaks, *_of_liveness(stage, is_live=is_live, why_dead=why_dead)]
    unexpected = [each for each in broken if not is_expected(expect.breaks, *each)]
    breaks, text = next(iter([*unexpected, *broken]), ("", ""))
    culprits = tuple(sorted({proof.culprit for proof in proofs if isinstance(proof.culprit, int)}))
    wrong = list(stage.problems)
    wrong += [f"{invariant}: {how}" for invariant, how in unexpected[:BREAKS_TOLD]]
    if is_live and not expect.live:
        wrong.append("everything was accepted, which was not expected")
    unseen = not_seen(stage, proofs)
    missing = list(_missing(stage, proofs, culprits, unseen))
    if expect.breaks and len(broken) == len(unexpected):
        missing.append(f"nothing broke, where {' or '.join(expect.breaks)} should have")
    return Outcome(
        attack=stage.attack,
        world="live",
        seed=stage.seed,
        replicas=stage.group.file.group.size,
        above_f=False,
        faulty=tuple(sorted(stage.failing)),
        safe=not stage.breaks,
        live=is_live,
        breaks=breaks,
        breaks_text=text,
        proofs=proofs,
        culprits=culprits,
        as_expected=not wrong and not missing,
        why_not="; ".join([*wrong, *missing]),
        is_worth_another_try=bool(missing) and not wrong,
        missed=tuple(unseen),
        figures=stage.figures,
        moments=tuple(sorted(stage.moments, key=lambda moment: moment.at_ms)),
        replay=replay,
    )


def _of_lost_outcomes(stage: Stage) -> Iterator[tuple[str, str]]:
    """Nobody here is so impatient, or so forgetful, that this may happen."""
    for said in stage.journal.said:
        if said.is_forgotten:
            yield "replies", f"{said.who} was told that its {said.what} is forgotten"


def _of_liveness(stage: Stage, *, is_live: bool, why_dead: str) -> Iterator[tuple[str, str]]:
    if not is_live and stage.attack.expect.live:
        yield "progress", why_dead
    if stage.late:
        yield "floor", stage.late


def _missing(stage: Stage, proofs: Sequence[Proof], culprits: Sequence[int], unseen: Sequence[str]) -> Iterator[str]:
    """What depends on who was faster, and may come out of another try: whether the attack took place at all, and what
    it left of itself."""
    expect = stage.attack.expect
    undone = [*stage.missed, *not_done(stage)]
    if undone:
        yield f"the attack did not take place: {', '.join(undone)}"
    if unseen:
        yield f"it did not come to: {', '.join(unseen)}"
    held = {proof.code for proof in proofs if proof.culprit in stage.untrusted or isinstance(proof.culprit, str)}
    if expect.evidence and not held & set(expect.evidence):
        found = ", ".join(sorted(held)) or "none"
        yield f"evidence {' or '.join(expect.evidence)} was expected, and {found} found"
    if len(set(culprits) & stage.untrusted) < expect.culprits:
        yield f"{expect.culprits} culprits should be named, not {len(culprits)}"
