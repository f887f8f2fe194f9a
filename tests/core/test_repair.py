"""Repair inside the window, and what a liar can make of it."""

from __future__ import annotations

import pytest

from pbft.core.effects import IgnoreReason
from pbft.core.messages import Body, Checkpoint, Fetch, Signed, Status
from pbft.core.repair import CERTIFICATES_PER_STATUS, SERVE_BYTES_PER_MS, SERVE_PAUSE_MS
from pbft.core.types import ReplicaId, SequenceNumber, View
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.simnode import Flight


def run_batches(cluster: Cluster, count: int, *, start: int = 0, device: str = "a") -> None:
    """Order `count` operations, each in a batch of its own."""
    for number in range(start, start + count):
        cluster.request(device, first=number, ack=number)
        cluster.deliver_all()


def test_a_straggler_follows_two_checkpoints_of_which_the_second_came_first() -> None:
    """While it catches up its peers reach a checkpoint beyond its window; the one inside must not be forgotten."""
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=1)
    cluster.crash(3)
    run_batches(cluster, 8)
    inside = cluster.replicas[ReplicaId(0)].checkpoints.stable
    run_batches(cluster, 4, start=8)
    beyond = cluster.replicas[ReplicaId(0)].checkpoints.stable
    assert inside is not None
    assert beyond is not None
    assert (inside.checkpoint.sequence, beyond.checkpoint.sequence) == (8, 12)
    cluster.restart(3, link_up=False)
    cluster.inject(0, 3, inside)
    cluster.inject(1, 3, beyond)
    cluster.deliver_all()
    cluster.settle(lambda: cluster.nodes[ReplicaId(3)].executed == 12)
    assert cluster.replicas[ReplicaId(3)].log.low_watermark == 12
    cluster.assert_same_state()


def test_a_straggler_gets_bodies_from_another_peer_when_one_withholds_them() -> None:
    cluster = Cluster()
    cluster.crash(3)
    run_batches(cluster, 3)
    cluster.restart(3, link_up=False)
    cluster.on_send = lambda flight: not (flight.source in (0, 1) and flight.to == 3)
    cluster.settle(lambda: cluster.nodes[ReplicaId(3)].executed == 3, within_ms=3000)


def test_status_is_answered_at_most_once_in_a_while() -> None:
    cluster = Cluster()
    cluster.advance(2000)
    run_batches(cluster, 3)
    cluster.advance(SERVE_PAUSE_MS + 200)
    cluster.flying.clear()
    behind = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())
    for _ in range(1000):
        cluster.inject(3, 0, behind)
    for flight in list(cluster.flying):
        cluster.deliver(flight)
    answers = [flight for flight in cluster.flying if flight.source == 0]
    assert 0 < len(answers) <= 2 * CERTIFICATES_PER_STATUS


@pytest.mark.parametrize("claim", [2**63 - 1, 10_000, 1])
def test_a_peer_that_claims_to_be_far_ahead_delays_nobody_and_starts_no_flood(claim: int) -> None:
    cluster = Cluster(byzantine=(3,))
    boast = Status(
        view=View(0), stable_checkpoint=SequenceNumber(claim), last_executed=SequenceNumber(claim), slots=()
    )
    for number in range(20):
        for replica in (0, 1, 2):
            cluster.inject(3, replica, boast)
        cluster.request("a", first=number, ack=number)
        cluster.deliver_all()
        cluster.advance(60)
        cluster.deliver_all()
    assert [node.executed for node in cluster.nodes.values()] == [20, 20, 20]
    assert cluster.sent["Status"] < 3 * 60
    assert cluster.sent["Fetch"] == 0


