"""A tracker of operations at work, for the tests of it."""

from __future__ import annotations

from pbft.client.quorums import Knowledge, Outcome, Output, RequestTracker, Settings, Ticket
from pbft.core.messages import Reply, Signed
from pbft.core.types import ReplicaId
from tests.client.said import SESSION, PlainSigner, knowledge_of, ms, requests_in


class Bench:
    """A tracker, its time, and what it has said so far."""

    def __init__(self, n: int = 4, settings: Settings | None = None, **parameters: int) -> None:
        self.knowledge: Knowledge = knowledge_of(n, **parameters)
        self.group = self.knowledge.group
        self.tracker = RequestTracker(self.knowledge, PlainSigner(), SESSION, settings or Settings())
        self.now = 0
        self.outcomes: dict[Ticket, Outcome] = {}
        self.sent: list[tuple[tuple[ReplicaId, ...], int, int, int]] = []
        """(to, first client sequence, operations, ack_below) of each request sent."""
        self.wires: list[bytes] = []

    def note(self, out: Output) -> Output:
        self.outcomes.update(out.outcomes)
        self.wires.extend(send.wire for send in out.send)
        for to, request in requests_in(self.group, out):
            named = request.message
            self.sent.append((to, named.first_client_sequence, len(named.operations), named.ack_below))
        return out

    def submit(self, *operations: bytes, repeatable: bool = False) -> tuple[Ticket, ...]:
        out = Output()
        tickets = self.tracker.submit(out, ms(self.now), operations, repeatable=repeatable)
        self.note(out)
        return tickets

    def hear(self, *replies: Signed[Reply]) -> Output:
        out = Output()
        self.tracker.on_replies(out, ms(self.now), replies)
        return self.note(out)

    def wait(self, milliseconds: int) -> Output:
        self.now += milliseconds
        out = Output()
        self.tracker.on_time(out, ms(self.now))
        return self.note(out)

    def retry(self, ticket: Ticket) -> Output:
        out = Output()
        self.tracker.retry(out, ms(self.now), ticket)
        return self.note(out)
