"""An executor in memory: a log of operations as the application, and the real exactly-once rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

from crypto.canonical import encode
from crypto.digest import Digest, digest_of, digest_of_parts
from crypto.signing import PublicKey
from pbft.core.application import Key, Row
from pbft.core.dedupe import Dedupe, Executed, Standing, Verdict
from pbft.core.effects import BatchExecuted, Execute, ExecutedRequest
from pbft.core.group import Group
from pbft.core.messages import Checkpoint, OperationResult, Request, SignedRequest
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, Now, SequenceNumber, SessionNumber

Name = tuple[PublicKey, SessionNumber, ClientSequence]
TOPIC = b"log"


@dataclass
class State:
    """All that an executor remembers; copied for a snapshot."""

    history_head: Digest
    last_executed: SequenceNumber = SequenceNumber(0)
    agreed_time: Milliseconds = Milliseconds(0)
    checkpoint: Checkpoint | None = None
    rows: dict[tuple[str, Key], Row] = field(default_factory=dict)
    ran: list[Name] = field(default_factory=list)
    """Names of the operations that ran, in order."""
    history: list[Digest] = field(default_factory=list)
    """Digests of the executed batches: number n is at n - 1."""

    def snapshot(self) -> State:
        twin = copy(self)
        twin.rows, twin.ran, twin.history = dict(self.rows), list(self.ran), list(self.history)
        return twin

    def root(self) -> Digest:
        rows = sorted((encode([table, list(key)]), encode(list(row))) for (table, key), row in self.rows.items())
        parts = [part for pair in rows for part in pair]
        time, sequence = self.agreed_time.to_bytes(8, "big"), self.last_executed.to_bytes(8, "big")
        return digest_of_parts(b"test/state", self.history_head, time, sequence, *parts)


class MemoryExecutor:
    """Survives a crash of the process; a loss of power takes it back to its last checkpoint."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._dedupe = Dedupe(group.parameters)
        self.state = State(history_head=group.group_id)
        self._durable = self.state.snapshot()

    @property
    def durable_checkpoint(self) -> SequenceNumber:
        return self._durable.last_executed

    def lose_power(self) -> None:
        self.state = self._durable.snapshot()

    def execute(self, execute: Execute, now: Now) -> BatchExecuted:
        state, batch = self.state, execute.batch
        assert execute.sequence == state.last_executed + 1, "a gap in the order"
        state.last_executed = execute.sequence
        state.agreed_time = max(state.agreed_time, batch.timestamp)
        state.history_head = digest_of_parts(b"H", state.history_head, batch.digest)
        state.history.append(batch.digest)
        results: list[ExecutedRequest] = []
        index, before = 0, len(state.ran)
        for request in batch.requests:
            ran = self._run_request(request, index)
            index += len(request.message.operations)
            if ran:
                results.append(ExecutedRequest(device=request.device, session=request.message.session, results=ran))
        root: Digest | None = None
        if self._group.is_checkpoint(execute.sequence):
            root = state.root()
            state.checkpoint = Checkpoint(sequence=execute.sequence, state_root=root)
            self._durable = state.snapshot()
        return BatchExecuted(
            now=now,
            sequence=execute.sequence,
            batch=batch,
            results=tuple(results),
            topics=(TOPIC,) if len(state.ran) > before else (),
            state_root=root,
        )

    def _run_request(self, request: SignedRequest, index: int) -> tuple[OperationResult, ...]:
        device, message = request.device, request.message
        window = self._dedupe.open(self, device, message.session)
        window.acknowledge(message.ack_below)
        results: list[OperationResult] = []
        for offset, operation in enumerate(message.operations):
            name = ClientSequence(message.first_client_sequence + offset)
            verdict = window.judge(name)
            if isinstance(verdict, Executed):
                continue
            refused = verdict is not Standing.NEW
            answer = b"" if refused else b"%d:" % len(self.state.ran) + digest_of(operation)[:4]
            result = OperationResult(client_sequence=name, index=index + offset, refused=refused, result=answer)
            if not refused:
                self.put(TOPIC.decode(), (len(self.state.ran),), (operation,))
                self.state.ran.append((device, message.session, name))
                window.remember(result, self.state.last_executed)
            results.append(result)
        window.save()
        return tuple(results)

    # -- ExecutedOperations

    def knows(self, device: PublicKey) -> bool:
        """Whether the device has run anything: here no operation is needed to become known."""
        return ("sessions", (device,)) in self.state.rows

    def judge(self, device: PublicKey, request: Request) -> Sequence[Verdict]:
        """As the operations would be judged if they were executed now: the request's own ack_below first."""
        window = self._dedupe.open(self, device, request.session)
        window.acknowledge(request.ack_below)  # seen by this window alone: it is not saved
        names = range(request.first_client_sequence, request.first_client_sequence + len(request.operations))
        return [window.judge(ClientSequence(name)) for name in names]

    # -- Rows

    def get(self, table: str, key: Key) -> Row | None:
        return self.state.rows.get((table, key))

    def put(self, table: str, key: Key, row: Row) -> None:
        self.state.rows[table, key] = row

    def delete(self, table: str, key: Key) -> None:
        self.state.rows.pop((table, key), None)

    def scan(
        self, table: str, *, prefix: Key = (), start: Key | None = None, limit: int, reverse: bool = False
    ) -> Iterator[tuple[Key, Row]]:
        raise NotImplementedError

    # -- reads

    def query(self, query: bytes) -> tuple[SequenceNumber, bytes]:
        return self.state.last_executed, b"%s=%d" % (query, len(self.state.ran))

    def events(self, topic: bytes, start: EventIndex, limit: int) -> tuple[bytes, ...] | None:
        if topic != TOPIC:
            return None
        last = min(start + limit, len(self.state.ran))
        rows = (self.state.rows[TOPIC.decode(), (index,)] for index in range(start, last))
        return tuple(bytes(row[0]) for row in rows if isinstance(row[0], bytes))
