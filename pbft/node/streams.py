"""Frames over a TLS stream, with the bounds that keep one connection from harming the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from pbft.core.errors import MalformedMessage
from pbft.core.handshake import HANDSHAKE_BYTES_MAX, FrameSplitter

HANDSHAKE_SECONDS_MAX = 5.0
FRAME_SECONDS_MAX = 30.0
"""How long one frame may take to arrive once it has begun."""
SEND_SECONDS_MAX = 30.0
"""How long a peer may refuse to take what is sent to it."""
RECEIVE_BYTES = 256 * 1024
SEND_BYTES = 256 * 1024

TlsStream = trio.SSLStream[trio.SocketStream]


class FrameStream:
    """Reads and writes whole frames. One task may receive while another sends."""

    def __init__(self, stream: TlsStream, *, frame_bytes_max: int) -> None:
        self._stream = stream
        self._frame_bytes_max = frame_bytes_max
        self._splitter = FrameSplitter(HANDSHAKE_BYTES_MAX)
        self._early: list[bytes] = []

    async def receive_handshake(self) -> bytes:
        """One small frame. Raises MalformedMessage if the stream ends first, trio.TooSlowError past the deadline."""
        with trio.fail_after(HANDSHAKE_SECONDS_MAX):
            while not self._early:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                if not data:
                    msg = "the connection closed before the handshake was done"
                    raise MalformedMessage(msg)
                self._early.extend(self._splitter.feed(data))
        return self._early.pop(0)

    def end_handshake(self) -> None:
        """From here on frames may have their full size."""
        self._splitter.frame_bytes_max = self._frame_bytes_max

    async def receive(self) -> list[bytes]:
        """The frames that arrived; empty at the end of the stream.

        Raises MalformedMessage, and trio.TooSlowError if a frame was begun and does not end.
        """
        if self._early:
            early, self._early = self._early, []
            return early
        # No deadline, and so no cancel scope, for the usual case: whole frames, whenever they come.
        whole = await self._receive_some()
        if whole is not None:
            return whole
        with trio.fail_after(FRAME_SECONDS_MAX):
            while (frames := await self._receive_some()) is None:
                pass
            return frames

    async def _receive_some(self) -> list[bytes] | None:
        """Frames that one read completed; empty at the end of the stream; None if a frame is still unfinished."""
        data = await self._stream.receive_some(RECEIVE_BYTES)
        if not data:
            return []
        return self._splitter.feed(data) or None

    async def send(self, data: bytes) -> None:
        """Send what is framed already. The caller sets the deadline."""
        await self._stream.send_all(data)


class SendQueue:
    """Frames waiting for one connection. Bounded in bytes: what does not fit is refused, nobody waits."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._wake = trio.Event()
        self._finishing = False
        self.refused = 0

    def put_nowait(self, data: bytes) -> bool:
        """Says whether there was room. A lone frame always fits."""
        if self._frames and self._bytes + len(data) > self._bytes_max:
            self.refused += 1
            return False
        self._frames.append(data)
        self._bytes += len(data)
        self._wake.set()
        return True

    def finish(self, last: bytes) -> None:
        """Send what waits and `last`, then end the pump."""
        self._frames.append(last)
        self._bytes += len(last)
        self._finishing = True
        self._wake.set()

    def clear(self) -> None:
        self._frames.clear()
        self._bytes = 0

    async def pump(self, stream: FrameStream) -> None:
        """Send what comes, several frames in one write, until cancelled or finished.

        Raises trio.TooSlowError if the peer does not take it.
        """
        with trio.CancelScope() as scope:
            while True:
                while not self._frames:
                    if self._finishing:
                        return
                    self._wake = trio.Event()
                    await self._wake.wait()
                # One scope for all sends, its deadline moved: a scope for each would cost as much as the send.
                scope.deadline = trio.current_time() + SEND_SECONDS_MAX
                await stream.send(self._next_chunk())
                scope.deadline = float("inf")
        raise trio.TooSlowError

    def _next_chunk(self) -> bytes:
        chunk = [self._frames.popleft()]
        size = len(chunk[0])
        while self._frames and size + len(self._frames[0]) <= SEND_BYTES:
            size += len(self._frames[0])
            chunk.append(self._frames.popleft())
        self._bytes -= size
        return chunk[0] if len(chunk) == 1 else b"".join(chunk)


async def until_one_ends(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run tasks until one returns or raises; the others are cancelled, and what it raised is raised plain."""
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def run(task: Callable[[], Awaitable[None]]) -> None:
            try:
                await task()
            except Exception as error:  # noqa: BLE001 - raised again below, outside the exception group
                failures.append(error)
            nursery.cancel_scope.cancel()

        for task in tasks:
            nursery.start_soon(run, task)
    if failures:
        raise failures[0]
