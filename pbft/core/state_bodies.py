"""Bodies of FETCH-STATE and STATE as canonical CBOR. Every list is bounded; decoding is total."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from crypto.canonical import Value, decode, encode, expect_bytes, expect_int, expect_list, expect_text
from crypto.digest import DIGEST_BYTES, Digest
from crypto.errors import MalformedEncoding
from pbft.core.state_digest import BUCKETS
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    Listings,
    NotHeld,
    Pages,
    StateAnswer,
    StateContent,
    StateMeta,
    WantBuckets,
    Wanted,
    WantListings,
    WantMeta,
    WantPages,
)
from pbft.core.types import Milliseconds, SequenceNumber

FETCH_STATE: Final = "FETCH-STATE"
STATE: Final = "STATE"

TABLES_MAX = 256
NAME_BYTES_MAX = 64
KEY_BYTES_MAX = 8 * 1024
"""Of a page's or a row's key, as encoded."""
ITEMS_ASKED_MAX = 256
"""Buckets or pages in one question."""
ANSWER_BYTES_MAX = 512 * 1024
"""Of listings or rows in one answer; one more page key or row may exceed it."""
ANSWER_ITEMS_MAX = 64 * 1024
"""Rows, or page digests, in one answer."""
FETCH_BYTES_MAX = ITEMS_ASKED_MAX * 512
"""A question asks for less when keys are long."""

_PART_OVERHEAD_BYTES = 16
_META, _BUCKETS, _LISTINGS, _PAGES, _NOT_HELD = "meta", "buckets", "listings", "pages", "not held"


def part_bytes(key: bytes, data: bytes) -> int:
    """What a row, or a page key and its digest, counts for in an answer. Whoever serves stops at ANSWER_BYTES_MAX or
    ANSWER_ITEMS_MAX and no earlier, so that whoever asks can tell an answer that was cut short."""
    return len(key) + len(data) + _PART_OVERHEAD_BYTES


# -- questions -----------------------------------------------------------------------------------------------------


def encode_fetch_state(fetch: FetchState) -> bytes:
    return encode([fetch.number, fetch.sequence, fetch.state_root, _encode_wanted(fetch.wanted)])


def _encode_wanted(wanted: Wanted) -> list[Value]:
    match wanted:
        case WantMeta():
            return [_META]
        case WantBuckets():
            return [_BUCKETS, wanted.table]
        case WantListings():
            return [_LISTINGS, wanted.table, list(wanted.buckets), wanted.after]
        case WantPages():
            return [_PAGES, wanted.table, list(wanted.pages), wanted.after]


def decode_fetch_state(body: bytes) -> FetchState:
    number, sequence, root, wanted = expect_list(decode(body, bytes_max=FETCH_BYTES_MAX), 4)
    return FetchState(
        number=expect_int(number),
        sequence=SequenceNumber(expect_int(sequence, minimum=1)),
        state_root=_digest(root),
        wanted=_decode_wanted(expect_list(wanted)),
    )


def _decode_wanted(fields: list[Value]) -> Wanted:
    match fields:
        case ["meta"]:
            return WantMeta()
        case ["buckets", table]:
            return WantBuckets(table=_name(table))
        case ["listings", table, buckets, after]:
            numbers = [expect_int(item, maximum=BUCKETS - 1) for item in _asked(buckets)]
            return WantListings(table=_name(table), buckets=tuple(numbers), after=_after(after))
        case ["pages", table, pages, after]:
            keys = [expect_bytes(item, bytes_max=KEY_BYTES_MAX) for item in _asked(pages)]
            return WantPages(table=_name(table), pages=tuple(keys), after=_after(after))
        case _:
            raise MalformedEncoding("asks for nothing that a state has")


# -- answers -------------------------------------------------------------------------------------------------------


def encode_state(answer: StateAnswer) -> bytes:
    return encode([answer.number, answer.sequence, _encode_content(answer.content)])


def _encode_content(content: StateContent) -> list[Value]:
    match content:
        case NotHeld():
            return [_NOT_HELD, content.held]
        case StateMeta():
            roots: list[Value] = [[name, root] for name, root in content.table_roots]
            return [_META, content.history_head, content.agreed_time, roots]
        case BucketDigests():
            return [_BUCKETS, content.table, list(content.buckets)]
        case Listings():
            listings: list[Value] = [[number, _flat(pages)] for number, pages in content.buckets]
            return [_LISTINGS, content.table, listings, content.more]
        case Pages():
            pages: list[Value] = [[page, _flat(rows)] for page, rows in content.pages]
            return [_PAGES, content.table, pages, content.more]


def decode_state(body: bytes, *, bytes_max: int) -> StateAnswer:
    number, sequence, content = expect_list(decode(body, bytes_max=bytes_max), 3)
    return StateAnswer(
        number=expect_int(number),
        sequence=SequenceNumber(expect_int(sequence)),
        content=_decode_content(expect_list(content)),
    )


def _decode_content(fields: list[Value]) -> StateContent:
    match fields:
        case ["not held", held]:
            return NotHeld(held=SequenceNumber(expect_int(held)))
        case ["meta", head, time, roots]:
            return StateMeta(
                history_head=_digest(head), agreed_time=Milliseconds(expect_int(time)), table_roots=_roots(roots)
            )
        case ["buckets", table, buckets]:
            digests = tuple(_digest(item) for item in expect_list(buckets, BUCKETS))
            return BucketDigests(table=_name(table), buckets=digests)
        case ["listings", table, listings, more]:
            return Listings(table=_name(table), buckets=_listings(listings), more=_flag(more))
        case ["pages", table, pages, more]:
            return Pages(table=_name(table), pages=_pages(pages), more=_flag(more))
        case _:
            raise MalformedEncoding("tells nothing that a state has")


def _roots(value: Value) -> tuple[tuple[str, Digest], ...]:
    roots: list[tuple[str, Digest]] = []
    for item in expect_list(value, length_max=TABLES_MAX):
        name, root = expect_list(item, 2)
        roots.append((_name(name), _digest(root)))
        if len(roots) > 1 and roots[-2][0] >= roots[-1][0]:
            raise MalformedEncoding("tables are not in order of their names")
    return tuple(roots)


def _listings(value: Value) -> tuple[tuple[int, tuple[tuple[bytes, Digest], ...]], ...]:
    listings: list[tuple[int, tuple[tuple[bytes, Digest], ...]]] = []
    left = ANSWER_ITEMS_MAX
    for item in expect_list(value, length_max=ITEMS_ASKED_MAX):
        number, flat = expect_list(item, 2)
        pairs = _pairs(flat, left)
        left -= len(pairs)
        if any(len(digest) != DIGEST_BYTES for _, digest in pairs):
            raise MalformedEncoding("a page's digest has another length")
        pages = tuple((page, Digest(digest)) for page, digest in pairs)
        listings.append((expect_int(number, maximum=BUCKETS - 1), pages))
    return tuple(listings)


def _pages(value: Value) -> tuple[tuple[bytes, tuple[tuple[bytes, bytes], ...]], ...]:
    pages: list[tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = []
    left = ANSWER_ITEMS_MAX
    for item in expect_list(value, length_max=ITEMS_ASKED_MAX):
        page, flat = expect_list(item, 2)
        rows = _pairs(flat, left)
        left -= len(rows)
        pages.append((expect_bytes(page, bytes_max=KEY_BYTES_MAX), rows))
    return tuple(pages)


def _pairs(value: Value, most: int) -> tuple[tuple[bytes, bytes], ...]:
    """Of a flat list; first members are keys, and ascend."""
    flat = expect_list(value, length_max=2 * most)
    if len(flat) % 2:
        raise MalformedEncoding("a key without what belongs to it")
    keys = [expect_bytes(key, bytes_max=KEY_BYTES_MAX) for key in flat[::2]]
    if any(first >= second for first, second in pairwise(keys)):
        raise MalformedEncoding("keys are not in order")
    return tuple(zip(keys, map(expect_bytes, flat[1::2]), strict=True))


# -- pieces --------------------------------------------------------------------------------------------------------


def _flat(pairs: tuple[tuple[bytes, bytes], ...]) -> list[Value]:
    return [part for pair in pairs for part in pair]


def _asked(value: Value) -> list[Value]:
    items = expect_list(value, length_max=ITEMS_ASKED_MAX)
    if not items:
        raise MalformedEncoding("asks for an empty list")
    return items


def _after(value: Value) -> bytes | None:
    return None if value is None else expect_bytes(value, bytes_max=KEY_BYTES_MAX)


def _name(value: Value) -> str:
    return expect_text(value, bytes_max=NAME_BYTES_MAX)


def _digest(value: Value) -> Digest:
    return Digest(expect_bytes(value, length=DIGEST_BYTES))


def _flag(value: Value) -> bool:
    if value is True or value is False:
        return value
    raise MalformedEncoding(f"expected a boolean, not {type(value).__name__}")
