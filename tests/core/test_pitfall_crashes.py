"""Crashes between any two effects: no second, different vote (08), and no vote that is lost to the group (09)."""

from __future__ import annotations

from random import Random

import pytest

from pbft.core.types import ReplicaId
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.votes import Votes


def effects_of_a_run(replica: int) -> int:
    """How many effects a replica carries out while two batches and a checkpoint go through."""
    cluster = Cluster(checkpoint_interval=2, pipeline_depth=1)
    node = cluster.nodes[ReplicaId(replica)]
    node.fuse = 10_000
    for first in range(2):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()
    assert node.fuse is not None
    return 10_000 - node.fuse


@pytest.mark.parametrize("power_loss", [False, True])
@pytest.mark.parametrize("replica", range(4))
def test_pitfall_08_a_crash_between_any_two_effects_changes_no_vote(replica: int, power_loss: bool) -> None:
    total = effects_of_a_run(replica)
    assert total > 30
    for fuse in range(total):
        cluster = Cluster(checkpoint_interval=2, pipeline_depth=1)
        Votes(cluster)
        cluster.nodes[ReplicaId(replica)].fuse = fuse
        for first in range(2):
            cluster.request("a", first=first)
            cluster.deliver_all()
        if power_loss:
            cluster.nodes[ReplicaId(replica)].executor.lose_power()
        assert not cluster.nodes[ReplicaId(replica)].alive
        cluster.restart(replica)
        # The world has changed: other requests are here first, so a forgetful primary would propose another batch.
        cluster.request("b", to=range(4))
        for first in (1, 0):
            cluster.request("a", first=first, to=range(4))
        cluster.settle(cluster.executed_everywhere(3), within_ms=8000)
        cluster.assert_same_state()


@pytest.mark.parametrize("fuse", range(8))
def test_pitfall_08_a_restarted_backup_does_not_accept_another_proposal(fuse: int) -> None:
    cluster = Cluster(byzantine=(0,))
    Votes(cluster)
    craft = Craft(cluster.members)
    first, second = (craft.proposal(0, 1, craft.batch(craft.request(name))) for name in "ab")
    node = cluster.nodes[ReplicaId(1)]
    node.fuse = fuse
    cluster.inject(0, 1, first)
    cluster.inject(2, 1, craft.prepare(2, 1, first.batch.digest))
    cluster.deliver_all()
    if node.alive:
        cluster.crash(1)
    voted = bool(node.ledger)
    cluster.restart(1)
    cluster.inject(0, 1, second)
    cluster.inject(3, 1, craft.prepare(3, 1, second.batch.digest))
    cluster.deliver_all()
    slot = cluster.replicas[ReplicaId(1)].log.get(1)
    assert slot is not None
    assert slot.proposal is not None
    assert slot.proposal.batch.digest == (first if voted else second).batch.digest


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("fuse", [1, 2, 3])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_pitfall_09_all_crash_right_after_storing_and_the_group_goes_on(n: int, fuse: int, rounds: int) -> None:
    """What is in the ledgers is sent again, so that the votes are worth something after the restart."""
    cluster = Cluster(n)
    Votes(cluster)
    cluster.request("a")
    for _ in range(rounds):
        for node in cluster.nodes.values():
            node.fuse = fuse
        cluster.deliver_all()
        for me, node in cluster.nodes.items():
            if node.alive:
                cluster.crash(me)
        for me in cluster.nodes:
            cluster.restart(me, link_up=False)
        cluster.advance(1100)
    if not any(node.stored for node in cluster.nodes.values()):
        cluster.request("a")
    cluster.settle(cluster.executed_everywhere(1), within_ms=5000)
    cluster.assert_same_state()


@pytest.mark.parametrize("power_loss", [False, True])
def test_pitfall_09_a_whole_group_restarts_in_the_middle_of_everything(power_loss: bool) -> None:
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=3)
    Votes(cluster)
    for asked, stop in enumerate(range(0, 90, 3), 1):
        cluster.request("a", first=asked - 1, ack=asked - 1, to=range(4))
        for _ in range(stop):
            if cluster.flying:
                cluster.deliver(cluster.flying.pop(0))
        for me in cluster.nodes:
            cluster.crash(me, power_loss=power_loss)
        for me in cluster.nodes:
            cluster.restart(me)
        cluster.request("a", first=asked - 1, ack=asked - 1, to=range(4))
        cluster.settle(cluster.executed_everywhere(asked))
    cluster.assert_same_state()


