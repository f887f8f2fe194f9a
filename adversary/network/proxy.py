"""The network between the replicas of a group, and between them and their clients, on one machine and without root.

    async with network_of(file) as net:
        ... start replica I with the group file net.view(I); clients use net.view(CLIENTS) ...
        net.partition({0}, {1, 2, 3})
        net.heal()

Every ordered pair of places has a port of its own, so that it is known who dials. The views are group files beside
the real one that differ from it in addresses, which are no part of a group's identity; they go with the network.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import trio

from adversary.network.pipe import Tunnel
from adversary.network.route import CLIENTS, Place, Route
from chatsvc.groupfile import GroupFile, Member, render_group_file
from pbft.node.config import Endpoint

TUNNELS_MAX = 1024
"""Connections from one place to another at the same time; more are refused."""
HOST = "127.0.0.1"


class Network:
    """All routes of a group. Its methods act at once, on open connections and on new ones."""

    def __init__(self, file: GroupFile, *, seed: int = 0) -> None:
        self.file = file
        self.replicas = tuple(range(len(file.members)))
        self.places: tuple[Place, ...] = (*self.replicas, CLIENTS)
        self._routes: dict[tuple[Place, Place], Route] = {}
        for source, target in permutations(self.places, 2):
            # Dice of their own, so that traffic on one route does not change what happens on another.
            self._routes[source, target] = Route(random.Random(f"{seed} {source} {target}"))  # noqa: S311
        self._tunnels: dict[tuple[Place, int], set[Tunnel]] = {
            (place, replica): set() for place in self.places for replica in self.replicas if place != replica
        }
        self._ports: dict[tuple[Place, int], int] = {}

    def route(self, source: Place, target: Place) -> Route:
        return self._routes[source, target]

    @property
    def routes(self) -> tuple[tuple[Place, Place], ...]:
        return tuple(self._routes)

    def view(self, place: Place) -> Path:
        """The group file for a replica, or for clients: those it dials have this network's addresses in it."""
        who = place if place == CLIENTS else f"replica-{place}"
        return self.file.path.with_name(f"group-for-{who}.toml")

    def open_connections(self, dialler: Place, replica: int) -> int:
        return len(self._tunnels[dialler, replica])

    # -- what can be done to it

    def partition(self, *parts: Collection[Place]) -> None:
        """Cut and refuse all connections between the parts; places that are in no part are not touched."""
        there = [(a, b) for one, other in combinations(parts, 2) for a in one for b in other]
        self.change([*there, *(pair[::-1] for pair in there)], refused=True)

    def isolate(self, *places: Place) -> None:
        """Cut these off from everybody, and from each other."""
        self.change([pair for pair in self._routes if set(pair) & set(places)], refused=True)

    def hold(self, source: Place, target: Place) -> None:
        """Let nothing arrive from one place at the other, while the other way stays open."""
        self.change([(source, target)], held=True)

    def shape(self, **fields: Any) -> None:
        """Change the rule of every route, clients' too."""
        self.change(self._routes, **fields)

    def change(self, routes: Iterable[tuple[Place, Place]], **fields: Any) -> None:
        """Change some fields of some routes' rules. Raises KeyError for a place that there is not."""
        chosen = [self._routes[pair] for pair in routes]
        for route in chosen:
            route.change(**fields)
        for tunnel in self._all_tunnels():
            if tunnel.is_refused:
                tunnel.cut()

    def cut(self, dialler: Place, replica: int) -> None:
        """Cut the connections that one has dialled to the other, once: it may dial again."""
        for tunnel in self._tunnels[dialler, replica]:
            tunnel.cut()

    def inject(self, source: Place, target: Place, garbage: bytes) -> None:
        """Put garbage before the next bytes that arrive from one place at the other."""
        self.route(source, target).inject(garbage)

    def heal(self) -> None:
        """Be a perfect network again. What was held back arrives, garbage does not; what was cut can be dialled."""
        for route in self._routes.values():
            route.heal()

    def routes_of(self, place: Place) -> list[tuple[Place, Place]]:
        """All routes that begin or end there."""
        return [pair for pair in self._routes if place in pair]

    def _all_tunnels(self) -> Iterator[Tunnel]:
        for tunnels in self._tunnels.values():
            yield from tunnels

    # -- how it works

    async def listen(self, nursery: trio.Nursery) -> None:
        """Open all ports and write the views. Raises OSError."""
        for dialler, replica in self._tunnels:
            listener = await self._listener()
            self._ports[dialler, replica] = listener.socket.getsockname()[1]
            nursery.start_soon(self._serve, dialler, replica, listener)
        for place in self.places:
            members = tuple(self._as_seen(place, replica) for replica in self.replicas)
            self.view(place).write_text(render_group_file(self.file.group, members))

    def remove_views(self) -> None:
        for place in self.places:
            self.view(place).unlink(missing_ok=True)

    async def _listener(self) -> trio.SocketListener:
        """On a free port that is not one of a node which does not run yet."""
        taken = {
            endpoint.port
            for member in self.file.members
            for endpoint in (member.replica_endpoint, member.client_endpoint)
        }
        while True:
            (listener,) = await trio.open_tcp_listeners(0, host=HOST)
            if listener.socket.getsockname()[1] not in taken:
                return listener
            await listener.aclose()

    def _as_seen(self, place: Place, replica: int) -> Member:
        member = self.file.members[replica]
        if place == replica:
            return member
        port = Endpoint(HOST, self._ports[place, replica])
        return replace(member, client_endpoint=port) if place == CLIENTS else replace(member, replica_endpoint=port)

    async def _serve(self, dialler: Place, replica: int, listener: trio.SocketListener) -> None:
        tunnels = self._tunnels[dialler, replica]
        member = self.file.members[replica]
        real = member.client_endpoint if dialler == CLIENTS else member.replica_endpoint

        async def handle(incoming: trio.SocketStream) -> None:
            tunnel = Tunnel(self.route(dialler, replica), self.route(replica, dialler))
            if tunnel.is_refused or len(tunnels) >= TUNNELS_MAX:
                tunnel.cut()
            tunnels.add(tunnel)
            try:
                await tunnel.run(incoming, real.host, real.port)
            finally:
                tunnels.discard(tunnel)

        await trio.serve_listeners(handle, [listener])


@asynccontextmanager
async def network_of(file: GroupFile, *, seed: int = 0) -> AsyncIterator[Network]:
    """A perfect network for the group, until it is told otherwise; its views go with it.

    Raises OSError if it finds no ports.
    """
    network = Network(file, seed=seed)
    try:
        async with trio.open_nursery() as nursery:
            await network.listen(nursery)
            yield network
            nursery.cancel_scope.cancel()
    finally:
        network.remove_views()
