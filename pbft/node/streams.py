"""Frames over a TLS stream, with the bounds that keep one connection from harming the others."""

from __future__ import annotations

import contextlib
import select
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from pbft.core.errors import MalformedMessage
from pbft.core.handshake import HANDSHAKE_BYTES_MAX, LENGTH_BYTES, FrameSplitter, encode_refused, framed

HANDSHAKE_SECONDS_MAX = 5.0
FRAME_SECONDS_MAX = 30.0
"""How long one frame may take to arrive once it has begun."""
SEND_SECONDS_MAX = 30.0
"""How long a peer may refuse to take what is sent to it."""
FAREWELL_SECONDS = 1.0
"""How long a refused peer has to read why."""
RECEIVE_BYTES = 256 * 1024
SEND_BYTES = 256 * 1024

LEFT = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
"""Where the system does not tell of a peer that closed in good order, only resets are seen."""

TlsStream = trio.SSLStream[trio.SocketStream]


def _nobody(_change: int) -> None:
    """Where nobody counts bytes together."""


class FrameStream:
    """Reads and writes whole frames. One task may receive while another sends. `on_change`: by how much more or fewer
    bytes of an unfinished frame are held."""

    def __init__(
        self, stream: TlsStream, *, frame_bytes_max: int, on_change: Callable[[int], None] = _nobody
    ) -> None:
        self._stream = stream
        self._handshake = FrameSplitter(HANDSHAKE_BYTES_MAX)
        self._splitter = FrameSplitter(frame_bytes_max)
        self._early = bytearray()
        self._unfinished_bytes = 0
        self._on_change = on_change

    @property
    def unfinished_bytes(self) -> int:
        return self._unfinished_bytes

    def forget_unfinished(self) -> None:
        """The connection is being closed: what it holds is as good as freed."""
        freed, self._unfinished_bytes = self._unfinished_bytes, 0
        self._on_change(-freed)

    async def receive_handshake(self, *, or_end: bool = False) -> bytes:
        """One small frame; `or_end`: or nothing at the end of the stream.

        Raises MalformedMessage if the stream ends otherwise, trio.TooSlowError past the deadline."""
        with trio.fail_after(HANDSHAKE_SECONDS_MAX):
            while (frame := self._cut_handshake_frame()) is None:
                data = await self._stream.receive_some(2 * HANDSHAKE_BYTES_MAX)
                if not data and or_end:
                    return b""
                if not data:
                    msg = "the connection closed before the handshake was done"
                    raise MalformedMessage(msg)
                self._early += data
        return frame

    def _cut_handshake_frame(self) -> bytes | None:
        """Looks at no byte behind the frame: it may belong to a frame of full size, which is for `receive`."""
        while self._early:
            frames = self._handshake.feed(self._early[:1])
            del self._early[:1]
            if frames:
                return frames[0]
        return None

    async def receive(self) -> list[bytes]:
        """The frames that arrived; empty at the end of the stream.

        Raises MalformedMessage, and trio.TooSlowError if a frame was begun and does not end.
        """
        early, self._early = self._early, bytearray()
        if frames := self._cut(early):
            return frames
        if not self._unfinished_bytes:
            # No deadline, and so no cancel scope, for the usual case: whole frames, whenever they come.
            whole = await self._receive_some()
            if whole is not None:
                return whole
        with trio.fail_after(FRAME_SECONDS_MAX):
            while (completed := await self._receive_some()) is None:
                pass
            return completed

    async def _receive_some(self) -> list[bytes] | None:
        """Frames that one read completed; empty at the end of the stream; None if a frame is still unfinished."""
        data = await self._stream.receive_some(RECEIVE_BYTES)
        return self._cut(data) or None if data else []

    def _cut(self, data: bytes | bytearray) -> list[bytes]:
        frames = self._splitter.feed(data)
        change = len(data) - sum(LENGTH_BYTES + len(frame) for frame in frames)
        if change:
            self._unfinished_bytes += change
            self._on_change(change)
        return frames

    def was_left(self) -> bool:
        """Whether the peer has closed, though not all that it sent was read."""
        poll = select.poll()
        poll.register(self._stream.transport_stream.socket.fileno(), LEFT)
        return bool(poll.poll(0))

    async def send(self, data: bytes) -> None:
        """Send what is framed already. The caller sets the deadline."""
        await self._stream.send_all(data)

    async def end(self) -> None:
        """Say that nothing follows, and wait until the peer closes, reading on without looking.

        To close over data that was not read resets the connection, and the peer may lose what it was sent last.
        """
        socket = self._stream.transport_stream
        await socket.send_eof()
        while await socket.receive_some(RECEIVE_BYTES):
            pass

    async def refuse(self, reason: str) -> None:
        """Tell the peer why its connection closes, and give it FAREWELL_SECONDS to read that."""
        with (
            contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError),
            trio.move_on_after(FAREWELL_SECONDS),
        ):
            await self.send(framed(encode_refused(reason)))
            await self.end()


class SendQueue:
    """Frames waiting for one connection. Bounded in bytes: what does not fit is refused, nobody waits."""

    def __init__(self, bytes_max: int, on_change: Callable[[int], None] = _nobody) -> None:
        self._bytes_max = bytes_max
        self._on_change = on_change
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._wake = trio.Event()
        self._finishing = False
        self.refused = 0

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def put_nowait(self, data: bytes) -> bool:
        """Says whether there was room. A lone frame always fits; behind the last one, all is dropped."""
        if self._finishing:
            return True
        if self._frames and self._bytes + len(data) > self._bytes_max:
            self.refused += 1
            return False
        self._frames.append(data)
        self._bytes += len(data)
        self._wake.set()
        self._on_change(len(data))
        return True

    def finish(self, last: bytes) -> None:
        """Send what waits and `last`, then end the pump."""
        self._frames.append(last)
        self._bytes += len(last)
        self._on_change(len(last))
        self._finishing = True
        self._wake.set()

    def clear(self) -> None:
        self._frames.clear()
        freed, self._bytes = self._bytes, 0
        self._on_change(-freed)

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
        self._on_change(-size)
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
