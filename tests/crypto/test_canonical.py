"""Canonical encoding: one value, one sequence of bytes, and no bytes that do harm."""

import tracemalloc
from enum import IntEnum
from typing import NamedTuple, cast

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crypto.canonical import (
    Encodable,
    Value,
    decode,
    encode,
    expect_bytes,
    expect_int,
    expect_list,
    expect_text,
)
from crypto.errors import MalformedEncoding

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**64 - 1),
    st.binary(max_size=40),
    st.text(max_size=20),
)


def nested(depth: int) -> st.SearchStrategy[Value]:
    values: st.SearchStrategy[Value] = scalars
    for _ in range(depth):
        values = scalars | st.lists(values, max_size=10) | st.lists(st.binary(max_size=300), max_size=20)
    return values


values = nested(4)


def decode_any(data: bytes) -> Value:
    return decode(data, bytes_max=1 << 20)


# RFC 8949 appendix A, the rows of our types.
RFC_8949 = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (-(2**63), "3b7fffffffffffffff"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (bytes.fromhex("01020304"), "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
]


@pytest.mark.parametrize(("value", "encoding"), RFC_8949, ids=[row[1] for row in RFC_8949])
def test_rfc_8949_appendix_a(value: Value, encoding: str) -> None:
    assert encode(value).hex() == encoding
    decoded = decode_any(bytes.fromhex(encoding))
    assert decoded == value
    assert type(decoded) is type(value)


@settings(deadline=None)
@given(values)
@example([b"x" * size for size in (0, 23, 24, 255, 256, 65535, 65536)])
@example([b"x"] * 256)
def test_roundtrip_and_agreement_with_another_encoder(value: Value) -> None:
    data = encode(value)
    assert data == cbor2.dumps(value, canonical=True)
    assert decode_any(data) == value


def test_tuples_are_encoded_as_lists() -> None:
    assert encode((1, (b"a",), [b"b"] * 9, (b"b",) * 9)) == encode([1, [b"a"], [b"b"] * 9, [b"b"] * 9])


class Colour(IntEnum):
    RED = 1


class Pair(NamedTuple):
    left: int
    right: int


class LoudBytes(bytes):
    __slots__ = ()


UNENCODABLE = [1.0, {}, {1}, bytearray(b"a"), Colour.RED, Pair(1, 2), object(), LoudBytes(b"a"), range(3), 1j]


@pytest.mark.parametrize("value", UNENCODABLE, ids=repr)
def test_other_types_are_not_encoded(value: object) -> None:
    for wrapped in (value, [value], [[b"a"], value], [value] * 9, [b"a"] * 9 + [value]):
        with pytest.raises(TypeError, match="no canonical encoding"):
            encode(cast("Encodable", wrapped))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**50, "\ud800", "ok\udfff"])
def test_values_without_encoding_are_refused(value: Value) -> None:
    with pytest.raises(MalformedEncoding):
        encode(value)


def lists_in_lists(depth: int) -> Value:
    value: Value = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth_max", [0, 1, 8, 20])
def test_depth_is_capped_alike_in_both_directions(depth_max: int) -> None:
    allowed, too_deep = lists_in_lists(depth_max), lists_in_lists(depth_max + 1)
    data = encode(allowed, depth_max=depth_max)
    assert decode(data, bytes_max=100, depth_max=depth_max) == allowed
    with pytest.raises(MalformedEncoding):
        encode(too_deep, depth_max=depth_max)
    with pytest.raises(MalformedEncoding):
        decode(encode(too_deep, depth_max=100), bytes_max=100, depth_max=depth_max)


def test_a_list_within_itself_is_refused() -> None:
    value: list[Value] = []
    value.append(value)
    with pytest.raises(MalformedEncoding, match="nested"):
        encode(value)


