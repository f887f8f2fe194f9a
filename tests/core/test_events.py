"""Items of event streams: what is vouched for, what is refused, and that decoding is total."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.canonical import Encodable, encode
from crypto.digest import digest_of
from crypto.errors import MalformedEncoding
from pbft.core.application import EventItem
from pbft.core.events import decode_item, encode_item, item_digest

SAID = b"hello"
ITEM = EventItem(head=b"posted", content_digest=digest_of(SAID), content=SAID)


@st.composite
def items(draw: st.DrawFn) -> EventItem:
    head, content, kept = draw(st.binary(max_size=40)), draw(st.none() | st.binary(max_size=40)), draw(st.booleans())
    if content is None:
        return EventItem(head=head)
    return EventItem(head=head, content_digest=digest_of(content), content=content if kept else None)


@given(items())
def test_an_item_comes_back_as_it_was(item: EventItem) -> None:
    assert decode_item(encode_item(item)) == item


@given(items(), items())
def test_what_is_vouched_for_is_head_and_content_digest_and_nothing_else(one: EventItem, other: EventItem) -> None:
    same = (one.head, one.content_digest) == (other.head, other.content_digest)
    assert (item_digest(one) == item_digest(other)) == same


def test_an_item_whose_content_was_taken_away_is_vouched_for_as_before() -> None:
    bare = replace(ITEM, content=None)
    assert decode_item(encode_item(bare)) == bare
    assert item_digest(bare) == item_digest(ITEM)
    assert item_digest(EventItem(head=ITEM.head)) != item_digest(ITEM), "it does not pass for one without content"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [b"head", b""],
        [b"head", b"", None, None],
        ["head", b"", None],
        [b"head", None, None],
        [b"head", digest_of(SAID)[:-1], None],
        [b"head", digest_of(SAID), b"Hello"],
        [b"head", b"", SAID],
        [b"head", b"", b""],
        [b"head", digest_of(SAID), [SAID]],
    ],
)
def test_other_forms_are_refused(value: Encodable) -> None:
    with pytest.raises(MalformedEncoding):
        decode_item(encode(value))


def test_a_changed_byte_is_refused_or_changes_what_is_vouched_for() -> None:
    whole = encode_item(ITEM)
    for place in range(len(whole)):
        for change in (1, 0x80, 0xFF):
            data = whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :]
            try:
                item = decode_item(data)
            except MalformedEncoding:
                continue
            assert item_digest(item) != item_digest(ITEM)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_item_in_its_one_encoding_or_refused(data: bytes) -> None:
    try:
        item = decode_item(data)
    except MalformedEncoding:
        return
    assert encode_item(item) == data
