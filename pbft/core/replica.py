"""The replica as a pure state machine: effects = replica.step(input). PBFT (OSDI'99), sections 4.2 and 4.3.

It is told the time and never asks for it; it signs only through VotingRules; what it may know of executed
operations it looks up through `ExecutedOperations`. Messages come in verified (`pbft.core.codec`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol, assert_never

from crypto.signing import PublicKey
from pbft.core import bodies
from pbft.core.checkpoints import Checkpoints
from pbft.core.codec import Opener
from pbft.core.dedupe import Standing, Verdict
from pbft.core.effects import (
    BatchExecuted,
    ClientGone,
    Effects,
    EventsDone,
    FromClient,
    FromPeer,
    IgnoreReason,
    Input,
    LinkUp,
    QueryDone,
    Received,
    Recovered,
    StateInstalled,
    Timer,
    TimerExpired,
)
from pbft.core.frames import (
    CHECKPOINT_CERTIFICATE,
)
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import (
    Body,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Credit,
    Fetch,
    PeerMessage,
    Prepare,
    Proposal,
    Query,
    Request,
    Signed,
    SignedRequest,
    Status,
    Subscribe,
    Unsubscribe,
)
from pbft.core.ordering import Ordering
from pbft.core.output import Output
from pbft.core.readers import Readers
from pbft.core.recovery import restore
from pbft.core.repair import Repair
from pbft.core.replies import replies_to_executed, reply_again
from pbft.core.request_pool import RequestPool
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.state_repair import StateRepair
from pbft.core.state_serving import StateServing
from pbft.core.state_walk import LocalState
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.core.voting_rules import VotingRules

STATUS_INTERVAL_MS = 1000
STATUS_INTERVAL_INCOMPLETE_MS = 250
FORWARD_MAX = 256
REFRESH_MAX = 16
"""Waiting requests that are looked at again with each STATUS."""


class ExecutedOperations(Protocol):
    """What the executed state knows of an operation's name (`pbft.core.dedupe`)."""

    def judge(self, device: PublicKey, request: Request) -> Sequence[Verdict]:
        """One verdict for each operation of the request."""
        ...

    def knows(self, device: PublicKey) -> bool:
        """Whether the application knows the device: strangers share a small part of the pool."""
        ...


