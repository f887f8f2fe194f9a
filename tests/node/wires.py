"""Streams in memory in the place of TLS, for FrameStream."""

from __future__ import annotations

from typing import cast

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from pbft.node.streams import FrameStream, TlsStream

FRAME_BYTES_MAX = 5000

MemoryStream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def wire(frame_bytes_max: int = FRAME_BYTES_MAX) -> tuple[FrameStream, MemoryStream]:
    """A node's end, and the peer's."""
    ours, theirs = memory_stream_pair()
    return FrameStream(cast("TlsStream", ours), frame_bytes_max=frame_bytes_max), theirs


class DeafStream:
    """Takes nothing before it is opened."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.opened = trio.Event()

    async def send_all(self, data: bytes) -> None:
        await self.opened.wait()
        self.took.append(data)


class SlowStream:
    """Takes what it is given, `seconds` later."""

    def __init__(self, seconds: float) -> None:
        self.took: list[bytes] = []
        self._seconds = seconds

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(self._seconds)
        self.took.append(data)
