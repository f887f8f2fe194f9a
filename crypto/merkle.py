"""Merkle trees and inclusion proofs: RFC 6962 section 2.1, RFC 9162 section 2.1.3.

Leaves and inner nodes are hashed with different prefixes, so that an inner node can never be shown as a leaf.
Built level by level: a last node without a sibling moves up unchanged, which gives RFC 6962's tree (the left
subtree holds the largest power of two below the count) without recursion.
"""

from collections.abc import Sequence
from hashlib import sha256

from crypto.digest import DIGEST_BYTES, Digest
from crypto.errors import InvalidProof

_LEAF_PREFIX = b"\x00"
_NODE_PREFIX = b"\x01"

EMPTY_ROOT = Digest(sha256(b"").digest())


def leaf_digest(data: bytes) -> Digest:
    """Return the digest under which `data` enters a tree."""
    return Digest(sha256(_LEAF_PREFIX + data).digest())


def node_digest(left: Digest, right: Digest) -> Digest:
    """Return the digest of an inner node over its two children."""
    return Digest(sha256(_NODE_PREFIX + left + right).digest())


def merkle_root(leaves: Sequence[Digest]) -> Digest:
    """Return the root over leaf digests (`leaf_digest`). One leaf is its own root; none gives EMPTY_ROOT."""
    if not leaves:
        return EMPTY_ROOT
    level: list[bytes] = list(leaves)
    while len(level) > 1:
        level = _level_above(level)
    return Digest(level[0])


def inclusion_proof(leaves: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """Return the siblings on the way from leaf `index` to the root, the lowest first.

    Raises IndexError when there is no such leaf (negative indexes do not count from the end).
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} among {len(leaves)}")
    siblings: list[Digest] = []
    level: list[bytes] = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            siblings.append(Digest(level[sibling]))
        level = _level_above(level)
        index >>= 1
    return tuple(siblings)


def verify_inclusion(*, root: Digest, leaf: Digest, index: int, count: int, proof: Sequence[Digest]) -> None:
    """Check that leaf digest `leaf` is number `index` of the `count` leaves under `root`.

    Nothing is assumed of the arguments but their types. Raises InvalidProof. RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < count:
        raise InvalidProof(f"leaf {index} is not among {count} leaves")
    if len(leaf) != DIGEST_BYTES or any(len(sibling) != DIGEST_BYTES for sibling in proof):
        raise InvalidProof(f"a digest is not {DIGEST_BYTES} bytes long")
    position, last = index, count - 1
    node: bytes = leaf
    remaining = iter(proof)
    while last > 0:
        if position & 1 or position < last:
            sibling = next(remaining, None)
            if sibling is None:
                raise InvalidProof(f"{len(proof)} siblings are too few for leaf {index} of {count}")
            pair = sibling + node if position & 1 else node + sibling
            node = sha256(_NODE_PREFIX + pair).digest()
        position >>= 1
        last >>= 1
    if next(remaining, None) is not None:
        raise InvalidProof(f"{len(proof)} siblings are too many for leaf {index} of {count}")
    if node != root:
        raise InvalidProof(f"leaf {index} of {count} does not lead to the root {root.hex()}")


def _level_above(level: list[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    above = [sha256(_NODE_PREFIX + left + right).digest() for left, right in pairs]
    if len(level) & 1:
        above.append(level[-1])
    return above