def test_a_straggler_catches_up_though_a_liar_boasts() -> None:
    cluster = Cluster(byzantine=(0,), start=False)
    craft = Craft(cluster.members)
    for me in (1, 2, 3):
        cluster.restart(me, link_up=False)
    cluster.crash(3)
    for number in range(1, 6):
        batch = craft.batch(craft.request("a", number - 1))
        for to in (1, 2):
            cluster.inject(0, to, craft.proposal(0, number, batch))
            cluster.inject(0, to, craft.commit(0, number, batch.digest))
        cluster.deliver_all()
    assert cluster.nodes[ReplicaId(1)].executed == 5
    cluster.restart(3)
    far = SequenceNumber(2**62)
    boast = Status(view=View(0), stable_checkpoint=far, last_executed=far, slots=())
    for _ in range(40):
        cluster.inject(0, 3, boast)
        cluster.deliver_all()
        cluster.advance(100)
    cluster.deliver_all()
    assert cluster.nodes[ReplicaId(3)].executed == 5


def test_bodies_nobody_asked_for_are_dropped() -> None:
    cluster = Cluster()
    craft = Craft(cluster.members)
    for sequence in (0, 1, 2**62):
        cluster.inject(3, 0, Body(sequence=SequenceNumber(sequence), batch=craft.batch(craft.request("a"))))
    cluster.deliver_all()
    assert cluster.nodes[ReplicaId(0)].ignored[IgnoreReason.NOT_WANTED] == 3
    assert list(cluster.replicas[ReplicaId(0)].log.unexecuted()) == []


def test_fetch_for_what_is_not_there_is_harmless() -> None:
    cluster = Cluster()
    run_batches(cluster, 2)
    wanted = tuple((SequenceNumber(n), digest(f"no batch {n}")) for n in (0, 1, 2, 3, 2**62))
    cluster.inject(3, 0, Fetch(wanted=wanted))
    cluster.deliver_all()
    assert cluster.sent["Body"] == 0


def test_commit_certificates_lost_in_a_crash_are_made_again_from_the_votes() -> None:
    """Certificates are archived late; when all lose them, the stored votes still give a straggler its quorum."""
    cluster = Cluster()
    cluster.crash(3)
    run_batches(cluster, 1)
    for me in (0, 1, 2):
        cluster.crash(me)
    for me in range(4):
        cluster.restart(me, link_up=False)
    cluster.settle(lambda: cluster.nodes[ReplicaId(3)].executed == 1)


def test_a_proposal_withheld_from_one_backup_reaches_it_as_a_certificate_and_a_body() -> None:
    cluster = Cluster()
    cluster.on_send = lambda flight: not (flight.source == 0 and flight.to == 3)
    run_batches(cluster, 4)
    cluster.settle(lambda: cluster.nodes[ReplicaId(3)].executed == 4, within_ms=5000)


def test_lost_checkpoint_votes_are_sent_again() -> None:
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=1)

    def lose_checkpoints(flight: Flight) -> bool:
        message = cluster.openers[flight.to].parse_peer(flight.frame).value
        return not (isinstance(message, Signed) and isinstance(message.message, Checkpoint))

    cluster.on_send = lose_checkpoints
    run_batches(cluster, 8)
    assert {replica.log.low_watermark for replica in cluster.replicas.values()} == {0}
    cluster.request("a", first=8, ack=8)
    cluster.deliver_all()
    assert {node.executed for node in cluster.nodes.values()} == {8}, "beyond the window"
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(9))
    assert {replica.log.low_watermark for replica in cluster.replicas.values()} == {8}


def test_a_flood_of_questions_is_answered_at_a_bounded_rate() -> None:
    """A small FETCH or STATUS asks for megabytes: without a limit one peer could keep a replica busy for good."""
    cluster = Cluster(byzantine=(3,), operation_bytes_max=128 * 1024)
    for number in range(12):
        cluster.request("a", bytes(128 * 1024), bytes(128 * 1024), first=2 * number, ack=2 * number)
        cluster.deliver_all()
    cluster.advance(1000)
    cluster.flying.clear()
    batches = {sequence: cluster.order[SequenceNumber(sequence)] for sequence in range(1, 13)}
    wanted = tuple((SequenceNumber(n), batch) for n, batch in batches.items()) * 5
    lacks_all = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())
    sent = 0

    def count(flight: Flight) -> bool:
        nonlocal sent
        sent += len(flight.frame) if (flight.source, flight.to) == (0, 3) else 0
        return False

    cluster.on_send = count
    for question in (Fetch(wanted=wanted), lacks_all):
        sent = 0
        for _ in range(100):
            for _ in range(10):
                cluster.inject(3, 0, question)
            cluster.deliver_all()
            cluster.advance(10)
        assert 0 < sent < 1.5 * 1000 * SERVE_BYTES_PER_MS + 2 * 4 * 1024 * 1024


