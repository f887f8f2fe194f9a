"""From contradictions to proofs: what a client was told that anybody can verify. E9 of the protocol, section 9.

Only REPLYs prove something. Two correct replicas may answer a query out of different states, and stream the events of
a topic that changes; a REPLY is about one place in one batch.
"""

from __future__ import annotations

from collections import Counter

from pbft.client.quorums import Contradiction
from pbft.core.bodies import REPLY
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import InvalidEvidence, verify_evidence
from pbft.core.types import ReplicaId

PROOFS_PER_REPLICA_MAX = 4
"""Of a client: more proves nothing more. Those beyond it are not verified either."""


def proof_of(opener: Opener, contradiction: Contradiction) -> Evidence | None:
    """E9, if the frames that were kept prove it to anybody else.

    They do not when the replica contradicted only itself, named another place, as a correct one may for an operation
    that is not remembered, or when frames are too old to be kept still.
    """
    if contradiction.message_type != REPLY:
        return None
    statements = (contradiction.contradicting, *contradiction.accepted)
    evidence = Evidence(code="E9", culprit=contradiction.replica, statements=statements)
    try:
        verify_evidence(opener, evidence)
    except InvalidEvidence:
        return None
    return evidence


class Proofs:
    """The first few proofs against each replica."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._kept: list[Evidence] = []
        self._counts: Counter[ReplicaId] = Counter()

    @property
    def kept(self) -> tuple[Evidence, ...]:
        """In the order in which they were found."""
        return tuple(self._kept)

    def add(self, contradiction: Contradiction) -> Evidence | None:
        """The proof, if there is one in the contradiction and room for it."""
        replica = contradiction.replica
        if self._counts[replica] >= PROOFS_PER_REPLICA_MAX:
            return None
        evidence = proof_of(self._opener, contradiction)
        if evidence is not None:
            self._counts[replica] += 1
            self._kept.append(evidence)
        return evidence
