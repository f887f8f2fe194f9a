"""Bugs to be planted in the protocol, so that tests can see the simulator find them. Nothing else imports this.

A mutant lives while its `planted` context does. `breaks` names the invariants that it may be found by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from crypto.digest import Digest
from pbft.client.quorums.requests import RequestTracker
from pbft.core import bodies, new_view, recovery
from pbft.core import ordering as ordering_module
from pbft.core import replica as replica_module
from pbft.core import view_changes as view_changes_module
from pbft.core.checkpoints import Checkpoints
from pbft.core.dedupe import SessionWindow, Standing
from pbft.core.effects import BatchExecuted, Effects, Execute, IgnoreReason, Input, Record, RecordKind, Recovered
from pbft.core.execution import Execution
from pbft.core.frames import NULL_BATCH, make_checkpoint_certificate, make_commit_certificate
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Checkpoint, Commit, Endorsements, NewView, Proposal, Signed, ViewChange
from pbft.core.ordering import Ordering
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.replica import Replica
from pbft.core.slot import Slot
from pbft.core.state_repair import StateRepair
from pbft.core.supervision import Supervision
from pbft.core.types import Milliseconds, Now, SequenceNumber, View
from pbft.core.view_changes import ViewChanges
from pbft.core.view_timer import ViewTimer
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness
from pbft.state.executor import Executor

Patch = tuple[Any, str, Any]
"""Owner (class or module), attribute, what stands there instead."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    says: str
    breaks: tuple[str, ...]
    patches: Callable[[], tuple[Patch, ...]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Until the context ends, in this process only."""
        patches = self.patches()
        before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
        try:
            for owner, name, value in patches:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


# -- quorums -----------------------------------------------------------------------------------------------------


def _quorum_2f() -> tuple[Patch, ...]:
    return ((Group, "quorum", property(lambda group: 2 * group.faulty_max)),)


def _no_digest_check() -> tuple[Patch, ...]:
    def matching(votes: Any, _digest: object, needed: int) -> Endorsements | None:
        signers = sorted(votes)[:needed]
        return tuple((replica, votes[replica].signature) for replica in signers) if len(signers) == needed else None

    return ((ordering_module, "matching", matching),)


def _commits_by_sequence() -> tuple[Patch, ...]:
    def check_committed(self: Ordering, out: Output, slot: Slot, digest: Any) -> None:
        signers = sorted(slot.commits)[: self._group.quorum]
        if slot.certificate is None and len(signers) == self._group.quorum:
            commit = Commit(view=self._log.view, sequence=slot.sequence, batch_digest=digest)
            endorsements = tuple((replica, slot.commits[replica].signature) for replica in signers)
            self._execution.adopt(out, slot, make_commit_certificate(self._group, commit, endorsements))

    return ((Ordering, "check_committed", check_committed),)


def _checkpoint_at_f_plus_1() -> tuple[Patch, ...]:
    def count(self: Checkpoints, out: Output, vote: Signed[Checkpoint]) -> None:
        votes = self._votes.setdefault(vote.message.sequence, {})
        votes[vote.signer] = vote
        same = sorted(replica for replica, other in votes.items() if other.message == vote.message)
        if len(same) >= self._group.honest_minimum and vote.message.sequence > self._log.low_watermark:
            endorsements = tuple((replica, votes[replica].signature) for replica in same)
            self.on_certificate(out, make_checkpoint_certificate(self._group, vote.message, endorsements))

    return ((Checkpoints, "_count", count),)


def _client_accepts_one_reply() -> tuple[Patch, ...]:
    original = RequestTracker.__init__

    def init(self: RequestTracker, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self._honest_minimum = 1

    return ((RequestTracker, "__init__", init),)


# -- memory of votes ---------------------------------------------------------------------------------------------


def _votes_not_stored() -> tuple[Patch, ...]:
    original = Replica.step

    def step(self: Replica, given: Input) -> Effects:
        effects = original(self, given)
        votes = (RecordKind.PREPARE, RecordKind.COMMIT)
        return replace(effects, persist=tuple(record for record in effects.persist if record.kind not in votes))

    return ((Replica, "step", step),)


def _restart_forgets_votes() -> tuple[Patch, ...]:
    original = recovery.restore
    kept = (RecordKind.STABLE, RecordKind.DIVERGED)

    def restore(replica: Replica, recovered: Recovered) -> None:
        records = tuple(record for record in recovered.records if record.kind in kept)
        original(replica, replace(recovered, records=records))

    return ((replica_module, "restore", restore),)


def _two_proposals_per_slot() -> tuple[Patch, ...]:
    original = Ordering.why_ignore_proposal

    def why(self: Ordering, now: Now, proposal: Proposal) -> IgnoreReason | None:
        reason = original(self, now, proposal)
        return None if reason is IgnoreReason.CONFLICTING_PROPOSAL else reason

    return ((Ordering, "why_ignore_proposal", why),)


# -- execution ---------------------------------------------------------------------------------------------------


def _gaps_allowed() -> tuple[Patch, ...]:
    def execute_ready(self: Execution, out: Output) -> None:
        for slot in self._log.unexecuted():
            batch = slot.committed_batch
            if batch is not None and slot.sequence > self._last_issued:
                self._last_issued = slot.sequence
                out.execute.append(Execute(sequence=slot.sequence, batch=batch))

    return ((Execution, "execute_ready", execute_ready),)


def _no_dedupe() -> tuple[Patch, ...]:
    return ((SessionWindow, "judge", lambda _window, _name: Standing.NEW),)


def _time_of_its_own() -> tuple[Patch, ...]:
    original = Executor.execute

    def execute(self: Executor, execute: Execute, now: Now) -> BatchExecuted:
        return original(self, replace(execute, batch=replace(execute.batch, timestamp=now.wall)), now)

    return ((Executor, "execute", execute),)


# -- the rest ----------------------------------------------------------------------------------------------------


def _timer_forgotten() -> tuple[Patch, ...]:
    original = Replica.on_timer

    def on_timer(self: Replica, out: Output, expired: Any) -> None:
        original(self, out, expired)
        if self.log.last_executed > 0:
            out.timers.clear()

    return ((Replica, "on_timer", on_timer),)


def _log_never_forgets() -> tuple[Patch, ...]:
    def advance(self: Log, stable_checkpoint: SequenceNumber) -> None:
        self.low_watermark = max(self.low_watermark, stable_checkpoint)

    return ((Log, "advance", advance),)


# -- views -------------------------------------------------------------------------------------------------------


def _prepared_not_carried() -> tuple[Patch, ...]:
    return ((ViewChanges, "_prepared", lambda _views: ()),)


def _new_view_ignores_prepared() -> tuple[Patch, ...]:
    def nothing_but_null(changes: Any) -> list[tuple[SequenceNumber, Digest]]:
        return [(sequence, NULL_BATCH.digest) for sequence, _ in new_view.proposed_again(changes)]

    def proposes(message: NewView) -> bool:
        expected = nothing_but_null([change.message for change in message.view_changes])
        return [(each.message.sequence, each.message.batch_digest) for each in message.pre_prepares] == expected

    return (
        (view_changes_module, "proposed_again", nothing_but_null),
        (view_changes_module, "proposes_what_it_must", proposes),
    )


def _o_not_recomputed() -> tuple[Patch, ...]:
    return ((view_changes_module, "proposes_what_it_must", lambda _new_view: True),)


def _timers_never_doubled() -> tuple[Patch, ...]:
    return ((ViewTimer, "duration", property(lambda timer: timer._base_ms)),)


def _timers_never_armed() -> tuple[Patch, ...]:
    return ((Supervision, "time_primary", lambda _supervision, _out, _now: None),)


def _votes_after_leaving() -> tuple[Patch, ...]:
    """The VIEW-CHANGE goes out, and the replica goes on as if nothing had happened until the NEW-VIEW comes."""

    def sign(self: VotingRules, change: ViewChange) -> tuple[Signed[ViewChange], Record]:
        signed = self._sign(bodies.VIEW_CHANGE, change, bodies.encode_view_change)
        return signed, Record(RecordKind.VIEW_CHANGE, change.stable_checkpoint, signed.wire)

    def start(self: ViewChanges, out: Output, now: Now, view: View) -> None:
        known = self._votes.of(self._me)
        if self._rules.is_mute or (known is not None and known.message.view >= view):
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
        if len(self._votes.to(view)) >= self._group.quorum:
            self._leave_for(now.steady, view)
            self._rules.restore_view(view, in_view=False)
        self._on_votes(out, now)

    return ((VotingRules, "sign_view_change", sign), (ViewChanges, "start", start))


# -- coming back -------------------------------------------------------------------------------------------------


def _mute_votes() -> tuple[Patch, ...]:
    return ((Rejoin, "restore", lambda _rejoin, _amnesia: None),)


def _voice_back_at_once() -> tuple[Patch, ...]:
    def check(self: Rejoin, out: Output) -> None:
        if self._rules.is_mute and self._checkpoint is not None:
            self._rules.is_mute = False
            out.persist.append(Record(RecordKind.REJOINED, self._log.low_watermark, self._amnesia))

    return ((Rejoin, "check", check),)


def _halt_never_lifted() -> tuple[Patch, ...]:
    original = StateRepair.consider

    def consider(self: StateRepair, out: Output, now: Milliseconds) -> None:
        needless = self._transfer is None and not self._needs_transfer(now)
        if not (needless and self._execution.is_halted):
            original(self, out, now)

    return ((StateRepair, "consider", consider),)


def _only_stable_states_fetched() -> tuple[Patch, ...]:
    return ((StateRepair, "_target", lambda repair: repair._checkpoints.stable),)


# -- finding lies ------------------------------------------------------------------------------------------------


def _witness_keeps_nothing() -> tuple[Patch, ...]:
    return ((Witness, "keep", lambda _witness, _slot: None),)


def _certificates_not_heard() -> tuple[Patch, ...]:
    return ((Witness, "hear_prepared", lambda _witness, _out, _held: None),)


def _commits_not_compared() -> tuple[Patch, ...]:
    return ((Witness, "_compare_commit", lambda *_: None),)


MUTANTS: Final[dict[str, Mutant]] = {
    "quorum_2f": Mutant(says="a quorum is 2f", breaks=("agreement",), patches=_quorum_2f),
    "no_digest_check": Mutant(
        says="votes are counted whatever they are for", breaks=("agreement", "well-formed"), patches=_no_digest_check
    ),
    "commits_by_sequence": Mutant(
        says="COMMITs are counted per sequence number",
        breaks=("agreement", "well-formed"),
        patches=_commits_by_sequence,
    ),
    "checkpoint_at_f_plus_1": Mutant(
        says="f + 1 equal CHECKPOINTs make one stable", breaks=("well-formed",), patches=_checkpoint_at_f_plus_1
    ),
    "client_accepts_one_reply": Mutant(
        says="a client believes one replica", breaks=("replies",), patches=_client_accepts_one_reply
    ),
    "votes_not_stored": Mutant(
        says="votes are sent without being stored", breaks=("stored first",), patches=_votes_not_stored
    ),
    "restart_forgets_votes": Mutant(
        says="a restart does not read its votes", breaks=("one vote", "internal"), patches=_restart_forgets_votes
    ),
    "two_proposals_per_slot": Mutant(
        says="a second proposal for a slot is accepted",
        breaks=("one vote", "internal", "evidence found"),
        patches=_two_proposals_per_slot,
    ),
    "gaps_allowed": Mutant(
        says="batches are executed as they come", breaks=("order", "internal"), patches=_gaps_allowed
    ),
    "no_dedupe": Mutant(says="nobody remembers what ran", breaks=("exactly once",), patches=_no_dedupe),
    "time_of_its_own": Mutant(
        says="execution asks the clock", breaks=("equal roots", "answers"), patches=_time_of_its_own
    ),
    "timer_forgotten": Mutant(says="the timer is not set again", breaks=("timer",), patches=_timer_forgotten),
    "log_never_forgets": Mutant(
        says="slots below a stable checkpoint stay", breaks=("bounded memory",), patches=_log_never_forgets
    ),
    "prepared_not_carried": Mutant(
        says="a VIEW-CHANGE leaves prepared certificates out",
        breaks=("agreement", "one vote"),
        patches=_prepared_not_carried,
    ),
    "new_view_ignores_prepared": Mutant(
        says="a NEW-VIEW proposes null batches over prepared ones",
        breaks=("agreement", "equal roots"),
        patches=_new_view_ignores_prepared,
    ),
    "o_not_recomputed": Mutant(
        says="backups take a NEW-VIEW's proposals as they come",
        breaks=("agreement", "equal roots", "progress"),
        patches=_o_not_recomputed,
    ),
    "timers_never_doubled": Mutant(
        says="view-change timers do not grow", breaks=("progress",), patches=_timers_never_doubled
    ),
    "timers_never_armed": Mutant(says="nobody times the primary", breaks=("progress",), patches=_timers_never_armed),
    "votes_after_leaving": Mutant(
        says="a VIEW-CHANGE ends nothing: its sender votes on in the old view",
        breaks=("one vote",),
        patches=_votes_after_leaving,
    ),
    "mute_votes": Mutant(
        says="a replica without its votes votes all the same",
        breaks=("one vote", "internal", "honest evidence", "agreement"),
        patches=_mute_votes,
    ),
    "voice_back_at_once": Mutant(
        says="a replica without its votes has its voice back when a quorum answered",
        breaks=("one vote", "internal", "honest evidence", "agreement"),
        patches=_voice_back_at_once,
    ),
    "halt_never_lifted": Mutant(
        says="who stops executing for a state that it does not need after all executes no more",
        breaks=("progress",),
        patches=_halt_never_lifted,
    ),
    "only_stable_states_fetched": Mutant(
        says="a state is fetched only where a quorum vouches for it",
        breaks=("progress",),
        patches=_only_stable_states_fetched,
    ),
    "witness_keeps_nothing": Mutant(
        says="what slots forget is forgotten", breaks=("evidence found",), patches=_witness_keeps_nothing
    ),
    "certificates_not_heard": Mutant(
        says="what stands in certificates is held against nobody",
        breaks=("evidence found",),
        patches=_certificates_not_heard,
    ),
    "commits_not_compared": Mutant(
        says="a VIEW-CHANGE may hide what was committed",
        breaks=("evidence found",),
        patches=_commits_not_compared,
    ),
}
PLANTABLE: Final = sorted(MUTANTS)
