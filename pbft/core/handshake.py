"""What travels on a connection beside messages: length prefixes, and who is who.

A frame is its length in 4 bytes, big endian, and the bytes. Between replicas the dialler says HELLO, then the
other side. To a client the replica says WELCOME with a nonce; the client answers with a HELLO that its device key
signed over the nonce and the replica's number, so that no replica can pass it on as its own. TLS has
authenticated the replica before (`crypto.tls`). REFUSED tells why a connection is about to close.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crypto.canonical import Value, decode, encode, expect_bytes, expect_int, expect_list, expect_text
from crypto.errors import InvalidSignature, MalformedEncoding
from crypto.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey, Signature, Signer, Verifier
from pbft.core.errors import InvalidMessageSignature, MalformedMessage, ProtocolViolation
from pbft.core.group import Group
from pbft.core.types import Epoch, ReplicaId

PROTOCOL_VERSION: Final = 1
LENGTH_BYTES: Final = 4
HANDSHAKE_BYTES_MAX: Final = 1024
NONCE_BYTES: Final = 32
CLIENT_HELLO: Final = "CLIENT-HELLO"


def framed(payload: bytes) -> bytes:
    """`payload` as it goes over a stream."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class FrameSplitter:
    """Cuts a byte stream into frames. Holds at most one unfinished frame of `frame_bytes_max` bytes."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """Frames completed by `data`. Raises MalformedMessage for a length that is zero or over the cap."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        position = 0
        while len(buffer) - position >= LENGTH_BYTES:
            length = int.from_bytes(buffer[position : position + LENGTH_BYTES], "big")
            if not 0 < length <= self.frame_bytes_max:
                msg = f"frame of {length} bytes, where 1 to {self.frame_bytes_max} are allowed"
                raise MalformedMessage(msg)
            end = position + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[position + LENGTH_BYTES : end]))
            position = end
        del buffer[:position]
        return frames


class Refused(ProtocolViolation):
    """The other side closed the handshake, and said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaHello:
    """First frame of each side of a replica link."""

    replica: ReplicaId
    to: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """First frame of a replica to a client."""

    replica: ReplicaId
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """A client's answer to WELCOME."""

    device: PublicKey


def encode_replica_hello(group: Group, hello: ReplicaHello) -> bytes:
    return encode(["HELLO", PROTOCOL_VERSION, group.group_id, group.epoch, hello.replica, hello.to])


def decode_replica_hello(group: Group, data: bytes) -> ReplicaHello:
    """Raises MalformedMessage, also for another group, epoch or version; Refused if the peer said why."""
    replica, to = _open(group, data, "HELLO", 2)
    return ReplicaHello(replica=_member(group, replica), to=_member(group, to))


def encode_welcome(group: Group, welcome: Welcome) -> bytes:
    return encode(["WELCOME", PROTOCOL_VERSION, group.group_id, group.epoch, welcome.replica, welcome.nonce])


def decode_welcome(group: Group, data: bytes) -> Welcome:
    replica, nonce = _open(group, data, "WELCOME", 2)
    return Welcome(replica=_member(group, replica), nonce=_bytes(nonce, NONCE_BYTES))


def encode_client_hello(group: Group, signer: Signer, welcome: Welcome) -> bytes:
    signature = signer.sign(group.domain(CLIENT_HELLO), encode([welcome.replica, welcome.nonce]))
    return encode(["HELLO", PROTOCOL_VERSION, group.group_id, group.epoch, signer.public_key, signature])


def decode_client_hello(group: Group, verifier: Verifier, welcome: Welcome, data: bytes) -> ClientHello:
    """Raises MalformedMessage or InvalidMessageSignature."""
    device, signature = _open(group, data, "HELLO", 2)
    key = PublicKey(_bytes(device, PUBLIC_KEY_BYTES))
    try:
        verifier.verify(
            key,
            group.domain(CLIENT_HELLO),
            encode([welcome.replica, welcome.nonce]),
            Signature(_bytes(signature, SIGNATURE_BYTES)),
        )
    except InvalidSignature as error:
        msg = f"HELLO of device {key.hex()[:16]}: its signature does not verify"
        raise InvalidMessageSignature(msg) from error
    return ClientHello(device=key)


def encode_refused(reason: str) -> bytes:
    return encode(["REFUSED", reason[:200]])


def is_refused(data: bytes) -> str | None:
    """The reason, if this is a REFUSED frame."""
    try:
        fields = expect_list(decode(data, bytes_max=HANDSHAKE_BYTES_MAX))
        if len(fields) == 2 and fields[0] == "REFUSED":
            return expect_text(fields[1], bytes_max=HANDSHAKE_BYTES_MAX)
    except MalformedEncoding:
        return None
    return None


# -- asking one replica about itself: believed for operating it, never for the chat

INSPECT: Final = "INSPECT"
INSPECTION: Final = "INSPECTION"
INSPECTION_BYTES_MAX: Final = 256 * 1024


def encode_inspect(epoch: Epoch) -> bytes:
    return encode([INSPECT, epoch])


def is_inspect(group: Group, data: bytes) -> bool:
    return data == encode_inspect(group.epoch)


def encode_inspection(epoch: Epoch, report: bytes) -> bytes:
    """`report`: a JSON object."""
    return encode([INSPECTION, epoch, report])


def decode_inspection(data: bytes) -> bytes | None:
    """The JSON report, or None if this is another frame."""
    try:
        fields = expect_list(decode(data, bytes_max=INSPECTION_BYTES_MAX))
        if len(fields) == 3 and fields[0] == INSPECTION:
            return expect_bytes(fields[2])
    except MalformedEncoding:
        return None
    return None


def _open(group: Group, data: bytes, kind: str, count: int) -> list[Value]:
    reason = is_refused(data)
    if reason is not None:
        raise Refused(reason)
    try:
        fields = expect_list(decode(data, bytes_max=HANDSHAKE_BYTES_MAX))
    except MalformedEncoding as error:
        raise MalformedMessage(str(error)) from error
    if len(fields) != 4 + count or fields[0] != kind:
        msg = f"expected {kind}"
        raise MalformedMessage(msg)
    if isinstance(fields[1], bool) or fields[1] != PROTOCOL_VERSION:
        msg = f"protocol version {str(fields[1])[:16]!r}, while this side speaks {PROTOCOL_VERSION}"
        raise MalformedMessage(msg)
    if fields[2] != group.group_id:
        msg = "another group: the two sides have different group files"
        raise MalformedMessage(msg)
    if fields[3] != group.epoch or isinstance(fields[3], bool):
        msg = f"epoch {str(fields[3])[:20]}, while the epoch here is {group.epoch}"
        raise MalformedMessage(msg)
    return fields[4:]


def _member(group: Group, value: Value) -> ReplicaId:
    try:
        return ReplicaId(expect_int(value, maximum=group.size - 1))
    except MalformedEncoding as error:
        raise MalformedMessage(str(error)) from error


def _bytes(value: Value, length: int) -> bytes:
    try:
        return expect_bytes(value, length=length)
    except MalformedEncoding as error:
        raise MalformedMessage(str(error)) from error
