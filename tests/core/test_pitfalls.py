"""What went wrong elsewhere, each with its test: the numbers are those of the protocol's section 10."""

from __future__ import annotations

from random import Random

import pytest

from pbft.core.effects import IgnoreReason
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.group import Parameters
from pbft.core.messages import Reply
from pbft.core.types import ReplicaId
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import Craft, digest
from tests.harness.simnode import Flight

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize("n", range(4, 14))
def test_pitfall_05_with_f_down_every_group_size_makes_progress(n: int) -> None:
    cluster = Cluster(n)
    for me in range(n - cluster.group.faulty_max, n):
        cluster.crash(me)
    for first in range(3):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()
    assert cluster.executed_everywhere(3)()


@pytest.mark.parametrize("n", range(4, 14))
def test_pitfall_05_with_one_more_down_nothing_is_executed(n: int) -> None:
    cluster = Cluster(n)
    for me in range(cluster.group.quorum - 1, n):
        cluster.crash(me)
    cluster.request("a")
    cluster.deliver_all()
    cluster.advance(3000)
    cluster.deliver_all()
    assert not cluster.order


def test_pitfall_03_one_bogus_vote_among_good_ones_masks_nothing() -> None:
    cluster = Cluster(byzantine=(3,))
    craft = Craft(cluster.members)
    for to in (0, 1, 2):
        cluster.inject(3, to, craft.prepare(3, 1, digest("bogus")))
        cluster.inject(3, to, craft.commit(3, 1, digest("bogus")))
    cluster.request("a")
    cluster.deliver_all()
    assert cluster.executed_everywhere(1)()


def test_pitfall_06_votes_count_for_the_key_that_signed_them() -> None:
    """One replica passes the votes of one other on, many times and over its own link: still one vote."""
    cluster = Cluster(byzantine=(0, 2, 3))
    craft = Craft(cluster.members)
    proposal = craft.proposal(0, 1, craft.batch(craft.request("a")))
    cluster.inject(0, 1, proposal)
    for source in (0, 2, 3):
        cluster.inject(source, 1, craft.commit(3, 1, proposal.batch.digest))
        cluster.inject(source, 1, craft.commit(3, 1, proposal.batch.digest))
    cluster.deliver_all()
    slot = cluster.replicas[ReplicaId(1)].log.get(1)
    assert slot is not None
    assert slot.prepared is None
    assert set(slot.commits) == {3}
    assert slot.certificate is None


def test_pitfall_06_votes_for_different_digests_or_of_different_kinds_are_never_added() -> None:
    cluster = Cluster(7, byzantine=(0, 2, 3, 4, 5, 6))
    craft = Craft(cluster.members)
    batch = craft.batch(craft.request("a"))
    cluster.inject(0, 1, craft.proposal(0, 1, batch))
    for voter, what in ((2, batch.digest), (3, batch.digest), (4, digest("x")), (5, digest("y"))):
        cluster.inject(voter, 1, craft.prepare(voter, 1, what))
    for voter in (2, 3, 4, 6):
        cluster.inject(voter, 1, craft.commit(voter, 1, batch.digest))
    cluster.deliver_all()
    slot = cluster.replicas[ReplicaId(1)].log.get(1)
    assert slot is not None
    assert (slot.prepared, slot.certificate) == (None, None), "three prepares of four, four commits of five"
    cluster.inject(6, 1, craft.prepare(6, 1, batch.digest))
    cluster.deliver_all()
    assert slot.prepared is not None
    assert slot.certificate is not None, "its own commit is the fifth"


# -- 15: clocks


@pytest.mark.parametrize("skew", [-29_000, 29_000])
def test_pitfall_15_a_primary_within_the_allowed_skew_is_followed_and_time_never_goes_back(skew: int) -> None:
    cluster = Cluster()
    times = []
    for number, offset in enumerate((0, skew, 0, skew)):
        cluster.nodes[ReplicaId(0)].skew_ms = offset
        cluster.request("a", first=number, ack=number)
        cluster.deliver_all()
        cluster.advance(10)
        times.append(cluster.nodes[ReplicaId(1)].executor.state.agreed_time)
    assert cluster.executed_everywhere(4)()
    assert times == sorted(times)
    cluster.assert_same_state()


