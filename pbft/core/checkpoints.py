"""CHECKPOINT votes and stable checkpoints. PBFT section 4.3."""

from __future__ import annotations

from crypto.digest import Digest
from pbft.core.bodies import CHECKPOINT
from pbft.core.effects import IgnoreReason, Record, RecordKind
from pbft.core.frames import make_checkpoint_certificate
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Checkpoint, CheckpointCertificate, Signed
from pbft.core.output import Output
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules


class Checkpoints:
    """Votes for the at most two checkpoints inside the window; one vote per replica and checkpoint."""

    def __init__(self, group: Group, me: ReplicaId, rules: VotingRules, log: Log) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._votes: dict[SequenceNumber, dict[ReplicaId, Signed[Checkpoint]]] = {}
        self.stable: CheckpointCertificate | None = None
        self._ahead: dict[SequenceNumber, CheckpointCertificate] = {}
        """Certified checkpoints above what this replica has executed: those inside the window, and the highest."""
        self.diverged_at: SequenceNumber | None = None
        """A checkpoint whose certified root differs from this replica's own: its state cannot be trusted."""

        self._differs_from: CheckpointCertificate | None = None

    @property
    def newest_unreached(self) -> CheckpointCertificate | None:
        """The highest certified checkpoint that this replica's state is not, or not yet."""
        known = [*self._ahead.values(), *((self._differs_from,) if self._differs_from else ())]
        return max(known, key=lambda certificate: certificate.checkpoint.sequence, default=None)

    def on_repaired(self, certificate: CheckpointCertificate) -> None:
        """The state was fetched, and is that of a certified checkpoint."""
        self.diverged_at, self._differs_from = None, None
        self.stable = certificate
        self._adopt(certificate.checkpoint.sequence)

    def own_vote(self, sequence: SequenceNumber) -> Signed[Checkpoint] | None:
        return self._votes.get(sequence, {}).get(self._me)

    def own_votes(self) -> tuple[Signed[Checkpoint], ...]:
        """For checkpoints that are not stable yet, in order."""
        votes = (self.own_vote(sequence) for sequence in sorted(self._votes))
        return tuple(vote for vote in votes if vote is not None)

    def on_checkpoint(self, out: Output, vote: Signed[Checkpoint]) -> None:
        reason = self.why_ignore_checkpoint(out, vote)
        if reason is not None:
            out.ignore(reason, vote.signer, CHECKPOINT)
            return
        self._count(out, vote)

    def why_ignore_checkpoint(self, out: Output, vote: Signed[Checkpoint]) -> IgnoreReason | None:
        sequence = vote.message.sequence
        if not self._group.is_checkpoint(sequence):
            return IgnoreReason.NOT_A_CHECKPOINT
        outside = self._log.why_outside(sequence)
        if outside is not None:
            return outside
        known = self._votes.get(sequence, {}).get(vote.signer)
        if known is None:
            return None
        if known.message != vote.message:
            out.accuse("E4", vote.signer, known.wire, vote.wire)
            return IgnoreReason.CONFLICTING_VOTE
        return IgnoreReason.DUPLICATE

    def on_own_root(self, out: Output, sequence: SequenceNumber, state_root: Digest) -> None:
        """The state at a checkpoint is durable: vouch for it, unless it is known to stand on a damaged one."""
        if self._log.why_outside(sequence) is not None or self.diverged_at is not None:
            return
        certificate = self._ahead.pop(sequence, None)
        if certificate is not None and certificate.checkpoint.state_root != state_root:
            self._diverge(out, certificate)
            return
        vote, record = self._rules.sign_checkpoint(sequence, state_root)
        out.persist.append(record)
        out.send_to(self._group.others(self._me), vote)
        self._count(out, vote)
        if certificate is not None:
            self.on_certificate(out, certificate)

    def why_ignore_certificate(self, certificate: CheckpointCertificate) -> IgnoreReason | None:
        sequence = certificate.checkpoint.sequence
        if not self._group.is_checkpoint(sequence):
            return IgnoreReason.NOT_A_CHECKPOINT
        if sequence <= self._log.low_watermark:
            return IgnoreReason.BELOW_LOW_WATERMARK
        return None

    def on_certificate(self, out: Output, certificate: CheckpointCertificate) -> None:
        """A quorum vouches for a root. Stable once this replica has executed so far too."""
        sequence = certificate.checkpoint.sequence
        if sequence > self._log.last_executed:
            self._keep_ahead(certificate)
            return
        mine = self.own_vote(sequence)
        if mine is None:
            return  # executed beyond it before this start; its vote comes back from the ledger, or never was
        if mine.message.state_root != certificate.checkpoint.state_root:
            self._diverge(out, certificate)
            return
        self.stable = certificate
        out.persist.append(Record(RecordKind.STABLE, sequence, certificate.wire))
        self._adopt(sequence)

    def _keep_ahead(self, certificate: CheckpointCertificate) -> None:
        """Execution will reach those inside the window: the highest alone would leave a straggler between two."""
        self._ahead.setdefault(certificate.checkpoint.sequence, certificate)
        highest = max(self._ahead)
        for sequence in [sequence for sequence in self._ahead if self._log.high_watermark < sequence < highest]:
            del self._ahead[sequence]

    def restore_divergence(self, certificate: CheckpointCertificate) -> None:
        """A certified root once differed from this replica's own: a restart does not mend that."""
        self.diverged_at, self._differs_from = certificate.checkpoint.sequence, certificate

    def restore_repair(self) -> None:
        """It was mended."""
        self.diverged_at, self._differs_from = None, None

    def restore_vote(self, vote: Signed[Checkpoint]) -> None:
        self._rules.restore_checkpoint(vote.message)
        self._votes.setdefault(vote.message.sequence, {})[vote.signer] = vote

    def restore_stable(self, certificate: CheckpointCertificate) -> None:
        """A stable checkpoint out of the ledger: the state is at or beyond it, or the node would not start."""
        if certificate.checkpoint.sequence > self._log.low_watermark:
            self.stable = certificate
            self._adopt(certificate.checkpoint.sequence)

    def _adopt(self, sequence: SequenceNumber) -> None:
        self._log.advance(sequence)
        self._rules.forget_below(sequence)
        for held in (self._votes, self._ahead):
            for old in [old for old in held if old <= sequence]:
                del held[old]

    def _count(self, out: Output, vote: Signed[Checkpoint]) -> None:
        sequence = vote.message.sequence
        votes = self._votes.setdefault(sequence, {})
        votes[vote.signer] = vote
        signers = sorted(replica for replica, other in votes.items() if other.message == vote.message)
        if len(signers) < self._group.quorum or sequence <= self._log.low_watermark:
            return
        endorsements = tuple((replica, votes[replica].signature) for replica in signers[: self._group.quorum])
        self.on_certificate(out, make_checkpoint_certificate(self._group, vote.message, endorsements))

    def _diverge(self, out: Output, certificate: CheckpointCertificate) -> None:
        sequence = certificate.checkpoint.sequence
        if self.diverged_at is None:
            self.diverged_at, self._differs_from = sequence, certificate
            out.persist.append(Record(RecordKind.DIVERGED, sequence, certificate.wire))
            out.alarm(
                f"the state at {sequence} differs from the one that a quorum certified: execution stopped. "
                "The state database of this replica is damaged, or it runs other code than its peers"
            )
