"""Ordering in one view: propose, and the three phases. PBFT section 4.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from crypto.digest import Digest
from pbft.core import bodies
from pbft.core.effects import IgnoreReason, Record, RecordKind
from pbft.core.execution import Execution
from pbft.core.frames import NULL_BATCH, PROPOSAL, make_batch, make_commit_certificate, make_prepared_certificate
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Batch, Commit, CommitCertificate, PeerMessage, Prepare, PrePrepare, Proposal, Signed
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.request_pool import RequestPool
from pbft.core.slot import Slot, matching
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness

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
        execution: Execution,
        rejoin: Rejoin,
        witness: Witness,
    ) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._pool = pool
        self._execution = execution
        self._rejoin = rejoin
        self._witness = witness
        self._others = group.others(me)
        self._next_sequence = SequenceNumber(1)
        self._highest_accepted = SequenceNumber(0)

    def stand_at(self, out: Output, sequence: SequenceNumber) -> None:
        """Another state is in place, which has executed up to `sequence`: go on from there."""
        self._execution.stand_at(sequence)
        self._propose_above(self._highest_accepted)
        self._execution.execute_ready(out)

    @property
    def has_open_proposal(self) -> bool:
        """Whether the primary proposed something, in this view, that is not executed here."""
        return self._highest_accepted > self._log.last_executed

    @property
    def is_primary(self) -> bool:
        return self._group.primary(self._log.view) == self._me

    def resume(self, out: Output) -> None:
        """Go on after a restart: the log holds what the ledger had."""
        self._execution.resume()
        for slot in list(self._log.slots()):
            if slot.pre_prepare is not None:
                self._note_accepted(slot.sequence)
            self.check_prepared(out, slot)
        self._propose_above(self._highest_accepted)
        self._execution.execute_ready(out)

    def begin_view(self, out: Output, now: Now, pre_prepares: Sequence[Signed[PrePrepare]]) -> None:
        """Accept what the NEW-VIEW proposes again, on its digests: bodies that lack are fetched. PBFT section 4.4."""
        highest = max((each.message.sequence for each in pre_prepares), default=SequenceNumber(0))
        self._highest_accepted = SequenceNumber(0)
        self._propose_above(highest)
        for pre_prepare in pre_prepares:
            vote = pre_prepare.message
            if self._log.why_outside(vote.sequence) is not None:
                continue
            slot = self._log.slot(vote.sequence, now.steady)
            certificate = slot.certificate
            if certificate is not None and certificate.commit.batch_digest != vote.batch_digest:
                out.alarm(
                    f"the NEW-VIEW of view {vote.view} proposes another batch at {vote.sequence} than was committed "
                    "there: more replicas are faulty than the group can bear, or this is a bug"
                )
                continue
            batch = slot.holds(vote.batch_digest)
            if batch is not None:
                self._pool.mark_proposed(batch.requests)
            self._accept(out, slot, pre_prepare)
        self._execution.execute_ready(out)

    def propose_again_what_was_passed(self) -> None:
        """A state was installed over slots that were never executed here: requests proposed there wait again.

        Those that it remembers are gone from the pool already; the others may run twice, or ran nowhere.
        """
        self._pool.return_proposed()
        for slot in self._log.slots():
            proposed = slot.pre_prepare.message.batch_digest if slot.pre_prepare is not None else None
            batch = slot.holds(proposed) if proposed is not None else None
            if batch is not None and slot.sequence > self._log.last_executed:
                self._pool.mark_proposed(batch.requests)

    def _accept(self, out: Output, slot: Slot, pre_prepare: Signed[PrePrepare]) -> None:
        slot.pre_prepare = pre_prepare
        self._note_accepted(slot.sequence)
        if not self.is_primary and not self._rules.is_mute:
            prepare, record = self._rules.sign_prepare(pre_prepare.message)
            slot.prepares[self._me] = prepare
            out.persist.append(record)
            out.send_to(self._others, prepare)
        self.check_prepared(out, slot)

    def _propose_above(self, highest: SequenceNumber) -> None:
        taken = max(highest, self._log.last_executed, self._log.low_watermark)
        self._next_sequence = SequenceNumber(taken + 1)

    def _note_accepted(self, sequence: SequenceNumber) -> None:
        self._highest_accepted = max(self._highest_accepted, sequence)

    # -- proposing

    def propose(self, out: Output, now: Now) -> None:
        """Order what waits: at once when nothing is in flight, else once a batch is worth it. PBFT section 4.2."""
        if not self._may_propose:
            return
        self._pass_over_stable()
        parameters = self._group.parameters
        worth_it = max(1, parameters.batch_operations_max // BUSY_BATCH_DIVISOR)
        while self._pool.waiting_operations:
            in_flight = self._in_flight
            too_early = in_flight > 0 and self._pool.waiting_operations < worth_it
            if in_flight >= parameters.pipeline_depth or too_early:
                return
            if self._next_sequence > self._log.high_watermark:
                return  # wait for the next stable checkpoint
            self._propose(out, now, make_batch(max(now.wall, Milliseconds(1)), self._pool.take()))

    def _pass_over_stable(self) -> None:
        """The others went on in a later view, of which this replica has seen a checkpoint and no NEW-VIEW yet."""
        self._next_sequence = max(self._next_sequence, SequenceNumber(self._log.low_watermark + 1))

    @property
    def _may_propose(self) -> bool:
        return self.is_primary and self._log.in_view and not self._rules.is_mute

    @property
    def _in_flight(self) -> int:
        return self._next_sequence - 1 - self._log.last_executed

    def propose_null(self, out: Output, now: Now) -> bool:
        """Order a batch of nothing, if nothing else is in flight: it moves an idle group's window on."""
        self._pass_over_stable()
        if not self._may_propose or self._in_flight > 0 or self._next_sequence > self._log.high_watermark:
            return False
        self._propose(out, now, NULL_BATCH)
        return True

    def _propose(self, out: Output, now: Now, batch: Batch) -> None:
        proposal, record = self._rules.sign_pre_prepare(self._log.view, self._next_sequence, batch)
        slot = self._log.slot(self._next_sequence, now.steady)
        slot.bodies[batch.digest] = batch
        self._next_sequence = SequenceNumber(self._next_sequence + 1)
        out.persist.append(record)
        out.send_to(self._others, proposal)
        self._accept(out, slot, proposal.pre_prepare)

    # -- the three phases

    def why_ignore_proposal(self, now: Now, proposal: Proposal) -> IgnoreReason | None:
        vote = proposal.pre_prepare.message
        outside = self._log.why_ignore_vote(vote.view, vote.sequence)
        if outside is not None:
            return outside
        if not self._log.in_view:
            return IgnoreReason.VIEW_CHANGE_UNDER_WAY
        if proposal.pre_prepare.signer != self._group.primary(vote.view):
            return IgnoreReason.NOT_THE_PRIMARY
        if vote.sequence > max(self._log.last_executed, self._log.low_watermark) + PROPOSALS_AHEAD_MAX:
            return IgnoreReason.TOO_FAR_AHEAD
        slot = self._log.get(vote.sequence)
        if slot is not None and slot.accepted is not None:
            same = slot.accepted == vote.batch_digest
            return IgnoreReason.DUPLICATE if same else IgnoreReason.CONFLICTING_PROPOSAL
        if proposal.pre_prepare.signer == self._me:
            return IgnoreReason.NOT_OWN
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
            if reason is not IgnoreReason.NOT_THE_PRIMARY:
                self._witness.hear(out, proposal.pre_prepare)
            if reason is IgnoreReason.NOT_OWN:
                self._rejoin.lose_voice(out, f"a PRE-PREPARE at {vote.sequence}")
            out.ignore(reason, proposal.pre_prepare.signer, PROPOSAL)
            return
        self._witness.compare(out, proposal.pre_prepare)
        slot = self._log.slot(vote.sequence, now.steady)
        slot.bodies[vote.batch_digest] = proposal.batch
        out.persist.append(Record(RecordKind.PROPOSAL, vote.sequence, proposal.wire))
        self._accept(out, slot, proposal.pre_prepare)
        self._execution.execute_ready(out)

    def _second_vote(self, out: Output, vote: Signed[V], known: Signed[V] | None) -> IgnoreReason | None:
        """One vote of each kind per replica and slot; a second, different one is evidence."""
        if known is None:
            if vote.signer != self._me:
                return None
            self._rejoin.lose_voice(out, f"a vote at {vote.message.sequence}")
            return IgnoreReason.NOT_OWN
        if known.message.batch_digest == vote.message.batch_digest:
            return IgnoreReason.DUPLICATE
        self._witness.hear(out, vote)
        return IgnoreReason.CONFLICTING_VOTE

    def is_useless(self, message: PeerMessage) -> bool:
        """Whether a message would be ignored whatever its signatures: then they need not be checked. Pure.

        Never says so of what contradicts something: that may be evidence.
        """
        match message:
            case Proposal(pre_prepare=pre_prepare):
                vote = pre_prepare.message
                slot = self._log.get(vote.sequence)
                held = slot.accepted if slot is not None else None
                outside = self._log.why_ignore_vote(vote.view, vote.sequence)
                if pre_prepare.signer != self._group.primary(vote.view) or held == vote.batch_digest:
                    return True
                return outside is not None and not self._witness.is_news(pre_prepare)
            case CommitCertificate():
                return self._execution.is_useless(message)
            case Signed(message=Prepare() | Commit()) as signed:
                return self._is_late(signed) and not self._witness.is_news(signed)
            case _:
                return False

    def _is_late(self, signed: Signed[Prepare] | Signed[Commit]) -> bool:
        return self._log.why_ignore_vote(signed.message.view, signed.message.sequence) is not None

    def on_prepare(self, out: Output, now: Now, prepare: Signed[Prepare]) -> None:
        vote = prepare.message
        reason = self._log.why_ignore_vote(vote.view, vote.sequence)
        if reason is None and prepare.signer == self._group.primary(vote.view):
            reason = IgnoreReason.PRIMARY_DOES_NOT_PREPARE
        if reason is None:
            known = self._log.slot(vote.sequence, now.steady).prepares.get(prepare.signer)
            reason = self._second_vote(out, prepare, known)
        else:
            self._witness.hear(out, prepare)
        if reason is not None:
            out.ignore(reason, prepare.signer, bodies.PREPARE)
            return
        self._witness.compare(out, prepare)
        slot = self._log.slot(vote.sequence, now.steady)
        slot.prepares[prepare.signer] = prepare
        self.check_prepared(out, slot)

    def check_prepared(self, out: Output, slot: Slot) -> None:
        """Prepared: the PRE-PREPARE and matching PREPAREs of quorum - 1 backups. Then commit."""
        pre_prepare = slot.pre_prepare
        if pre_prepare is None or slot.prepared_view == self._log.view:
            return
        endorsements = matching(slot.prepares, pre_prepare.message.batch_digest, self._group.quorum - 1)
        if endorsements is None:
            return
        slot.prepared = make_prepared_certificate(self._group, pre_prepare, endorsements)
        if not self._rules.has_accepted(pre_prepare.message):
            return  # mute when it was proposed
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
            reason = self._second_vote(out, commit, known)
        else:
            self._witness.hear(out, commit)
        if reason is not None:
            out.ignore(reason, commit.signer, bodies.COMMIT)
            return
        self._witness.compare(out, commit)
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
        self._execution.adopt(out, slot, make_commit_certificate(self._group, commit, endorsements))

    def on_executed(self, sequence: SequenceNumber) -> None:
        self._execution.on_executed(sequence)
        self._next_sequence = max(self._next_sequence, SequenceNumber(sequence + 1))