# Other encodings of a value we have an encoding for.
TWO_ENCODINGS = {
    "trailing byte": "0100",
    "two values": "0101",
    "0 in two bytes": "1800",
    "23 in two bytes": "1817",
    "255 in three bytes": "1900ff",
    "65535 in five bytes": "1a0000ffff",
    "2**32-1 in nine bytes": "1b00000000ffffffff",
    "-1 in two bytes": "3800",
    "-256 in three bytes": "3900ff",
    "length of bytes in two bytes": "580161",
    "length of bytes in three bytes": "59000161",
    "length of text in two bytes": "780161",
    "length of array in two bytes": "980101",
    "length of array in nine bytes": "9b000000000000000101",
    "non-minimal inside a list": "8301180102",
    "indefinite array": "9f01ff",
    "indefinite empty array": "9fff",
    "indefinite bytes": "5f4161ff",
    "indefinite text": "7f6161ff",
    "indefinite array inside": "819fff",
    "bignum for a small integer": "c24101",
    "bignum with leading zeros": "c2490000000000000001ff",
    "negative bignum": "c34100",
    "float for an integer": "f93c00",
    "self-described CBOR": "d9d9f701",
    "shared value": "d81c01",
    "shared list": "d81c8101",
    "string references": "d901008241614161",
    "set for a list": "d9010281" + "01",
    "encoded CBOR": "d8184101",
    "unknown tag": "d9ffff01",
    "undefined for null": "f7",
    "false as a simple value": "f814",
    "null as a simple value": "f816",
}


@pytest.mark.parametrize("encoding", TWO_ENCODINGS.values(), ids=TWO_ENCODINGS.keys())
def test_pitfall_12_two_encodings_of_one_value_are_refused(encoding: str) -> None:
    data = bytes.fromhex(encoding)
    for wrapped in (data, b"\x81" + data, b"\x82\x40" + data, b"\x89" + b"\x40" * 8 + data):
        with pytest.raises(MalformedEncoding):
            decode_any(wrapped)


REFUSED = {
    "nothing": "",
    "cut integer": "19ff",
    "cut bytes": "4261",
    "cut list": "8201",
    "reserved length": "1c",
    "break alone": "ff",
    "break in a list": "81ff",
    "map": "a0",
    "map with duplicate keys": "a201010102",
    "map with a list as key": "a18001",
    "NaN": "f97e00",
    "double": "fb7ff8000000000000",
    "simple value": "e0",
    "simple value 255": "f8ff",
    "lone surrogate": "63eda080",
    "not UTF-8": "61ff",
    "overlong UTF-8": "62c080",
    "-2**63-1": "3b8000000000000000",
    "-2**64": "3bffffffffffffffff",
    "2**64 as bignum": "c249010000000000000000",
    "shared reference to itself": "d81c81d81d00",
    "dangling shared reference": "d81d05",
    "dangling string reference": "d81905",
    "date": "c06161",
    "epoch that overflows": "c1fb7ff0000000000000",
    "decimal": "c4821b00000000ffffffff01",
    "rational over zero": "d81e820100",
    "regular expression": "d8236128",
    "mail": "d8246161",
}


