"""Checkpoints: stable at a quorum of equal roots, this replica's own among them or later; a damaged state."""

from __future__ import annotations

import json

import pytest

from pbft.core.effects import RecordKind
from pbft.core.messages import CheckpointCertificate, Signed, SlotStatus
from pbft.core.types import ReplicaId, SequenceNumber
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.simnode import Flight, SimNode

K = 4


def cluster_of(n: int = 4) -> Cluster:
    return Cluster(n, checkpoint_interval=K, pipeline_depth=3)


def run(cluster: Cluster, count: int, *, start: int = 0) -> None:
    for first in range(start, start + count):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()


def no_checkpoints(cluster: Cluster, to: int) -> None:
    def allow(flight: Flight) -> bool:
        message = cluster.openers[flight.to].parse_peer(flight.frame).value
        about = isinstance(message, CheckpointCertificate) or (
            isinstance(message, Signed) and hasattr(message.message, "state_root")
        )
        return not (flight.to == to and about)

    cluster.on_send = allow


def test_stable_with_a_quorum_and_not_before() -> None:
    cluster = cluster_of()
    cluster.on_send = lambda flight: flight.source in (0, 1, 2) and flight.to in (0, 1, 2)
    run(cluster, K - 1)
    log = cluster.replicas[ReplicaId(0)].log
    assert (log.low_watermark, log.last_executed) == (0, K - 1)
    cluster.request("a", first=K - 1)
    while log.last_executed < K:
        cluster.deliver(cluster.flying.pop(0))
    assert log.low_watermark == 0, "its own vote is one of three"
    cluster.deliver_all()
    assert log.low_watermark == K
    assert [slot for slot in range(1, K + 1) if log.get(slot) is not None] == []
    kinds = [record.kind for record in cluster.nodes[ReplicaId(0)].ledger if record.sequence == K]
    assert kinds.index(RecordKind.CHECKPOINT) < kinds.index(RecordKind.STABLE)


def test_votes_for_different_roots_make_no_certificate() -> None:
    cluster = Cluster(7, byzantine=(5, 6), checkpoint_interval=K, pipeline_depth=3)
    craft = Craft(cluster.members)
    cluster.on_send = lambda flight: flight.source in (0, 1, 2, 3) and flight.to in (0, 1, 2, 3)
    for voter in (5, 6):
        cluster.inject(voter, 0, craft.checkpoint(voter, K, digest(f"root of {voter}")))
    cluster.deliver_all()
    replica = cluster.replicas[ReplicaId(0)]
    for voter in (1, 2, 3, 4):
        cluster.inject(voter, 0, craft.checkpoint(voter, 2 * K, digest("root")))
    cluster.deliver_all()
    assert replica.checkpoints.stable is None


def test_a_certificate_ahead_of_execution_moves_the_window_and_keeps_what_is_to_be_executed() -> None:
    """A quorum has the state: what is voted on is above it, also for a replica that is still on its way there."""
    cluster = cluster_of()
    craft = Craft(cluster.members)
    replica, node = cluster.replicas[ReplicaId(1)], cluster.nodes[ReplicaId(1)]
    batches = [craft.batch(craft.request("a", first)) for first in range(3)]
    for sequence in (1, 3):
        cluster.inject(3, 1, craft.commit_certificate(sequence, batches[sequence - 1].digest, (0, 2, 3)))
    cluster.inject(3, 1, craft.prepare(3, 2, digest("x")))
    for sequence in (K, 100 * K, 50 * K):
        cluster.inject(3, 1, craft.checkpoint_certificate(sequence, digest("root"), (0, 2, 3)))
    cluster.deliver_all()
    assert (replica.log.low_watermark, replica.log.last_executed) == (100 * K, 0)
    assert [slot.sequence for slot in replica.log.slots()] == [1, 3], "votes alone are worth nothing any more"
    assert [(record.kind, record.sequence) for record in node.ledger if record.kind is RecordKind.STABLE] == [
        (RecordKind.STABLE, K),
        (RecordKind.STABLE, 100 * K),
    ]
    assert replica.log.why_outside(SequenceNumber(100 * K + 1)) is None


def test_a_replica_that_meets_a_stable_checkpoint_on_its_way_compares_its_state_there() -> None:
    cluster = cluster_of()
    cluster.on_send = lambda flight: 3 not in (flight.source, flight.to)
    run(cluster, 2 * K + 1)
    cluster.nodes[ReplicaId(3)].executor.state.rows["log", (99,)] = (b"rot",)
    cluster.on_send = lambda flight: flight.source != 3 or flight.to in (0, 1, 2)
    damaged = cluster.nodes[ReplicaId(3)]
    cluster.settle(lambda: bool(damaged.alarms))
    assert of_kind(damaged, RecordKind.DIVERGED) == [2 * K]
    cluster.settle(cluster.executed_everywhere(2 * K + 1))
    assert of_kind(damaged, RecordKind.REPAIRED)
    cluster.assert_same_state()


