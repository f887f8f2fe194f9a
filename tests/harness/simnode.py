"""What a simulated replica consists of beside its core, and what its node does for it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from crypto.signing import PublicKey
from pbft.core.codec import Opener
from pbft.core.effects import (
    Archived,
    EventsDone,
    Evidence,
    IgnoreReason,
    Input,
    QueryDone,
    ReadEvents,
    Record,
    RecordKind,
    RunQuery,
    ServeArchive,
    Timer,
)
from pbft.core.frames import wire_of
from pbft.core.messages import Body, Proposal
from pbft.core.types import Now, ReplicaId
from tests.harness.executor import MemoryExecutor


@dataclass
class SimNode:
    """One replica with its ledger, its state and its clock."""

    me: ReplicaId
    executor: MemoryExecutor
    ledger: list[Record] = field(default_factory=list)
    archive: list[Record] = field(default_factory=list)
    """Not durable before the next persist: a crash loses it."""
    timers: dict[Timer, int] = field(default_factory=dict)
    inputs: deque[Input] = field(default_factory=deque)
    skew_ms: int = 0
    alive: bool = False
    fuse: int | None = None
    """How many more effects are carried out before a crash."""
    evidence: list[Evidence] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    ignored: Counter[IgnoreReason] = field(default_factory=Counter)
    stored: set[bytes] = field(default_factory=set)

    @property
    def executed(self) -> int:
        return self.executor.state.last_executed


@dataclass(frozen=True)
class Flight:
    """A frame under way."""

    source: ReplicaId | PublicKey
    to: ReplicaId
    frame: bytes


def answer_read(node: SimNode, read: RunQuery | ReadEvents, now: Now) -> Input:
    match read:
        case RunQuery():
            sequence, result = node.executor.query(read.query)
            return QueryDone(now=now, device=read.device, query_id=read.query_id, sequence=sequence, result=result)
        case ReadEvents():
            events = node.executor.events(read.topic, read.start, read.limit)
            return EventsDone(
                now=now,
                device=read.device,
                subscription=read.subscription,
                sequence=node.executor.state.last_executed,
                start=read.start,
                events=events,
            )


CERTIFICATES = {
    Archived.COMMIT_CERTIFICATES: RecordKind.COMMITTED,
}


def archived_frames(node: SimNode, serve: ServeArchive, opener: Opener) -> list[bytes]:
    """Out of the ledger: certificates, or batches."""
    frames: list[bytes] = []
    for record in node.ledger:
        if not serve.first <= record.sequence <= serve.last:
            continue
        if record.kind is CERTIFICATES.get(serve.what):
            frames.append(record.data)
        elif record.kind is RecordKind.PROPOSAL and serve.what is Archived.BODIES:
            proposal = opener.parse_peer(record.data).value
            assert isinstance(proposal, Proposal)
            frames.append(wire_of(opener.group.epoch, Body(sequence=record.sequence, batch=proposal.batch)))
        elif record.kind is RecordKind.BODY and serve.what is Archived.BODIES:
            body = Body(sequence=record.sequence, batch=opener.parse_batch(record.data))
            frames.append(wire_of(opener.group.epoch, body))
    return frames
