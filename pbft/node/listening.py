"""Listening sockets, and how many connections one of them may take."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trio

from pbft.node.config import Endpoint

RESERVED_FILES = 128
"""For the stores, the links to the peers and the rest of the process."""


async def listen(endpoint: Endpoint, kind: str, stack: ExitStack) -> list[trio.SocketListener]:
    try:
        listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
    except OSError as error:
        msg = (
            f"cannot listen for {kind}s on {endpoint}: {error.strerror or error}. Is another node of this directory "
            "running, or the port taken? Change the address in the group file, or stop the other process"
        )
        raise OSError(error.errno, msg) from error
    for listener in listeners:
        stack.callback(listener.socket.close)
    return listeners


def connections_max(most: int) -> int:
    """Of one listener: the connections of one must not take all files that the process may open."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(most, (files_max - RESERVED_FILES) // 2) if files_max >= 0 else most


class Place:
    """Of a connection among the newcomers."""

    def __init__(self, newcomers: Newcomers, host: str) -> None:
        self.scope = trio.CancelScope()
        self._newcomers = newcomers
        self._host = host

    def give_up(self) -> None:
        """It is no newcomer any more, or has ended."""
        self._newcomers.remove(self, self._host)


class Newcomers:
    """Connections of nobody in particular yet. One more than `most`, and the address with most of them loses its
    oldest: so the door stays open to those who come from elsewhere."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[str, dict[Place, None]] = {}
        self._count = 0
        self.displaced = 0

    @contextmanager
    def enter(self, host: str) -> Iterator[Place]:
        place = Place(self, host)
        self._places.setdefault(host, {})[place] = None
        self._count += 1
        if self._count > self._most:
            crowd = max(self._places, key=lambda each: len(self._places[each]))
            oldest = next(iter(self._places[crowd]))
            oldest.scope.cancel()
            self.remove(oldest, crowd)
            self.displaced += 1
        try:
            with place.scope:
                yield place
        finally:
            place.give_up()

    def remove(self, place: Place, host: str) -> None:
        here = self._places.get(host, {})
        if place in here:
            del here[place]
            self._count -= 1
            if not here:
                del self._places[host]


def address_of(socket: trio.SocketStream) -> tuple[str, str]:
    """The peer's host, and its host and port."""
    try:
        host, port, *_ = socket.socket.getpeername()
    except OSError:
        return "gone", "gone"
    return host, str(Endpoint(host, port))
