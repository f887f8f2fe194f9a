"""Connections of somebody who keeps to no rule: TLS as a client or with a member's key, and then whatever bytes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Self

import trio

from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from crypto.tls import client_dial_context
from pbft.core.codec import Opener
from pbft.core.errors import ProtocolViolation
from pbft.core.handshake import FrameSplitter, decode_welcome, encode_client_hello, framed
from pbft.core.messages import Reply
from pbft.core.types import ReplicaId
from pbft.node.config import Endpoint

DIAL_SECONDS = 5.0
FRAME_BYTES_MAX = 4 * 1024 * 1024
CLOSED = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ssl.SSLError, OSError)
"""What it is like to be shown the door."""

ADDRESS = "127.0.0.9"
"""Attackers do not sit where the people do."""

Tls = trio.SSLStream[trio.SocketStream]


@dataclass
class Wire:
    """A connection to the client listener of a replica. `async with` closes it without a word."""

    file: GroupFile
    replica: ReplicaId
    stream: Tls
    splitter: FrameSplitter = field(default_factory=lambda: FrameSplitter(FRAME_BYTES_MAX))
    waiting: list[bytes] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, *frames: bytes) -> None:
        """Raises CLOSED."""
        await self.stream.send_all(b"".join(map(framed, frames)))

    async def frame(self) -> bytes | None:
        """The next one; None at the end. Raises CLOSED, and ProtocolViolation for bytes that are no frames."""
        while not self.waiting:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.waiting += self.splitter.feed(data)
        return self.waiting.pop(0)

    async def hello(self, signer: Ed25519Signer) -> None:
        """Say who it is. Raises CLOSED and ProtocolViolation."""
        with trio.fail_after(DIAL_SECONDS):
            frame = await self.frame()
            welcome = decode_welcome(self.file.group, frame or b"")
            await self.send(encode_client_hello(self.file.group, signer, welcome))

    async def swallow(self) -> None:
        """Read and forget, until the end."""
        try:
            while await self.stream.receive_some():
                pass
        except CLOSED:
            return

    async def reply(self, opener: Opener) -> Reply | None:
        """The next REPLY; None at the end. Raises CLOSED."""
        while (frame := await self.frame()) is not None:
            try:
                message = opener.open_reply(frame).message
            except ProtocolViolation:
                continue
            if isinstance(message, Reply):
                return message
        return None


async def knock(endpoint: Endpoint) -> trio.SocketStream:
    """Raises OSError."""
    return await trio.open_tcp_stream(endpoint.host, endpoint.port, local_address=ADDRESS)


async def dial(file: GroupFile, replica: int) -> Wire:
    """TLS to a replica's client listener, and no HELLO yet. Raises CLOSED."""
    member = file.members[replica]
    with trio.fail_after(DIAL_SECONDS):
        socket = await knock(member.client_endpoint)
        stream = trio.SSLStream(socket, client_dial_context(member.certificate_der), https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return Wire(file, ReplicaId(replica), stream)


async def connected(file: GroupFile, replica: int, signer: Ed25519Signer) -> Wire:
    """The same, past the HELLO. Raises CLOSED and ProtocolViolation."""
    wire = await dial(file, replica)
    try:
        await wire.hello(signer)
    except BaseException:
        await trio.aclose_forcefully(wire.stream)
        raise
    return wire
