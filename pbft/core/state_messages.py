"""What replicas say to each other to pass the state of a checkpoint on. Nothing of it is signed: it proves itself.

A question names the checkpoint by its sequence number and state root, and its own number comes back with the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.digest import Digest
from pbft.core.types import Milliseconds, SequenceNumber

KeyedRow = tuple[bytes, bytes]
"""Encodings of a key and its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantMeta:
    """What the state root is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantBuckets:
    """The bucket digests of a table."""

    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantListings:
    """The page digests of some buckets of a table; of the first bucket those above `after` only."""

    table: str
    buckets: tuple[int, ...]
    after: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantPages:
    """The rows of some pages of a table; of the first page those whose key is above `after` only."""

    table: str
    pages: tuple[bytes, ...]
    after: bytes | None = None


Wanted = WantMeta | WantBuckets | WantListings | WantPages


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchState:
    """Send a part of the state at a certified checkpoint."""

    number: int
    sequence: SequenceNumber
    state_root: Digest
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class NotHeld:
    """The checkpoint asked for is not held; `held` is (0: none)."""

    held: SequenceNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMeta:
    history_head: Digest
    agreed_time: Milliseconds
    table_roots: tuple[tuple[str, Digest], ...]
    """By name of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketDigests:
    table: str
    buckets: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listings:
    """Pages and their digests, bucket by bucket, as many of those asked for as fit. `more`: the last one goes on."""

    table: str
    buckets: tuple[tuple[int, tuple[tuple[bytes, Digest], ...]], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Rows, page by page, as many of those asked for as fit. `more`: the last page goes on."""

    table: str
    pages: tuple[tuple[bytes, tuple[KeyedRow, ...]], ...] = field(repr=False)
    more: bool


StateContent = NotHeld | StateMeta | BucketDigests | Listings | Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class StateAnswer:
    """The answer to question `number`."""

    number: int
    sequence: SequenceNumber
    content: StateContent
