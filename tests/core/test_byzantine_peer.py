"""f replicas sign anything at all with their own keys: nobody stops, nobody forks, nobody is accused falsely."""

from __future__ import annotations

from random import Random

import pytest

from pbft.core.types import ReplicaId
from tests.harness.byzantine import Byzantine
from tests.harness.chaos import HEALED_WITHIN_MS, check_alive
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.votes import Votes


def memory_of(cluster: Cluster) -> int:
    """The largest number of slots and votes that a replica holds."""
    return max(
        len(replica.log._slots)
        + sum(len(slot.prepares) + len(slot.commits) for slot in replica.log._slots.values())
        + sum(map(len, replica.checkpoints._votes.values()))
        + len(replica.checkpoints._ahead)
        + len(replica.votes._changes)
        + len(replica.pool)
        for replica in cluster.replicas.values()
    )


def run_with_liars(
    n: int, seed: int, liars: tuple[int, ...], *, steps: int, operations: int = 12, cut: float = 0.0
) -> Cluster:
    """At the end nobody is apart any more, and the liars fall silent."""
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    cluster = Cluster(n, seed=seed, byzantine=liars, checkpoint_interval=4, pipeline_depth=2, client_window=16)
    speakers = [Byzantine(cluster, liar, random) for liar in liars]
    votes, apart = Votes(cluster), frozenset[int]()
    cluster.on_send = lambda flight: (
        votes(flight)
        and all(speaker.overhear(flight) for speaker in speakers)
        and (flight.source in apart) == (flight.to in apart)
    )
    asked = 0
    try:
        for _ in range(steps):
            random.choice(speakers).speak()
            if random.random() < 0.1 and asked < operations:
                cluster.request("a", first=asked, to=sorted(cluster.nodes))
                asked += 1
            if random.random() < 0.05:
                cluster.advance(random.randrange(300))
            if random.random() < cut:
                apart = frozenset() if apart else frozenset(random.sample(sorted(cluster.nodes), n // 2))
            if random.random() < 0.02:
                me = random.choice(sorted(cluster.nodes))
                cluster.crash(me, power_loss=random.random() < 0.3)
                cluster.restart(me)
            for _ in range(random.randrange(6)):
                if cluster.flying:
                    cluster.deliver(cluster.flying.pop(random.randrange(len(cluster.flying))))
        for node in cluster.nodes.values():
            accused = {evidence.culprit for evidence in node.evidence if not isinstance(evidence.culprit, bytes)}
            assert accused <= set(liars), cluster.report(f"an honest replica was accused: {accused}")
            slow = [alarm for alarm in node.alarms if "is given up" in alarm]
            assert node.alarms == slow, cluster.report(str(node.alarms))
        assert memory_of(cluster) < 2000
    except Exception as error:
        error.add_note(f"replay: run_with_liars({n}, {seed}, {liars}, steps={steps}, cut={cut})")
        raise
    return cluster


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("n", "liars"), [(4, (3,)), (4, (0,)), (7, (0, 3))])
def test_nothing_that_liars_sign_stops_or_forks_the_others(n: int, liars: tuple[int, ...], seed: int) -> None:
    run_with_liars(n, seed, liars, steps=400)


@pytest.mark.parametrize("seed", range(6))
def test_a_lying_backup_does_not_stop_progress(seed: int) -> None:
    cluster = run_with_liars(4, seed, (3,), steps=300)
    done = {me: len(node.executor.state.ran) for me, node in cluster.nodes.items()}
    request = cluster.request("honest", to=sorted(cluster.nodes))
    name = (request.device, request.message.session, request.message.first_client_sequence)
    cluster.on_send = None
    cluster.settle(lambda: all(name in node.executor.state.ran for node in cluster.nodes.values()))
    assert all(len(node.executor.state.ran) > done[me] for me, node in cluster.nodes.items())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "liars"), [(4, (0,)), (4, (1,)), (7, (0, 1)), (7, (2, 6))])
def test_whatever_liars_and_partitions_do_the_others_go_on_when_the_network_is_whole(
    n: int, liars: tuple[int, ...], seed: int
) -> None:
    """As many as may lie lead views, show forged and stale certificates, and ask for views without end."""
    cluster = run_with_liars(n, seed, liars, steps=250, cut=0.04)
    speakers = [Byzantine(cluster, liar, Random(seed)) for liar in liars]  # noqa: S311 - a schedule, not a secret
    cluster.on_send = Votes(cluster)
    request = cluster.request("honest", to=sorted(cluster.nodes))
    name = (request.device, request.message.session, request.message.first_client_sequence)

    def done() -> bool:
        for speaker in speakers:
            speaker.speak()
        check_alive(cluster)
        return all(name in node.executor.state.ran for node in cluster.nodes.values())

    cluster.settle(done, within_ms=HEALED_WITHIN_MS)
    accused = {evidence.culprit for node in cluster.nodes.values() for evidence in node.evidence}
    assert {each for each in accused if isinstance(each, int)} <= set(liars)


