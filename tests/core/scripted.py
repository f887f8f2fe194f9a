"""A primary that does what a test says, and a network in which everything takes its time."""

from __future__ import annotations

from pbft.core.frames import NULL_BATCH
from pbft.core.messages import SignedRequest
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.looking import views


class Scripted:
    """A primary that orders what a test says; its backups know some devices already."""

    def __init__(self, devices: str = "abcdefgh") -> None:
        self.cluster = Cluster(byzantine=(0,))
        self.craft = Craft(self.cluster.members)
        self.sequence = 0
        self.next = dict.fromkeys(devices, 0)
        self.order(*[self.ask(device) for device in devices])

    def ask(self, device: str) -> SignedRequest:
        first = self.next[device]
        self.next[device] += 1
        return self.cluster.request(device, first=first, to=(1, 2, 3))

    def order(self, *requests: SignedRequest) -> None:
        self.sequence += 1
        batch = self.craft.batch(*requests) if requests else NULL_BATCH
        for to in (1, 2, 3):
            self.cluster.inject(0, to, self.craft.proposal(0, self.sequence, batch))
        self.cluster.deliver_all()

    def pass_time(self, milliseconds: int) -> None:
        self.cluster.advance(milliseconds)
        self.cluster.deliver_all()

    @property
    def lost_office(self) -> bool:
        return min(views(self.cluster)) > 0


def tick(cluster: Cluster, latency_ms: int) -> None:
    """Everything under way takes `latency_ms`."""
    under_way, cluster.flying = cluster.flying, []
    for flight in under_way:
        cluster.deliver(flight)
    cluster.advance(latency_ms)
