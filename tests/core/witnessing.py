"""A replica that is told things by whoever holds the keys, and what it can prove then."""

from __future__ import annotations

from crypto.merkle import leaf_digest
from crypto.signing import SIGNATURE_BYTES
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.messages import PeerMessage, PrePrepare, Signed, SignedRequest
from pbft.core.types import ReplicaId
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import Craft, digest

ME = ReplicaId(1)
K = 4
X, Y = digest("x"), digest("y")


class World:
    """A backup that hears what a test says, drops what is useless as a node does, and is heard by nobody."""

    def __init__(self) -> None:
        self.cluster = Cluster(checkpoint_interval=K, pipeline_depth=2, batch_operations_max=8)
        self.cluster.drops_useless = True
        self.cluster.on_send = lambda _flight: False
        self.craft = Craft(self.cluster.members)

    def tell(self, *messages: PeerMessage | bytes, source: int = 2) -> None:
        """Over the link from `source`, whoever signed it. After what does not open, another link is dialled."""
        for message in messages:
            self.cluster.inject(source, ME, message)
            try:
                self.cluster.deliver_all()
            except ProtocolViolation:
                continue

    def propose(self, text: str, sequence: int = 1) -> tuple[Signed[PrePrepare], bytes]:
        """A proposal of replica 0, by its text: its PRE-PREPARE, and all of it."""
        batch = self.craft.batch(self.craft.request(text), timestamp=WALL_START_MS)
        proposal = self.craft.proposal(0, sequence, batch)
        return proposal.pre_prepare, proposal.wire

    def leave(self, view: int = 1) -> None:
        """F + 1 replicas ask for a view: the replica joins them."""
        self.tell(*(self.craft.view_change(signer, view) for signer in (0, 2)))
        assert self.cluster.replicas[ME].log.view == view

    def stabilise(self, sequence: int = K) -> None:
        """A quorum vouches for a checkpoint."""
        self.tell(self.craft.checkpoint_certificate(sequence, digest("root"), (0, 2, 3)))
        assert self.cluster.replicas[ME].log.low_watermark == sequence

    @property
    def evidence(self) -> list[Evidence]:
        return self.cluster.nodes[ME].evidence


def forged_request(craft: Craft) -> SignedRequest:
    """The signature of one device in the place of another's."""
    honest, other = craft.request("a"), craft.request("b")
    wire = honest.wire[:-SIGNATURE_BYTES] + other.wire[-SIGNATURE_BYTES:]
    return SignedRequest(message=honest.message, device=honest.device, wire=wire, digest=leaf_digest(wire))