def of_kind(node: SimNode, kind: RecordKind) -> list[int]:
    return [record.sequence for record in node.ledger if record.kind is kind]


def test_certificates_ahead_take_constant_memory() -> None:
    cluster = cluster_of()
    craft = Craft(cluster.members)
    for sequence in range(K, 100 * K, K):
        cluster.inject(3, 1, craft.checkpoint_certificate(sequence, digest("root"), (0, 2, 3)))
    cluster.deliver_all()
    assert sorted(cluster.replicas[ReplicaId(1)].checkpoints._ahead) == [K, 2 * K, 99 * K]


def test_a_replica_whose_state_differs_says_so_stops_executing_and_does_not_vouch() -> None:
    cluster = cluster_of()
    cluster.on_send = lambda flight: b"STATE" not in flight.frame[:16]
    run(cluster, 2)
    damaged = cluster.nodes[ReplicaId(3)]
    damaged.executor.state.rows["log", (0,)] = (b"rot",)
    run(cluster, 6, start=2)
    assert cluster.replicas[ReplicaId(3)].checkpoints.diverged_at == K
    assert len(damaged.alarms) == 1
    assert damaged.executed == K
    assert cluster.replicas[ReplicaId(0)].log.low_watermark == 2 * K, "the others go on"
    cluster.advance(3000)
    cluster.deliver_all()
    assert len(damaged.alarms) == 1
    assert of_kind(damaged, RecordKind.CHECKPOINT) == [K]


def test_pitfall_14_a_rotted_row_is_noticed_at_the_next_checkpoint_repaired_and_never_voted_over() -> None:
    cluster = cluster_of()
    run(cluster, 2)
    damaged = cluster.nodes[ReplicaId(3)]
    damaged.executor.state.rows["log", (0,)] = (b"rot",)
    run(cluster, 6, start=2)
    cluster.settle(cluster.executed_everywhere(8))
    cluster.assert_same_state()
    assert of_kind(damaged, RecordKind.CHECKPOINT).count(K) == 1, "signed once, and not again after the repair"
    assert of_kind(damaged, RecordKind.REPAIRED)
    cluster.crash(3)
    cluster.restart(3)
    run(cluster, K, start=8)
    cluster.settle(cluster.executed_everywhere(8 + K))
    assert of_kind(damaged, RecordKind.CHECKPOINT)[-1] == 3 * K, "it vouches again"


def test_a_replica_that_knows_that_its_state_differs_does_not_vouch_for_what_was_under_way() -> None:
    """Batches handed out before it knew run to the end; the checkpoint among them gets no vote."""
    cluster = cluster_of()
    run(cluster, 2)
    damaged = cluster.nodes[ReplicaId(3)]
    damaged.executor.state.rows["log", (0,)] = (b"rot",)
    no_checkpoints(cluster, 3)
    run(cluster, 5, start=2)
    assert damaged.executed == K + 3
    cluster.deferred = True
    cluster.request("a", first=7, ack=7)
    for _ in range(4):
        cluster.deliver_all()
        for me in (0, 1, 2):
            cluster.pump(ReplicaId(me))
    assert damaged.executed == 2 * K, "executed, and not yet told to the core"
    certificate = Craft(cluster.members).checkpoint_certificate(
        K, cluster.nodes[ReplicaId(0)].executor.state.root(), (0, 1, 2)
    )
    cluster.inject(0, 3, certificate)
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(3)].checkpoints.diverged_at == K
    cluster.deferred = False
    cluster.pump(ReplicaId(3))
    assert [record.sequence for record in damaged.ledger if record.kind is RecordKind.CHECKPOINT] == [K]


def test_a_damaged_replica_learns_it_again_after_a_restart() -> None:
    cluster = cluster_of()
    cluster.on_send = lambda flight: b"STATE" not in flight.frame[:16]
    run(cluster, 2)
    cluster.nodes[ReplicaId(3)].executor.state.rows["log", (0,)] = (b"rot",)
    run(cluster, 4, start=2)
    cluster.crash(3)
    cluster.restart(3)
    cluster.advance(2000)
    cluster.deliver_all()
    run(cluster, 4, start=6)
    assert cluster.replicas[ReplicaId(3)].checkpoints.diverged_at == K
    assert cluster.nodes[ReplicaId(3)].executed < 2 * K


