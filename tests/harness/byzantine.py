"""Fuzzing replicas in a cluster: they speak whenever a test lets them."""

from __future__ import annotations

from random import Random

from adversary.behaviours.fuzzer import Fuzzer
from pbft.core.errors import ProtocolViolation
from pbft.core.types import ReplicaId
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import Craft
from tests.harness.simnode import Flight


class Byzantine:
    """Speaks for one replica of a cluster; the network is its own."""

    def __init__(self, cluster: Cluster, me: int, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.refused = 0
        self._fuzzer = Fuzzer(Craft(cluster.members), ReplicaId(me), random)

    def overhear(self, flight: Flight) -> bool:
        """Hook for Cluster.on_send."""
        self._fuzzer.overhear(flight.frame)
        return True

    def speak(self) -> None:
        """One message to one correct replica. What its decoder refuses is none of the core's business."""
        cluster = self.cluster
        to = self.random.choice(list(cluster.nodes))
        top = max((node.executed for node in cluster.nodes.values()), default=0)
        frame = self._fuzzer.frame(wall_ms=WALL_START_MS + cluster.now_ms, top=top)
        try:
            cluster.deliver(Flight(self._fuzzer.me, to, frame))
        except ProtocolViolation:
            self.refused += 1
