"""One connection through the network: two directions, each with a bounded buffer."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from socket import IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_NODELAY

import trio

from adversary.network.route import Route

BUFFER_BYTES_MAX = 1024 * 1024
"""Of one direction of one connection: with a delay of d seconds it carries at most this in d seconds."""


class ConnectionCut(Exception):  # noqa: N818 - it is what was asked for
    """The network ends the connection."""


class Pipe:
    """Carries one direction, from one socket to the other, by the rule of its route."""

    def __init__(self, source: trio.SocketStream, target: trio.SocketStream, route: Route) -> None:
        self._source = source
        self._target = target
        self._route = route
        self._chunks: deque[tuple[float, float, bytes]] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = trio.Event()

    async def run(self) -> None:
        """Until the source has ended and all was delivered. Raises ConnectionCut and trio.BrokenResourceError."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                await self._write()
        finally:
            self._route.waiting_bytes -= self._bytes

    async def _read(self) -> None:
        while True:
            while self._bytes >= BUFFER_BYTES_MAX:
                await self._changed.wait()
            data = await self._source.receive_some(self._route.chunk_bytes_max)
            if not data:
                self._ended = True
                self._wake()
                return
            self._chunks.append((trio.current_time(), self._route.draw(), bytes(data)))
            self._count(len(data))

    async def _write(self) -> None:
        while True:
            while not self._chunks:
                if self._ended:
                    await self._target.send_eof()
                    return
                await self._changed.wait()
            arrived, share_of_jitter, chunk = self._chunks[0]
            await self._route.until_due(arrived, share_of_jitter)
            await self._route.until_free(len(chunk))
            data = self._route.delivered(chunk)
            if data is None:
                raise ConnectionCut
            await self._target.send_all(data)
            self._chunks.popleft()
            self._route.carried_bytes += len(chunk)
            self._count(-len(chunk))

    def _count(self, change: int) -> None:
        self._bytes += change
        self._route.waiting_bytes += change
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Tunnel:
    """A connection that came in, and the one that was made for it to where it wanted to go."""

    def __init__(self, there: Route, back: Route) -> None:
        self.routes = (there, back)
        self._scope = trio.CancelScope()

    @property
    def is_refused(self) -> bool:
        """A connection needs both directions, as TCP does."""
        return any(route.rule.refused for route in self.routes)

    def cut(self) -> None:
        """End it without a word: both ends see a reset."""
        self._scope.cancel()

    async def run(self, incoming: trio.SocketStream, host: str, port: int) -> None:
        """Until it ends, whoever ends it."""
        outgoing: trio.SocketStream | None = None
        finished = False
        try:
            with self._scope, contextlib.suppress(OSError):
                outgoing = await trio.open_tcp_stream(host, port)
                finished = await self._carry(incoming, outgoing)
        finally:
            for stream in (incoming, outgoing):
                if stream is not None:
                    if not finished:
                        _reset_on_close(stream)
                    stream.socket.close()

    async def _carry(self, incoming: trio.SocketStream, outgoing: trio.SocketStream) -> bool:
        """Says whether both directions came to their end by themselves."""
        for stream in (incoming, outgoing):
            stream.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        there, back = self.routes
        finished = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Pipe(incoming, outgoing, there).run)
                nursery.start_soon(Pipe(outgoing, incoming, back).run)
        except* (ConnectionCut, trio.BrokenResourceError):
            finished = False
        return finished


def _reset_on_close(stream: trio.SocketStream) -> None:
    """As if the machine had forgotten the connection, not as if the program had ended it."""
    with contextlib.suppress(OSError):
        stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
