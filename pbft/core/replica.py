"""The replica as a pure state machine: effects = replica.step(input). PBFT (OSDI'99), section 4.

It is told the time and never asks for it; it signs only through VotingRules; what it may know of executed
operations it looks up through `ExecutedOperations`. Messages come in verified (`pbft.core.codec`).
"""

from __future__ import annotations

from typing import assert_never

from crypto.signing import PublicKey
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.description import describe
from pbft.core.effects import (
    BatchExecuted,
    ClientGone,
    Effects,
    EventsDone,
    FrameRefused,
    FromClient,
    FromPeer,
    IgnoreReason,
    Input,
    LinkUp,
    QueryDone,
    Received,
    Recovered,
    StateDamaged,
    StateInstalled,
    Timer,
    TimerExpired,
)
from pbft.core.frames import CHECKPOINT_CERTIFICATE
from pbft.core.group import Group
from pbft.core.messages import (
    Body,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Credit,
    Fetch,
    NewView,
    PeerMessage,
    Prepare,
    Proposal,
    Query,
    SharedEvidence,
    Signed,
    SignedRequest,
    Status,
    Subscribe,
    Unsubscribe,
    ViewChange,
)
from pbft.core.output import Output
from pbft.core.parts import ExecutedState, Parts
from pbft.core.recovery import hear_again, restore
from pbft.core.replies import replies_to_executed
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.core.voting_rules import VotingRules

STATUS_INTERVAL_MS = 1000
STATUS_INTERVAL_INCOMPLETE_MS = 250


