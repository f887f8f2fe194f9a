"""Digests of the state: what a certified checkpoint commits to, from the state root down to a page's rows.

page digest    SHA-256 of its rows in key order, key and row each length-prefixed; an empty page has none
bucket digest  SHA-256 of the pages whose key hashes to this first byte: (page key, digest) in order of page key,
as the leaf of a Merkle tree
table root     Merkle root over the 256 buckets
state root     Merkle root over the leaves of `state_leaves`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from crypto.canonical import encode
from crypto.digest import Digest, digest_of_parts
from crypto.merkle import leaf_digest, merkle_root
from pbft.core.types import Epoch, Milliseconds, SequenceNumber

BUCKETS: Final = 256


def _flat(items: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for item in items:
        yield from item


def page_digest(rows: Iterable[tuple[bytes, bytes]]) -> Digest:
    """Digest of the (key, row) encodings of a page, in key order."""
    return digest_of_parts(b"quorate/page/1", *_flat(rows))


def bucket_of(page: bytes) -> int:
    """Number of the bucket that a page belongs to."""
    return sha256(page).digest()[0]


def bucket_digest(pages: Mapping[bytes, Digest]) -> Digest:
    """Digest of one bucket's pages, given by page key."""
    return leaf_digest(digest_of_parts(b"quorate/bucket/1", *_flat(sorted(pages.items()))))


EMPTY_BUCKET: Final = bucket_digest({})


def table_root(buckets: Sequence[Digest]) -> Digest:
    """Root of a table from its bucket digests, all of them in order."""
    return merkle_root(buckets)


EMPTY_TABLE: Final = table_root([EMPTY_BUCKET] * BUCKETS)


def state_root(
    *,
    history_head: Digest,
    agreed_time: Milliseconds,
    table_roots: Mapping[str, Digest],
    group_id: Digest,
    epoch: Epoch,
    sequence: SequenceNumber,
) -> Digest:
    return merkle_root(
        state_leaves(
            history_head=history_head,
            agreed_time=agreed_time,
            table_roots=table_roots,
            group_id=group_id,
            epoch=epoch,
            sequence=sequence,
        )
    )


def state_leaves(
    *,
    history_head: Digest,
    agreed_time: Milliseconds,
    table_roots: Mapping[str, Digest],
    group_id: Digest,
    epoch: Epoch,
    sequence: SequenceNumber,
) -> list[Digest]:
    """Leaves of the state root: history, time, tables by name, configuration, sequence. The epoch's membership and
    parameters follow from the group id, the epoch and the history."""
    leaves = [
        encode(["history", history_head]),
        encode(["time", agreed_time]),
        *(encode(["table", name, root]) for name, root in sorted(table_roots.items())),
        encode(["configuration", group_id, epoch]),
        encode(["sequence", sequence]),
    ]
    return [leaf_digest(leaf) for leaf in leaves]