def test_the_primary_does_not_use_a_sequence_number_again_after_a_restart() -> None:
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=3)
    votes = Votes(cluster)
    for restart in range(6):
        cluster.on_send = lambda _flight: False
        cluster.request("a", first=2 * restart, ack=2 * restart)
        cluster.deliver_all()
        cluster.crash(0)
        cluster.on_send = votes
        cluster.restart(0)
        cluster.request("a", first=2 * restart + 1, ack=2 * restart)
        cluster.deliver_all()
        cluster.request("a", first=2 * restart, ack=2 * restart)
        cluster.settle(cluster.executed_everywhere(2 * restart + 2))
    cluster.assert_same_state()


# -- the same through a view change


def until_the_timers(replica: int, votes: Votes) -> Cluster:
    """The primary is dead; one batch is prepared by some; the next thing to happen is the backups' VIEW-CHANGE."""
    cluster = votes.cluster
    cluster.on_send = lambda flight: votes(flight) and b"COMMIT" not in flight.frame[:16]
    cluster.request("a", to=range(4))
    cluster.deliver_all()
    cluster.crash(0)
    cluster.on_send = votes
    cluster.advance(900)
    cluster.flying.clear()
    cluster.nodes[ReplicaId(replica)].fuse = 10_000
    return cluster


def view_changed(cluster: Cluster) -> bool:
    alive = [replica for me, replica in cluster.replicas.items() if cluster.nodes[me].alive]
    return all(replica.log.in_view and replica.log.view for replica in alive) and cluster.executed_everywhere(1)()


def effects_of_a_view_change(replica: int) -> int:
    cluster = until_the_timers(replica, Votes(Cluster()))
    cluster.settle(lambda: view_changed(cluster))
    fuse = cluster.nodes[ReplicaId(replica)].fuse
    assert fuse is not None
    return 10_000 - fuse


@pytest.mark.parametrize("power_loss", [False, True])
@pytest.mark.parametrize("replica", [1, 2, 3])
def test_pitfall_08_a_crash_between_any_two_effects_of_a_view_change_changes_no_vote(
    replica: int, power_loss: bool
) -> None:
    total = effects_of_a_view_change(replica)
    assert total > 20
    for fuse in range(total):
        cluster = until_the_timers(replica, Votes(Cluster()))
        node = cluster.nodes[ReplicaId(replica)]
        node.fuse = fuse
        for _ in range(80):
            cluster.advance(50)
            cluster.deliver_all()
            if not node.alive:
                break
        assert not node.alive
        if power_loss:
            node.executor.lose_power()
        # The world has changed: another request is here, and the old primary with it.
        cluster.restart(replica)
        cluster.restart(0)
        cluster.request("b", to=range(4))
        cluster.settle(cluster.executed_everywhere(2), within_ms=15_000)
        cluster.assert_same_state()
        assert not any(node.evidence or node.alarms for node in cluster.nodes.values())


@pytest.mark.parametrize("seed", range(6))
def test_pitfall_09_a_whole_group_restarts_again_and_again_in_the_middle_of_view_changes(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=3)
    votes = Votes(cluster)
    for asked in range(1, 8):
        cluster.request("a", first=asked - 1, ack=asked - 1, to=range(4))
        silent = {replica.group.primary(replica.log.view) for replica in cluster.replicas.values()}
        cluster.on_send = lambda flight, silent=silent: votes(flight) and flight.source not in silent
        cluster.deliver_all()
        cluster.advance(random.randrange(1000, 2500))
        for _ in range(random.randrange(60)):
            if cluster.flying:
                cluster.deliver(cluster.flying.pop(random.randrange(len(cluster.flying))))
        for me in cluster.nodes:
            cluster.crash(me, power_loss=random.random() < 0.3)
        cluster.on_send = votes
        for me in cluster.nodes:
            cluster.restart(me)
        cluster.request("a", first=asked - 1, ack=asked - 1, to=range(4))
        cluster.settle(cluster.executed_everywhere(asked), within_ms=60_000)
    cluster.assert_same_state()
    assert max(replica.log.view for replica in cluster.replicas.values()) > 0
    assert not any(node.evidence or node.alarms for node in cluster.nodes.values())
