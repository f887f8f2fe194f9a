"""Listening sockets, and who may be connected to one of them: newcomers and members, each address fairly."""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import structlog
import trio

from pbft.node.config import Endpoint
from pbft.node.failures import FATAL, LINK_FAILURES, reason_of
from pbft.node.limits import Limits
from pbft.transport import keep_alive

RESERVED_FILES = 128
"""For the stores, the links to the peers and the rest of the process."""
IPV6_NETWORK_BITS: Final = 64
"""The least that anybody is given of addresses: all below are his. Who was given more counts as several."""
IDLE_SECONDS: Final = 300.0
"""A member that has said nothing for so long makes room for another. Clients with subscriptions say something sooner
(`pbft.client.quorums.model.Settings.quiet_ms`)."""

log = structlog.get_logger()


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
    """Of one connection at a listener: among the newcomers, until it is known to be a member's."""

    def __init__(self, doorway: Doorway, host: str) -> None:
        self.scope = trio.CancelScope()
        self.host = host
        """What is counted as one address (`network_of`)."""
        self.heard_at = trio.current_time()
        self._doorway = doorway

    def heard(self) -> None:
        """Something came over it."""
        self.heard_at = trio.current_time()

    def become_member(self) -> None:
        """It has shown whose it is. Once; nothing changes for one that had to make room before. Closes it if its
        address has its fill of members, and none of them is idle."""
        doorway = self._doorway
        if doorway.newcomers.remove(self):
            doorway.members.add(self)


class Crowd:
    """Connections by address. One more than `most`, and the address with most of them loses its oldest: so the door
    stays open to those who come from elsewhere. An address over its own bound loses its own oldest."""

    def __init__(self, most: int, per_address_max: int) -> None:
        self._most = most
        self._per_address_max = per_address_max
        self._places: dict[str, dict[Place, None]] = {}
        self._count = 0
        self.displaced = 0

    def __len__(self) -> int:
        return self._count

    def add(self, place: Place) -> None:
        here = self._places.setdefault(place.host, {})
        here[place] = None
        self._count += 1
        if len(here) > self._per_address_max:
            self._displace(self._who_leaves(here, place))
        elif self._count > self._most:
            self._displace(self._who_leaves(max(self._places.values(), key=len), place))

    def _who_leaves(self, crowd: dict[Place, None], _newest: Place) -> Place:
        return next(iter(crowd))

    def _displace(self, place: Place) -> None:
        place.scope.cancel()
        self.remove(place)
        self.displaced += 1

    def remove(self, place: Place) -> bool:
        """Says whether it was here."""
        here = self._places.get(place.host, {})
        if place not in here:
            return False
        del here[place]
        self._count -= 1
        if not here:
            del self._places[place.host]
        return True


class Members(Crowd):
    """Those who come back when they are closed: one more than there is room for would go round for ever, each time at
    the price of a handshake. So among those of one address the newest leaves, unless another is idle."""

    def _who_leaves(self, crowd: dict[Place, None], newest: Place) -> Place:
        idlest = min(crowd, key=lambda place: place.heard_at)
        is_idle = newest.heard_at - idlest.heard_at > IDLE_SECONDS
        return idlest if is_idle or newest not in crowd else newest


class Doorway:
    """Who is connected to one listener. Newcomers, who may be anybody, have `newcomers_max` of the places and never
    more than half; the rest is for those who have shown that they are members, and no newcomer takes any of it."""

    def __init__(self, limits: Limits) -> None:
        most = max(2, connections_max(limits.connections_max))
        newcomers = min(limits.newcomers_max, most // 2)
        self.newcomers = Crowd(newcomers, limits.connections_per_address_max)
        self.members = Members(most - newcomers, limits.connections_per_address_max)

    @contextmanager
    def enter(self, host: str) -> Iterator[Place]:
        place = Place(self, host)
        self.newcomers.add(place)
        try:
            with place.scope:
                yield place
        finally:
            self.newcomers.remove(place)
            self.members.remove(place)


Handler = Callable[[trio.SocketStream, Place], Awaitable[None]]


class Acceptor:
    """Accepts what comes to one listener; whatever goes wrong on a connection ends it, and nothing else."""

    def __init__(
        self, kind: str, limits: Limits, handler: Handler, *, refused: Counter[str], stop: Callable[[Exception], None]
    ) -> None:
        """`refused` counts the connections that failed, by reason; `stop` takes FATAL exceptions."""
        self.doorway = Doorway(limits)
        self._kind = kind
        self._handler = handler
        self._refused = refused
        self._stop = stop

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        await trio.serve_listeners(self._handle, listeners)

    async def _handle(self, socket: trio.SocketStream) -> None:
        host, address = address_of(socket)
        try:
            keep_alive(socket)
            with self.doorway.enter(host) as place:
                await self._handler(socket, place)
        except LINK_FAILURES as error:
            self._refused[type(error).__name__] += 1
            log.info("connection closed", listener=self._kind, address=address, reason=reason_of(error))
        except FATAL as error:
            self._stop(error)
        except Exception:
            # Protocol, pitfall 24: whatever a peer's bytes set off ends that connection, never the node.
            self._refused["exception"] += 1
            log.exception("connection failed", listener=self._kind, address=address)


def network_of(host: str) -> str:
    """What is counted as one address: of IPv6 the network of which its owner has all addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), IPV6_NETWORK_BITS), strict=False))


def address_of(socket: trio.SocketStream) -> tuple[str, str]:
    """What the peer's host is counted as, and its host and port."""
    try:
        host, port, *_ = socket.socket.getpeername()
    except OSError:
        return "gone", "gone"
    return network_of(host), str(Endpoint(host, port))
