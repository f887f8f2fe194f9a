"""Who received two statements that contradict each other: whoever did must have proof of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crypto.digest import Digest
from pbft.core.effects import Effects, FromClient, FromPeer
from pbft.core.messages import Commit, Prepare, Proposal, Signed
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.host import Host

Slot = tuple[str, int, int, int]
"""Kind, signer, view, sequence."""


class Witnesses:
    """Remembers, per start of a host, the first statement that its replica took in of each slot and signer."""

    def __init__(self, faulty: frozenset[int]) -> None:
        self._faulty = faulty
        self._first: dict[int, dict[Slot, Digest]] = {}
        self._proven: dict[int, set[tuple[str, int]]] = {}

    def forget(self, host: int) -> None:
        """It starts anew, with what its ledger holds; proofs stay."""
        self._first[host] = {}

    def missed(self, host: Host, received: Sequence[FromPeer | FromClient], effects: Effects) -> str | None:
        """Evidence that the step should have given and did not. The step is over, its effects are not carried out."""
        if not self._faulty:
            return None
        first = self._first[host.number]
        proven = self._proven.setdefault(host.number, set())
        proven.update((item.code, item.culprit) for item in effects.evidence if isinstance(item.culprit, int))
        for item in received:
            slot = _slot_of(item)
            if slot is None or slot[0][1] not in self._faulty:
                continue
            (kind, signer, view, sequence), digest = slot
            code = {"Proposal": "E1", "Prepare": "E2", "Commit": "E3"}[kind]
            known = first.get(slot[0])
            if known is None:
                if _is_held(host, slot[0], digest):
                    first[slot[0]] = digest
            elif known != digest and _is_current(host, view, sequence) and (code, signer) not in proven:
                return f"{host.me} received two {kind}s of {signer} at view {view}, {sequence} and has no proof"
        return None


def _slot_of(item: FromPeer | FromClient) -> tuple[Slot, Digest] | None:
    message = item.message
    match message:
        case Proposal(pre_prepare=Signed(message=vote, signer=signer)):
            return ("Proposal", signer, vote.view, vote.sequence), vote.batch_digest
        case Signed(message=Prepare() | Commit() as vote, signer=signer):
            return (type(vote).__name__, signer, vote.view, vote.sequence), vote.batch_digest
        case _:
            return None


def _is_current(host: Host, view: int, sequence: int) -> bool:
    """Still inside view and window after the step, so it was so when the statement came in."""
    log = host.replica.log
    return log.view == view and log.low_watermark < sequence <= log.high_watermark


def _is_held(host: Host, slot: Slot, digest: Digest) -> bool:
    """Whether the replica took the statement for the signer's."""
    kind, signer, view, sequence = slot
    held = host.replica.log.get(sequence)
    if held is None or not _is_current(host, view, sequence):
        return False
    if kind == "Proposal":
        return held.proposal is not None and held.proposal.batch.digest == digest
    votes: Mapping[ReplicaId, Signed[Prepare] | Signed[Commit]] = held.prepares if kind == "Prepare" else held.commits
    vote = votes.get(ReplicaId(signer))
    return vote is not None and vote.message.batch_digest == digest
