"""Simulated people: the pure client of `pbft.client.quorums`, and a list of things to do."""

from __future__ import annotations

from adversary.simulator.beyond import Place
from adversary.simulator.scenario import Action
from adversary.simulator.surroundings import Surroundings
from chatsvc.application.operations import Create, Join, Leave, Operation, Post, Read, Register, encode_operation
from chatsvc.application.queries import ReadHistory, SearchMessages, encode_query
from chatsvc.application.results import Rejected as Refused
from chatsvc.application.results import decode_result
from crypto.signing import Signer
from pbft.client.proofs import proof_of
from pbft.client.quorums import Accepted, Answered, ClientCore, Outcome, QueryId, Rejected, Settings, Ticket
from pbft.client.quorums.model import Output
from pbft.core.messages import SignedRequest
from pbft.core.types import Milliseconds, ReplicaId, SessionNumber

FOR_EVER_MS = 24 * 3600 * 1000
SETTINGS = Settings(
    bundle=4, retransmit_after_ms=400, retransmit_pause_max_ms=2_000, outcome_after_ms=FOR_EVER_MS, query_rounds=3
)
SESSION = SessionNumber(1)
HISTORY_ROWS = 50


class SimulatedClient:
    """One device. Everything it accepts is checked against what the replicas did."""

    is_honest = True

    def __init__(self, around: Surroundings, *, address: int, name: str, signer: Signer) -> None:
        self._around = around
        self.address = address
        self.name = name
        self.device = signer.public_key
        self._signer = signer
        self._core = ClientCore(around.group, signer, SESSION, SETTINGS)
        self._sent_after: dict[Ticket, tuple[Place, bool]] = {}
        self._sent: dict[bytes, int] = {}
        self._seen = 0
        self._seen_when_asked: dict[QueryId, int] = {}
        self._woken_at = -1
        self._registering: Ticket | None = None
        self._is_registered = False
        self._told: set[tuple[str, object]] = set()
        """What it proved before."""
        self._held_back: list[Action] = []
        """Until it has a name: what a stranger asks may run twice."""
        self.accepted = 0
        self.answered = 0
        self.asked = 0
        self.misdeeds = 0
        """What it did that no client of good will does."""

    @property
    def is_idle(self) -> bool:
        """Whether every operation so far has its outcome."""
        return not self._sent_after and not self._held_back

    def on_link(self, replica: ReplicaId, *, up: bool) -> None:
        self._core.on_link(self._now(), replica, up=up)
        self._flush()

    def act(self, action: Action) -> None:
        now = self._now()
        if action.kind in {"history", "search"}:
            self.asked += 1
            self._seen_when_asked[self._core.ask(now, _query(action))] = self._seen
        else:
            if self._registering is not None:
                self._held_back.append(action)
                return
            ticket = self._submit(operation_of(action), is_read=action.kind in {"read", "register"})
            if action.kind == "register":
                self._registering = ticket
        self._flush()

    def _submit(self, operation: bytes, *, is_read: bool = False) -> Ticket:
        """`is_read`: it may run twice; and so may whatever strangers ask."""
        now, repeatable = self._now(), is_read or not self._is_registered
        (ticket,) = self._core.submit(now, [operation], repeatable=repeatable)
        self._sent_after[ticket] = (self._around.checker.now_latest(), repeatable)
        self._around.patience.on_asked(self.name, ticket, now)
        return ticket

    def receive(self, frame: bytes) -> None:
        """A frame of a replica; forged ones end the connection, and here are only counted."""
        message = self._around.frames.from_replica(frame)
        if not self._core.is_surplus(message.message):
            self._core.on_heard(self._now(), [message])
            self._flush()

    def wake(self) -> None:
        self._woken_at = -1
        self._core.on_time(self._now())
        self._flush()

    def _now(self) -> Milliseconds:
        return Milliseconds(self._around.now_us // 1000)

    def _flush(self) -> None:
        """Carry out what the core asks for."""
        around, out = self._around, self._core.take()
        for send in out.send:
            self._note_request(send.wire)
            for replica in send.to:
                around.delivery.transmit_from_client(self, replica, send.wire)
        for ticket, outcome in out.outcomes:
            self._on_outcome(ticket, outcome)
        self._learn(out)
        next_at = self._core.next_at
        if next_at is not None and (self._woken_at < 0 or next_at < self._woken_at):
            self._woken_at = next_at
            around.wake_client(self, next_at)

    def _on_outcome(self, ticket: Ticket, outcome: Outcome) -> None:
        around = self._around
        sent_after, repeatable = self._sent_after.pop(ticket)
        around.patience.on_outcome(self.name, ticket, self._now())
        if isinstance(outcome, Accepted):
            self.accepted += 1
            self._seen = max(self._seen, outcome.sequence)
            name = (self.device, int(SESSION), int(outcome.client_sequence))
            if around.watch is not None:
                text = f"operation {outcome.client_sequence}"
                around.watch.accepted(around.now_us, self.address, int(outcome.sequence), text)
            around.checker.on_accepted(name, outcome, sent_after, repeatable=repeatable)
        else:
            around.checker.on_lost_outcome(self.name, isinstance(outcome, Rejected))
        if ticket == self._registering:
            self._registering = None
            self._is_registered = isinstance(outcome, Accepted) and not _is_refused(outcome.result)
            held_back, self._held_back = self._held_back, []
            for action in held_back:
                self.act(action)

    def _learn(self, out: Output) -> None:
        """Answers, and who was caught lying."""
        around = self._around
        for number, answer in out.answers:
            seen = self._seen_when_asked.pop(number)
            if isinstance(answer, Answered):
                around.checker.on_answered(self.name, answer.sequence, seen)
                self.answered += 1
                around.marks.reach("query answered")
        for contradiction in out.contradictions:
            around.checker.on_contradiction(contradiction.replica)
            proof = proof_of(around.frames.opener, contradiction)
            if proof is not None:
                around.checker.on_client_proof(self.name, proof)
                if around.watch is not None and (proof.code, proof.culprit) not in self._told:
                    around.watch.proven(around.now_us, self.address, proof.code, proof.culprit)
                self._told.add((proof.code, proof.culprit))

    def _note_request(self, wire: bytes) -> None:
        times = self._sent[wire] = self._sent.get(wire, 0) + 1
        if times == 1:
            message = self._around.frames.from_client(wire)
            if isinstance(message, SignedRequest):
                self._around.checker.on_request(self.device, message.digest)
        else:
            self._around.marks.reach("client asked all replicas")


def _is_refused(result: bytes) -> bool:
    return isinstance(decode_result(result), Refused)


def operation_of(action: Action) -> bytes:
    operation: Operation
    match action.kind:
        case "register":
            operation = Register(action.text)
        case "create":
            operation = Create(action.room, action.text)
        case "join":
            operation = Join(action.room)
        case "leave":
            operation = Leave(action.room)
        case "post":
            operation = Post(room=action.room, body=action.text)
        case _:
            operation = Read(encode_query(ReadHistory(room=action.room, limit=HISTORY_ROWS)))
    return encode_operation(operation)


def _query(action: Action) -> bytes:
    if action.kind == "search":
        return encode_query(SearchMessages(text=action.text, limit=HISTORY_ROWS))
    return encode_query(ReadHistory(room=action.room, limit=HISTORY_ROWS))
