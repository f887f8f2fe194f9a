"""Keys as bytes: the order of encodings is the order of keys, and a key's leading parts encode to its leading bytes.

Integers are 8 bytes big endian. Text (UTF-8) and byte strings have 0x00 written as 00 FF and end in 00 00, so that
none is the beginning of another and a shorter one comes first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from pbft.core.application import Key, KeyPart, KeyType, RangePages, TableSpec

INTEGER_BYTES = 8
_ZERO, _ESCAPED_ZERO, _END = b"\x00", b"\x00\xff", b"\x00\x00"
_INTEGER = struct.Struct(">q")
_PAGES_MAX = 1 << 16

Position = tuple[bytes, bytes]
"""(page, key) of a row, as stored."""


@dataclass(frozen=True, slots=True)
class ScanRange:
    """Rows to scan, in the order of `columns`: from `low` up to but not including `high` (None: to the end).

    `columns` is (page, key), or key alone inside `page`, or key alone over all pages.
    """

    columns: tuple[str, ...]
    page: bytes | None
    low: tuple[bytes, ...]
    high: tuple[bytes, ...] | None


class KeyLayout:
    """How the keys of one table become bytes, and which page they belong to."""

    def __init__(self, spec: TableSpec) -> None:
        """Raise ValueError for a table that cannot be laid out."""
        pages = spec.pages
        if isinstance(pages, RangePages):
            integer_follows = 0 <= pages.prefix < len(spec.key) and spec.key[pages.prefix] is KeyType.INTEGER
            if not integer_follows or not 0 <= pages.shift < 63:
                raise ValueError(f"table {spec.name}: range pages need an integer after the prefix, shift 0..62")
            self._shift = pages.shift
        elif not (0 <= pages.prefix <= len(spec.key) and 1 <= pages.count <= _PAGES_MAX):
            raise ValueError(f"table {spec.name}: hashed pages need a prefix of the key and 1..{_PAGES_MAX} pages")
        else:
            self._count = pages.count
        self.ordered = isinstance(pages, RangePages)
        """Whether the order of pages is the order of keys."""
        self.types = tuple(_TYPES[part] for part in spec.key)
        self._prefix = pages.prefix
        self._encoders = tuple(_ENCODERS[part] for part in spec.key)
        self._decoders = tuple(_DECODERS[part] for part in spec.key)

    def encode(self, parts: Key) -> bytes:
        """Encode a key or its leading parts. Raises TypeError or ValueError for parts of no such column."""
        if len(parts) > len(self._encoders):
            raise ValueError(f"a key of {len(parts)} parts, {len(self._encoders)} expected")
        return b"".join([encode(part) for encode, part in zip(self._encoders, parts, strict=False)])

    def decode(self, data: bytes) -> Key:
        """Invert `encode` for a whole key. Raises ValueError for bytes that encode no key."""
        key: list[KeyPart] = []
        offset = 0
        for decode in self._decoders:
            part, offset = decode(data, offset)
            key.append(part)
        if offset != len(data):
            raise ValueError("bytes after the last part of a key")
        return tuple(key)

    def locate(self, key: Key) -> Position:
        """Return the page and the encoding of a whole key. Raises TypeError or ValueError for no such key."""
        parts = [encode(part) for encode, part in zip(self._encoders, key, strict=True)]
        head = b"".join(parts[: self._prefix])
        if self.ordered:
            return self._range_page(head, key), b"".join(parts)
        return _hashed_page(head, self._count), b"".join(parts)

    def scan_range(self, prefix: Key, start: Key | None, *, reverse: bool) -> ScanRange | None:
        """Return where the rows below `prefix`, from `start` on (`reverse`: up to it), are; None if nowhere."""
        encoded = self.encode(prefix)
        page: bytes | None = None
        low: tuple[bytes, ...]
        high: tuple[bytes, ...] | None
        if not self.ordered:
            columns: tuple[str, ...] = ("key",)
            if len(prefix) >= self._prefix:
                page = _hashed_page(self.encode(prefix[: self._prefix]), self._count)
            low, high = (encoded,), (_after(encoded),) if encoded else None
        elif len(prefix) <= self._prefix:
            columns = ("page", "key")
            low, high = (encoded, b""), (_after(encoded), b"") if encoded else None
        else:
            columns = ("page", "key")
            inside = self._range_page(self.encode(prefix[: self._prefix]), prefix)
            low, high = (inside, encoded), (inside, _after(encoded))
        if start is not None:
            position = self.locate(start)
            first = position if self.ordered else position[1:]
            if reverse:
                past = (*first[:-1], first[-1] + b"\x00")
                high = past if high is None else min(high, past)
            else:
                low = max(low, first)
        return None if high is not None and low >= high else ScanRange(columns, page, low, high)

    def _range_page(self, head: bytes, key: Key) -> bytes:
        number = key[self._prefix]
        return head + _encode_integer(number >> self._shift if type(number) is int else number)


@lru_cache(maxsize=1 << 16)
def _hashed_page(head: bytes, count: int) -> bytes:
    """Return the page (2 bytes) of the keys that begin with `head`."""
    return (int.from_bytes(sha256(head).digest()[:8], "big") % count).to_bytes(2, "big")


def _after(encoded: bytes) -> bytes:
    """Return the first bytes after all that begin with `encoded`. No key's encoding is all ff."""
    return encoded[:-1] + bytes([encoded[-1] + 1]) if encoded[-1] < 0xFF else _after(encoded[:-1])


def _encode_integer(part: KeyPart) -> bytes:
    if type(part) is not int:
        raise TypeError(f"a key part is {type(part).__name__}, an integer expected")
    if part < 0:
        raise ValueError(f"a key part is {part}, below 0")
    try:
        return _INTEGER.pack(part)
    except struct.error as error:
        raise ValueError("a key part is above 2**63-1") from error


def _encode_text(part: KeyPart) -> bytes:
    if type(part) is not str:
        raise TypeError(f"a key part is {type(part).__name__}, text expected")
    return part.encode().replace(_ZERO, _ESCAPED_ZERO) + _END


def _encode_bytes(part: KeyPart) -> bytes:
    if type(part) is not bytes:
        raise TypeError(f"a key part is {type(part).__name__}, a byte string expected")
    return part.replace(_ZERO, _ESCAPED_ZERO) + _END


def _decode_integer(data: bytes, offset: int) -> tuple[int, int]:
    end = offset + INTEGER_BYTES
    value = int.from_bytes(data[offset:end], "big", signed=True)
    if end > len(data) or value < 0:
        raise ValueError("no integer of a key")
    return value, end


def _decode_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    end = data.find(_END, offset)
    value = data[offset:end].replace(_ESCAPED_ZERO, _ZERO)
    if end < 0 or value.replace(_ZERO, _ESCAPED_ZERO) != data[offset:end]:
        raise ValueError("no byte string of a key")
    return value, end + len(_END)


def _decode_text(data: bytes, offset: int) -> tuple[str, int]:
    value, end = _decode_bytes(data, offset)
    return value.decode(), end


_TYPES: dict[KeyType, type] = {KeyType.INTEGER: int, KeyType.TEXT: str, KeyType.BYTES: bytes}
_ENCODERS: dict[KeyType, Callable[[KeyPart], bytes]] = {
    KeyType.INTEGER: _encode_integer,
    KeyType.TEXT: _encode_text,
    KeyType.BYTES: _encode_bytes,
}
_DECODERS: dict[KeyType, Callable[[bytes, int], tuple[Any, int]]] = {
    KeyType.INTEGER: _decode_integer,
    KeyType.TEXT: _decode_text,
    KeyType.BYTES: _decode_bytes,
}