@pytest.mark.parametrize("encoding", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_and_foreign_encodings_are_refused(encoding: str) -> None:
    data = bytes.fromhex(encoding)
    for wrapped in (data, b"\x81" + data):
        with pytest.raises(MalformedEncoding):
            decode_any(wrapped)


def test_no_tag_decoder_runs() -> None:
    for tag in (*range(300), 1000, 1004, 43000, 55799, 2**32, 2**64 - 1):
        with pytest.raises(MalformedEncoding) as caught:
            decode_any(cbor2.dumps(cbor2.CBORTag(tag, ["(" * 50])))
        decoder_error = caught.value.__cause__
        assert decoder_error is not None
        assert str(decoder_error.__cause__) == "tags are not allowed"


@pytest.mark.parametrize("head", ["5b", "7b", "9b", "bb"])
@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_huge_declared_lengths_allocate_nothing(head: str, length: int) -> None:
    data = bytes.fromhex(head) + length.to_bytes(8, "big") + b"abc"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedEncoding):
            decode_any(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("unit", ["80", "00", "40", "60", "8100", "8140", "824060", "a0", "a14000"])
def test_memory_is_a_bounded_multiple_of_the_length(unit: str) -> None:
    count = 20_000
    data = b"\x9a" + count.to_bytes(4, "big") + bytes.fromhex(unit) * count
    tracemalloc.start()
    try:
        is_value_or_refused(data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("item", [b"ab", 1000, "text", [b"x"]], ids=repr)
def test_long_lists(item: Value) -> None:
    value: Value = [item] * 10_000
    assert encode(value) == cbor2.dumps(value, canonical=True)
    assert decode_any(encode(value)) == value


@pytest.mark.parametrize("unit", ["81", "8100", "a100", "a1", "9f", "bf", "c6", "d81c81", "d9010281", "9affffffff"])
def test_nesting_of_100_000_levels_is_refused(unit: str) -> None:
    with pytest.raises(MalformedEncoding):
        decode_any(bytes.fromhex(unit) * 100_000 + b"\x00")


def test_references_cannot_multiply() -> None:
    # Each of the first lists is a shared value of ten references to the one before: 10**6 items if followed.
    data = b"\xd8\x1c\x8a" + b"\x00" * 10
    for level in range(6):
        data = b"\xd8\x1c\x8b" + data + (b"\xd8\x1d" + bytes([level + 1])) * 10
    with pytest.raises(MalformedEncoding):
        decode_any(data)


def test_length_is_capped_before_anything_else() -> None:
    data = encode(b"abc")
    assert decode(data, bytes_max=4) == b"abc"
    with pytest.raises(MalformedEncoding, match="4 bytes are more than the 3 allowed"):
        decode(data, bytes_max=3)


def is_value_or_refused(data: bytes) -> None:
    try:
        value = decode_any(data)
    except MalformedEncoding:
        return
    assert encode(value) == data


@settings(deadline=None, max_examples=1000)
@given(st.binary(max_size=60))
def test_decoding_random_bytes_is_total(data: bytes) -> None:
    is_value_or_refused(data)


HEADS = [major << 5 | argument for major in range(8) for argument in (0, 1, 2, 3, 24, 25, 26, 27, 31)]


@settings(deadline=None, max_examples=1000)
@given(st.lists(st.sampled_from(HEADS) | st.integers(0, 255), max_size=40))
def test_decoding_heads_without_sense_is_total(heads: list[int]) -> None:
    is_value_or_refused(bytes(heads))


@settings(deadline=None, max_examples=500)
@given(values, st.data())
def test_decoding_mutated_encodings_is_total_and_injective(value: Value, data: st.DataObject) -> None:
    original = encode(value)
    at = data.draw(st.integers(0, len(original)))
    until = data.draw(st.integers(at, min(len(original), at + 3)))
    mutated = original[:at] + data.draw(st.binary(max_size=3)) + original[until:]
    is_value_or_refused(mutated)
    if mutated != original:
        try:
            assert not same(decode_any(mutated), value)
        except MalformedEncoding:
            return


def same(left: Value, right: Value) -> bool:
    """Equality that tells True from 1."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("length", range(1, len(encode([1, b"abc", ["text", None, True, -5, [b"x"] * 9]]))))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(MalformedEncoding):
        decode_any(encode([1, b"abc", ["text", None, True, -5, [b"x"] * 9]])[:length])


def test_expected_shapes_pass() -> None:
    items: list[Value] = [1, 2]
    assert expect_list(items) is items
    assert expect_list(items, 2) is items
    assert expect_list(items, length_max=2) is items
    assert expect_bytes(b"ab") == b"ab"
    assert expect_bytes(b"ab", length=2, bytes_max=2) == b"ab"
    assert expect_text("\u00fc", bytes_max=2) == "\u00fc"
    assert expect_int(0) == 0
    assert expect_int(2**63 - 1) == 2**63 - 1
    assert expect_int(-5, minimum=-5, maximum=-5) == -5


def test_unexpected_shapes_are_named() -> None:
    with pytest.raises(MalformedEncoding, match="expected a list, not null"):
        expect_list(None)
    with pytest.raises(MalformedEncoding, match="expected a list of 2 items, not of 1"):
        expect_list([1], 2)
    with pytest.raises(MalformedEncoding, match="expected a list of at most 1 items, not of 2"):
        expect_list([1, 2], length_max=1)
    with pytest.raises(MalformedEncoding, match="expected a byte string, not str"):
        expect_bytes("ab")
    with pytest.raises(MalformedEncoding, match="expected 32 bytes, not 2"):
        expect_bytes(b"ab", length=32)
    with pytest.raises(MalformedEncoding, match="expected at most 1 bytes, not 2"):
        expect_bytes(b"ab", bytes_max=1)
    with pytest.raises(MalformedEncoding, match="expected text, not bytes"):
        expect_text(b"ab", bytes_max=9)
    with pytest.raises(MalformedEncoding, match="expected text of at most 1 bytes, not of 2"):
        expect_text("\u00fc", bytes_max=1)
    with pytest.raises(MalformedEncoding, match="expected an integer, not bool"):
        expect_int(True)
    with pytest.raises(MalformedEncoding, match="expected an integer from 0 to 9, not 10"):
        expect_int(10, maximum=9)
    with pytest.raises(MalformedEncoding, match="not -1"):
        expect_int(-1)
    with pytest.raises(MalformedEncoding, match=f"not {2**63}"):
        expect_int(2**63)
