"""How operations, results, queries and answers are written: canonical CBOR lists, the first item naming the kind.

Each is an array-like `msgspec` structure, whose fields and their types are the whole definition of its shape. Where
bytes come from a client, re-encoding must give the same bytes: one value, one encoding, and nothing left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_args

import msgspec

from crypto.canonical import Value, decode, encode
from crypto.errors import MalformedEncoding

T = TypeVar("T")


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all that travels. Subclasses name themselves by `tag`; without one they are rows inside others."""


def to_value(wire: Wire) -> list[Value]:
    """Return what `wire` is made of: a list of integers, texts, bytes, booleans, None and such lists."""
    value: list[Value] = msgspec.to_builtins(wire, builtin_types=(bytes,))
    return value


def encode_wire(wire: Wire) -> bytes:
    """Return the one encoding of `wire`. Raises MalformedEncoding for text that is no Unicode."""
    return encode(to_value(wire))


def decode_wire(data: bytes, kind: Any, *, bytes_max: int, depth_max: int) -> Any:
    """Return the `kind` (a structure, or a union of tagged ones) that a replica's `data` encodes.

    Total: raises MalformedEncoding, and nothing else, for any other bytes.
    """
    return from_value(decode(data, bytes_max=bytes_max, depth_max=depth_max), kind)


def decode_exact(data: bytes, kind: Any, *, bytes_max: int, depth_max: int) -> Any:
    """The same for what a client sent: `data` must also be the one encoding of what it means."""
    value = decode(data, bytes_max=bytes_max, depth_max=depth_max)
    wire = from_value(value, kind)
    again = to_value(wire)
    if again != value and encode(again) != data:  # unequal, yet written alike: tuples
        raise MalformedEncoding("not the one encoding of its meaning")
    return wire


def from_value(value: Value, kind: Any) -> Any:
    """Return the `kind` that `value` is made of. Raises MalformedEncoding."""
    members = _by_tag(kind)
    if members is not None:
        tag = value[0] if type(value) is list and value else None
        kind = members.get(tag) if type(tag) is str else None
        if kind is None:
            raise MalformedEncoding("the first item names nothing that is known here")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise MalformedEncoding(str(error)) from error


@cache
def _by_tag(kind: Any) -> dict[str, type[Wire]] | None:
    """Return the structures of a union; None for one structure. `msgspec` would look at the whole union each time."""
    members: tuple[type[Wire], ...] = get_args(kind)
    return {str(member.__struct_config__.tag): member for member in members} if members else None
