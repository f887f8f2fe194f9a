"""A backup's supervision of the primary: the timer of PBFT section 4.4, and the judgement of `PrimaryWatch`."""

from __future__ import annotations

from collections.abc import Sequence

from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import ExecutedRequest
from pbft.core.group import Group
from pbft.core.log import Log
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
    def _waits(self) -> bool:
        """Whether there is something for the primary to do, as far as this replica knows."""
        if self._ordering.is_primary or self._rules.is_mute or self._checkpoints.diverged_at is not None:
            return False
        return len(self._pool) > 0 or self._ordering.has_open_proposal

    @property
    def _lags(self) -> bool:
        """Whether this replica is the one to wait for: another primary would not help it."""
        following = self._log.get(self._log.last_executed + 1)
        certified = following is not None and following.certificate is not None
        behind = self._log.last_executed < self._log.low_watermark or self._repair.is_surely_behind
        return certified or behind

    def on_executed(self, results: Sequence[ExecutedRequest], *, waited: bool) -> None:
        """Progress, if an operation ran, or something that `waited` here is done with: what waits still is given a
        new timeout.

        What ran before a primary may order as often as it likes. What waits here comes once, even if it is refused
        when its turn comes: a client that only sends such things must not cost an honest primary its office."""
        ran = sum(not result.refused for request in results for result in request.results)
        if ran or waited:
            self._watch.on_executed(ran)
            self._views.timer.on_progress()
            if self._log.in_view:
                self._views.timer.disarm()

    def time_primary(self, out: Output, now: Now) -> None:
        """The timer runs while something waits for the primary."""
        if not self._log.in_view:
            return  # it is the new primary's time that runs
        timer = self._views.timer
        if not self._waits:
            timer.disarm()
        elif not timer.is_armed:
            timer.arm(out, now.steady)

    def on_view_timer(self, out: Output, now: Now) -> None:
        if not self._views.timer.expired(out, now.steady):
            return
        if self._log.in_view and (self._lags or self._is_cut_off(now)):
            # Giving the view up would only keep this replica out of it.
            self._views.timer.arm(out, now.steady)
        else:
            self._views.start(out, now, View(self._log.view + 1))

    def _is_cut_off(self, now: Now) -> bool:
        return not self._repair.hears_quorum(now.steady)

    def judge_primary(self, out: Output, now: Now) -> None:
        """Vote out a primary that is slow or unfair."""
        view = self._log.view
        if view != self._watched:
            self._watch.begin_view(now.steady)
            self._watched = view
        if not self._log.in_view or not self._waits or self._lags or self._is_cut_off(now):
            return  # what it sees is not the primary's doing; after a while of this it judges afresh
        dismissal = self._watch.why_dismiss(now.steady)
        if dismissal is not None:
            out.alarm(f"view {view} is given up: its primary, replica {self._group.primary(view)}, {dismissal}")
            self._views.start(out, now, View(view + 1))

    def help_mute_peers(self, out: Output, now: Now) -> None:
        """Move an idle group on, for a peer that waits for later sequence numbers and views."""
        is_idle = self._ordering.is_primary and not len(self._pool)
        if is_idle and self._rejoin_help.wants_null_batch and self._ordering.propose_null(out, now):
            self._rejoin_help.on_null_batch()
        if self._rejoin_help.wants_view_change(now.steady):
            self._views.start(out, now, View(self._log.view + 1))
        self._help_stranded_peers(out, now)

    def _help_stranded_peers(self, out: Output, now: Now) -> None:
        """A peer that gave the view up alone cannot come back to it: after a while the others follow."""
        if not self._log.in_view:
            return
        for peer, view in self._views.asked_for_alone():
            # A correct one that left alone asks for the next view. A later one would be a leap in the dark, and its
            # VIEW-CHANGE one that a replica which forgets it does not reckon with.
            if view == self._log.view + 1 and self._rejoin_help.wants_to_follow(now.steady, peer, view):
                self._views.start(out, now, view)
                return