def test_pitfall_18_votes_far_in_the_future_take_constant_memory() -> None:
    """And none below f + 1 does anything."""
    cluster = Cluster(byzantine=(3,), checkpoint_interval=4, pipeline_depth=2)
    craft = Craft(cluster.members)
    cluster.advance(300)
    cluster.deliver_all()
    sent = cluster.sent.total()
    before = memory_of(cluster)
    for number in [*range(9, 600), 2**62, 2**63 - 1]:
        for view in (0, 1, 2**63 - 1):
            cluster.inject(3, 1, craft.prepare(3, number, digest(f"{number}"), view=view))
            cluster.inject(3, 1, craft.commit(3, number, digest(f"{number}"), view=view))
            cluster.inject(3, 1, craft.proposal(3, number, craft.batch(timestamp=0), view=view))
        cluster.inject(3, 1, craft.checkpoint(3, number, digest(f"{number}")))
    cluster.deliver_all()
    assert memory_of(cluster) == before
    assert cluster.sent.total() == sent
    assert cluster.nodes[ReplicaId(1)].stored == set()


def test_votes_inside_the_window_take_one_place_each() -> None:
    cluster = Cluster(byzantine=(3,), checkpoint_interval=4, pipeline_depth=2)
    craft = Craft(cluster.members)
    for number in range(1, 9):
        for what in range(50):
            cluster.inject(3, 1, craft.prepare(3, number, digest(f"{what}")))
            cluster.inject(3, 1, craft.commit(3, number, digest(f"{what}")))
            cluster.inject(3, 1, craft.checkpoint(3, number, digest(f"{what}")))
    cluster.deliver_all()
    assert memory_of(cluster) <= 8 + 8 + 8 + 2
    request = cluster.request("a")
    cluster.settle(cluster.executed_everywhere(1), within_ms=0)
    assert request.device in {device for _, device, _ in cluster.replies}


def test_proposals_of_its_own_that_it_never_made_get_no_vote_of_the_primary() -> None:
    """Somebody else holds its key, or it lost its ledger: its quorum must not count it twice."""
    cluster = Cluster()
    craft = Craft(cluster.members)
    cluster.on_send = lambda _flight: False
    foreign = craft.proposal(0, 1, craft.batch(craft.request("a")))
    cluster.inject(2, 0, foreign)
    cluster.inject(2, 0, craft.prepare(1, 1, foreign.batch.digest))
    cluster.deliver_all()
    cluster.request("b")
    cluster.deliver_all()
    assert not any(b"PREPARE" in data and b"PRE-PREPARE" not in data for data in cluster.nodes[ReplicaId(0)].stored)


@pytest.mark.parametrize("n", [4, 7])
def test_a_split_primary_forks_nobody_and_is_found_out(n: int) -> None:
    cluster = Cluster(n, byzantine=(0,))
    craft = Craft(cluster.members)
    first, second = (craft.proposal(0, 1, craft.batch(craft.request(name))) for name in "ab")
    half = n // 2
    for to in range(1, n):
        cluster.inject(0, to, first if to <= half else second)
    cluster.deliver_all()
    for to in range(1, n):
        cluster.inject(0, to, second if to <= half else first)
        for proposal in (first, second):
            cluster.inject(0, to, craft.commit(0, 1, proposal.batch.digest))
    cluster.deliver_all()
    cluster.advance(2000)
    cluster.deliver_all()
    for node in cluster.nodes.values():
        assert {(e.code, e.culprit) for e in node.evidence} == {("E1", 0), ("E3", 0)}


def test_a_victim_of_the_primary_executes_what_the_others_committed() -> None:
    """It alone got another digest; the certificate and the body bring it the right one, and it never votes twice."""
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    right, wrong = (craft.proposal(0, 1, craft.batch(craft.request(name))) for name in "ab")
    for to, proposal in ((1, right), (2, right), (3, wrong)):
        cluster.inject(0, to, proposal)
    for to in (1, 2, 3):
        cluster.inject(0, to, craft.commit(0, 1, right.batch.digest))
    cluster.settle(cluster.executed_everywhere(1))
    cluster.assert_same_state()
    assert cluster.order[next(iter(cluster.order))] == right.batch.digest
