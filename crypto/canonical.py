"""Canonical CBOR, the only encoding of anything signed, hashed or sent: one value, one sequence of bytes.

The types are null, booleans, 64-bit integers, byte strings, text and arrays; no maps, floats or tags.
Encoding is the core deterministic encoding of RFC 8949 section 4.2.1. Decoding is total and strict. cbor2 by
itself accepts much more (trailing bytes, non-minimal integers, indefinite lengths, shared references), hence
the fence in `decode`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from struct import Struct
from typing import Any, Never, TypeAlias

import cbor2

from crypto.errors import MalformedEncoding

Value: TypeAlias = "bool | int | bytes | str | list[Value] | None"
"""What `decode` returns."""

Encodable: TypeAlias = "bool | int | bytes | str | Sequence[Encodable] | None"
"""What `encode` takes: sequences are lists and tuples only (Sequence, because list is invariant)."""

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1

DEPTH_MAX = 8
"""Nesting allowed unless the caller says otherwise: 1 for a list of scalars, 0 for a scalar."""

_MAJOR_UNSIGNED, _MAJOR_NEGATIVE, _MAJOR_BYTES, _MAJOR_TEXT, _MAJOR_ARRAY = range(5)
_NULL, _FALSE, _TRUE = b"\xf6", b"\xf4", b"\xf5"

_ONE_BYTE = tuple(bytes([byte]) for byte in range(256))
_HEAD_1 = Struct(">BB").pack
_HEAD_2 = Struct(">BH").pack
_HEAD_4 = Struct(">BI").pack
_HEAD_8 = Struct(">BQ").pack

_DECODER_ERRORS = (
    cbor2.CBORError,
    MalformedEncoding,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What cbor2 and `_write` raise for foreign bytes, and what a decoder of foreign bytes might."""

_BULK_ITEMS = 8
"""From this length on, a list is worth one look whether it holds byte strings only."""

_JOIN_PARTS_MAX = 4096
"""Joined at a time: a join takes 80 bytes for every part, which crafted bytes could multiply."""


def encode(value: Encodable, *, depth_max: int = DEPTH_MAX) -> bytes:
    """Return the one encoding of `value`.

    Raises TypeError for a type that has no encoding (subclasses included), MalformedEncoding for an integer
    outside 64 bits, for text with a lone surrogate and for nesting beyond `depth_max`.
    """
    parts: list[bytes] = []
    _write(value, parts, depth_max)
    return _join(parts)


