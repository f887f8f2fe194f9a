"""Ordering: propose, the three phases, and handing out committed batches in order. PBFT section 4.2."""

from __future__ import annotations

from typing import TypeVar

from crypto.digest import Digest
from pbft.core import bodies
from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import Execute, IgnoreReason, Record, RecordKind
from pbft.core.errors import invariant
from pbft.core.frames import (
    BODY,
    COMMIT_CERTIFICATE,
    PROPOSAL,
    make_batch,
    make_commit_certificate,
    make_prepared_certificate,
)
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Body, Commit, CommitCertificate, PeerMessage, Prepare, Proposal, Signed
from pbft.core.output import Output
from pbft.core.repair import Repair
from pbft.core.request_pool import RequestPool
from pbft.core.slot import Slot, matching
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules

BUSY_BATCH_DIVISOR = 4
"""While slots are in flight, a further one is proposed only when a quarter of a full batch waits."""

PROPOSALS_AHEAD_MAX = 64
"""Batches that a primary may have under way at a backup, in memory; what was refused comes back as certificates."""

V = TypeVar("V", Prepare, Commit)


class Ordering:
    """The normal case in the current view. Signs through the rules, keeps everything in the log."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        rules: VotingRules,
        log: Log,
        pool: RequestPool,
        checkpoints: Checkpoints,
        repair: Repair,
    ) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._pool = pool
        self._checkpoints = checkpoints
        self._repair = repair
        self._others = group.others(me)
        self._next_sequence = SequenceNumber(1)
        self._last_issued = SequenceNumber(0)
        """Highest batch handed out for execution; equals last_executed unless one is under way."""

    @property
    def is_primary(self) -> bool:
        return self._group.primary(self._log.view) == self._me

    def resume(self, out: Output, highest_proposed: SequenceNumber) -> None:
        """Go on after a restart: the log holds what the ledger had."""
        for sequence in range(self._log.low_watermark + 1, self._log.last_executed + 1):
            self._release(sequence)
        self._last_issued = self._log.last_executed
        self._next_sequence = SequenceNumber(max(highest_proposed, self._log.last_executed) + 1)
        for slot in self._log.unexecuted():
            self.check_prepared(out, slot)
        self.execute_ready(out)

    def on_repaired(self, out: Output) -> None:
        """The state was fetched: go on from where the log says that it stands."""
        self._last_issued = self._log.last_executed
        self._next_sequence = max(self._next_sequence, SequenceNumber(self._log.last_executed + 1))
        self.execute_ready(out)

    def propose(self, out: Output, now: Now) -> None:
        """Order what waits: at once when nothing is in flight, else once a batch is worth it. PBFT section 4.2."""
        if not self.is_primary:
            return
        parameters = self._group.parameters
        worth_it = max(1, parameters.batch_operations_max // BUSY_BATCH_DIVISOR)
        while self._pool.waiting_operations:
            in_flight = self._next_sequence - 1 - self._log.last_executed
            too_early = in_flight > 0 and self._pool.waiting_operations < worth_it
            if in_flight >= parameters.pipeline_depth or too_early:
                return
            if self._next_sequence > self._log.high_watermark:
                return  # wait for the next stable checkpoint
            batch = make_batch(max(now.wall, Milliseconds(1)), self._pool.take())
            proposal, record = self._rules.sign_pre_prepare(self._log.view, self._next_sequence, batch)
            slot = self._log.slot(self._next_sequence, now.steady)
            slot.proposal = proposal
            self._next_sequence = SequenceNumber(self._next_sequence + 1)
            out.persist.append(record)
            out.send_to(self._others, proposal)
            self.check_prepared(out, slot)

    # -- the three phases

    def why_ignore_proposal(self, now: Now, proposal: Proposal) -> IgnoreReason | None:
        vote = proposal.pre_prepare.message
        outside = self._log.why_ignore_vote(vote.view, vote.sequence)
        if outside is not None:
            return outside
        if proposal.pre_prepare.signer != self._group.primary(vote.view):
            return IgnoreReason.NOT_THE_PRIMARY
        if vote.sequence > self._log.last_executed + PROPOSALS_AHEAD_MAX:
            return IgnoreReason.TOO_FAR_AHEAD
        slot = self._log.get(vote.sequence)
        if slot is not None and slot.proposal is not None:
            same = slot.proposal.batch.digest == vote.batch_digest
            return IgnoreReason.DUPLICATE if same else IgnoreReason.CONFLICTING_PROPOSAL
        if proposal.pre_prepare.signer == self._me:
            return IgnoreReason.NOT_WANTED  # signed with this replica's key, and not in its ledger: not its own
        certificate = slot.certificate if slot is not None else None
        if certificate is not None and certificate.commit.batch_digest != vote.batch_digest:
            return IgnoreReason.CONFLICTING_PROPOSAL
        batch = proposal.batch
        limits = self._group.parameters
        over = batch.operation_count > limits.batch_operations_max or len(batch.wire) > 2 * limits.batch_bytes_max
        if over and len(batch.requests) > 1:
            return IgnoreReason.BATCH_TOO_LARGE
        # Only stamps from the future are refused. A late one cannot move the agreed time back, and the primary may be
        # sending again what it stored before a long outage: it has nothing else to offer in this slot.
        if batch.timestamp > now.wall + limits.clock_skew_max_ms:
            return IgnoreReason.TIMESTAMP_OUT_OF_RANGE
        return None

    def on_proposal(self, out: Output, now: Now, proposal: Proposal) -> None:
        vote = proposal.pre_prepare.message
        reason = self.why_ignore_proposal(now, proposal)
        if reason is not None:
            if reason is IgnoreReason.CONFLICTING_PROPOSAL:
                slot = self._log.slot(vote.sequence, now.steady)
                if slot.proposal is not None:
                    first = slot.proposal.pre_prepare
                    out.accuse("E1", first.signer, first.wire, proposal.pre_prepare.wire)
            out.ignore(reason, proposal.pre_prepare.signer, PROPOSAL)
            return
        slot = self._log.slot(vote.sequence, now.steady)
        slot.proposal = proposal
        prepare, record = self._rules.sign_prepare(proposal)
        slot.prepares[self._me] = prepare
        out.persist.append(Record(RecordKind.PROPOSAL, vote.sequence, proposal.wire))
        out.persist.append(record)
        out.send_to(self._others, prepare)
        self.check_prepared(out, slot)
        self.execute_ready(out)

    def _second_vote(self, out: Output, code: str, vote: Signed[V], known: Signed[V] | None) -> IgnoreReason | None:
        """One vote of each kind per replica and slot; a second, different one is evidence.

        Raises InvariantViolation for a vote of this replica's own that its ledger does not know.
        """
        if known is None:
            invariant(
                vote.signer != self._me,
                f"there is a vote at {vote.message.sequence} with this replica's signature that its ledger does not "
                "know: the ledger was lost or is an old copy, or somebody else uses the key. It must not vote again",
            )
            return None
        if known.message.batch_digest == vote.message.batch_digest:
            return IgnoreReason.DUPLICATE
        out.accuse(code, vote.signer, known.wire, vote.wire)
        return IgnoreReason.CONFLICTING_VOTE

    def is_useless(self, message: PeerMessage) -> bool:
        """Whether a message would be ignored whatever its signatures: then they need not be checked. Pure.

        Never says so of what contradicts something: that may be evidence.
        """
        match message:
            case Proposal(pre_prepare=pre_prepare):
                vote = pre_prepare.message
                slot = self._log.get(vote.sequence)
                held = slot.proposal.batch.digest if slot is not None and slot.proposal is not None else None
                outside = self._log.why_ignore_vote(vote.view, vote.sequence)
                stranger = pre_prepare.signer != self._group.primary(vote.view)
                return outside is not None or stranger or held == vote.batch_digest
            case CommitCertificate(commit=commit):
                slot = self._log.get(commit.sequence)
                held_already = slot is not None and slot.certificate is not None
                return held_already or self._log.why_outside(commit.sequence) is not None
            case Signed(message=Prepare() as vote) | Signed(message=Commit() as vote):
                return self._log.why_ignore_vote(vote.view, vote.sequence) is not None
            case _:
                return False

    def on_prepare(self, out: Output, now: Now, prepare: Signed[Prepare]) -> None:
        vote = prepare.message
        reason = self._log.why_ignore_vote(vote.view, vote.sequence)
        if reason is None and prepare.signer == self._group.primary(vote.view):
            reason = IgnoreReason.PRIMARY_DOES_NOT_PREPARE
        if reason is None:
            known = self._log.slot(vote.sequence, now.steady).prepares.get(prepare.signer)
            reason = self._second_vote(out, "E2", prepare, known)
        if reason is not None:
            out.ignore(reason, prepare.signer, bodies.PREPARE)
            return
        slot = self._log.slot(vote.sequence, now.steady)
        slot.prepares[prepare.signer] = prepare
        self.check_prepared(out, slot)

    def check_prepared(self, out: Output, slot: Slot) -> None:
        """Prepared: the PRE-PREPARE and matching PREPAREs of quorum - 1 backups. Then commit."""
        if slot.prepared is not None or slot.proposal is None:
            return
        pre_prepare = slot.proposal.pre_prepare
        endorsements = matching(slot.prepares, pre_prepare.message.batch_digest, self._group.quorum - 1)
        if endorsements is None:
            return
        slot.prepared = make_prepared_certificate(self._group, pre_prepare, endorsements)
        commit, records = self._rules.sign_commit(slot.prepared)
        slot.commits[self._me] = commit
        out.persist.extend(records)
        out.send_to(self._others, commit)
        self.check_committed(out, slot, commit.message.batch_digest)

    def on_commit(self, out: Output, now: Now, commit: Signed[Commit]) -> None:
        vote = commit.message
        reason = self._log.why_ignore_vote(vote.view, vote.sequence)
        if reason is None:
            known = self._log.slot(vote.sequence, now.steady).commits.get(commit.signer)
            reason = self._second_vote(out, "E3", commit, known)
        if reason is not None:
            out.ignore(reason, commit.signer, bodies.COMMIT)
            return
        slot = self._log.slot(vote.sequence, now.steady)
        slot.commits[commit.signer] = commit
        self.check_committed(out, slot, vote.batch_digest)

    def check_committed(self, out: Output, slot: Slot, digest: Digest) -> None:
        """Committed: a quorum of COMMITs, each of which stands on a prepared certificate."""
        if slot.certificate is not None:
            return
        endorsements = matching(slot.commits, digest, self._group.quorum)
        if endorsements is None:
            return
        commit = Commit(view=self._log.view, sequence=slot.sequence, batch_digest=digest)
        self._adopt_certificate(out, slot, make_commit_certificate(self._group, commit, endorsements))

    def on_commit_certificate(self, out: Output, now: Now, peer: ReplicaId, certificate: CommitCertificate) -> None:
        """Execute on it, whatever its view; never vote on it."""
        sequence = certificate.commit.sequence
        reason = self._log.why_outside(sequence)
        if reason is None and sequence <= self._log.last_executed:
            reason = IgnoreReason.ALREADY_EXECUTED
        slot = self._log.get(sequence)
        if reason is None and slot is not None and slot.certificate is not None:
            reason = IgnoreReason.DUPLICATE
        if reason is not None:
            out.ignore(reason, peer, COMMIT_CERTIFICATE)
            return
        self._adopt_certificate(out, self._log.slot(sequence, now.steady), certificate)

    def _adopt_certificate(self, out: Output, slot: Slot, certificate: CommitCertificate) -> None:
        slot.certificate = certificate
        out.archive.append(Record(RecordKind.COMMITTED, slot.sequence, certificate.wire))
        self.execute_ready(out)

    def on_body(self, out: Output, peer: ReplicaId, body: Body) -> None:
        slot = self._log.get(body.sequence)
        if slot is None or not self._repair.on_body(slot, body):
            out.ignore(IgnoreReason.NOT_WANTED, peer, BODY)
            return
        out.archive.append(Record(RecordKind.BODY, body.sequence, body.batch.wire))
        self.execute_ready(out)

    # -- execution

    def execute_ready(self, out: Output) -> None:
        """Hand out committed batches in order, without gaps; none beyond a checkpoint whose vote is not stored."""
        while self._checkpoints.diverged_at is None:
            if self._group.is_checkpoint(self._last_issued) and self._log.last_executed < self._last_issued:
                return
            slot = self._log.get(self._last_issued + 1)
            batch = slot.committed_batch if slot is not None else None
            if batch is None:
                return
            self._last_issued = SequenceNumber(self._last_issued + 1)
            out.execute.append(Execute(sequence=self._last_issued, batch=batch))

    def _release(self, sequence: int) -> None:
        slot = self._log.get(sequence)
        if slot is not None:
            slot.release_bodies()

    def on_executed(self, sequence: SequenceNumber) -> None:
        invariant(sequence == self._log.last_executed + 1, "batches executed out of order")
        invariant(sequence <= self._last_issued, "a batch was executed that was not handed out")
        self._log.last_executed = sequence
        self._release(sequence)
        self._next_sequence = max(self._next_sequence, SequenceNumber(sequence + 1))
