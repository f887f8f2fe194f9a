"""Proofs of misbehaviour travel: what one correct replica can prove, all of them shall be able to.

Who finds a proof tells the others once, and whoever comes back is told again. Nobody believes a proof that it has not
verified, passes on what it was told, or spends more than a little time on a peer that brings nonsense. Proofs against
devices do not travel: anybody can make devices, and as many proofs against them as he likes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from crypto.digest import Digest, digest_of
from pbft.core.bodies import EVIDENCE, EVIDENCE_BYTES_MAX
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, IgnoreReason, Timer
from pbft.core.evidence import InvalidEvidence, decode_evidence, encode_evidence, verify_evidence
from pbft.core.group import Group
from pbft.core.messages import SharedEvidence
from pbft.core.output import Output
from pbft.core.portions import Portions, PortionUsedUp
from pbft.core.types import Milliseconds, ReplicaId

SHARED_PER_CULPRIT_MAX = 2
"""Of one code. The store keeps more of what was found here."""
SHARED_BYTES_MAX = 2 * EVIDENCE_BYTES_MAX
"""About one culprit: none takes the room of another."""
RESEND_PAUSE_MS = 10_000
"""Between two times that a peer is told everything: its links may come and go much faster."""
BYTES_PER_TOKEN = 4096
"""A proof may be made of signatures, and as many of them take some three milliseconds to check."""
TOKENS_MAX = 64
"""A fifth of a second. Whoever has any left is listened to, and may run into debt."""
TOLD_TOKENS_MAX = TOKENS_MAX // 2
"""As the sender counts: what it is behind with, the network may deliver late and all at once."""
TOKEN_MS = 250
SIGNATURES_PER_STEP = 128
"""And in all steps of one moment, as those of what a node found waiting. Ten to twenty milliseconds, parsing again
included: the rest waits for later ones, and ordering not for it."""
EXAMINE_PAUSE_MS = 20
"""So long until it is gone on with."""
INVALID_COSTS = 4
"""How many times over a peer pays for a proof that proves nothing."""


@dataclass(slots=True)
class _Tokens:
    most: float
    left: float
    counted_at: Milliseconds = Milliseconds(0)

    def are_left(self, now: Milliseconds) -> bool:
        self.left = min(self.most, self.left + (now - self.counted_at) / TOKEN_MS)
        self.counted_at = now
        return self.left > 0


@dataclass(slots=True)
class _Peer:
    tokens: _Tokens = field(default_factory=lambda: _Tokens(TOKENS_MAX, TOKENS_MAX))
    """Of the time that is spent on what it brings."""
    told_tokens: _Tokens = field(default_factory=lambda: _Tokens(TOLD_TOKENS_MAX, TOLD_TOKENS_MAX))
    """Of the time that it spends on what it is told."""
    untold: dict[Digest, SharedEvidence] = field(default_factory=dict)
    """What it is still to be told, in this order."""
    owed: bool = False
    told_from: Milliseconds = Milliseconds(0)


@dataclass(slots=True)
class _Case:
    """A proof that a peer brought, and that is being verified."""

    peer: ReplicaId
    evidence: Evidence
    digest: Digest
    cost: int
    portions: Portions


class Exchange:
    """Which proofs this replica tells of, and how much of its time each peer may still have."""

    def __init__(self, group: Group, me: ReplicaId, opener: Opener) -> None:
        self._group = group
        self._opener = opener
        self._peers = {peer: _Peer() for peer in group.others(me)}
        self._known: set[Digest] = set()
        """The same number for each code and culprit as are told of, whatever they weigh."""
        self._shared: dict[Digest, SharedEvidence] = {}
        self._counts: Counter[tuple[str, ReplicaId]] = Counter()
        self._bytes: Counter[ReplicaId] = Counter()
        self._told: list[Evidence] = []
        """By others in this step, and verified."""
        self._cases: deque[_Case] = deque()
        """In order of arrival. Few: each peer has paid for its own out of its tokens."""
        self._left = 0
        """Of the portion that was begun at `_begun_at`."""
        self._begun_at = Milliseconds(-1)
        self._examine_at = Milliseconds(0)
        """When those that the last portion was not enough for are gone on with."""

    def __len__(self) -> int:
        return len(self._shared)

    # -- telling

    def restore(self, kept: Iterable[Evidence]) -> None:
        """What was proven before the last stop: the peers were told, those that come back are told again.

        Disks rot, and others may have written to them: whoever kept it has verified it again.
        """
        for evidence in kept:
            self._take_up(evidence)

    def conclude(self, out: Output, now: Milliseconds, *, is_verified: bool) -> None:
        """End a step: tell the others of what it found. Proofs are durable before anything is sent."""
        self._examine(out, now)
        if out.evidence and not is_verified:
            self._verify_own(out)
        found = tuple(out.evidence)
        out.evidence.extend(self._told)
        self._told.clear()
        for evidence in found:
            taken = self._take_up(evidence)
            if taken is not None:
                for peer in self._peers.values():
                    peer.untold[taken] = self._shared[taken]
        if found:
            self._tell_untold(out, now)

    def _verify_own(self, out: Output) -> None:
        """Whatever this replica believes to have found has to convince others: nobody is accused by an error here."""
        for evidence in tuple(out.evidence):
            try:
                verify_evidence(self._opener, evidence)
            except InvalidEvidence as error:
                out.evidence.remove(evidence)
                who = f"replica {evidence.culprit}" if isinstance(evidence.culprit, int) else "a device"
                out.alarm(f"internal error: what looked like {evidence.code} of {who} proves nothing: {error}")

    def _take_up(self, evidence: Evidence) -> Digest | None:
        """None if it is known, too large, one too many, or about a device."""
        if isinstance(evidence.culprit, bytes):
            return None
        culprit = ReplicaId(evidence.culprit)
        data = encode_evidence(self._group, evidence)
        digest = digest_of(data)
        if digest in self._known or self._has_enough(evidence.code, culprit):
            return None
        if len(data) > EVIDENCE_BYTES_MAX:
            return None  # a smaller one may come
        self._counts[evidence.code, culprit] += 1
        self._known.add(digest)
        if self._bytes[culprit] + len(data) > SHARED_BYTES_MAX:
            return None
        self._bytes[culprit] += len(data)
        self._shared[digest] = SharedEvidence(data=data)
        return digest

    def _has_enough(self, code: str, culprit: ReplicaId) -> bool:
        return self._counts[code, culprit] >= SHARED_PER_CULPRIT_MAX

    def on_link_up(self, out: Output, now: Milliseconds, peer: ReplicaId) -> None:
        self._peers[peer].owed = True
        self.tell(out, now)

    def tell(self, out: Output, now: Milliseconds) -> None:
        """Tell everything to peers that came back, each so often and no more."""
        for known in self._peers.values():
            if known.owed and now >= known.told_from:
                known.owed, known.told_from = False, Milliseconds(now + RESEND_PAUSE_MS)
                known.untold = dict(self._shared)
        self._tell_untold(out, now)

    def _tell_untold(self, out: Output, now: Milliseconds) -> None:
        """As much as each peer will look at; the rest when it has time again."""
        together: dict[Digest, list[ReplicaId]] = {}
        for peer, known in self._peers.items():
            while known.untold and known.told_tokens.are_left(now):
                digest = next(iter(known.untold))
                known.told_tokens.left -= _cost(known.untold.pop(digest))
                together.setdefault(digest, []).append(peer)
        for digest, peers in together.items():
            out.send_to(peers, self._shared[digest])

    # -- being told

    def on_evidence(self, out: Output, now: Milliseconds, peer: ReplicaId, message: SharedEvidence) -> None:
        """Keep what is proven. Whoever brought it is accused of nothing, whatever it brought."""
        reason = self._why_ignore(now, peer, message)
        if reason is not None:
            out.ignore(reason, peer, EVIDENCE)

    def _why_ignore(self, now: Milliseconds, peer: ReplicaId, message: SharedEvidence) -> IgnoreReason | None:
        digest = digest_of(message.data)
        if digest in self._known:
            return IgnoreReason.DUPLICATE
        tokens = self._peers[peer].tokens
        if not tokens.are_left(now):
            return IgnoreReason.TOO_MUCH_EVIDENCE
        cost = _cost(message)
        tokens.left -= cost
        try:
            evidence = decode_evidence(self._group, message.data)
            if isinstance(evidence.culprit, bytes):
                return IgnoreReason.NOT_WANTED
            if self._has_enough(evidence.code, ReplicaId(evidence.culprit)):
                return IgnoreReason.PROVEN_ALREADY
        except InvalidEvidence:
            tokens.left -= (INVALID_COSTS - 1) * cost
            return IgnoreReason.PROVES_NOTHING
        self._cases.append(_Case(peer, evidence, digest, cost, Portions(self._opener.verifier)))
        return None

    def _examine(self, out: Output, now: Milliseconds) -> None:
        """Verify what others brought, as much of it as may be now."""
        if now < self._examine_at:
            return
        if now > self._begun_at:
            self._begun_at, self._left = now, SIGNATURES_PER_STEP
        while self._cases:
            case = self._cases[0]
            case.portions.left = self._left
            try:
                reason = self._why_no_news(case)
            except PortionUsedUp:
                self._examine_at = Milliseconds(now + EXAMINE_PAUSE_MS)
                out.set_timer(Timer.EVIDENCE, self._examine_at)
                return
            self._left = case.portions.left
            self._cases.popleft()
            if reason is not None:
                out.ignore(reason, case.peer, EVIDENCE)
                continue
            self._take_up(case.evidence)
            self._told.append(case.evidence)

    def _why_no_news(self, case: _Case) -> IgnoreReason | None:
        """Raises PortionUsedUp if it cannot be said yet."""
        if case.digest in self._known:
            return IgnoreReason.DUPLICATE
        if self._has_enough(case.evidence.code, ReplicaId(int(case.evidence.culprit))):
            return IgnoreReason.PROVEN_ALREADY
        try:
            # What other messages have in them is remembered elsewhere; a proof is looked at by itself.
            verify_evidence(Opener(self._group, case.portions), case.evidence)
        except InvalidEvidence:
            self._peers[case.peer].tokens.left -= (INVALID_COSTS - 1) * case.cost
            return IgnoreReason.PROVES_NOTHING
        return None


def _cost(message: SharedEvidence) -> int:
    return 1 + len(message.data) // BYTES_PER_TOKEN