class Replica(Parts):
    """One replica of a group. Owned by one task; every input goes through `step`."""

    def __init__(
        self, *, group: Group, me: ReplicaId, rules: VotingRules, opener: Opener, executed: ExecutedState
    ) -> None:
        super().__init__(group=group, me=me, rules=rules, opener=opener, executed=executed)
        self._status_at = Milliseconds(0)

    def step(self, given: Input) -> Effects:
        """Everything a replica does. Raises InvariantViolation only: any message may be refused, none may crash."""
        out = Output()
        match given:
            case Received():
                for item in given.messages:
                    self._on_message(out, given.now, item)
                self._go_on(out, given.now)
            case BatchExecuted():
                self.on_batch_executed(out, given)
            case QueryDone() | EventsDone() | ClientGone():
                self.readers.on_input(out, given)
            case TimerExpired():
                self.on_timer(out, given)
            case LinkUp():
                self.on_link_up(out, given)
            case Recovered():
                self.on_recovered(out, given)
            case StateDamaged():
                self.on_state_damaged(out, given)
            case StateInstalled():
                self.on_state_installed(out, given)
            case FrameRefused():
                self.witness.accuse_by_frame(out, given.evidence)
            case _:
                assert_never(given)
        self.exchange.conclude(out, given.now.steady, is_verified=isinstance(given, FrameRefused))
        return out.effects()

    def is_useless(self, message: PeerMessage) -> bool:
        """Whether a message would be ignored whatever its signatures, so that they need not be checked. Pure."""
        match message:
            case Signed(message=ViewChange() | NewView() as change):
                return self.views.is_useless(change, message.wire, message.signer)
            case SignedRequest():
                return self.pool.has_no_room(message)
            case _:
                return self.ordering.is_useless(message)

    def own_load(self) -> tuple[int, int]:
        """What clients brought here that waits to be executed: operations, and bytes of their requests."""
        return self.pool.own_operations, self.pool.own_bytes

    def _on_message(self, out: Output, now: Now, item: FromPeer | FromClient) -> None:
        match item:
            case FromPeer():
                out.link = item.peer
                self._on_peer_message(out, now, item)
                out.link = None
            case FromClient():
                self._on_client_message(out, now, item)
            case _:
                assert_never(item)

    def _on_peer_message(self, out: Output, now: Now, item: FromPeer) -> None:
        self.repair.on_heard(item.peer, now.steady)
        match item.message:
            case Signed() as vote:
                self._on_signed(out, now, vote)
            case Proposal() as proposal:
                self.ordering.on_proposal(out, now, proposal)
            case CommitCertificate() as certificate:
                self.execution.on_commit_certificate(out, now, item.peer, certificate)
            case CheckpointCertificate() as certificate:
                reason = self.checkpoints.why_ignore_certificate(certificate)
                if reason is not None:
                    out.ignore(reason, item.peer, CHECKPOINT_CERTIFICATE)
                else:
                    self.checkpoints.on_certificate(out, certificate)
            case Status() as status:
                self.repair.on_status(out, now.steady, item.peer, status)
                self.rejoin.on_status(item.peer, status)
                self.rejoin_help.on_status(now.steady, item.peer, status)
            case Fetch() as fetch:
                self.repair.on_fetch(out, now.steady, item.peer, fetch)
            case Body() as body:
                self.execution.on_body(out, item.peer, body)
            case SignedRequest() as request:
                self._on_request(out, now.steady, item.peer, request)
            case FetchState() | StateAnswer() | SharedEvidence() as message:
                self._on_side_message(out, now.steady, item.peer, message)
            case _:
                assert_never(item.message)

    def _on_request(
        self, out: Output, now: Milliseconds, source: ReplicaId | PublicKey, request: SignedRequest
    ) -> None:
        if self.state_repair.is_whole:
            self.admission.on_request(out, now, source, request)
        else:
            out.ignore(IgnoreReason.STATE_NOT_WHOLE, source, bodies.REQUEST)

    def _on_side_message(
        self, out: Output, now: Milliseconds, peer: ReplicaId, message: FetchState | StateAnswer | SharedEvidence
    ) -> None:
        """What has no part in ordering."""
        match message:
            case FetchState():
                self.state_serving.on_fetch(out, now, peer, message)
            case StateAnswer():
                self.state_repair.on_answer(out, now, peer, message)
            case SharedEvidence():
                self.exchange.on_evidence(out, now, peer, message)
            case _:
                assert_never(message)

    def _on_signed(
        self,
        out: Output,
        now: Now,
        vote: Signed[Prepare] | Signed[Commit] | Signed[Checkpoint] | Signed[ViewChange] | Signed[NewView],
    ) -> None:
        match vote.message:
            case Prepare():
                self.ordering.on_prepare(out, now, vote)
            case Commit():
                self.ordering.on_commit(out, now, vote)
            case Checkpoint():
                self.checkpoints.on_checkpoint(out, vote)
            case ViewChange():
                self.views.on_view_change(out, now, vote)
            case NewView():
                self.views.on_new_view(out, now, vote)
            case _:
                assert_never(vote.message)

    def _on_client_message(self, out: Output, now: Now, item: FromClient) -> None:
        if not self.state_repair.is_whole:
            out.ignore(IgnoreReason.STATE_NOT_WHOLE, item.device, type(item.message).__name__.upper())
            return
        match item.message:
            case SignedRequest():
                if item.message.device != item.device:
                    out.ignore(IgnoreReason.WRONG_DEVICE, item.device, bodies.REQUEST)
                else:
                    self.admission.on_request(out, now.steady, item.device, item.message)
            case Query():
                self.readers.on_query(out, item.device, item.message, self.log.last_executed, item.host)
            case Subscribe():
                self.readers.on_subscribe(out, item.device, item.message, item.host)
            case Credit():
                self.readers.on_credit(out, item.device, item.message)
            case Unsubscribe():
                self.readers.on_unsubscribe(out, item.device, item.message)
            case _:
                assert_never(item.message)

    # -- execution

    def on_batch_executed(self, out: Output, done: BatchExecuted) -> None:
        self.ordering.on_executed(done.sequence)
        held = [self.pool.remove(request, done.now.steady) for request in done.batch.requests]
        for executed in done.results:
            self.pool.on_served(executed, done.now.steady)
        self.supervision.on_executed(done.results, waited=any(held))
        replies_to_executed(out, self.rules, self.log.view, done)
        if done.state_root is not None:
            self.checkpoints.on_own_root(out, done.sequence, done.state_root)
            self.execution.execute_ready(out)
        self.readers.on_executed(out, done.topics, self.log.last_executed)
        self._go_on(out, done.now)

    def _go_on(self, out: Output, now: Now) -> None:
        """What the inputs made possible: order what waits, ask for what is missing, time the primary."""
        self.rejoin.check(out)
        self.ordering.propose(out, now)
        self._mend_state(out, now.steady)
        if self.repair.is_behind or self.repair.lacks_body:
            self.repair.ask(out, now.steady)
        self.supervision.time_primary(out, now)
        self._hasten_status(out, now)

    # -- the state is fetched from others

    def _mend_state(self, out: Output, now: Milliseconds) -> None:
        self.state_repair.consider(out, now)
        if not self.state_repair.is_whole:
            self.readers.suspend(self.log.last_executed)

    def on_state_damaged(self, out: Output, damaged: StateDamaged) -> None:
        self.checkpoints.on_damage(out, damaged.what)
        self._go_on(out, damaged.now)

    def on_state_installed(self, out: Output, installed: StateInstalled) -> None:
        if self.state_repair.on_installed(out, installed):
            self.admission.drop_executed(installed.now.steady)
            self.ordering.propose_again_what_was_passed()
            self.readers.resume(out, self.log.last_executed)
        self._go_on(out, installed.now)

    # -- time, links, restart

    def on_timer(self, out: Output, expired: TimerExpired) -> None:
        match expired.timer:
            case Timer.STATUS:
                out.send_to(self.group.others(self.me), self.repair.status())
                self.repair.ask(out, expired.now.steady)
                if self.state_repair.is_whole:
                    self.admission.refresh(out, expired.now.steady)
                self.supervision.judge_primary(out, expired.now)
                self.supervision.help_mute_peers(out, expired.now)
                self.exchange.tell(out, expired.now.steady)
                self._arm_status(out, expired.now)
            case Timer.VIEW_CHANGE:
                self.supervision.on_view_timer(out, expired.now)
            case Timer.SERVE_STATE:
                self.state_serving.on_timer(out, expired.now.steady)
            case Timer.TRANSFER:
                self.state_repair.on_timer(out, expired.now.steady)
            case Timer.EVIDENCE:
                pass  # each step goes on with it when it ends
            case _:
                assert_never(expired.timer)
        self._go_on(out, expired.now)

    def _arm_status(self, out: Output, now: Now) -> None:
        incomplete = self._is_incomplete or self.repair.is_behind or any(True for _ in self.log.unexecuted())
        pause = STATUS_INTERVAL_INCOMPLETE_MS if incomplete else STATUS_INTERVAL_MS
        self._status_at = Milliseconds(now.steady + pause)
        out.set_timer(Timer.STATUS, self._status_at)

    @property
    def _is_incomplete(self) -> bool:
        return len(self.pool) > 0 or not self.log.in_view or self.ordering.has_open_proposal

    def _hasten_status(self, out: Output, now: Now) -> None:
        """Something began to wait while all was quiet: what gets lost now is to be missed soon."""
        if self._is_incomplete and self._status_at > now.steady + STATUS_INTERVAL_INCOMPLETE_MS:
            self._arm_status(out, now)

    def on_link_up(self, out: Output, link: LinkUp) -> None:
        """Say again what the peer may have missed: where this replica stands, its open votes, waiting requests."""
        peer = link.peer
        self.state_repair.on_link_up(out, link.now.steady, peer)
        out.send_to((peer,), self.repair.status())
        lacks = self.votes.new_view if self.log.in_view else self.votes.of(self.me)
        if lacks is not None:
            out.send_to((peer,), lacks)
        for slot in self.log.unexecuted():
            for message in slot.said_by(self.me):
                out.send_to((peer,), message)
        if peer == self.group.primary(self.log.view):
            self.admission.pass_all_on(out)
        self.exchange.on_link_up(out, link.now.steady, peer)

    def on_recovered(self, out: Output, recovered: Recovered) -> None:
        """Take up the votes of the last run: they are this replica's own, and are sent again as they were."""
        restore(self, recovered)
        hear_again(self, out)
        self.exchange.restore(recovered.evidence)
        self.state_repair.on_recovered(recovered.now.steady, is_whole=recovered.is_whole)
        last = recovered.checkpoint
        if last is not None and self.checkpoints.own_vote(last.sequence) is None:
            self.checkpoints.on_own_root(out, last.sequence, last.state_root)
        elif last is not None:
            self.checkpoints.restore_root(last)
        self.ordering.resume(out)
        self._arm_status(out, recovered.now)

    def describe(self) -> dict[str, object]:
        """Where it stands, in words and numbers that JSON can hold."""
        return describe(self)
