"""An executor in memory: a log of operations as the application, and the real exactly-once rule.

Its rows lie in pages like those of the real state, so that it can be fetched from a peer and installed page by page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import cast

from crypto.canonical import decode, encode
from crypto.digest import Digest, digest_of, digest_of_parts
from crypto.signing import PublicKey
from pbft.core.application import EventItem, Key, Row
from pbft.core.dedupe import DEDUPE_TABLES, Dedupe, Executed, Standing, Verdict
from pbft.core.effects import BatchExecuted, Execute, ExecutedRequest, InstallPages, InstallState, StateInstalled
from pbft.core.group import Group
from pbft.core.messages import Checkpoint, OperationResult, Request, SignedRequest
from pbft.core.state_digest import (
    BUCKETS,
    EMPTY_BUCKET,
    bucket_digest,
    bucket_of,
    page_digest,
    state_root,
    table_root,
)
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    KeyedRow,
    Listings,
    NotHeld,
    Pages,
    StateAnswer,
    StateContent,
    StateMeta,
    WantBuckets,
    WantListings,
    WantMeta,
    WantPages,
)
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, Now, SequenceNumber, SessionNumber

Name = tuple[PublicKey, SessionNumber, ClientSequence]
TOPIC = b"log"
HISTORY = "history"
TABLES = tuple(sorted(("log", HISTORY, *(spec.name for spec in DEDUPE_TABLES))))
PAGES = 8


@dataclass
class State:
    """All that an executor remembers; copied for a snapshot."""

    group: Group
    history_head: Digest
    last_executed: SequenceNumber = SequenceNumber(0)
    agreed_time: Milliseconds = Milliseconds(0)
    checkpoint: Checkpoint | None = None
    rows: dict[tuple[str, Key], Row] = field(default_factory=dict)
    is_whole: bool = True

    ran: list[Name] = field(default_factory=list)
    """Names of the operations that ran, in order."""
    history: list[Digest] = field(default_factory=list)
    """Digests of the executed batches: number n is at n - 1."""

    def read_back(self) -> None:
        """What is remembered beside the rows follows from them."""
        self.ran = [cast("Name", tuple(row[1:])) for _, row in sorted(self.rows_of("log").items())]
        self.history = [Digest(cast("bytes", row[0])) for _, row in sorted(self.rows_of(HISTORY).items())]

    def rows_of(self, table: str) -> dict[Key, Row]:
        return {key: row for (name, key), row in self.rows.items() if name == table}

    def snapshot(self) -> State:
        twin = copy(self)
        twin.rows, twin.ran, twin.history = dict(self.rows), list(self.ran), list(self.history)
        return twin

    def pages(self, table: str) -> dict[bytes, list[KeyedRow]]:
        pages: dict[bytes, list[KeyedRow]] = {}
        for key, row in self.rows_of(table).items():
            encoded = encode(list(key))
            pages.setdefault(_page_of(encoded), []).append((encoded, encode(list(row))))
        return {page: sorted(rows) for page, rows in pages.items()}

    def digests(self, table: str) -> dict[bytes, Digest]:
        return {page: page_digest(rows) for page, rows in self.pages(table).items()}

    def buckets(self, table: str) -> list[Digest]:
        buckets = [EMPTY_BUCKET] * BUCKETS
        numbered: dict[int, dict[bytes, Digest]] = {}
        for page, digest in self.digests(table).items():
            numbered.setdefault(bucket_of(page), {})[page] = digest
        for number, pages in numbered.items():
            buckets[number] = bucket_digest(pages)
        return buckets

    def table_roots(self) -> dict[str, Digest]:
        return {table: _table_root(tuple(self.buckets(table))) for table in TABLES}

    def root(self) -> Digest:
        return state_root(
            history_head=self.history_head,
            agreed_time=self.agreed_time,
            table_roots=self.table_roots(),
            group_id=self.group.group_id,
            epoch=self.group.epoch,
            sequence=self.last_executed,
        )


def _page_of(key: bytes) -> bytes:
    return bytes([sha256(key).digest()[0] % PAGES])


@lru_cache(maxsize=1024)
def _table_root(buckets: tuple[Digest, ...]) -> Digest:
    return table_root(buckets)


class MemoryExecutor:
    """Survives a crash of the process; a loss of power takes it back to its last checkpoint."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._dedupe = Dedupe(group.parameters)
        self.state = State(group=group, history_head=group.group_id)
        self._durable = self.state.snapshot()
        self._served: State | None = None
        """The state of the last checkpoint."""

    @property
    def durable_checkpoint(self) -> SequenceNumber:
        return self._durable.last_executed

    def lose_power(self) -> None:
        self.state = self._durable.snapshot()

    def lose_state(self) -> None:
        """The disk is gone: it begins empty."""
        self.state = State(group=self._group, history_head=self._group.group_id)
        self._durable, self._served = self.state.snapshot(), None

    def execute(self, execute: Execute, now: Now) -> BatchExecuted:
        state, batch = self.state, execute.batch
        assert state.is_whole, "executed on a state that is not whole"
        assert execute.sequence == state.last_executed + 1, "a gap in the order"
        state.last_executed = execute.sequence
        state.agreed_time = max(state.agreed_time, batch.timestamp)
        state.history_head = digest_of_parts(b"H", state.history_head, batch.digest)
        state.history.append(batch.digest)
        self.put(HISTORY, (execute.sequence,), (batch.digest,))
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
            self._served = self._durable
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
                self.put(TOPIC.decode(), (len(self.state.ran),), (operation, device, message.session, name))
                self.state.ran.append((device, message.session, name))
                window.remember(result, self.state.last_executed)
            results.append(result)
        window.save()
        return tuple(results)

    # -- state transfer

    def table_roots(self) -> Mapping[str, Digest]:
        return self.state.table_roots()

    def bucket_digests(self, table: str) -> Sequence[Digest]:
        return self.state.buckets(table)

    def page_digests(self, table: str, bucket: int) -> Mapping[bytes, Digest]:
        return {page: digest for page, digest in self.state.digests(table).items() if bucket_of(page) == bucket}

    def install_pages(self, install: InstallPages) -> None:
        state = self.state
        state.is_whole, state.checkpoint, self._served = False, None, None
        state.last_executed, state.agreed_time, state.history_head = SequenceNumber(0), Milliseconds(0), Digest(b"")
        for page, rows in install.pages:
            for key in list(state.rows_of(install.table)):
                if _page_of(encode(list(key))) == page:
                    del state.rows[install.table, key]
            for encoded, row in rows:
                key = tuple(cast("list[int]", decode(encoded, bytes_max=len(encoded))))
                state.rows[install.table, key] = tuple(cast("list[bytes]", decode(row, bytes_max=len(row))))
        self._durable = state.snapshot()

    def install_state(self, install: InstallState, now: Now) -> StateInstalled:
        if install.sequence == 0:
            self.state.rows.clear()
        twin = self.state.snapshot()
        twin.last_executed, twin.agreed_time = install.sequence, install.agreed_time
        twin.history_head = install.history_head
        root = twin.root()
        if root == install.state_root:
            twin.is_whole = True
            twin.checkpoint = Checkpoint(sequence=install.sequence, state_root=root) if install.sequence else None
            twin.read_back()
            self.state, self._durable = twin, twin.snapshot()
            self._served = self._durable
        return StateInstalled(now=now, sequence=install.sequence, state_root=root)

    def serve_state(self, fetch: FetchState) -> StateAnswer:
        return StateAnswer(number=fetch.number, sequence=fetch.sequence, content=self._content(fetch))

    def _content(self, fetch: FetchState) -> StateContent:
        served = self._served
        if served is None or served.last_executed != fetch.sequence:
            return NotHeld(held=served.last_executed if served is not None else SequenceNumber(0))
        match fetch.wanted:
            case WantMeta():
                roots = tuple(sorted(served.table_roots().items()))
                return StateMeta(history_head=served.history_head, agreed_time=served.agreed_time, table_roots=roots)
            case WantBuckets(table=table):
                return BucketDigests(table=table, buckets=tuple(served.buckets(table)))
            case WantListings(table=table, buckets=numbers):
                digests = sorted(served.digests(table).items())
                listed = tuple((n, tuple(each for each in digests if bucket_of(each[0]) == n)) for n in numbers)
                return Listings(table=table, buckets=listed, more=False)
            case WantPages(table=table, pages=pages):
                held = served.pages(table)
                return Pages(table=table, pages=tuple((page, tuple(held[page])) for page in pages), more=False)

    # -- ExecutedState

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

    def events(self, topic: bytes, start: EventIndex, limit: int) -> tuple[EventItem, ...] | None:
        if topic != TOPIC:
            return None
        last = min(start + limit, len(self.state.ran))
        rows = (self.state.rows[TOPIC.decode(), (index,)] for index in range(start, last))
        return tuple(EventItem(head=bytes(row[0])) for row in rows if isinstance(row[0], bytes))
