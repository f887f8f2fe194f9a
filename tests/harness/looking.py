"""What a test asks of a cluster as a whole."""

from __future__ import annotations

from collections.abc import Callable

from pbft.core.messages import Signed
from pbft.core.types import ReplicaId
from tests.harness.cluster import Cluster
from tests.harness.simnode import Flight


def views(cluster: Cluster) -> set[int]:
    return {cluster.replicas[me].log.view for me, node in cluster.nodes.items() if node.alive}


def nobody_is_accused(cluster: Cluster) -> bool:
    return not any(node.evidence for node in cluster.nodes.values())


def message_of(cluster: Cluster, flight: Flight) -> object:
    message = cluster.openers[flight.to].parse_peer(flight.frame).value
    return message.message if isinstance(message, Signed) else message


def without(cluster: Cluster, *replicas: int) -> Callable[[Flight], bool]:
    """These hear nothing and are not heard."""
    return lambda flight: flight.source not in replicas and flight.to not in replicas


def ran_by(cluster: Cluster, count: int, *replicas: int) -> Callable[[], bool]:
    states = [cluster.nodes[ReplicaId(me)].executor.state for me in replicas]
    return lambda: all(len(state.ran) >= count for state in states)
