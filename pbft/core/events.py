"""Events as they travel: a head, the digest of the content, and the content as long as somebody still has it.

Replicas vouch for head and content digest together. So they agree on an event for ever, whichever of them has the
content still, and nobody can pass off other content for it.
"""

from __future__ import annotations

from typing import Final

from crypto.canonical import decode, encode, expect_bytes, expect_list
from crypto.digest import DIGEST_BYTES, Digest, digest_of, digest_of_parts
from crypto.errors import MalformedEncoding
from pbft.core.application import EventItem

_TAG: Final = b"quorate/event/1"


def item_digest(item: EventItem) -> Digest:
    """Return what replicas vouch for: it says nothing of whether the content is there."""
    return digest_of_parts(_TAG, item.head, item.content_digest)


def encode_item(item: EventItem) -> bytes:
    """As canonical CBOR: [head, content digest, content or null]."""
    return encode([item.head, item.content_digest, item.content])


def decode_item(data: bytes) -> EventItem:
    """Return the item, its content checked against the digest. Total: raises MalformedEncoding only.

    The frame that `data` came in bounds it.
    """
    head, digest, content = expect_list(decode(data, bytes_max=len(data), depth_max=1), 3)
    item = EventItem(
        head=expect_bytes(head),
        content_digest=expect_bytes(digest),
        content=None if content is None else expect_bytes(content),
    )
    if len(item.content_digest) not in {0, DIGEST_BYTES}:
        raise MalformedEncoding(f"a content digest has {DIGEST_BYTES} bytes or none, not {len(item.content_digest)}")
    if item.content is not None and digest_of(item.content) != item.content_digest:
        raise MalformedEncoding("the content of an event is not the one that its digest names")
    return item
