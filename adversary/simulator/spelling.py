"""Whether a frame is in the one encoding of its value. Written apart from `crypto.canonical`, which it checks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cbor2

REMEMBERED = 4096


@lru_cache(maxsize=REMEMBERED)
def is_spelt_once(frame: bytes) -> bool:
    """Of a frame that was opened: of the whole, and of the parts whose bytes are signed or hashed."""
    return all(_is_canonical(part) for part in (frame, *_parts(frame)))


def _is_canonical(data: bytes) -> bool:
    try:
        return cbor2.dumps(cbor2.loads(data), canonical=True) == data
    except (cbor2.CBORError, ValueError, TypeError, RecursionError):
        return False


def _parts(frame: bytes) -> Iterator[bytes]:
    match cbor2.loads(frame):
        case ["PROPOSAL", bytes(header), bytes(batch)]:
            yield header
            yield batch
            for request in cbor2.loads(batch)[1]:
                yield request
                yield from _parts(request)
        case [str(), int(), _, bytes(body), bytes()]:
            yield body
        case _:
            pass
