"""What both ends of a TCP connection need so that a dead peer is noticed."""

from __future__ import annotations

import socket

import trio

IDLE_SECONDS = 10
INTERVAL_SECONDS = 5
PROBES = 3
UNACKNOWLEDGED_MS_MAX = 20_000

_OPTIONS = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPINTVL", INTERVAL_SECONDS),
    ("TCP_KEEPCNT", PROBES),
    ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS_MAX),
)


def keep_alive(stream: trio.SocketStream) -> None:
    """A machine that lost power or its network says nothing: notice within half a minute. Where the system can."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