def test_a_crash_between_the_state_and_the_vote_for_it_is_made_up_for() -> None:
    cluster = cluster_of()
    run(cluster, K - 1)
    node = cluster.nodes[ReplicaId(2)]
    no_checkpoints(cluster, 2)
    cluster.deferred = True
    cluster.request("a", first=K - 1)
    for _ in range(4):
        cluster.deliver_all()
        for me in (0, 1, 3):
            cluster.pump(ReplicaId(me))
    assert node.executed == K
    cluster.crash(2)
    cluster.deferred = False
    assert not [record for record in node.ledger if record.kind is RecordKind.CHECKPOINT]
    cluster.restart(2)
    assert [record.sequence for record in node.ledger if record.kind is RecordKind.CHECKPOINT] == [K]
    cluster.on_send = None
    cluster.settle(lambda: cluster.replicas[ReplicaId(2)].log.low_watermark == K)


def test_nothing_is_executed_beyond_a_checkpoint_before_its_vote_is_stored() -> None:
    """Five batches become ready in one step; a crash after the fourth must find its root still there."""
    cluster = Cluster(byzantine=(0,), checkpoint_interval=K, pipeline_depth=3)
    craft = Craft(cluster.members)
    cluster.deferred = True
    for sequence in range(5, 0, -1):
        batch = craft.batch(craft.request("a", sequence))
        cluster.inject(0, 1, craft.proposal(0, sequence, batch))
        cluster.inject(0, 1, craft.commit_certificate(sequence, batch.digest, (0, 2, 3)))
    cluster.deliver_all()
    node = cluster.nodes[ReplicaId(1)]
    assert node.executed == K
    cluster.deferred = False
    cluster.pump(ReplicaId(1))
    assert node.executed == K + 1


def test_evidence_of_two_roots() -> None:
    cluster = cluster_of()
    craft = Craft(cluster.members)
    cluster.inject(3, 1, craft.checkpoint(3, K, digest("x")))
    cluster.inject(3, 1, craft.checkpoint(3, K, digest("y")))
    cluster.deliver_all()
    (evidence,) = cluster.nodes[ReplicaId(1)].evidence
    assert (evidence.code, evidence.culprit) == ("E4", 3)


@pytest.mark.parametrize("n", [4, 7])
def test_memory_is_that_of_the_window(n: int) -> None:
    """Many checkpoints later a replica holds no more than at the first."""
    cluster = cluster_of(n)
    run(cluster, 10 * K)
    cluster.settle(lambda: {replica.log.low_watermark for replica in cluster.replicas.values()} == {10 * K})
    for replica in cluster.replicas.values():
        assert len(replica.log._slots) == 0
        assert len(replica.pool) == 0
        assert not replica.checkpoints._votes
        assert not replica.checkpoints._ahead
        rules = replica.rules
        assert (len(rules._accepted), len(rules._committed), len(rules._roots)) == (0, 0, 0)


def test_a_replica_describes_itself_in_what_json_can_hold() -> None:
    cluster = cluster_of()
    run(cluster, K + 1)
    told = json.loads(json.dumps(cluster.replicas[ReplicaId(1)].describe()))
    assert (told["last_executed"], told["stable_checkpoint"], told["role"]) == (K + 1, K, "voting")


def test_status_says_what_is_there() -> None:
    cluster = cluster_of()
    cluster.request("a")
    cluster.deliver(cluster.flying.pop(0))
    (slot,) = cluster.replicas[ReplicaId(0)].repair.status().slots
    assert slot == SlotStatus(sequence=slot.sequence, has_proposal=True, prepares=0, commits=0)


def test_a_primary_that_learns_what_others_made_stable_without_it_proposes_nothing_below() -> None:
    """They have left its view, which it does not know yet."""
    cluster = cluster_of()
    run(cluster, 1)
    craft = Craft(cluster.members)
    cluster.on_send = lambda flight: flight.source == 3 and flight.to == 0
    cluster.inject(3, 0, craft.checkpoint_certificate(2 * K, digest("theirs"), (1, 2, 3)))
    cluster.deliver_all()
    before = len(cluster.nodes[ReplicaId(0)].ledger)
    cluster.request("b", to=(0,))
    cluster.deliver_all()
    primary = cluster.replicas[ReplicaId(0)]
    assert primary.log.low_watermark == 2 * K
    assert len(primary.pool) == 1
    proposals = [
        record for record in cluster.nodes[ReplicaId(0)].ledger[before:] if record.kind is RecordKind.PROPOSAL
    ]
    assert all(record.sequence > 2 * K for record in proposals)
