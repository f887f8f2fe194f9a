"""Proofs of misbehaviour travel: what one correct replica can prove, all of them shall be able to.

Who finds a proof tells the others once, and whoever comes back is told again. Nobody believes a proof that it has not
verified, passes on what it was told, or spends more than a little time on a peer that brings nonsense.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from crypto.digest import Digest, digest_of
from crypto.signing import PublicKey
from pbft.core.bodies import EVIDENCE, EVIDENCE_BYTES_MAX
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, IgnoreReason
from pbft.core.evidence import InvalidEvidence, decode_evidence, encode_evidence, verify_evidence
from pbft.core.group import Group
from pbft.core.messages import SharedEvidence
from pbft.core.output import Output
from pbft.core.types import Milliseconds, ReplicaId

SHARED_PER_CULPRIT_MAX = 2
"""Of one code. The store keeps more of what was found here."""
SHARED_OF_DEVICES_MAX = 16
"""Devices cost nothing to make, so they share a part."""
SHARED_BYTES_MAX = 2 * 1024 * 1024
"""All together, which is what a peer that comes back is sent."""
RESEND_PAUSE_MS = 10_000
"""Between two times that a peer is told everything: its links may come and go much faster."""
BYTES_PER_TOKEN = 4096
"""A proof may be made of signatures, and as many of them take some three milliseconds to check."""
TOKENS_MAX = 256
TOKEN_MS = 250
INVALID_COSTS = 4
"""How many times over a peer pays for a proof that proves nothing."""


@dataclass(slots=True)
class _Peer:
    tokens: float = TOKENS_MAX
    counted_at: Milliseconds = Milliseconds(0)
    owed: bool = False
    told_from: Milliseconds = Milliseconds(0)


class Exchange:
    """Which proofs this replica tells of, and how much of its time each peer may still have."""

    def __init__(self, group: Group, me: ReplicaId, opener: Opener) -> None:
        self._group = group
        self._opener = opener
        self._others = group.others(me)
        self._peers = {peer: _Peer() for peer in self._others}
        self._shared: dict[Digest, SharedEvidence] = {}
        self._bytes = 0
        self._counts: Counter[tuple[str, ReplicaId | PublicKey | None]] = Counter()

    def __len__(self) -> int:
        return len(self._shared)

    # -- telling

    def restore(self, kept: Iterable[Evidence]) -> None:
        """What was proven before the last stop: the peers were told, those that come back are told again."""
        for evidence in kept:
            self._take_up(evidence)

    def announce(self, out: Output) -> None:
        """Tell the others of what this step proved. Proofs are durable before anything is sent."""
        for evidence in tuple(out.evidence):
            message = self._take_up(evidence)
            if message is not None:
                out.send_to(self._others, message)

    def _take_up(self, evidence: Evidence) -> SharedEvidence | None:
        """None if it is known, too large, or one too many."""
        data = encode_evidence(self._group, evidence)
        digest = digest_of(data)
        too_large = len(data) > EVIDENCE_BYTES_MAX or self._bytes + len(data) > SHARED_BYTES_MAX
        if digest in self._shared or too_large or self._has_enough(evidence):
            return None
        self._counts[_account(evidence)] += 1
        self._bytes += len(data)
        message = self._shared[digest] = SharedEvidence(data=data)
        return message

    def _has_enough(self, evidence: Evidence) -> bool:
        most = SHARED_OF_DEVICES_MAX if isinstance(evidence.culprit, bytes) else SHARED_PER_CULPRIT_MAX
        return self._counts[_account(evidence)] >= most

    def on_link_up(self, out: Output, now: Milliseconds, peer: ReplicaId) -> None:
        self._peers[peer].owed = True
        self.tell(out, now)

    def tell(self, out: Output, now: Milliseconds) -> None:
        """Tell everything to peers that came back, each so often and no more."""
        for peer, known in self._peers.items():
            if known.owed and now >= known.told_from:
                known.owed, known.told_from = False, Milliseconds(now + RESEND_PAUSE_MS)
                for message in self._shared.values():
                    out.send_to((peer,), message)

    # -- being told

    def on_evidence(self, out: Output, now: Milliseconds, peer: ReplicaId, message: SharedEvidence) -> None:
        """Keep what is proven. Whoever brought it is accused of nothing, whatever it brought."""
        reason = self._why_ignore(out, now, peer, message)
        if reason is not None:
            out.ignore(reason, peer, EVIDENCE)

    def _why_ignore(
        self, out: Output, now: Milliseconds, peer: ReplicaId, message: SharedEvidence
    ) -> IgnoreReason | None:
        if digest_of(message.data) in self._shared:
            return IgnoreReason.DUPLICATE
        cost = 1 + len(message.data) // BYTES_PER_TOKEN
        known = self._peers[peer]
        known.tokens = min(TOKENS_MAX, known.tokens + (now - known.counted_at) / TOKEN_MS)
        known.counted_at = now
        if known.tokens < cost:
            return IgnoreReason.TOO_MUCH_EVIDENCE
        known.tokens -= cost
        try:
            evidence = decode_evidence(self._group, message.data)
            if self._has_enough(evidence):
                return IgnoreReason.PROVEN_ALREADY
            verify_evidence(self._opener, evidence)
        except InvalidEvidence:
            known.tokens = max(0.0, known.tokens - (INVALID_COSTS - 1) * cost)
            return IgnoreReason.PROVES_NOTHING
        if self._take_up(evidence) is not None:
            out.evidence.append(evidence)
        return None


def _account(evidence: Evidence) -> tuple[str, ReplicaId | PublicKey | None]:
    return evidence.code, None if isinstance(evidence.culprit, bytes) else evidence.culprit