def test_old_bodies_are_read_out_of_the_ledger_at_a_bounded_rate() -> None:
    cluster = Cluster(byzantine=(3,), checkpoint_interval=4, pipeline_depth=1)
    run_batches(cluster, 8)
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(0)].log.low_watermark == 8
    read = 0

    def count(flight: Flight) -> bool:
        return flight.source != 0

    cluster.on_send = count
    wanted = tuple((SequenceNumber(n % 8 + 1), digest(f"{n}")) for n in range(64))
    for _ in range(100):
        for _ in range(10):
            cluster.flying.clear()
            cluster.inject(3, 0, Fetch(wanted=wanted))
            cluster.deliver(cluster.flying.pop(0))
            read += len(cluster.flying)
        cluster.advance(10)
    assert 0 < read <= 100


@pytest.mark.parametrize("missed", [9, 16, 17, 50])
def test_a_straggler_far_beyond_its_window_follows_from_checkpoint_to_checkpoint(missed: int) -> None:
    """Its peers keep old certificates: its window moves on with what it executes."""
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=1)
    run_batches(cluster, 2)
    cluster.crash(3)
    run_batches(cluster, missed, start=2)
    cluster.restart(3)
    cluster.settle(cluster.executed_everywhere(missed + 2), within_ms=20_000)
    cluster.assert_same_state()
    run_batches(cluster, 8, start=missed + 2)
    cluster.settle(cluster.executed_everywhere(missed + 10), within_ms=2000)
    assert len({replica.log.low_watermark for replica in cluster.replicas.values()}) == 1


@pytest.mark.parametrize("missed", [100, 300])
def test_a_straggler_catches_up_in_time(missed: int) -> None:
    """Round trip by round trip, not one retry each; beyond the stable checkpoint too."""
    cluster = Cluster(checkpoint_interval=128)
    cluster.crash(3)
    run_batches(cluster, missed)
    cluster.restart(3)
    start = cluster.now_ms
    cluster.settle(cluster.executed_everywhere(missed))
    assert cluster.now_ms - start <= 5000


def test_a_body_is_asked_of_everybody_when_the_one_who_boasts_does_not_send_it() -> None:
    """A Byzantine primary commits to 3 alone, withholds the body, and claims to be far ahead."""
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    batch = craft.batch(craft.request("a"))
    for to in (1, 2):
        cluster.inject(0, to, craft.proposal(0, 1, batch))
    cluster.on_send = lambda flight: flight.source != 3 or flight.to != 0
    cluster.deliver_all()
    cluster.inject(0, 3, craft.commit_certificate(1, batch.digest, (0, 1, 2)))
    boast = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(99), slots=())
    cluster.inject(0, 3, boast)
    cluster.deliver_all()
    honest = [cluster.nodes[ReplicaId(me)].executor.state for me in (1, 2, 3)]
    cluster.settle(lambda: all(state.last_executed == 1 for state in honest))


def test_executed_bodies_are_not_kept_in_memory_and_come_out_of_the_ledger() -> None:
    cluster = Cluster()
    cluster.on_send = lambda flight: flight.to != 3
    cluster.request("a")
    cluster.deliver_all()
    for me in (0, 1, 2):
        slot = cluster.replicas[ReplicaId(me)].log.get(SequenceNumber(1))
        assert slot is not None
        assert slot.certificate is not None
        assert (slot.bodies, slot.proposal) == ({}, None)
    cluster.crash(1)
    cluster.restart(1)
    slot = cluster.replicas[ReplicaId(1)].log.get(SequenceNumber(1))
    assert slot is not None
    assert slot.pre_prepare is not None
    assert slot.bodies == {}
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(1))
    cluster.assert_same_state()
