"""Frames on their way: from host to host, from clients to hosts and back, as the links between them will have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adversary.simulator.bad_clients import ReplayingClient
from adversary.simulator.kinds import DELIVER
from crypto.signing import PublicKey
from pbft.core.messages import ToClient
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.clients import SimulatedClient
    from adversary.simulator.host import Host
    from adversary.simulator.run import Simulation


class _Source(NamedTuple):
    """Who sends over a link, from where, and what kind of frame."""

    name: ReplicaId | PublicKey
    address: int
    kind: str


class Delivery:
    """Of one run, for the clients that it has when this is made, and those that join."""

    def __init__(self, run: Simulation) -> None:
        self._run = run
        self.count = 0
        """Frames that reached a host."""
        self._eavesdroppers = [client for client in run.clients if isinstance(client, ReplayingClient)]
        self._client_of = {client.device: client for client in run.clients}

    def join(self, client: SimulatedClient) -> None:
        self._client_of[client.device] = client

    def transmit(self, host: Host, to: ReplicaId, kind: str, frame: bytes) -> None:
        run = self._run
        for target in run.of_replica[to]:
            if not run.layout.meet(host, target):
                continue
            times = run.links.arrivals(run.now_us, host.number, target.number, kind)
            if not times and run.watch is not None:
                run.watch.lost(run.now_us, kind, host.number, target.number, frame)
            for time in times:
                self._deliver(time, _Source(host.me, host.number, kind), target, frame)

    def transmit_from_client(self, client: SimulatedClient, to: ReplicaId, frame: bytes) -> None:
        run = self._run
        for eavesdropper in self._eavesdroppers:
            if eavesdropper is not client:
                eavesdropper.overhear(frame)
        for target in run.of_replica[to]:
            if run.layout.meets_client(target, client):
                for time in run.links.arrivals(run.now_us, client.address, target.number, "client"):
                    self._deliver(time, _Source(client.device, client.address, "client"), target, frame)

    def _deliver(self, time: int, source: _Source, target: Host, frame: bytes) -> None:
        incarnation = target.incarnation

        def arrive() -> None:
            if target.incarnation == incarnation:  # else its connection is gone, and the frame with it
                self.count += 1
                self._run.note(source.kind, source.address, target.number, frame)
                target.intake.receive(source.name, frame)

        self._run.at(time, DELIVER, target.number, arrive)

    def reply(self, host: Host, device: PublicKey, message: ToClient) -> None:
        client = self._client_of.get(device)
        if client is None or not self._run.layout.meets_client(host, client):
            return
        for time in self._run.links.arrivals(self._run.now_us, host.number, client.address, "reply"):
            self._run.at(time, DELIVER, client.address, lambda: self._to_client(host, client, message.wire))

    def _to_client(self, host: Host, client: SimulatedClient, frame: bytes) -> None:
        self._run.note("reply", host.number, client.address, frame)
        client.receive(frame)