def decode(data: bytes, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> Value:
    """Return the value whose encoding is `data`, the whole of it and nothing but it.

    Total: any bytes give a value or MalformedEncoding. Declared lengths allocate nothing; memory is less than 100
    times the length of `data`, which is at most `bytes_max`. `depth_max` is as in `encode`.
    """
    if len(data) > bytes_max:
        raise MalformedEncoding(f"{len(data)} bytes are more than the {bytes_max} allowed")
    try:
        value = cbor2.loads(
            data,
            max_depth=depth_max,
            allow_indefinite=False,
            strict_hashable_types=True,
            semantic_decoders=_NO_TAGS,
        )
        parts: list[bytes] = []
        _write(value, parts, depth_max)
    except _DECODER_ERRORS as error:
        raise MalformedEncoding(f"not canonical CBOR: {error}") from error
    if _join(parts) != data:
        raise MalformedEncoding("not canonical CBOR: the same value has another encoding")
    return value  # type: ignore[no-any-return]  # _write has refused all that is not a Value


def expect_list(value: Value, length: int | None = None, *, length_max: int | None = None) -> list[Value]:
    """Return `value` if it is a list of `length`, at most `length_max` items, else MalformedEncoding."""
    if type(value) is not list:
        raise MalformedEncoding(f"expected a list, not {_kind(value)}")
    if length is not None and len(value) != length:
        raise MalformedEncoding(f"expected a list of {length} items, not of {len(value)}")
    if length_max is not None and len(value) > length_max:
        raise MalformedEncoding(f"expected a list of at most {length_max} items, not of {len(value)}")
    return value


def expect_bytes(value: Value, *, length: int | None = None, bytes_max: int | None = None) -> bytes:
    """Return `value` if it is bytes, exactly `length`, at most `bytes_max`, else MalformedEncoding."""
    if type(value) is not bytes:
        raise MalformedEncoding(f"expected a byte string, not {_kind(value)}")
    if length is not None and len(value) != length:
        raise MalformedEncoding(f"expected {length} bytes, not {len(value)}")
    if bytes_max is not None and len(value) > bytes_max:
        raise MalformedEncoding(f"expected at most {bytes_max} bytes, not {len(value)}")
    return value


def expect_text(value: Value, *, bytes_max: int) -> str:
    """Return `value` if it is text of at most `bytes_max` bytes of UTF-8, else MalformedEncoding."""
    if type(value) is not str:
        raise MalformedEncoding(f"expected text, not {_kind(value)}")
    length = len(value.encode())
    if length > bytes_max:
        raise MalformedEncoding(f"expected text of at most {bytes_max} bytes, not of {length}")
    return value


def expect_int(value: Value, *, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
    """Return `value` if it is an integer (a boolean is none) within the bounds, else MalformedEncoding."""
    if type(value) is not int:
        raise MalformedEncoding(f"expected an integer, not {_kind(value)}")
    if not minimum <= value <= maximum:
        raise MalformedEncoding(f"expected an integer from {minimum} to {maximum}, not {value}")
    return value


@lru_cache(maxsize=4096)
def byte_string_head(length: int) -> bytes:
    """Return what precedes a byte string of `length` bytes in its encoding."""
    return _head(_MAJOR_BYTES, length)


def _join(parts: list[bytes]) -> bytes:
    if len(parts) <= _JOIN_PARTS_MAX:
        return b"".join(parts)
    starts = range(0, len(parts), _JOIN_PARTS_MAX)
    return b"".join(b"".join(parts[start : start + _JOIN_PARTS_MAX]) for start in starts)


def _write(value: object, parts: list[bytes], depth_left: int) -> None:
    """Append the encoding of `value` to `parts`. Types are compared exactly: a subclass is another type."""
    kind = type(value)
    encode_scalar = _SCALARS.get(kind)
    if encode_scalar is not None:
        parts.append(encode_scalar(value))
        return
    if kind is not list and kind is not tuple:
        raise TypeError(f"{kind.__name__} has no canonical encoding")
    if depth_left <= 0:
        raise MalformedEncoding("lists are nested too deeply")
    items: Sequence[object] = value  # type: ignore[assignment]  # `kind` says so
    parts.append(_head(_MAJOR_ARRAY, len(items)))
    if len(items) >= _BULK_ITEMS and set(map(type, items)) == {bytes}:
        strings: Sequence[bytes] = items  # type: ignore[assignment]  # the line above says so
        heads = map(byte_string_head, map(len, strings))
        parts.extend(chain.from_iterable(zip(heads, strings, strict=True)))
        return
    for item in items:
        encode_scalar = _SCALARS.get(type(item))
        if encode_scalar is not None:
            parts.append(encode_scalar(item))
        else:
            _write(item, parts, depth_left - 1)


def _head(major: int, argument: int) -> bytes:
    """Return the shortest head: the major type and its argument (RFC 8949 section 3)."""
    first = major << 5
    if argument < 24:
        return _ONE_BYTE[first | argument]
    if argument < 1 << 8:
        return _HEAD_1(first | 24, argument)
    if argument < 1 << 16:
        return _HEAD_2(first | 25, argument)
    if argument < 1 << 32:
        return _HEAD_4(first | 26, argument)
    return _HEAD_8(first | 27, argument)


def _encode_int(value: int) -> bytes:
    if 0 <= value <= INT_MAX:
        return _head(_MAJOR_UNSIGNED, value)
    if INT_MIN <= value < 0:
        return _head(_MAJOR_NEGATIVE, -1 - value)
    raise MalformedEncoding("an integer is outside -2**63 .. 2**64-1")


def _encode_bytes(value: bytes) -> bytes:
    return byte_string_head(len(value)) + value


def _encode_text(value: str) -> bytes:
    try:
        utf8 = value.encode()
    except UnicodeEncodeError as error:
        raise MalformedEncoding("text holds a lone surrogate, which has no UTF-8") from error
    return _head(_MAJOR_TEXT, len(utf8)) + utf8


def _encode_bool(value: bool) -> bytes:  # noqa: FBT001  # the boolean is the data
    return _TRUE if value else _FALSE


def _encode_null(_value: None) -> bytes:
    return _NULL


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    int: _encode_int,
    bytes: _encode_bytes,
    str: _encode_text,
    bool: _encode_bool,
    type(None): _encode_null,
}


class _NoTags(dict[int, Callable[..., Never]]):
    """A table of tag decoders in which every tag is found, and refuses.

    cbor2's own decoders must not run on outside bytes: shared references (28, 29, 25) let a few bytes stand
    for gigabytes, others compile regular expressions or parse mail.
    """

    def __missing__(self, tag: int) -> Callable[..., Never]:
        return _refuse_tag


def _refuse_tag(*_arguments: object, **_options: object) -> Never:
    raise MalformedEncoding("tags are not allowed")


_NO_TAGS = _NoTags()


def _kind(value: Value) -> str:
    return "null" if value is None else type(value).__name__
