"""What is committed, in whatever view: certificates, their batches, handing those out in order. PBFT section 4.2."""

from __future__ import annotations

from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import Execute, IgnoreReason, Record, RecordKind
from pbft.core.errors import invariant
from pbft.core.frames import BODY, COMMIT_CERTIFICATE
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Body, CommitCertificate
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.repair import Repair
from pbft.core.slot import Slot
from pbft.core.types import Now, ReplicaId, SequenceNumber
from pbft.core.witness import Witness

FORKS_MAX = 8
"""Sequence numbers at which it is told that two batches are certified."""


class Execution:
    """Signs nothing: a commit certificate is as good from anybody, and whether this replica votes or not."""

    def __init__(
        self,
        *,
        group: Group,
        log: Log,
        checkpoints: Checkpoints,
        repair: Repair,
        rejoin: Rejoin,
        witness: Witness,
    ) -> None:
        self._group = group
        self._log = log
        self._checkpoints = checkpoints
        self._repair = repair
        self._rejoin = rejoin
        self._witness = witness
        self._forks: set[SequenceNumber] = set()
        self._last_issued = SequenceNumber(0)
        """Highest batch handed out for execution; equals last_executed unless one is under way."""
        self.is_halted = False
        """Nothing is handed out for execution: the state is about to be replaced."""

    @property
    def is_executing(self) -> bool:
        return self._last_issued > self._log.last_executed

    def stand_at(self, sequence: SequenceNumber) -> None:
        """Another state is in place, which has executed up to `sequence`."""
        self._last_issued = sequence

    def resume(self) -> None:
        """After a restart: the log holds what the ledger had."""
        for sequence in range(self._log.low_watermark + 1, self._log.last_executed + 1):
            self._release(sequence)
        self._last_issued = self._log.last_executed

    # -- what is certified

    def is_useless(self, certificate: CommitCertificate) -> bool:
        """Whether it would be ignored whatever its signatures. Pure.

        Never says so of what contradicts something: that may be evidence.
        """
        sequence = certificate.commit.sequence
        slot = self._log.get(sequence)
        held_already = slot is not None and slot.certificate is not None
        is_late = held_already or self._log.why_not_to_execute(sequence) is not None
        return (
            is_late and not self._contradicts(certificate) and not self._witness.is_news_of_certificate(certificate)
        )

    def on_commit_certificate(self, out: Output, now: Now, peer: ReplicaId, certificate: CommitCertificate) -> None:
        """Execute on it, whatever its view; never vote on it."""
        sequence = certificate.commit.sequence
        reason = self._log.why_not_to_execute(sequence)
        slot = self._log.get(sequence)
        if reason is None and slot is not None and slot.certificate is not None:
            reason = IgnoreReason.DUPLICATE
        if reason is not None and self._contradicts(certificate):
            self._forks.add(sequence)
            out.alarm(f"agreement is broken: two batches are certified at sequence number {sequence}")
        self._witness.hear_commit_certificate(out, certificate)
        if reason is not None:
            out.ignore(reason, peer, COMMIT_CERTIFICATE)
            return
        self.adopt(out, self._log.slot(sequence, now.steady), certificate)

    def _contradicts(self, certificate: CommitCertificate) -> bool:
        """Whether it certifies another batch than is certified here, which is told once, of a few numbers."""
        sequence = certificate.commit.sequence
        slot = self._log.get(sequence)
        held = slot.certificate if slot is not None else None
        is_other = held is not None and held.commit.batch_digest != certificate.commit.batch_digest
        return is_other and sequence not in self._forks and len(self._forks) < FORKS_MAX

    def adopt(self, out: Output, slot: Slot, certificate: CommitCertificate) -> None:
        slot.certificate = certificate
        self._rejoin.on_committed(certificate.commit)
        out.archive.append(Record(RecordKind.COMMITTED, slot.sequence, certificate.wire))
        self.execute_ready(out)

    def on_body(self, out: Output, peer: ReplicaId, body: Body) -> None:
        slot = self._log.get(body.sequence)
        if slot is None or body.sequence <= self._log.last_executed or not self._repair.on_body(slot, body):
            out.ignore(IgnoreReason.NOT_WANTED, peer, BODY)
            return
        out.archive.append(Record(RecordKind.BODY, body.sequence, body.batch.wire))
        self.execute_ready(out)

    # -- handing out

    def execute_ready(self, out: Output) -> None:
        """Hand out committed batches in order, without gaps; none beyond a checkpoint whose vote is not stored."""
        while self._checkpoints.diverged_at is None and not self.is_halted:
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
        self._release(sequence)
        self._log.executed(sequence)
