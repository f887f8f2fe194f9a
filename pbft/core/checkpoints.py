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
from pbft.core.rejoin import Rejoin
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness


class Checkpoints:
    """Votes for the at most two checkpoints inside the window; one vote per replica and checkpoint."""

    def __init__(
        self, *, group: Group, me: ReplicaId, rules: VotingRules, log: Log, rejoin: Rejoin, witness: Witness
    ) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._rejoin = rejoin
        self._witness = witness
        self._votes: dict[SequenceNumber, dict[ReplicaId, Signed[Checkpoint]]] = {}
        self.stable: CheckpointCertificate | None = None
        self._ahead: dict[SequenceNumber, CheckpointCertificate] = {}
        """Certified checkpoints above what this replica has executed, to compare its state with: those it will reach
        next, and the highest."""
        self._own_roots: dict[SequenceNumber, Digest] = {}
        """Of the state at checkpoints that are not stable yet."""
        self.diverged_at: SequenceNumber | None = None
        """A checkpoint whose certified root differs from this replica's own: its state cannot be trusted."""

    def attested(self) -> CheckpointCertificate | None:
        """The highest checkpoint above the stable one that f + 1 peers vouch for, as a certificate of that many.

        One of them is correct, so this is the state there: enough to fetch it, never to make it stable.
        """
        needed = self._group.honest_minimum
        for sequence in sorted(self._votes, reverse=True):
            votes = {replica: vote for replica, vote in self._votes[sequence].items() if replica != self._me}
            for vote in votes.values():
                same = sorted(replica for replica, other in votes.items() if other.message == vote.message)
                if len(same) >= needed and sequence > self._log.low_watermark:
                    endorsements = tuple((replica, votes[replica].signature) for replica in same[:needed])
                    return make_checkpoint_certificate(self._group, vote.message, endorsements)
        return None

    def own_vote(self, sequence: SequenceNumber) -> Signed[Checkpoint] | None:
        return self._votes.get(sequence, {}).get(self._me)

    def own_votes(self) -> tuple[Signed[Checkpoint], ...]:
        """For checkpoints that are not stable yet, in order."""
        votes = (self.own_vote(sequence) for sequence in sorted(self._votes))
        return tuple(vote for vote in votes if vote is not None)

    def on_checkpoint(self, out: Output, vote: Signed[Checkpoint]) -> None:
        reason = self.why_ignore_checkpoint(out, vote)
        if reason is not IgnoreReason.NOT_A_CHECKPOINT:
            self._witness.hear_checkpoint(out, vote)
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
            if vote.signer != self._me:
                return None
            self._rejoin.lose_voice(out, f"a CHECKPOINT at {sequence}")
            return IgnoreReason.NOT_OWN
        return IgnoreReason.DUPLICATE if known.message == vote.message else IgnoreReason.CONFLICTING_VOTE

    def on_own_root(self, out: Output, sequence: SequenceNumber, state_root: Digest) -> None:
        """The state at a checkpoint is durable: vouch for it, unless others have, or it stands on a damaged one."""
        if self.diverged_at is not None:
            return
        certificate = self._ahead.pop(sequence, None)
        if certificate is None and self.stable is not None and self.stable.checkpoint.sequence == sequence:
            certificate = self.stable
        if certificate is not None and certificate.checkpoint.state_root != state_root:
            self._diverge(out, certificate)
            return
        if self._log.why_outside(sequence) is not None:
            return
        self._own_roots[sequence] = state_root
        if self._rules.is_mute or self.own_vote(sequence) is not None:
            return  # executed a second time, after a repair: what was signed the first time is signed
        vote, record = self._rules.sign_checkpoint(sequence, state_root)
        out.persist.append(record)
        out.send_to(self._group.others(self._me), vote)
        self._count(out, vote)

    def why_ignore_certificate(self, certificate: CheckpointCertificate) -> IgnoreReason | None:
        sequence = certificate.checkpoint.sequence
        if not self._group.is_checkpoint(sequence):
            return IgnoreReason.NOT_A_CHECKPOINT
        if sequence <= self._log.low_watermark:
            return IgnoreReason.BELOW_LOW_WATERMARK
        return None

    def on_certificate(self, out: Output, certificate: CheckpointCertificate) -> None:
        """A quorum vouches for a root: it is stable, also for a replica that has not executed so far yet."""
        sequence = certificate.checkpoint.sequence
        if sequence <= self._log.low_watermark:
            return
        self._witness.hear_checkpoint_certificate(out, certificate)
        root = self._own_roots.get(sequence)
        if sequence > self._log.last_executed:
            self._keep_ahead(certificate)
        elif root is not None and root != certificate.checkpoint.state_root:
            self._diverge(out, certificate)
        self.stable = certificate
        out.persist.append(Record(RecordKind.STABLE, sequence, certificate.wire))
        self._adopt(sequence)

    def _keep_ahead(self, certificate: CheckpointCertificate) -> None:
        self._ahead[certificate.checkpoint.sequence] = certificate
        highest, reach = max(self._ahead), self._log.last_executed + self._group.parameters.window
        for sequence in [sequence for sequence in self._ahead if reach < sequence < highest]:
            del self._ahead[sequence]

    def on_damage(self, out: Output, what: str) -> None:
        """The state is not what this replica executed; the last certified one has to take its place."""
        if self.diverged_at is None:
            self.diverged_at = self._log.low_watermark
            out.alarm(f"{what}: the state of checkpoint {self.diverged_at} is fetched from the other replicas")

    def on_installed(self, out: Output, sequence: SequenceNumber) -> None:
        """The certified state at `sequence` is in place."""
        out.persist.append(Record(RecordKind.REPAIRED, max(sequence, self.diverged_at or sequence), b""))
        self.diverged_at = None
        for passed in [old for old in self._ahead if old <= sequence]:
            del self._ahead[passed]
        for replaced in [old for old in self._own_roots if old > sequence]:
            del self._own_roots[replaced]

    def restore_divergence(self, sequence: SequenceNumber) -> None:
        """A certified root once differed from this replica's own: a restart does not mend that."""
        self.diverged_at = sequence

    def restore_vote(self, vote: Signed[Checkpoint]) -> None:
        self._own_roots[vote.message.sequence] = vote.message.state_root
        self._rules.restore_checkpoint(vote.message)
        self._votes.setdefault(vote.message.sequence, {})[vote.signer] = vote

    def restore_root(self, checkpoint: Checkpoint) -> None:
        """Of the state as it is, which may have been repaired since its vote was signed."""
        self._own_roots[checkpoint.sequence] = checkpoint.state_root

    def restore_stable(self, certificate: CheckpointCertificate) -> None:
        """A stable checkpoint out of the ledger; the state may be behind it, if it was lost."""
        sequence = certificate.checkpoint.sequence
        if sequence > self._log.last_executed:
            self._keep_ahead(certificate)
        if sequence > self._log.low_watermark:
            self.stable = certificate
            self._adopt(sequence)

    def _adopt(self, sequence: SequenceNumber) -> None:
        for slot in self._log.slots():
            if slot.sequence <= sequence:
                self._witness.keep(slot)
        self._log.advance(sequence)
        self._rules.forget_below(sequence)
        for votes in [old for old in self._votes if old <= sequence]:
            del self._votes[votes]
        for roots in [old for old in self._own_roots if old <= sequence]:
            del self._own_roots[roots]
        for passed in [old for old in self._ahead if old <= self._log.last_executed]:
            del self._ahead[passed]

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
            self.diverged_at = sequence
            out.persist.append(Record(RecordKind.DIVERGED, sequence, certificate.wire))
            out.alarm(
                f"the state at {sequence} differs from the one that a quorum certified, which is fetched now. The "
                "state database of this replica was damaged, or it runs other code than its peers"
            )
