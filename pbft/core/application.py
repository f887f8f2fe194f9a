"""What an application is to the replicas: tables of rows, and pure functions over them.

The application's whole state lives in declared tables. It reads and writes rows through `Rows` and never sees
how they are stored, paged or hashed, so that checkpoints, state transfer and repair work for any application.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from crypto.canonical import Value
from crypto.signing import PublicKey
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, SequenceNumber, SessionNumber

KeyPart = int | str | bytes
Key = tuple[KeyPart, ...]
Row = tuple[Value, ...]
"""A row is immutable once put: it is cached and hashed, never copied."""


class KeyType(Enum):
    """Types of key columns; encoded so that byte order is key order."""

    INTEGER = "integer"
    """0 .. 2**63-1"""
    TEXT = "text"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class RangePages:
    """Rows that share the first `prefix` key parts and, shifted right by `shift` bits, the integer after them.

    Byte order of pages is key order, so such tables can be scanned by key.
    """

    prefix: int
    shift: int


@dataclass(frozen=True, slots=True)
class HashedPages:
    """Rows spread over `count` (at most 65,536) pages by the SHA-256 of their first `prefix` key parts."""

    prefix: int
    count: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table of the replicated state. Its rows are part of the state root, page by page."""

    name: str
    key: tuple[KeyType, ...]
    pages: RangePages | HashedPages


class Reader(Protocol):
    """Rows as of the last executed batch (or, during execution, including the operations before this one)."""

    def get(self, table: str, key: Key) -> Row | None: ...

    def scan(
        self, table: str, *, prefix: Key = (), start: Key | None = None, limit: int, reverse: bool = False
    ) -> Iterator[tuple[Key, Row]]:
        """Rows whose key begins with the parts `prefix`, in key order.

        `start` is a whole key, inclusive: the first row is at or after it (`reverse`: at or before it). For
        queries: rows written by the batch under execution are not seen.
        """
        ...


class Rows(Reader, Protocol):
    """What an operation may touch."""

    def put(self, table: str, key: Key, row: Row) -> None: ...

    def delete(self, table: str, key: Key) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who asks, and where in the order: all that an operation may know beside the rows."""

    device: PublicKey
    session: SessionNumber
    client_sequence: ClientSequence
    sequence: SequenceNumber
    index: int
    """Position of the operation in its batch, from 0."""
    time: Milliseconds
    """The agreed time: never goes back, the same at every replica."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation gave: bytes the client gets, equal at every correct replica."""

    result: bytes
    remember: bool = True
    """False for an ordered read: running it again is harmless, so its result need not be kept."""
    topics: tuple[bytes, ...] = ()
    """Topics that gained an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventItem:
    """One event of a topic: a head, which never changes, and perhaps content, which may be taken away one day.

    Replicas vouch for the head and the content's digest, so that they agree whoever of them still has the content.
    """

    head: bytes
    content_digest: bytes = b""
    """SHA-256 of the content; empty for an event that never had any."""
    content: bytes | None = None
    """None when there never was any, or when it was taken away."""


class Application(Protocol):
    """A deterministic service: no clock, randomness, floats, set order, locale or environment."""

    @property
    def tables(self) -> Sequence[TableSpec]: ...

    def knows(self, rows: Reader, device: PublicKey) -> bool:
        """Whether a dedupe row may exist for `device`: strangers must not be able to fill the table."""
        ...

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        """Apply one operation. A failing operation is a result that changes no row, not an exception."""
        ...

    def tidy(self, rows: Rows, sequence: SequenceNumber, time: Milliseconds) -> None:
        """Forget what need not be kept, a bounded amount at a time: called after the operations of each batch that
        ends in a checkpoint. `time` is the agreed one. What raises leaves no write."""
        ...

    def query(self, reader: Reader, device: PublicKey, query: bytes) -> bytes:
        """Answer a read. Bad queries get an error result; never raises for any bytes."""
        ...

    def events(
        self, reader: Reader, device: PublicKey, topic: bytes, start: EventIndex, limit: int
    ) -> Sequence[EventItem] | None:
        """At most `limit` events of `topic` from `start` on, without gaps; empty when there are none (yet),
        None when the topic does not exist or `device` may not read it."""
        ...


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row as an executed batch left it; `row` is None when it was deleted."""

    table: str
    key: Key
    row: Row | None
