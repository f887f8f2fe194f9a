"""Coming back without a ledger: mute until nothing this replica may sign can contradict what it forgot.

It may have voted up to two windows above the highest checkpoint that was certified when it lost its votes, and have
asked for the view after the one in which its peers went on. So it waits for a stable checkpoint at or above that
bound, then for a batch committed beyond it in some view v: that quorum had left no view above v behind, so this
replica has asked for v + 1 at most; and then for view v + 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbft.core.effects import Record, RecordKind
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Commit, Rejoining, Status
from pbft.core.output import Output
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber, View
from pbft.core.voting_rules import VotingRules

WINDOWS_OF_NULL_BATCHES = 6
"""What one peer may have an idle group order for it within an hour."""
PLANNED_VIEW_CHANGES = 4
PLANNED_PAUSE_MS = 10_000
STRANDED_MS = 10_000
"""So long a peer waits alone for a view before the others follow it."""
REFILL_MS = 3_600_000


class Rejoin:
    """Whether this replica is mute, and what it waits for."""

    def __init__(self, group: Group, me: ReplicaId, rules: VotingRules, log: Log) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._amnesia = b""
        self._answered: set[ReplicaId] = set()
        self._checkpoint: SequenceNumber | None = None
        self._view: View | None = None
        self.wished_checkpoint: SequenceNumber | None = None
        """Of a replica that votes, but whose state nobody holds at the last checkpoint: at this one somebody will."""

    @property
    def rejoining(self) -> Rejoining | None:
        """For STATUS."""
        if self._rules.is_mute:
            return Rejoining(checkpoint=self._checkpoint, view=self._view)
        if self.wished_checkpoint is not None:
            return Rejoining(checkpoint=self.wished_checkpoint, view=None)
        return None

    def lose_voice(self, out: Output, what: str) -> None:
        """Something bears this replica's signature that its ledger does not know: it must not vote again."""
        if self._rules.is_mute:
            return
        text = (
            f"{what} with this replica's signature, which its ledger does not know: the ledger is an old copy, or "
            "somebody else uses the key. This replica stays mute until it is safe to vote again"
        )
        self.restore(text.encode())
        out.persist.append(Record(RecordKind.AMNESIA, self._log.low_watermark, self._amnesia))
        out.alarm(text)

    def restore(self, amnesia: bytes) -> None:
        """The ledger tells of a loss, and of no return since. What peers said before a restart counts no more."""
        self._rules.is_mute = True
        self._amnesia = amnesia
        self._answered.clear()
        self._checkpoint = self._view = None

    def on_status(self, peer: ReplicaId, status: Status) -> None:
        """An answer counts once the checkpoint that it claims is proven."""
        if not self._rules.is_mute or self._checkpoint is not None:
            return
        if status.stable_checkpoint <= self._log.low_watermark:
            self._answered.add(peer)
        if len(self._answered) >= self._group.quorum:
            self._checkpoint = SequenceNumber(self._log.low_watermark + 2 * self._group.parameters.window)

    def on_committed(self, commit: Commit) -> None:
        if not self._rules.is_mute or self._view is not None or self._checkpoint is None:
            return
        if commit.sequence > self._checkpoint:
            self._view = View(commit.view + 2)

    def check(self, out: Output) -> None:
        """Take the voice back once everything waited for is there."""
        if not self._rules.is_mute or self._checkpoint is None or self._view is None:
            return
        log = self._log
        if log.low_watermark >= self._checkpoint and log.in_view and log.view >= self._view:
            self._rules.is_mute = False
            out.persist.append(Record(RecordKind.REJOINED, log.low_watermark, self._amnesia))
            out.alarm(f"this replica votes again, in view {log.view} above sequence number {log.low_watermark}")


@dataclass(slots=True)
class _Helped:
    null_batches: int
    view_changes: int = PLANNED_VIEW_CHANGES
    since: Milliseconds = Milliseconds(0)
    is_mute: bool = False
    checkpoint: SequenceNumber | None = None
    view: View | None = None
    stranded_in: View | None = None
    stranded_at: Milliseconds = Milliseconds(0)


class RejoinHelp:
    """What a group does for a peer that is mute, or alone in a view change: null batches and planned view changes,
    few enough to be no attack."""

    def __init__(self, group: Group, me: ReplicaId, log: Log) -> None:
        self._group = group
        self._log = log
        self._most = WINDOWS_OF_NULL_BATCHES * group.parameters.window
        self._peers = {peer: _Helped(null_batches=self._most) for peer in group.others(me)}
        self._next_view_change = Milliseconds(0)

    def on_status(self, now: Milliseconds, peer: ReplicaId, status: Status) -> None:
        known = self._peers[peer]
        if now - known.since >= REFILL_MS:
            known.null_batches, known.view_changes, known.since = self._most, PLANNED_VIEW_CHANGES, now
        known.is_mute = status.rejoining is not None
        known.checkpoint = status.rejoining.checkpoint if status.rejoining is not None else None
        known.view = status.rejoining.view if status.rejoining is not None else None

    @property
    def wants_null_batch(self) -> bool:
        return self._in_need() is not None

    def _in_need(self) -> _Helped | None:
        """A peer that waits for later sequence numbers, and has a claim to some still."""
        reach = self._log.low_watermark + 3 * self._group.parameters.window
        for known in self._peers.values():
            wanted = known.checkpoint
            # One more than the checkpoint: the peer has to see something commit beyond it.
            if wanted is None or wanted > reach or known.null_batches <= 0:
                continue
            if self._log.low_watermark < wanted or (known.view is None and self._log.last_executed <= wanted):
                return known
        return None

    def on_null_batch(self) -> None:
        """One was ordered."""
        known = self._in_need()
        if known is not None:
            known.null_batches -= 1

    def wants_view_change(self, now: Milliseconds) -> bool:
        """Whether to leave the view for a peer that waits for a later one; counts it."""
        if now < self._next_view_change or not self._log.in_view:
            return False
        primary = self._peers.get(self._group.primary(self._log.view))
        if primary is not None and primary.is_mute and self._takes(primary, now):
            return True  # it cannot propose
        for known in self._peers.values():
            wanted, checkpoint = known.view, known.checkpoint
            if wanted is None or checkpoint is None or checkpoint > self._log.low_watermark:
                continue
            if self._log.view < wanted <= self._log.view + 2 and self._takes(known, now):
                return True
        return False

    def _takes(self, known: _Helped, now: Milliseconds) -> bool:
        """Count a view change on the account of a peer, if there is one left."""
        if known.view_changes <= 0:
            return False
        known.view_changes -= 1
        self._next_view_change = Milliseconds(now + PLANNED_PAUSE_MS)
        return True

    def wants_to_follow(self, now: Milliseconds, peer: ReplicaId, view: View) -> bool:
        """Whether `peer` has waited alone for `view` long enough; counts it."""
        known = self._peers[peer]
        if known.stranded_in != view:
            known.stranded_in, known.stranded_at = view, now
        if now - known.stranded_at < STRANDED_MS or now < self._next_view_change:
            return False
        return self._takes(known, now)
