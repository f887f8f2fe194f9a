"""A client of the replicas on trio: one task per link, and one that owns the quorum logic."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias, assert_never, cast

import trio

from crypto.signing import Ed25519Verifier, Signer, Verifier
from pbft.client.answers import Answer, ordered, unordered
from pbft.client.commands import (
    Ask,
    Collected,
    GiveUp,
    Link,
    OnOutcome,
    Retry,
    Submit,
    milliseconds,
)
from pbft.client.connection import Connection, Dial, dial_tcp
from pbft.client.directory import GroupDirectory
from pbft.client.errors import (
    AuthenticationFailed,
    LinkState,
    NotEnoughReplicas,
    OutcomeUnknown,
    ReplicasDisagree,
    RequestRejected,
    TooBusy,
)
from pbft.client.owner import Owner
from pbft.client.proofs import Proofs
from pbft.client.quorums import (
    Accepted,
    Answered,
    ClientCore,
    Contradiction,
    ContradictionLog,
    Disagreement,
    Outcome,
    QueryOutcome,
    Rejected,
    Settings,
    Unanswered,
    Unknown,
    UnknownTicket,
)
from pbft.client.quorums.core import QUERIES_MAX
from pbft.client.quorums.operations import FIRST_NAME
from pbft.client.quorums.queries import QUERY_BYTES_MAX
from pbft.client.sessions import next_session
from pbft.client.streams import EventStream
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.messages import Answer as AnswerMessage
from pbft.core.messages import Events, Reply, ToClient
from pbft.core.types import ClientSequence, EventIndex, ReplicaId, SequenceNumber, SessionNumber

CONNECT_SECONDS = 10.0
TOPIC_BYTES_MAX = 1024
FIRST_EVENT = EventIndex(0)

OrderedRead: TypeAlias = Callable[[bytes], bytes]
"""From a query to the operation that answers it in its place in the order."""


class ReplicaClient:
    """Use as `async with open_client(...) as client`. All its methods are for the thread that runs trio."""

    def __init__(
        self,
        directory: GroupDirectory,
        signer: Signer,
        *,
        session: SessionNumber,
        resume_at: ClientSequence,
        settings: Settings,
        verifier: Verifier,
        ordered_read: OrderedRead | None,
        on_contradiction: Callable[[Contradiction], None] | None,
        on_evidence: Callable[[Evidence], None] | None,
        dial: Dial,
    ) -> None:
        self.directory = directory
        self.group = directory.group
        self.session = session
        self._settings = settings
        self._ordered_read = ordered_read
        self._core = ClientCore(self.group, signer, session, settings, resume_at=resume_at)
        opener = Opener(self.group, verifier)
        self._connections = tuple(
            Connection(contact=contact, replica=replica, signer=signer, opener=opener, owner=self, dial=dial)
            for replica, contact in zip(self.group.replicas, directory.replicas, strict=True)
        )
        self._proofs = Proofs(Opener(self.group, verifier))
        self._told = (on_contradiction, on_evidence)
        self._owner = Owner(self._core, send=self._send_to, on_contradiction=self._on_contradiction)
        self._asking_limit = trio.Semaphore(QUERIES_MAX)
        self._links_changed = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        nursery.start_soon(self._owner.run)
        for connection in self._connections:
            nursery.start_soon(connection.run)
        self._nursery = nursery
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        # Not given the caller's exception, which would come back wrapped in a group.
        await self._manager.__aexit__(None, None, None)

    # -- links

    def links(self) -> tuple[LinkState, ...]:
        return tuple(connection.state for connection in self._connections)

    @property
    def contradictions(self) -> ContradictionLog:
        """Who lied, how often, and the evidence."""
        return self._core.contradictions

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Proofs of lies that anybody can verify, the first few of each replica. Few contradictions give one."""
        return self._proofs.kept

    def _on_contradiction(self, contradiction: Contradiction) -> None:
        on_contradiction, on_evidence = self._told
        if on_contradiction is not None:
            on_contradiction(contradiction)
        evidence = self._proofs.add(contradiction)
        if evidence is not None and on_evidence is not None:
            on_evidence(evidence)

    @property
    def seen(self) -> SequenceNumber:
        """Highest sequence that something accepted stands at."""
        return self._core.knowledge.seen

    async def wait_connected(self, count: int | None = None, *, within_s: float = CONNECT_SECONDS) -> None:
        """Wait for links to `count` replicas (f+1 if None).

        Raises NotEnoughReplicas, and AuthenticationFailed as soon as a quorum refuses.
        """
        needed = self.group.honest_minimum if count is None else count
        with trio.move_on_after(within_s):
            while True:
                self._raise_if_locked_out()
                if sum(link.connected and link.refused is None for link in self.links()) >= needed:
                    await trio.lowlevel.checkpoint()
                    return
                await self._links_changed.wait()
        links = self.links()
        reached = sum(link.connected and link.refused is None for link in links)
        msg = f"{reached} of {self.group.size} replicas can be reached, {needed} are needed"
        raise NotEnoughReplicas(msg, links)

    async def inspect(self, replica: ReplicaId, *, within_s: float = CONNECT_SECONDS) -> dict[str, object] | None:
        """Ask one replica about itself, to be believed for operating it only. None if it does not say."""
        report: bytes | None = None
        with trio.move_on_after(within_s):
            report = await self._connections[replica].inspect()
        try:
            value = None if report is None else json.loads(report)
        except (ValueError, RecursionError):
            return None
        return cast("dict[str, object]", value) if isinstance(value, dict) else None

    # -- operations

    async def submit(
        self,
        operation: bytes,
        *,
        within_s: float | None = None,
        repeatable: bool = False,
        keep_statements: bool = False,
    ) -> Outcome:
        """Have the operation ordered. `repeatable`, `keep_statements`: as in `RequestTracker.submit`.

        Raises TooBusy, AuthenticationFailed, and ValueError for an operation over the group's limit.
        """
        (outcome,) = await self.submit_many(
            [operation], within_s=within_s, repeatable=repeatable, keep_statements=keep_statements
        )
        return outcome

    async def submit_many(
        self,
        operations: Sequence[bytes],
        *,
        within_s: float | None = None,
        repeatable: bool = False,
        keep_statements: bool = False,
    ) -> list[Outcome]:
        """The same for several, in this order; their outcomes, in the same order."""
        if not operations:
            await trio.lowlevel.checkpoint()
            return []
        collected = Collected(len(operations))
        callbacks = [collected.at(place) for place in range(len(operations))]
        self._post_operations(
            operations, callbacks, within_s=within_s, repeatable=repeatable, keep_statements=keep_statements
        )
        await collected.done.wait()
        outcomes = [collected.outcomes[place] for place in range(len(operations))]
        if any(isinstance(outcome, Unknown) for outcome in outcomes):
            self._raise_if_locked_out()
        return outcomes

    def submit_nowait(
        self, operation: bytes, on_outcome: OnOutcome, *, within_s: float | None = None, repeatable: bool = False
    ) -> None:
        """The same without waiting: `on_outcome` is told. No task, no event: for load generators."""
        self._post_operations([operation], [on_outcome], within_s=within_s, repeatable=repeatable)

    async def retry(self, unknown: Unknown, *, within_s: float | None = None) -> Outcome:
        """Wait again for an outcome that was unknown, under the same name: the operation runs once at most.

        Raises UnknownTicket for one that was retried already, or forgotten.
        """
        self._raise_if_locked_out()
        if not self._core.requests.is_unknown(unknown.ticket):
            msg = f"operation {unknown.ticket} is not one whose outcome is unknown"
            raise UnknownTicket(msg)
        collected = Collected(1)
        self._owner.unfinished += 1
        self._owner.post(Retry(unknown.ticket, collected.at(0), milliseconds(within_s)))
        await collected.done.wait()
        return collected.outcomes[0]

    # -- reads

    async def query(
        self,
        query: bytes,
        *,
        linearizable: bool = False,
        within_s: float | None = None,
        keep_statements: bool = False,
    ) -> Answer:
        """Ask all replicas; where their answers keep differing, or if `linearizable`, have the read ordered.

        `keep_statements`: the answer is to hold what replicas signed, for `pbft.client.offline`.
        Raises OutcomeUnknown when too few answer in time; ReplicasDisagree when there is no way to order reads.
        """
        self._raise_if_locked_out()
        if not linearizable:
            outcome = await self._ask(query, within_s)
            match outcome:
                case Answered():
                    return unordered(outcome, keep_statements=keep_statements)
                case Unanswered():
                    self._raise_if_locked_out()
                    msg = (
                        f"{len(outcome.statements)} replicas answered in time, {self.group.honest_minimum} are needed"
                    )
                    raise OutcomeUnknown(msg, outcome)
                case Disagreement():
                    if self._ordered_read is None:
                        raise ReplicasDisagree(outcome)
                case _:
                    assert_never(outcome)
        return await self._read_ordered(query, within_s, keep_statements=keep_statements)

    async def _ask(self, query: bytes, within_s: float | None) -> QueryOutcome:
        if len(query) > QUERY_BYTES_MAX:
            msg = f"a query has at most {QUERY_BYTES_MAX} bytes"
            raise ValueError(msg)
        answered = trio.Event()
        outcomes: list[QueryOutcome] = []

        def on_answer(outcome: QueryOutcome) -> None:
            outcomes.append(outcome)
            answered.set()

        async with self._asking_limit:
            self._owner.post(Ask(query, on_answer, milliseconds(within_s)))
            await answered.wait()
        return outcomes[0]

    async def _read_ordered(self, query: bytes, within_s: float | None, *, keep_statements: bool) -> Answer:
        if self._ordered_read is None:
            msg = "this client was given no way to order reads"
            raise ValueError(msg)
        outcome = await self.submit(
            self._ordered_read(query), within_s=within_s, repeatable=True, keep_statements=keep_statements
        )
        match outcome:
            case Accepted():
                return ordered(outcome)
            case Rejected():
                msg = "the read was refused under its name: this session was ended by later ones"
                raise RequestRejected(msg)
            case Unknown():
                msg = "the read was not ordered in time"
                raise OutcomeUnknown(msg, outcome)
            case _:
                assert_never(outcome)

    def subscribe(self, topic: bytes, start: EventIndex = FIRST_EVENT) -> EventStream:
        """Events of `topic` from `start` on: `async with` it, then `async for` event in it."""
        if len(topic) > TOPIC_BYTES_MAX:
            msg = f"a topic has at most {TOPIC_BYTES_MAX} bytes"
            raise ValueError(msg)
        return EventStream(self._owner, topic, start)

    # -- for the links

    def is_surplus(self, message: Reply | AnswerMessage | Events) -> bool:
        return self._core.is_surplus(message)

    def heard(self, messages: Sequence[ToClient]) -> trio.Event:
        return self._owner.heard(messages)

    def link_changed(self, replica: ReplicaId, *, up: bool | None) -> None:
        if up is not None:
            self._owner.post(Link(replica, up))
        if self._locked_out():
            self._owner.post(GiveUp())
        self._links_changed.set()
        self._links_changed = trio.Event()

    # -- inside

    def _send_to(self, replica: ReplicaId, data: bytes) -> None:
        self._connections[replica].send_nowait(data)

    def _post_operations(
        self,
        operations: Sequence[bytes],
        callbacks: Sequence[OnOutcome],
        *,
        within_s: float | None,
        repeatable: bool,
        keep_statements: bool = False,
    ) -> None:
        self._raise_if_locked_out()
        most = self.group.parameters.operation_bytes_max
        if max(map(len, operations)) > most:
            msg = f"an operation has at most {most} bytes in this group"
            raise ValueError(msg)
        if self._owner.unfinished + len(operations) > self._settings.outbox_max:
            msg = f"{self._owner.unfinished} operations wait for their outcome already"
            raise TooBusy(msg)
        self._owner.unfinished += len(operations)
        self._owner.post(Submit(operations, callbacks, milliseconds(within_s), repeatable, keep_statements))

    def _locked_out(self) -> bool:
        refused = sum(connection.is_refused for connection in self._connections)
        return refused >= self.group.quorum

    def _raise_if_locked_out(self) -> None:
        if self._locked_out():
            msg = "a quorum of replicas refuses this client, or is not who the group file says"
            raise AuthenticationFailed(msg, self.links())


def open_client(
    directory: GroupDirectory,
    signer: Signer,
    *,
    session: SessionNumber | None = None,
    resume_at: ClientSequence = FIRST_NAME,
    settings: Settings | None = None,
    verifier: Verifier | None = None,
    ordered_read: OrderedRead | None = None,
    on_contradiction: Callable[[Contradiction], None] | None = None,
    on_evidence: Callable[[Evidence], None] | None = None,
    dial: Dial = dial_tcp,
) -> ReplicaClient:
    """Make a client of the group in `directory`, for the device whose key `signer` holds.

    `session`: above those of the device's earlier and other clients (`next_session`), or one to go on with at
    `resume_at`, the name after the last that had its outcome. Raises CertificateError for a pin that is none.
    """
    return ReplicaClient(
        directory,
        signer,
        session=next_session() if session is None else session,
        resume_at=resume_at,
        settings=settings or Settings(),
        verifier=verifier or Ed25519Verifier(),
        ordered_read=ordered_read,
        on_contradiction=on_contradiction,
        on_evidence=on_evidence,
        dial=dial,
    )