class Replica:
    """One replica of a group. Owned by one task; every input goes through `step`."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        rules: VotingRules,
        opener: Opener,
        executed: ExecutedOperations,
        local: LocalState | None = None,
    ) -> None:
        """`local`: the state's digests. Without it, a state that is lost or wrong stays so."""
        self.group = group
        self.me = me
        self.rules = rules
        self.opener = opener
        self.log = Log(group)
        self.pool = RequestPool(group.parameters)
        self.checkpoints = Checkpoints(group, me, rules, self.log)
        self.repair = Repair(group, me, self.log, self.checkpoints)
        self.ordering = Ordering(
            group=group,
            me=me,
            rules=rules,
            log=self.log,
            pool=self.pool,
            checkpoints=self.checkpoints,
            repair=self.repair,
        )
        self.readers = Readers(rules)
        self.state_serving = StateServing(group, me)
        self.state_repair = StateRepair(group, me, self.log, self.checkpoints, local)
        self._executed = executed

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
                self.on_link_up(out, given.peer)
                self.state_repair.on_link_up(out, given.now.steady, given.peer)
            case Recovered():
                self.on_recovered(out, given)
            case StateInstalled():
                self.on_state_installed(out, given)
            case _:
                assert_never(given)
        return out.effects()

    def is_useless(self, message: PeerMessage) -> bool:
        """Whether a message would be ignored whatever its signatures, so that they need not be checked. Pure."""
        return self.ordering.is_useless(message)

    def _on_message(self, out: Output, now: Now, item: FromPeer | FromClient) -> None:
        match item:
            case FromPeer():
                self._on_peer_message(out, now, item)
            case FromClient():
                self._on_client_message(out, item)
            case _:
                assert_never(item)

    def _on_peer_message(self, out: Output, now: Now, item: FromPeer) -> None:
        match item.message:
            case Signed() as vote:
                self._on_vote(out, now, vote)
            case Proposal() as proposal:
                self.ordering.on_proposal(out, now, proposal)
            case CommitCertificate() as certificate:
                self.ordering.on_commit_certificate(out, now, item.peer, certificate)
            case CheckpointCertificate() as certificate:
                reason = self.checkpoints.why_ignore_certificate(certificate)
                if reason is not None:
                    out.ignore(reason, item.peer, CHECKPOINT_CERTIFICATE)
                else:
                    self.checkpoints.on_certificate(out, certificate)
            case Status() as status:
                self.repair.on_status(out, now.steady, item.peer, status)
            case Fetch() as fetch:
                self.repair.on_fetch(out, now.steady, item.peer, fetch)
            case Body() as body:
                self.ordering.on_body(out, item.peer, body)
            case SignedRequest() as request:
                self.on_request(out, item.peer, request)
            case FetchState() | StateAnswer() as message:
                self._on_state_message(out, now, item.peer, message)
            case _:
                assert_never(item.message)

    def _on_state_message(self, out: Output, now: Now, peer: ReplicaId, message: FetchState | StateAnswer) -> None:
        match message:
            case FetchState():
                self.state_serving.on_fetch(out, now.steady, peer, message)
            case StateAnswer():
                self.state_repair.on_state(out, now.steady, peer, message)
            case _:
                assert_never(message)

    def _on_vote(self, out: Output, now: Now, vote: Signed[Prepare] | Signed[Commit] | Signed[Checkpoint]) -> None:
        match vote.message:
            case Prepare():
                self.ordering.on_prepare(out, now, vote)
            case Commit():
                self.ordering.on_commit(out, now, vote)
            case Checkpoint():
                self.checkpoints.on_checkpoint(out, vote)
            case _:
                assert_never(vote.message)

    def _on_client_message(self, out: Output, item: FromClient) -> None:
        if self.checkpoints.diverged_at is not None:
            out.ignore(IgnoreReason.DIVERGED, item.device, type(item.message).__name__.upper())
            return
        match item.message:
            case SignedRequest():
                if item.message.device != item.device:
                    out.ignore(IgnoreReason.WRONG_DEVICE, item.device, bodies.REQUEST)
                else:
                    self.on_request(out, item.device, item.message)
            case Query():
                self.readers.on_query(out, item.device, item.message, self.log.last_executed)
            case Subscribe():
                self.readers.on_subscribe(out, item.device, item.message)
            case Credit():
                self.readers.on_credit(out, item.device, item.message)
            case Unsubscribe():
                self.readers.on_unsubscribe(out, item.device, item.message)
            case _:
                assert_never(item.message)

    # -- requests

    def on_request(self, out: Output, source: ReplicaId | PublicKey, request: SignedRequest) -> None:
        """Answer what ran already; admit what is new; a backup passes it on to the primary. PBFT section 4.1."""
        verdicts = self._executed.judge(request.device, request.message)
        is_stranger = not self._executed.knows(request.device)
        reason = reply_again(out, self.rules, self.log.view, request, verdicts)
        if reason is None:
            reason = self.pool.why_refuse(request, is_stranger=is_stranger)
        if reason is None:
            self.pool.add(request, is_stranger=is_stranger)
        else:
            if reason is IgnoreReason.NAME_IN_USE:
                held = self.pool.contradicted_by(request)
                if held is not None:
                    out.accuse("CLIENT-EQUIVOCATION", request.device, held.wire, request.wire)
            out.ignore(reason, source, bodies.REQUEST)
        if reason is None and source == request.device and not self.ordering.is_primary:
            out.send_to((self.group.primary(self.log.view),), request)

    # -- execution

    def on_batch_executed(self, out: Output, done: BatchExecuted) -> None:
        self.ordering.on_executed(done.sequence)
        for request in done.batch.requests:
            self.pool.remove(request)
        replies_to_executed(out, self.rules, self.log.view, done)
        if done.state_root is not None:
            self.checkpoints.on_own_root(out, done.sequence, done.state_root)
            self.ordering.execute_ready(out)
        self.readers.on_executed(out, done.topics, self.log.last_executed)
        self._go_on(out, done.now)

    def on_state_installed(self, out: Output, installed: StateInstalled) -> None:
        if self.state_repair.on_installed(out, installed.now.steady, installed):
            self.ordering.on_repaired(out)
            self._go_on(out, installed.now)

    def _go_on(self, out: Output, now: Now) -> None:
        """What the inputs made possible: order what waits, ask for what is missing."""
        self.state_repair.consider(out, now.steady)
        self.ordering.propose(out, now)
        if self.repair.is_behind:
            self.repair.ask(out, now.steady)

    # -- time, links, restart

    def on_timer(self, out: Output, expired: TimerExpired) -> None:
        match expired.timer:
            case Timer.STATUS:
                out.send_to(self.group.others(self.me), self.repair.status())
                self.repair.ask(out, expired.now.steady)
                self._refresh_pool(out)
                self._arm_status(out, expired.now)
            case Timer.SERVE_STATE:
                self.state_serving.on_timer(out, expired.now.steady)
            case Timer.TRANSFER:
                self.state_repair.on_timer(out, expired.now.steady)
            case _:
                assert_never(expired.timer)

    def _refresh_pool(self, out: Output) -> None:
        """Pass the oldest requests on again, for a forward may be lost; drop those that can run no more."""
        oldest = tuple(itertools.islice(self.pool.oldest(), REFRESH_MAX))
        for request in oldest:
            verdicts = self._executed.judge(request.device, request.message)
            if Standing.NEW not in verdicts and Standing.OUT_OF_WINDOW not in verdicts:
                self.pool.remove(request)
            elif not self.ordering.is_primary:
                out.send_to((self.group.primary(self.log.view),), request)

    def _arm_status(self, out: Output, now: Now) -> None:
        incomplete = self.repair.is_behind or len(self.pool) > 0 or any(True for _ in self.log.unexecuted())
        pause = STATUS_INTERVAL_INCOMPLETE_MS if incomplete else STATUS_INTERVAL_MS
        out.set_timer(Timer.STATUS, Milliseconds(now.steady + pause))

    def on_link_up(self, out: Output, peer: ReplicaId) -> None:
        """Say again what the peer may have missed: where this replica stands, its open votes, waiting requests."""
        out.send_to((peer,), self.repair.status())
        for slot in self.log.unexecuted():
            own: Sequence[Proposal | Signed[Prepare] | Signed[Commit] | None] = (
                slot.proposal if slot.proposal and slot.proposal.pre_prepare.signer == self.me else None,
                slot.prepares.get(self.me),
                slot.commits.get(self.me),
            )
            for message in own:
                if message is not None:
                    out.send_to((peer,), message)
        if peer == self.group.primary(self.log.view):
            for _, request in zip(range(FORWARD_MAX), self.pool.oldest(), strict=False):
                out.send_to((peer,), request)

    def on_recovered(self, out: Output, recovered: Recovered) -> None:
        """Take up the votes of the last run: they are this replica's own, and are sent again as they were."""
        highest_proposed = restore(self, recovered)
        last = recovered.checkpoint
        if last is not None and self.checkpoints.own_vote(last.sequence) is None:
            self.checkpoints.on_own_root(out, last.sequence, last.state_root)
        if not recovered.is_whole and self.state_repair.lost is None:
            self.state_repair.start_from_nothing(out, recovered.now.steady)
        self.state_repair.consider(out, recovered.now.steady)
        self.ordering.resume(out, highest_proposed)
        self._arm_status(out, recovered.now)

    def describe(self) -> dict[str, object]:
        """Where it stands, in words and numbers that JSON can hold."""
        return {
            "view": self.log.view,
            "primary": self.group.primary(self.log.view),
            "last_executed": self.log.last_executed,
            "stable_checkpoint": self.log.low_watermark,
            "role": self._role(),
            "pending_requests": len(self.pool),
            "open_slots": [
                {
                    "sequence": slot.sequence,
                    "prepares": sorted(slot.prepares),
                    "commits": sorted(slot.commits),
                    "committed": slot.certificate is not None,
                }
                for slot in itertools.islice(self.log.unexecuted(), 8)
            ],
        }

    def _role(self) -> str:
        if self.state_repair.transfer is not None:
            return "fetching"
        return "voting" if self.checkpoints.diverged_at is None else "diverged"
