"""When this replica's state is to be fetched from its peers, and what becomes of it then."""

from __future__ import annotations

from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import IgnoreReason, Record, RecordKind, StateInstalled
from pbft.core.errors import InvariantViolation
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import CheckpointCertificate
from pbft.core.output import Output
from pbft.core.state_bodies import STATE
from pbft.core.state_messages import StateAnswer
from pbft.core.state_walk import LocalState
from pbft.core.transfer import Transfer
from pbft.core.types import Milliseconds, ReplicaId


class StateRepair:
    """Owns the transfer, if there is one. Without `local` there never is: the state is then somebody else's care."""

    def __init__(
        self, group: Group, me: ReplicaId, log: Log, checkpoints: Checkpoints, local: LocalState | None
    ) -> None:
        self._group = group
        self._me = me
        self._log = log
        self._checkpoints = checkpoints
        self._local = local
        self.transfer: Transfer | None = None
        self.lost: CheckpointCertificate | None = None
        """A stable checkpoint of this replica's own that its state does not reach any more."""

    @property
    def is_able(self) -> bool:
        return self._local is not None

    def consider(self, out: Output, now: Milliseconds) -> None:
        """Start a transfer when the state is wrong, lost, or behind by more than the window; lead one on."""
        target = self._target()
        if self._local is None or target is None:
            return
        if self.transfer is not None:
            self.transfer.retarget(out, now, target)
            return
        behind = target.checkpoint.sequence > self._log.high_watermark
        if behind or self.lost is not None or self._checkpoints.diverged_at is not None:
            self._checkpoints.diverged_at = target.checkpoint.sequence
            self._start(out, now, target)

    def start_from_nothing(self, out: Output, now: Milliseconds) -> None:
        """The state is not whole, and no checkpoint is known: empty it, and execute from the beginning."""
        self._checkpoints.diverged_at = self._log.last_executed
        self._start(out, now, None)

    def on_state(self, out: Output, now: Milliseconds, peer: ReplicaId, answer: StateAnswer) -> None:
        if self.transfer is None:
            out.ignore(IgnoreReason.NOT_WANTED, peer, STATE)
        else:
            self.transfer.on_state(out, now, peer, answer)

    def on_timer(self, out: Output, now: Milliseconds) -> None:
        if self.transfer is not None:
            self.transfer.on_timer(out, now)

    def on_link_up(self, out: Output, now: Milliseconds, peer: ReplicaId) -> None:
        if self.transfer is not None:
            self.transfer.on_link_up(out, now, peer)

    def on_installed(self, out: Output, now: Milliseconds, installed: StateInstalled) -> bool:
        """Says whether the state is whole now: the log then stands at its checkpoint, and execution may go on."""
        transfer = self.transfer
        if transfer is None:
            raise InvariantViolation("a state was installed that nobody asked for")
        transfer.on_installed(out, now, installed)
        if not transfer.is_finished:
            return False
        self.transfer, self.lost = None, None
        self._log.last_executed = installed.sequence
        certificate = transfer.certificate
        if certificate is None:
            self._checkpoints.diverged_at = None
        else:
            out.persist.append(Record(RecordKind.STABLE, installed.sequence, certificate.wire))
            out.persist.append(Record(RecordKind.REPAIRED, installed.sequence, certificate.wire))
            self._checkpoints.on_repaired(certificate)
        return True

    def _start(self, out: Output, now: Milliseconds, target: CheckpointCertificate | None) -> None:
        if self._local is None:
            raise InvariantViolation("there is no state to fetch into")
        self.transfer = Transfer(self._group, self._me, self._local, target)
        self.transfer.start(out, now)

    def _target(self) -> CheckpointCertificate | None:
        known = [self._checkpoints.newest_unreached, self._checkpoints.stable, self.lost]
        return max(
            (certificate for certificate in known if certificate is not None),
            key=lambda certificate: certificate.checkpoint.sequence,
            default=None,
        )
