from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbft.core.application import HashedPages, Key, KeyType, RangePages, TableSpec
from pbft.state.keys import KeyLayout
from tests.state.toy import ACCOUNTS, LINES

INTEGER, TEXT, BYTES = KeyType.INTEGER, KeyType.TEXT, KeyType.BYTES
TRICKY = st.sampled_from(["", "\x00", "\x00\x00", "a", "a\x00", "a\x00b", "aa", "\x01", "é", "\U0001f600", "\uffff"])

parts: dict[KeyType, st.SearchStrategy[Any]] = {
    INTEGER: st.integers(0, 2**63 - 1) | st.integers(0, 300),
    TEXT: TRICKY | st.text(st.characters(codec="utf-8"), max_size=5),
    BYTES: TRICKY.map(str.encode) | st.binary(max_size=4) | st.just(b"\xff\xff"),
}


def layout(*key: KeyType, pages: RangePages | HashedPages | None = None) -> KeyLayout:
    return KeyLayout(TableSpec(name="t", key=key, pages=pages or HashedPages(prefix=len(key))))


@st.composite
def two_keys(draw: st.DrawFn) -> tuple[tuple[KeyType, ...], Key, Key]:
    types = tuple(draw(st.lists(st.sampled_from(KeyType), min_size=1, max_size=3)))
    one = tuple(draw(parts[part]) for part in types)
    return types, one, tuple(draw(parts[part] | st.just(value)) for part, value in zip(types, one, strict=True))


@given(two_keys())
@example(((TEXT, INTEGER), ("a", 1), ("a\x00", 0)))
@example(((BYTES, BYTES), (b"", b"\xff"), (b"\x00", b"")))
def test_the_order_of_encodings_is_the_order_of_keys(given_keys: tuple[tuple[KeyType, ...], Key, Key]) -> None:
    types, one, other = given_keys
    encode = layout(*types).encode
    assert (encode(one) < encode(other)) is (one < other)
    assert (encode(one) == encode(other)) is (one == other)
    assert layout(*types).decode(encode(one)) == one
    for length in range(len(types) + 1):
        begins = encode(other).startswith(encode(one[:length]))
        assert begins is (other[:length] == one[:length])


@given(two_keys(), st.integers(0, 62))
def test_the_order_of_range_pages_is_the_order_of_keys(
    given_keys: tuple[tuple[KeyType, ...], Key, Key], shift: int
) -> None:
    types, one, other = given_keys
    numbered = layout(*types, INTEGER, pages=RangePages(prefix=len(types), shift=shift))
    places = [numbered.locate((*key, number)) for key in sorted({one, other}) for number in (5, 2**40, 2**63 - 1)]
    assert places == sorted(places)


@given(st.binary(max_size=30), st.lists(st.sampled_from(KeyType), max_size=3))
def test_decoding_is_total_and_strict(data: bytes, types: list[KeyType]) -> None:
    try:
        key = layout(*types).decode(data)
    except ValueError:
        return
    assert layout(*types).encode(key) == data


@pytest.mark.parametrize(
    ("types", "key"),
    [
        ((INTEGER,), (True,)),
        ((INTEGER,), (1.0,)),
        ((INTEGER,), ("1",)),
        ((INTEGER,), (-1,)),
        ((INTEGER,), (2**63,)),
        ((TEXT,), (b"a",)),
        ((TEXT,), ("\ud800",)),
        ((BYTES,), ("a",)),
        ((BYTES,), (bytearray(b"a"),)),
        ((INTEGER,), ()),
        ((INTEGER,), (1, 2)),
    ],
)
def test_what_is_no_key_is_refused(types: tuple[KeyType, ...], key: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        layout(*types).locate(key)
    if key != ():
        with pytest.raises((TypeError, ValueError)):
            layout(*types).encode(key)


def test_pages() -> None:
    lines, accounts = KeyLayout(LINES), KeyLayout(ACCOUNTS)
    assert lines.locate(("log", 4))[0] == lines.locate(("log", 7))[0] == b"log\x00\x00" + (1).to_bytes(8, "big")
    assert lines.locate(("log", 8))[0] != lines.locate(("log", 7))[0]
    pages = {accounts.locate((bytes([number]),))[0] for number in range(200)}
    assert pages == {number.to_bytes(2, "big") for number in range(16)}


@pytest.mark.parametrize(
    "pages",
    [
        RangePages(prefix=0, shift=1),
        RangePages(prefix=2, shift=1),
        RangePages(prefix=1, shift=63),
        HashedPages(prefix=3),
        HashedPages(prefix=1, count=0),
        HashedPages(prefix=1, count=2**16 + 1),
    ],
)
def test_tables_that_cannot_be_laid_out_are_refused(pages: RangePages | HashedPages) -> None:
    with pytest.raises(ValueError, match="table t:"):
        layout(TEXT, INTEGER, pages=pages)
