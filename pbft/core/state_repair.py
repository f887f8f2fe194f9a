"""When a replica fetches its state instead of executing its way to it. Protocol, section 7."""

from __future__ import annotations

from dataclasses import asdict

from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import IgnoreReason, StateInstalled
from pbft.core.errors import InvariantViolation
from pbft.core.execution import Execution
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import CheckpointCertificate
from pbft.core.ordering import Ordering
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.state_bodies import STATE
from pbft.core.state_messages import StateAnswer
from pbft.core.state_walk import LocalState
from pbft.core.transfer import Transfer
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

PATIENCE_MS = 3_000
"""So long a replica below the stable checkpoint waits for certificates that its peers may not have any more."""


class StateRepair:
    """Starts a transfer when the state is damaged, not whole, or too far behind, and leads it to its end."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        log: Log,
        checkpoints: Checkpoints,
        ordering: Ordering,
        execution: Execution,
        rejoin: Rejoin,
        local: LocalState,
    ) -> None:
        self._group = group
        self._me = me
        self._log = log
        self._checkpoints = checkpoints
        self._ordering = ordering
        self._execution = execution
        self._rejoin = rejoin
        self._local = local
        self._transfer: Transfer | None = None
        self._is_torn = False
        """A transfer was cut off by a restart."""
        self._seen = SequenceNumber(0)
        self._seen_at = Milliseconds(0)
        self._fetched = 0
        self._fetched_at = Milliseconds(0)
        """Bytes of the transfer under way, and when there came more."""

    @property
    def is_whole(self) -> bool:
        """Whether anything may be executed on the state, or read out of it."""
        return self._transfer is None and not self._is_torn and self._checkpoints.diverged_at is None

    @property
    def is_transferring(self) -> bool:
        return self._transfer is not None

    def progress(self) -> dict[str, object] | None:
        """For operators; None if no transfer is under way."""
        if self._transfer is None:
            return None
        progress = asdict(self._transfer.progress)
        return {
            "checkpoint": progress["sequence"],
            "pages_wanted": progress["pages_wanted"],
            "pages_fetched": progress["pages_fetched"],
            "bytes_fetched": progress["bytes_fetched"],
        }

    def on_recovered(self, now: Milliseconds, *, is_whole: bool) -> None:
        self._is_torn = not is_whole
        self._execution.is_halted = self._is_torn
        self._seen, self._seen_at = self._log.last_executed, now

    def consider(self, out: Output, now: Milliseconds) -> None:
        """Start a transfer if there is a reason to, once no batch is under way; lead one on to a newer checkpoint."""
        if self._transfer is not None:
            target = self._target()
            if target is not None:
                self._transfer.retarget(out, now, target)
            self._wish(now, self._transfer)
            return
        if self._log.last_executed != self._seen:
            self._seen, self._seen_at = self._log.last_executed, now
        if not self._needs_transfer(now):
            if self._execution.is_halted:  # the batch that was under way made the transfer needless
                self._execution.is_halted = False
                self._execution.execute_ready(out)
            return
        self._execution.is_halted = True
        if self._execution.is_executing:
            return
        self._fetched, self._fetched_at = 0, now
        self._transfer = Transfer(self._group, self._me, self._local, self._target())
        self._transfer.start(out, now)

    def _target(self) -> CheckpointCertificate | None:
        """The newest state that is certain.

        Peers hold that of the last checkpoint that they executed, and it may take this replica's vote to make it
        stable: without the word of f + 1 of them both sides would wait for each other.
        """
        return self._checkpoints.attested() or self._checkpoints.stable

    def _wish(self, now: Milliseconds, transfer: Transfer) -> None:
        """Peers hold the state of the last checkpoint executed since their start. After a restart of all, also in the
        middle of a transfer, there may be none, and an idle group has to reach the next one."""
        fetched = transfer.progress.bytes_fetched
        if fetched != self._fetched:
            self._fetched, self._fetched_at = fetched, now
        in_vain = now - self._fetched_at >= 2 * PATIENCE_MS
        following = self._log.low_watermark + self._group.parameters.checkpoint_interval
        self._rejoin.wished_checkpoint = SequenceNumber(following) if in_vain else None

    def _needs_transfer(self, now: Milliseconds) -> bool:
        if self._is_torn or self._checkpoints.diverged_at is not None:
            return True
        behind = self._log.low_watermark - self._log.last_executed
        is_stuck = behind > 0 and now - self._seen_at >= PATIENCE_MS
        return behind > self._group.parameters.window or is_stuck

    # -- while a transfer is under way

    def on_answer(self, out: Output, now: Milliseconds, peer: ReplicaId, answer: StateAnswer) -> None:
        if self._transfer is None:
            out.ignore(IgnoreReason.NOT_WANTED, peer, STATE)
        else:
            self._transfer.on_state(out, now, peer, answer)

    def on_timer(self, out: Output, now: Milliseconds) -> None:
        if self._transfer is not None:
            self._transfer.on_timer(out, now)

    def on_link_up(self, out: Output, now: Milliseconds, peer: ReplicaId) -> None:
        if self._transfer is not None:
            self._transfer.on_link_up(out, now, peer)

    def on_installed(self, out: Output, installed: StateInstalled) -> bool:
        """Says whether the state is whole now, and stands where the transfer led."""
        now = installed.now.steady
        if self._transfer is None:
            msg = "a state was installed that nobody asked for"
            raise InvariantViolation(msg)
        self._transfer.on_installed(out, now, installed)
        if not self._transfer.is_finished:
            return False
        sequence = self._transfer.sequence
        self._transfer, self._is_torn, self._rejoin.wished_checkpoint = None, False, None
        self._seen, self._seen_at = sequence, now
        self._log.stand_at(sequence)
        self._checkpoints.on_installed(out, sequence)
        if sequence > 0:
            self._checkpoints.on_own_root(out, sequence, installed.state_root)
        self._execution.is_halted = False
        self._ordering.stand_at(out, sequence)
        return True
