"""What a client's quorum logic says: frames to send, and what became known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType, TypeAlias

from pbft.core.types import ClientSequence, EventIndex, Milliseconds, ReplicaId, SequenceNumber

Ticket = NewType("Ticket", int)
"""Counts the operations handed to a tracker. The operation gets its name, a client sequence, when it is sent."""
QueryId = NewType("QueryId", int)
SubscriptionId = NewType("SubscriptionId", int)

Vouchers: TypeAlias = tuple[ReplicaId, ...]
"""Distinct replicas, ascending, that signed the same thing."""
Statements: TypeAlias = tuple[bytes, ...]
"""Signed frames of f+1 distinct replicas: what `pbft.client.offline` shows to anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How patient a client is. Durations in milliseconds."""

    bundle: int = 64
    """Operations under one signature, at most; the group's limit holds as well."""
    bundles_in_flight: int = 4
    """While so many wait for their first replies, further ones leave only when full."""
    outbox_max: int = 16_384
    """Operations that wait to be sent."""
    retransmit_after_ms: int = 600
    retransmit_pause_max_ms: int = 5_000
    outcome_after_ms: int = 30_000
    """When an operation without an outcome is reported as unknown, and a query as unanswered."""
    query_grace_ms: int = 150
    """How long a quorum of differing answers waits for the others."""
    query_rounds: int = 4
    """How often a query is asked before the replicas are said to disagree."""
    query_round_pause_ms: int = 50
    """Before the second round; doubles."""
    body_patience_ms: int = 500
    """How long an agreed event may lack its body before another replica is asked for bodies."""
    stall_ms: int = 2_000
    """How long a claimed event may lack agreement before the silent replicas are asked again."""
    quiet_ms: int = 30_000
    """After so long without an event a replica is asked for the stream again: it may have had no room for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One frame for some replicas. Lost when they are not connected: it is sent again in time."""

    to: tuple[ReplicaId, ...]
    wire: bytes = field(repr=False)


# -- operations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The operation was ordered in the batch at `sequence`, at place `index`, and gave `result`."""

    client_sequence: ClientSequence
    sequence: SequenceNumber
    index: int
    result: bytes
    vouchers: Vouchers
    statements: Statements = field(default=(), repr=False, compare=False)
    """Empty unless asked for. Fewer than f+1 when so many large results were under way that frames were dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The name is stale at f+1 replicas: it will not run (again), and whether it ever ran is forgotten."""

    client_sequence: ClientSequence
    vouchers: Vouchers


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Not known in time. `sent`: it may have run, or may still run, once. Safe to retry by its ticket."""

    ticket: Ticket
    sent: bool


Outcome: TypeAlias = Accepted | Rejected | Unknown


# -- reads -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """f+1 replicas gave this answer. `sequence`: a correct one of them had executed that far."""

    result: bytes
    sequence: SequenceNumber
    vouchers: Vouchers
    statements: Statements = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One replica's answer."""

    replica: ReplicaId
    sequence: SequenceNumber
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """No f+1 equal answers in any round. Nobody need have lied: states differ while operations are executed."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Too few replicas answered in time."""

    statements: tuple[Statement, ...]


QueryOutcome: TypeAlias = Answered | Disagreement | Unanswered


# -- subscriptions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Event `index` of a topic, on whose digest f+1 replicas agree: on its head, and on its content's digest."""

    index: EventIndex
    head: bytes
    content_digest: bytes = b""
    """Empty for an event that never had content."""
    content: bytes | None = None
    """Checked against the digest. None, where the digest is set: it was taken away, or the streamer keeps it back."""
    vouchers: Vouchers


# -- lies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A replica signed what f+1 replicas deny, or what it had denied itself.

    `accepted`: the signed frames of f+1 replicas, or of the culprit's own earlier statement; empty when they are
    too old or too large to be kept still.
    """

    replica: ReplicaId
    message_type: str
    accepted: tuple[bytes, ...] = field(repr=False)
    contradicting: bytes = field(repr=False)


# -- all together ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Output:
    """Collects what the inputs of one poll led to."""

    send: list[Send] = field(default_factory=list)
    outcomes: list[tuple[Ticket, Outcome]] = field(default_factory=list)
    answers: list[tuple[QueryId, QueryOutcome]] = field(default_factory=list)
    events: list[tuple[SubscriptionId, Event]] = field(default_factory=list)
    closed: list[SubscriptionId] = field(default_factory=list)
    """Subscriptions whose topic cannot be read."""
    contradictions: list[Contradiction] = field(default_factory=list)

    def send_to(self, to: tuple[ReplicaId, ...], wire: bytes) -> None:
        if to:
            self.send.append(Send(to=to, wire=wire))


def earliest(*times: Milliseconds | None) -> Milliseconds | None:
    """The first of those that are set."""
    return min((time for time in times if time is not None), default=None)
