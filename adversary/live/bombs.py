"""Bytes that are built to burst a decoder, each within the length that a frame may have, and operations likewise."""

from __future__ import annotations

from typing import Final

from chatsvc.application.queries import SearchMessages, encode_query
from crypto.canonical import encode

DEPTH = 15_000
LENGTH = 60_000

BOMBS: Final[dict[str, bytes]] = {
    "deep": b"\x81" * DEPTH + b"\x00",
    "deep and open": b"\x9f" * DEPTH,
    "deep maps": b"\xa1\x00" * DEPTH + b"\x00",
    "huge list": b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    "huge bytes": b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "huge text": b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "huge map": b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
    "endless bytes": b"\x5f" + b"\x41\x00" * DEPTH,
    "endless list": b"\x9f" + b"\x00" * LENGTH,
    "tags": b"\xd8\x64" * DEPTH + b"\x00",
    "big number": b"\xc2\x59\xff\xff" + b"\xff" * 0xFFFF,
    "huge decimal fraction": b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    "shared references": b"\xd8\x1c\x82" + b"\xd8\x1d\x00" * 2,
    "string references": b"\xd9\x01\x00\x82" + b"\xd8\x19\x00" * 2,
    "not a number": b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "no text": b"\x83\x66\xff\xfe\xfd\xfc\xfb\xfa\x00\x40",
    "twice the same key": b"\xa2\x00\x00\x00\x00",
    "many values": b"\x99\xff\xff" + b"\x00" * 0xFFFF,
    "nothing": b"\xf7",
    "break": b"\xff",
    "cut": encode(["REQUEST", 0, bytes(1000)])[:500],
}
"""Frames, by what they are."""

DEADLY: Final[dict[str, bytes]] = {
    "empty": b"",
    "not canonical": b"\x9f\x64post\xff",
    "deep": b"\x81" * 4000 + b"\x00",
    "unknown": encode(["explode", 1, 2, 3]),
    "too few": encode(["post"]),
    "too many": encode(["register", *["x"] * 200]),
    "other types": encode(["post", 1, b"\x00", "x", [], None, True]),
    "huge numbers": b"\x87\x64post\x61a\x61b" + b"\x1b" + b"\xff" * 8 + b"\x3b" + b"\xff" * 8 + b"\x40\xf6",
    "big number": b"\x82\x64post\xc2\x58\x20" + b"\xff" * 32,
    "no text": b"\x82\x68register\x64\xff\xfe\xfd\xfc",
    "half a character": b"\x82\x68register\x63\xed\xa0\x80",
    "zero characters": encode(["register", "\x00" * 20]),
    "directions": encode(["register", "\u202e\u2066\u2069\ufeff"]),
    "many marks": encode(["register", "a" + "\u0301" * 400]),
    "grows when normalised": encode(["create", "\ufdfa" * 60, "\ufdfa" * 200]),
    "long name": encode(["register", "x" * 7000]),
    "read a bomb": encode(["read", b"\x81" * 1000 + b"\x00"]),
    "read nothing": encode(["read", b""]),
    "search in the dark": encode(["read", encode_query(SearchMessages(text="-" * 400))]),
    "search for everything": encode(["read", encode_query(SearchMessages(text='"' * 301 + " ( OR NOT * : ^ )"))]),
    "search for signs": encode(
        ["read", encode_query(SearchMessages(text="from:\x00 in:\ud7ff after:99999999999999"))]
    ),
}
"""Operations, by what they are: whoever executes them must give an error, the same everywhere, and go on."""
