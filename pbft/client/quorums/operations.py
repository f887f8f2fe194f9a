"""Operations under way, and what a replica can say of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from crypto.digest import Digest, digest_of
from pbft.client.quorums.model import Ticket
from pbft.core.messages import OperationResult, SignedRequest
from pbft.core.types import ClientSequence, Milliseconds, ReplicaId, SequenceNumber

Place = tuple[int, int, Digest]
"""Sequence, index in the batch, digest of the result: what f+1 replies must agree on."""
REFUSED: Place = (-1, -1, digest_of(b""))
FIRST_NAME = ClientSequence(0)
"""Of a session."""
LATE_OUTCOMES_MAX = 4096
"""Outcomes that came after they were reported unknown, kept for a retry; and operations that were never sent."""

T = TypeVar("T")


def place_of(result: OperationResult, sequence: SequenceNumber) -> Place:
    return REFUSED if result.refused else (sequence, result.index, digest_of(result.result))


def contradicts(accepted: Place, other: Place, *, repeatable: bool) -> bool:
    """Whether no correct replica says `other` of an operation that stands at `accepted`.

    A correct one may call a name stale that it has forgotten. What the application does not remember may run
    again, at another sequence.
    """
    if accepted == other or REFUSED in (accepted, other):
        return False
    return not repeatable or accepted[0] == other[0]


class OutboxFull(Exception):  # noqa: N818 - named for what it is
    """More operations wait to be sent than the client may hold. None of those given was taken."""


class UnknownTicket(Exception):  # noqa: N818 - the same
    """No operation with this ticket is held (any more): it has its outcome, or was forgotten long ago."""


@dataclass(slots=True, eq=False)
class HeldOperation:
    ticket: Ticket
    operation: bytes
    repeatable: bool
    keep_statements: bool = False
    deadline: Milliseconds = Milliseconds(0)
    waited_for: bool = True
    """Its outcome has not been reported yet, not even as unknown."""
    client_sequence: ClientSequence = ClientSequence(-1)
    bundle: Bundle | None = None
    opinions: dict[ReplicaId, tuple[Place, bytes]] = field(default_factory=dict)
    """What each replica said, and the frame in which it did, empty if there was no room for it."""
    decided: tuple[Place, bytes] | None = None
    """What f+1 replicas said, and the result."""


@dataclass(slots=True, eq=False)
class Bundle:
    request: SignedRequest
    open: int
    resend_at: Milliseconds
    pause_ms: int
    fresh: bool = True
    """Not yet sent to all replicas for want of replies."""


def remember(memory: dict[Ticket, T], ticket: Ticket, value: T) -> None:
    """Keep a late outcome, or an operation that was not sent; the oldest go when there are too many."""
    memory[ticket] = value
    while len(memory) > LATE_OUTCOMES_MAX:
        del memory[next(iter(memory))]