@pytest.mark.parametrize("skew", [DAY_MS, 40_000])
def test_pitfall_15_a_primary_whose_clock_jumped_orders_nothing_and_is_not_accused(skew: int) -> None:
    cluster = Cluster()
    cluster.nodes[ReplicaId(0)].skew_ms = skew
    cluster.request("a")
    cluster.deliver_all()
    cluster.advance(3000)
    cluster.deliver_all()
    assert not cluster.order
    for me in (1, 2, 3):
        node = cluster.nodes[ReplicaId(me)]
        assert node.ignored[IgnoreReason.TIMESTAMP_OUT_OF_RANGE] > 0
        assert node.evidence == []


@pytest.mark.parametrize("skew", [-DAY_MS, -31_000, -WALL_START_MS])
def test_pitfall_15_a_late_stamp_is_followed_and_time_never_goes_back(skew: int) -> None:
    cluster = Cluster()
    cluster.request("a")
    cluster.deliver_all()
    before = cluster.nodes[ReplicaId(1)].executor.state.agreed_time
    cluster.nodes[ReplicaId(0)].skew_ms = skew
    cluster.request("a", first=1, ack=1)
    cluster.settle(cluster.executed_everywhere(2))
    assert cluster.nodes[ReplicaId(1)].executor.state.agreed_time == before
    cluster.assert_same_state()


def test_pitfall_15_a_proposal_stored_before_a_long_outage_is_still_ordered_after_it() -> None:
    """Everybody dies when the primary has stored its proposal; they come back much later than the allowed skew."""
    cluster = Cluster()
    cluster.on_send = lambda _: False
    cluster.request("a")
    cluster.deliver_all()
    for me in range(4):
        cluster.crash(me)
    cluster.advance(2 * Parameters().clock_skew_max_ms)
    cluster.on_send = None
    for me in range(4):
        cluster.restart(me)
    cluster.settle(cluster.executed_everywhere(1))


def test_pitfall_15_a_slot_that_waited_long_for_its_quorum_goes_on() -> None:
    cluster = Cluster()
    cluster.on_send = lambda flight: flight.to in (0, 1) and flight.source in (0, 1)
    cluster.request("a")
    cluster.deliver_all()
    cluster.advance(2 * Parameters().clock_skew_max_ms)
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(1))


@pytest.mark.parametrize("jump", [-DAY_MS, DAY_MS, -WALL_START_MS])
def test_pitfall_15_one_backup_whose_clock_jumped_goes_along(jump: int) -> None:
    """It does not vote; it executes what the others commit, in the same order and at the same agreed time."""
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=2)
    cluster.nodes[ReplicaId(2)].skew_ms = jump
    for number in range(10):
        cluster.request("a", first=number, ack=number)
        cluster.deliver_all()
    cluster.settle(cluster.executed_everywhere(10))
    cluster.assert_same_state()


# -- 16, 20, 21: requests


def test_pitfall_16_a_request_with_a_bad_signature_gets_into_no_queue() -> None:
    cluster = Cluster()
    good = Craft(cluster.members).request("a")
    for replica in cluster.group.replicas:
        for source in (good.device, ReplicaId((replica + 1) % 4)):
            with pytest.raises(ProtocolViolation):
                cluster.deliver(Flight(source, replica, good.wire[:-1] + bytes([good.wire[-1] ^ 1])))
    assert [len(replica.pool) for replica in cluster.replicas.values()] == [0, 0, 0, 0]


