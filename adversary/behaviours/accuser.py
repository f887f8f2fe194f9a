"""Accuses the honest: of what others signed, of what they said elsewhere, and of nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adversary.behaviours.base import Means, Puppet
from adversary.behaviours.wire import Interject, heard
from crypto.digest import digest_of
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.effects import Effects, Evidence, Input
from pbft.core.evidence import CLIENT_EQUIVOCATION, REPLICA_CODES, encode_evidence
from pbft.core.frames import encode_signed, wire_of
from pbft.core.messages import (
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    Proposal,
    SharedEvidence,
    Signed,
    SignedRequest,
    ViewChange,
)
from pbft.core.types import ReplicaId

HEARD_MAX: Final = 64
"""Statements kept of each replica."""
_CODES: Final[dict[type, str]] = {
    PrePrepare: "E1",
    Prepare: "E2",
    Commit: "E3",
    Checkpoint: "E4",
    ViewChange: "E6",
    NewView: "E7",
}


class FalseAccuser(Interject):
    """Tells its peers of proofs that prove nothing against the honest.

    `rate`: in thousandths of its steps. `victim`: whom it accuses; by default anybody. `to`: whom it tells.
    """

    def __init__(
        self,
        means: Means,
        *,
        rate: int = 300,
        times: int = 1,
        victim: int | None = None,
        to: Sequence[int] = (),
    ) -> None:
        super().__init__(means, rate=rate, times=times, to=to)
        self._craft = means.craft
        self._opener = Opener(means.group, means.craft.members.verifier)
        self._victims = means.honest(means.group.replicas) if victim is None else (ReplicaId(victim),)
        self._said: dict[ReplicaId, list[tuple[str, bytes]]] = {peer: [] for peer in means.group.replicas}
        self._asked: list[SignedRequest] = []

    def overhear(self, given: Input, _effects: Effects) -> None:
        for frame in heard(self._means.group.epoch, given):
            match self._opener.parse_peer(frame).value:
                case Signed(message=message, signer=signer, wire=wire):
                    self._note(signer, _CODES[type(message)], wire)
                case Proposal(pre_prepare=vote, batch=batch):
                    self._note(vote.signer, "E1", vote.wire)
                    self._asked = [*self._asked[-HEARD_MAX:], *batch.requests]
                case _:
                    pass

    def _note(self, signer: ReplicaId, code: str, wire: bytes) -> None:
        self._said[signer] = [*self._said[signer][-HEARD_MAX:], (code, wire)]

    def frame(self, _puppet: Puppet) -> bytes | None:
        """None if it has heard nothing yet that could be turned against anybody."""
        group, random = self._means.group, self._random
        evidence = random.choice((self._forged, self._out_of_place, self._of_another, self._of_a_device))()
        if evidence is None:
            return None
        data = encode_evidence(group, evidence)
        if random.random() < 0.1:
            data = data.replace(group.group_id, bytes(reversed(group.group_id)))
        return wire_of(group.epoch, SharedEvidence(data=data))

    def _forged(self) -> Evidence:
        """Two votes in the victim's name, with a signature that is not the victim's."""
        group, victim = self._means.group, self._random.choice(self._victims)
        sequence = self._random.randint(1, group.parameters.window)
        sign, kind, code = self._random.choice(
            ((self._craft.prepare, bodies.PREPARE, "E2"), (self._craft.commit, bodies.COMMIT, "E3"))
        )
        frames = []
        for what in (b"one", b"other"):
            vote = sign(self._means.me, sequence, digest_of(what))
            frames.append(encode_signed(kind, group.epoch, victim, bodies.encode_vote(vote.message), vote.signature))
        return Evidence(code=code, culprit=victim, statements=tuple(frames))

    def _out_of_place(self) -> Evidence | None:
        """What the victim did sign: of two places, of two kinds, or the same twice; and in the wrong order."""
        victim = self._random.choice(self._victims)
        said = self._said[victim]
        if not said:
            return None
        (code, first), (_, second) = self._random.choice(said), self._random.choice(said)
        code = self._random.choice((code, code, *REPLICA_CODES))
        count = self._random.choice((1, 2, 2, 2, 3))
        return Evidence(code=code, culprit=victim, statements=(first, second, first)[:count])

    def _of_another(self) -> Evidence:
        """What it did itself, with the victim's name on it."""
        sequence = self._random.randint(1, self._means.group.parameters.window)
        votes = (self._craft.commit(self._means.me, sequence, digest_of(what)) for what in (b"one", b"other"))
        victim = self._random.choice(self._victims)
        return Evidence(code="E3", culprit=victim, statements=tuple(vote.wire for vote in votes))

    def _of_a_device(self) -> Evidence | None:
        """Two requests that contradict each other in nothing, or that are of two devices."""
        if not self._asked:
            return None
        first, second = self._random.choice(self._asked), self._random.choice(self._asked)
        return Evidence(code=CLIENT_EQUIVOCATION, culprit=first.device, statements=(first.wire, second.wire))
