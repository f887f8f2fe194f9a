"""A backup's supervision of the primary: the timer of PBFT section 4.4, and the judgement of `PrimaryWatch`."""

from __future__ import annotations

from pbft.core.checkpoints import Checkpoints
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Batch
from pbft.core.ordering import Ordering
from pbft.core.output import Output
from pbft.core.primary_watch import PrimaryWatch
from pbft.core.rejoin import RejoinHelp
from pbft.core.repair import Repair
from pbft.core.request_pool import RequestPool
from pbft.core.types import Now, View
from pbft.core.view_changes import ViewChanges
from pbft.core.voting_rules import VotingRules


class Supervision:
    """Decides when this replica gives the current view up by itself."""

    def __init__(
        self,
        *,
        group: Group,
        rules: VotingRules,
        log: Log,
        pool: RequestPool,
        checkpoints: Checkpoints,
        repair: Repair,
        ordering: Ordering,
        views: ViewChanges,
        rejoin_help: RejoinHelp,
    ) -> None:
        self._group = group
        self._rules = rules
        self._log = log
        self._pool = pool
        self._checkpoints = checkpoints
        self._repair = repair
        self._ordering = ordering
        self._views = views
        self._rejoin_help = rejoin_help
        self._watch = PrimaryWatch(group, pool)
        self._watched = View(0)

    @property
    def waits_for_primary(self) -> bool:
        """Not if this replica is the one that lags: another primary would not help it."""
        if self._ordering.is_primary or self._rules.is_mute or self._checkpoints.diverged_at is not None:
            return False
        if not len(self._pool) and not self._ordering.has_open_proposal:
            return False
        following = self._log.get(self._log.last_executed + 1)
        certified = following is not None and following.certificate is not None
        lags = self._log.last_executed < self._log.low_watermark or self._repair.is_surely_behind
        return not certified and not lags

    def on_executed(self, batch: Batch) -> None:
        """Progress, if the batch holds anything: what waits still is given a new timeout."""
        if batch.requests:
            self._watch.on_executed(batch.operation_count)
            self._views.timer.on_progress()
            self._views.timer.disarm()

    def time_primary(self, out: Output, now: Now) -> None:
        """The timer runs while something waits for the primary."""
        if not self._log.in_view:
            return  # it is the new primary's time that runs
        timer = self._views.timer
        if not self.waits_for_primary:
            timer.disarm()
        elif not timer.is_armed:
            timer.arm(out, now.steady)

    def on_view_timer(self, out: Output, now: Now) -> None:
        if self._views.timer.expired(out, now.steady):
            self._views.start(out, now, View(self._log.view + 1))

    def judge_primary(self, out: Output, now: Now) -> None:
        """Vote out a primary that is slow or unfair."""
        view = self._log.view
        if view != self._watched:
            self._watch.begin_view(now.steady)
            self._watched = view
        dismissal = self._watch.why_dismiss(now.steady)
        if dismissal is not None and self._log.in_view and self.waits_for_primary:
            out.alarm(f"view {view} is given up: its primary, replica {self._group.primary(view)}, {dismissal}")
            self._views.start(out, now, View(view + 1))

    def help_mute_peers(self, out: Output, now: Now) -> None:
        """Move an idle group on, for a peer that waits for later sequence numbers and views."""
        if not len(self._pool) and self._rejoin_help.wants_null_batch(now.steady):
            self._ordering.propose_null(out, now)
        if self._rejoin_help.wants_view_change(now.steady):
            self._views.start(out, now, View(self._log.view + 1))