def test_pitfall_20_ordering_a_later_operation_first_does_not_kill_the_earlier_one() -> None:
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    for sequence, first in ((1, 2), (2, 1), (3, 0)):
        batch = craft.batch(craft.request("a", first))
        for to in (1, 2, 3):
            cluster.inject(0, to, craft.proposal(0, sequence, batch))
            cluster.inject(0, to, craft.commit(0, sequence, batch.digest))
    cluster.deliver_all()
    assert cluster.executed_everywhere(3)()
    device = cluster.members.device("a").public_key
    assert all(not result.refused for first in range(3) for result in cluster.results[device, 1, first].values())


def test_pitfall_20_a_censored_request_does_not_block_those_after_it_in_a_backup() -> None:
    """The backups hold both; the primary orders the second only."""
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    first, second = craft.request("a", 0), craft.request("a", 1)
    for to in (1, 2, 3):
        cluster.send_request(first, [to])
        cluster.send_request(second, [to])
        cluster.inject(0, to, craft.proposal(0, 1, craft.batch(second)))
    cluster.deliver_all()
    assert cluster.executed_everywhere(1)()
    for replica in cluster.replicas.values():
        assert [request.wire for request in replica.pool.oldest()] == [first.wire]


def test_pitfall_21_a_request_that_arrives_after_it_ran_gets_its_reply_and_waits_nowhere() -> None:
    cluster = Cluster()
    request = cluster.request("a")
    cluster.deliver_all()
    proposals, replies = cluster.sent["Proposal"], len(cluster.replies)
    cluster.send_request(request, cluster.group.replicas)
    cluster.inject(2, 1, request)
    cluster.deliver_all()
    again = [message for _, _, message in cluster.replies[replies:]]
    assert len(again) == 5
    assert all(isinstance(message, Reply) and message.sequence == 1 for message in again)
    assert [len(replica.pool) for replica in cluster.replicas.values()] == [0, 0, 0, 0]
    assert cluster.sent["Proposal"] == proposals


def test_pitfall_21_a_request_ordered_twice_runs_once() -> None:
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    request, other = craft.request("a"), craft.request("b")
    for sequence, batch in ((1, craft.batch(request, request, other)), (2, craft.batch(other, request))):
        for to in (1, 2, 3):
            cluster.inject(0, to, craft.proposal(0, sequence, batch))
    cluster.deliver_all()
    assert {node.executed for node in cluster.nodes.values()} == {2}
    assert cluster.executed_everywhere(2)()


# -- 24: garbage


def test_pitfall_24_garbage_is_a_violation_of_whoever_sent_it_and_nothing_else() -> None:
    cluster = Cluster()
    random = Random(24)  # noqa: S311 - garbage, not a secret
    valid = [cluster.request("a").wire]

    def overhear(flight: Flight) -> bool:
        valid.append(flight.frame)
        return True

    cluster.on_send = overhear
    cluster.deliver_all()
    device = cluster.members.device("a").public_key
    refused = 0
    for _ in range(2000):
        frame = bytearray(random.choice(valid))
        for _ in range(random.randint(1, 3)):
            frame[random.randrange(len(frame))] = random.randrange(256)
        source = random.choice((ReplicaId(3), device))
        try:
            cluster.deliver(Flight(source, ReplicaId(random.randrange(3)), bytes(frame)))
        except ProtocolViolation:
            refused += 1
    assert refused > 1900
    cluster.on_send = None
    cluster.flying.clear()
    cluster.request("b")
    cluster.settle(lambda: all(len(node.executor.state.ran) >= 2 for node in cluster.nodes.values()))


def test_pitfall_24_what_only_replicas_may_say_a_client_may_not() -> None:
    cluster = Cluster()
    craft = Craft(cluster.members)
    device = cluster.members.device("a").public_key
    for message in (craft.prepare(3, 1, digest("x")), craft.proposal(0, 1, craft.batch(timestamp=0))):
        with pytest.raises(MalformedMessage):
            cluster.deliver(Flight(device, ReplicaId(1), message.wire))
