"""Changing the view: VIEW-CHANGE, NEW-VIEW, and meeting again in one view. PBFT sections 4.4 and 4.5.2."""

from __future__ import annotations

from pbft.core import bodies
from pbft.core.admission import Admission
from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import IgnoreReason, Record, RecordKind
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import NewView, PreparedCertificate, Signed, ViewChange
from pbft.core.new_view import highest_checkpoint, proposed_again, proposes_what_it_must
from pbft.core.ordering import Ordering
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.request_pool import RequestPool
from pbft.core.types import Milliseconds, Now, ReplicaId, View
from pbft.core.view_timer import ViewTimer
from pbft.core.view_votes import ViewVotes
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness


class ViewChanges:
    """Gives views up and begins them."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        rules: VotingRules,
        log: Log,
        pool: RequestPool,
        checkpoints: Checkpoints,
        ordering: Ordering,
        admission: Admission,
        rejoin: Rejoin,
        votes: ViewVotes,
        witness: Witness,
    ) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._pool = pool
        self._checkpoints = checkpoints
        self._ordering = ordering
        self._admission = admission
        self._rejoin = rejoin
        self._votes = votes
        self._witness = witness
        self.timer = ViewTimer(group)

    def is_useless(self, message: ViewChange | NewView, wire: bytes, signer: ReplicaId) -> bool:
        """Whether it would change nothing whatever its signatures, of which there may be thousands. Pure.

        Never says so of what contradicts something: that may be evidence.
        """
        if message.view < self._log.view:
            return not self._witness.is_news_of_views(signer, message)
        held: Signed[ViewChange] | Signed[NewView] | None
        held = self._votes.new_view if isinstance(message, NewView) else self._votes.of(signer)
        return held is not None and held.wire == wire

    # -- giving a view up

    def start(self, out: Output, now: Now, view: View) -> None:
        """Start a view change to `view`; from now on this replica votes in no lower one. PBFT section 4.4."""
        if self._rules.is_mute:
            return
        change = ViewChange(
            view=view,
            stable_checkpoint=self._log.low_watermark,
            checkpoint=self._checkpoints.stable,
            prepared=self._prepared(),
        )
        signed, record = self._rules.sign_view_change(change)
        out.persist.append(record)
        out.send_to(self._group.others(self._me), signed)
        self._votes.put(signed)
        self._leave_for(now.steady, view)
        self._on_votes(out, now)

    def _prepared(self) -> tuple[PreparedCertificate, ...]:
        held = (slot.prepared for slot in self._log.slots() if slot.sequence > self._log.low_watermark)
        return tuple(certificate for certificate in held if certificate is not None)

    def _leave_for(self, now: Milliseconds, view: View) -> None:
        was_idle = self._log.in_view and not len(self._pool) and not self._ordering.has_open_proposal
        for slot in self._log.slots():
            self._witness.keep(slot)
        self._log.move_to(view, now, in_view=False)
        self._votes.new_view = None
        self.timer.leave_view(was_idle=was_idle)
        self._pool.return_proposed()

    def why_ignore_view_change(self, out: Output, signed: Signed[ViewChange]) -> IgnoreReason | None:
        change = signed.message
        known = self._votes.of(signed.signer)
        if known is not None and known.message.view == change.view:
            return IgnoreReason.DUPLICATE if known.message == change else IgnoreReason.CONFLICTING_VOTE
        if change.view < self._log.view or (change.view == self._log.view and self._log.in_view):
            return IgnoreReason.OLD_VIEW
        if known is not None and known.message.view > change.view:
            return IgnoreReason.OLD_VIEW
        if signed.signer == self._me:
            self._rejoin.lose_voice(out, f"a VIEW-CHANGE to {change.view}")
            return IgnoreReason.NOT_OWN
        return None

    def on_view_change(self, out: Output, now: Now, signed: Signed[ViewChange]) -> None:
        self._witness.hear_view_change(out, signed)
        reason = self.why_ignore_view_change(out, signed)
        if reason is not None:
            known = self._votes.of(signed.signer)
            if reason is IgnoreReason.CONFLICTING_VOTE and known is not None:
                # Of a view so far above that the witness did not keep it.
                self._witness.accuse(out, "E6", signed.signer, (known.message.view, 0), known.wire, signed.wire)
            out.ignore(reason, signed.signer, bodies.VIEW_CHANGE)
            return
        self._votes.put(signed)
        self._on_votes(out, now)

    def _on_votes(self, out: Output, now: Now) -> None:
        """Join what f + 1 replicas ask for; begin the view if it is this replica's to begin."""
        view = self._votes.wanted_by(self._group.honest_minimum)
        if view > self._log.view and not self._rules.is_mute:
            self.start(out, now, view)
        elif not self._log.in_view:
            self._begin_if_primary(out, now)
            self._time_new_view(out, now.steady)

    def _time_new_view(self, out: Output, now: Milliseconds) -> None:
        """The new primary's time runs from when a quorum waits for it."""
        waited_for = self._votes.wanted_by(self._group.quorum) >= self._log.view
        if not self._log.in_view and waited_for and not self.timer.is_armed:
            self.timer.arm(out, now)

    def asked_for_alone(self) -> tuple[tuple[ReplicaId, View], ...]:
        """Views above the current one that fewer than f + 1 peers ask for, and who does."""
        return self._votes.above(self._log.view)

    # -- beginning a view

    def _begin_if_primary(self, out: Output, now: Now) -> None:
        view = self._log.view
        if self._group.primary(view) != self._me or self._rules.is_mute:
            return
        changes = self._votes.to(view)[: self._group.quorum]
        if len(changes) < self._group.quorum:
            return
        statements = [change.message for change in changes]
        self._take_checkpoint(out, statements)
        signed, record = self._rules.sign_new_view(view, changes, proposed_again(statements))
        out.persist.append(record)
        out.send_to(self._group.others(self._me), signed)
        self._enter(out, now, signed)

    def _take_checkpoint(self, out: Output, changes: list[ViewChange]) -> None:
        checkpoint = highest_checkpoint(changes)
        if checkpoint is not None:
            self._checkpoints.on_certificate(out, checkpoint)

    def why_ignore_new_view(self, out: Output, signed: Signed[NewView]) -> IgnoreReason | None:
        view = signed.message.view
        if view < self._log.view:
            return IgnoreReason.OLD_VIEW
        if view == self._log.view and self._log.in_view:
            known = self._votes.new_view
            if known is None or known.message == signed.message:
                return IgnoreReason.DUPLICATE
            return IgnoreReason.CONFLICTING_PROPOSAL
        if signed.signer == self._me:
            self._rejoin.lose_voice(out, f"the NEW-VIEW of view {view}")
            return IgnoreReason.NOT_OWN
        return None

    def on_new_view(self, out: Output, now: Now, signed: Signed[NewView]) -> None:
        """Enter the view, whichever this replica was in; give it up at once if its primary cheats."""
        new_view = signed.message
        self._witness.hear_new_view(out, signed)
        reason = self.why_ignore_new_view(out, signed)
        if reason is not None:
            out.ignore(reason, signed.signer, bodies.NEW_VIEW)
            return
        if not proposes_what_it_must(new_view):
            self._witness.accuse(out, "E7", signed.signer, (new_view.view, 1), signed.wire)
            self.start(out, now, View(new_view.view + 1))
            return
        self._take_checkpoint(out, [change.message for change in new_view.view_changes])
        self._rules.enter_view(new_view.view)
        out.persist.append(Record(RecordKind.NEW_VIEW, self._log.low_watermark, signed.wire))
        if new_view.view > self._log.view:
            self._leave_for(now.steady, new_view.view)
        self._enter(out, now, signed)

    def _enter(self, out: Output, now: Now, signed: Signed[NewView]) -> None:
        view = signed.message.view
        self._log.move_to(view, now.steady, in_view=True)
        self._votes.new_view = signed
        self._votes.forget_to(view)
        self._rejoin.check(out)
        self.timer.disarm()
        self._ordering.begin_view(out, now, signed.message.pre_prepares)
        self._admission.pass_all_on(out)

    # -- after a restart

    def restore(self, change: Signed[ViewChange] | None, new_view: Signed[NewView] | None) -> None:
        """Stand in the highest view that the ledger tells of."""
        entered = new_view.message.view if new_view is not None else View(0)
        if change is not None and change.message.view > entered:
            self._votes.put(change)
            self._log.move_to(change.message.view, Milliseconds(0), in_view=False)
            self._rules.restore_view(change.message.view, in_view=False)
        elif new_view is not None:
            self._votes.new_view = new_view
            self._log.move_to(entered, Milliseconds(0), in_view=True)
            self._rules.restore_view(entered, in_view=True)
