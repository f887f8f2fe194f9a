"""Decoders are total: any bytes give a value or a ProtocolViolation, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from crypto.canonical import Value, decode, encode
from crypto.errors import MalformedEncoding
from pbft.core.codec import Opener
from pbft.core.errors import (
    ProtocolViolation,
)
from pbft.core.frames import encode_signed
from pbft.core.handshake import (
    FrameSplitter,
    decode_client_hello,
    decode_inspection,
    decode_replica_hello,
    decode_welcome,
    is_inspect,
    is_refused,
)
from tests.core.corpus import DEVICE, GROUP, MEMBERS, REAL, WELCOME, frames


def decoders(opener: Opener) -> tuple[Callable[[bytes], object], ...]:
    return (
        opener.open_peer,
        opener.open_client,
        opener.open_reply,
        opener.parse_prepared_certificate,
        opener.parse_batch,
        lambda data: decode_replica_hello(GROUP, data),
        lambda data: decode_welcome(GROUP, data),
        lambda data: decode_client_hello(GROUP, opener.verifier, WELCOME, data),
        is_refused,
        lambda data: is_inspect(GROUP, data),
        decode_inspection,
        lambda data: FrameSplitter(1024).feed(data),
    )


def open_everywhere(data: bytes, verifier: object = None) -> list[object]:
    """The values that the decoders give; any exception but a ProtocolViolation goes through."""
    opener = Opener(GROUP, REAL.verifier if verifier is None else MEMBERS.verifier)
    values: list[object] = []
    for decoder in decoders(opener):
        try:
            values.append(decoder(data))
        except ProtocolViolation:
            continue
    return values


# -- what is not, is refused


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    open_everywhere(data)


VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1])
    | st.binary(max_size=80)
    | st.text(max_size=20)
    | st.sampled_from(["PROPOSAL", "PREPARE", "COMMIT", "BODY", "STATUS", "REQUEST", "HELLO", "PREPARED"])
    | st.sampled_from([bytes(32), bytes(64), DEVICE]),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_random_values(value: Value) -> None:
    open_everywhere(encode(value))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(frames())), st.data())
def test_mutated_frames(name: str, data: st.DataObject) -> None:
    frame = bytearray(frames()[name])
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
        position = data.draw(st.integers(0, max(0, len(frame) - 1)))
        if kind == "flip" and frame:
            frame[position] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del frame[position : position + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            frame[position:position] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            frame += data.draw(st.binary(min_size=1, max_size=9))
    open_everywhere(bytes(frame))


def _mutate(value: Value, data: st.DataObject) -> Value:
    """Replace one node somewhere in the tree; byte strings that hold an encoding are gone into."""
    if isinstance(value, list) and value and data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(value) - 1))
        return [*value[:position], _mutate(value[position], data), *value[position + 1 :]]
    if isinstance(value, bytes) and data.draw(st.booleans()):
        try:
            return encode(_mutate(decode(value, bytes_max=2**20), data))
        except MalformedEncoding:
            pass
    if isinstance(value, list) and value and data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(value) - 1))
        return data.draw(
            st.sampled_from([value[:position], [*value, value[position]], value[::-1], [*value[:position], value]])
        )
    if isinstance(value, int) and not isinstance(value, bool):
        near = st.sampled_from([value + 1, abs(value - 1), 2**63 - 1, 2**62, -1])
        return data.draw(near.filter(lambda number: number < 2**64))
    return data.draw(VALUES)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(set(frames()) - {"nothing"})), st.booleans(), st.data())
def test_frames_with_one_field_replaced(name: str, fast: bool, data: st.DataObject) -> None:
    try:
        mutated = encode(_mutate(decode(frames()[name], bytes_max=2**20), data))
    except MalformedEncoding:
        return
    open_everywhere(mutated, MEMBERS.verifier if fast else None)


def _resign(name: str, body: Value) -> bytes:
    encoded = encode(body)
    signature = MEMBERS.signers[1].sign(GROUP.domain(name), encoded)
    return encode_signed(name, GROUP.epoch, 1, encoded, signature)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(["PREPARE", "COMMIT", "CHECKPOINT", "REPLY", "ANSWER", "EVENTS"]), st.data())
def test_bodies_with_one_field_replaced_and_signed_again(name: str, data: st.DataObject) -> None:
    """A Byzantine member signs whatever it likes: the signature is good, the body is not."""
    fields = decode(frames()[name], bytes_max=2**20)
    assert isinstance(fields, list)
    body = fields[3]
    assert isinstance(body, bytes)
    try:
        frame = _resign(name, _mutate(decode(body, bytes_max=2**20), data))
    except MalformedEncoding:
        return
    open_everywhere(frame, MEMBERS.verifier)


@pytest.mark.parametrize("name", sorted(set(frames()) - {"nothing", "INSPECT", "INSPECTION", "REFUSED"}))
def test_every_prefix_of_a_frame_is_refused(name: str) -> None:
    frame = frames()[name]
    opener = Opener(GROUP, MEMBERS.verifier)
    for length in range(0, len(frame), 7):
        for decoder in decoders(opener)[:8]:
            with pytest.raises(ProtocolViolation):
                decoder(frame[:length])
