"""Listening sockets, and how many connections one of them may take."""

from __future__ import annotations

import resource
from contextlib import ExitStack

import trio

from pbft.node.config import Endpoint

CONNECTIONS_MAX = 4096
"""Of one listener. A connection that has not finished its handshake lives for seconds only."""
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


def connections_max() -> int:
    """Of one listener: the connections of one must not take all files that the process may open."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CONNECTIONS_MAX, (files_max - RESERVED_FILES) // 2) if files_max >= 0 else CONNECTIONS_MAX


def address_of(socket: trio.SocketStream) -> tuple[str, str]:
    """The peer's host, and its host and port."""
    try:
        host, port, *_ = socket.socket.getpeername()
    except OSError:
        return "gone", "gone"
    return host, str(Endpoint(host, port))
