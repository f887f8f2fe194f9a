"""A replica whose state is behind, damaged or gone, in a group that goes on: neither ever waits for the other."""

from __future__ import annotations

from typing import cast

from pbft.core.application import EventItem
from pbft.core.effects import FromPeer, Received, Record, RecordKind
from pbft.core.messages import (
    Body,
    Checkpoint,
    CheckpointCertificate,
    CommitCertificate,
    Events,
    Fetch,
    Prepare,
    Proposal,
)
from pbft.core.state_repair import PATIENCE_MS
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from tests.core.damage import ME, K, World, mended
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.looking import message_of, ran_by, without
from tests.harness.simnode import Flight

LONG_MS = 120_000
LARGE_K = 64
"""As many batches as a backup lets a primary be ahead of what it has executed itself."""


def stable_of(cluster: Cluster, me: int) -> CheckpointCertificate:
    stable = cluster.replicas[ReplicaId(me)].checkpoints.stable
    assert stable is not None
    return stable


def fetching(interval: int) -> tuple[Cluster, Craft]:
    """Replica 3 has learnt of a checkpoint out of its reach, and nothing that anybody sends arrives."""
    cluster = Cluster(checkpoint_interval=interval, pipeline_depth=1)
    craft = Craft(cluster.members)
    cluster.on_send = lambda _flight: False
    cluster.inject(0, ME, craft.checkpoint_certificate(3 * interval, digest("theirs"), (0, 1, 2)))
    cluster.deliver_all()
    assert cluster.replicas[ME].state_repair.is_transferring
    return cluster, craft


# -- an old primary


def test_an_old_primary_that_restarts_may_learn_of_a_checkpoint_before_it_learns_of_the_new_view() -> None:
    """One link is quicker than the others, and a client is waiting: it must not propose below that checkpoint."""
    cluster = Cluster(checkpoint_interval=K, pipeline_depth=1)
    cluster.on_send = without(cluster, 0)
    for first in range(K):
        cluster.request("a", first=first, ack=first, to=(1, 2, 3))
        cluster.settle(ran_by(cluster, first + 1, 1, 2, 3))
    cluster.on_send = None
    cluster.inject(1, 0, stable_of(cluster, 1))
    cluster.request("b", to=(0,))
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(0)].log.low_watermark == K
    cluster.connect(0)
    cluster.settle(cluster.executed_everywhere(K + 1))


# -- while a state is fetched


def test_one_that_fetches_its_state_takes_part_on_digests() -> None:
    cluster, craft = fetching(LARGE_K)
    prepared: list[int] = []

    def note(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        if isinstance(message, Prepare):
            prepared.append(message.sequence)
        return False

    cluster.on_send = note
    following = 3 * LARGE_K + 1
    cluster.inject(0, ME, craft.proposal(0, following, craft.batch(craft.request("a"))))
    cluster.deliver_all()
    assert set(prepared) == {following}


def test_slots_do_not_pile_up_while_a_state_is_fetched() -> None:
    cluster, craft = fetching(K)
    batch = craft.batch(craft.request("a"))
    for sequence in range(3 * K + 1, 103 * K):
        for signer in (0, 1, 2):
            cluster.inject(signer, ME, craft.commit(signer, sequence, batch.digest))
        if sequence % K == 0:
            cluster.inject(0, ME, craft.checkpoint_certificate(sequence, digest("theirs"), (0, 1, 2)))
        cluster.deliver_all()
        assert len(cluster.replicas[ME].log) <= 4 * K


def test_bodies_are_not_collected_while_a_state_is_fetched() -> None:
    """They are large, and have to be held until they are executed: a whole window of them would not fit."""
    cluster, craft = fetching(LARGE_K)
    window = range(3 * LARGE_K + 1, 5 * LARGE_K + 1)
    batches = {sequence: craft.batch(craft.request("a", sequence)) for sequence in window}
    for sequence, batch in batches.items():
        cluster.inject(0, ME, craft.commit_certificate(sequence, batch.digest, (0, 1, 2)))
    cluster.deliver_all()

    def answer(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        if flight.source == ME and isinstance(message, Fetch):
            for sequence, _ in message.wanted:
                cluster.inject(flight.to, ME, Body(sequence=sequence, batch=batches[sequence]))
        return False

    cluster.on_send = answer
    for _ in range(200):
        cluster.deliver_all()
        cluster.advance(100)
    held = sum(len(slot.bodies) for slot in cluster.replicas[ME].log.slots())
    assert 0 < held <= LARGE_K


def test_one_that_fetches_its_state_answers_no_request_that_a_peer_passes_on() -> None:
    """It answers out of what ran: and what ran is not known while the state is not whole."""
    world = World()
    world.run(K)
    again = world.cluster.request("a", first=K - 1, ack=K - 1, to=())
    world.hold_the_transfer()
    before = world.told()
    world.cluster.inject(0, ME, again)
    world.cluster.deliver_all()
    assert world.told() == before
    world.let_go()
    world.cluster.settle(lambda: mended(world))
    world.cluster.inject(0, ME, again)
    world.cluster.deliver_all()
    assert len(world.told()) == len(before) + 1, "and once it is whole it does"


def test_a_stream_is_not_closed_because_the_state_was_set_back_to_before_its_topic_was_opened() -> None:
    world = World()
    executor = world.cluster.nodes[ME].executor
    events = executor.events

    def events_since_opened(topic: bytes, start: EventIndex, limit: int) -> tuple[EventItem, ...] | None:
        return events(topic, start, limit) if executor.state.last_executed > K else None

    executor.events = events_since_opened  # type: ignore[method-assign]
    world.run(K + 2)
    world.subscribe(1)
    assert len(world.events()) == K + 2
    world.rot()
    world.scrub()
    world.cluster.settle(lambda: mended(world))
    world.run(1)
    assert not any(isinstance(message, Events) and message.closed for message in world.told())
    assert len(world.events()) == K + 3


# -- transfers that turn out needless, and votes that were signed before a repair


def test_pitfall_19_execution_goes_on_when_the_last_batch_comes_the_moment_patience_ends() -> None:
    """A batch is under way when a transfer is decided on, and makes it needless: nothing may stay halted."""
    world = World()
    world.run(1)
    world.cluster.on_send = without(world.cluster, ME)
    world.run(K - 1, without=ME)
    world.cluster.inject(0, ME, stable_of(world.cluster, 0))
    world.cluster.deliver_all()
    peer, opener = world.cluster.nodes[ReplicaId(0)], world.cluster.openers[ME]
    certificates: list[CommitCertificate] = []
    missing: list[Body] = []
    for record in [*peer.ledger, *peer.archive]:
        if record.sequence > 1 and record.kind is RecordKind.COMMITTED:
            certificates.append(cast("CommitCertificate", opener.open_peer(record.data)))
        if record.sequence > 1 and record.kind is RecordKind.PROPOSAL:
            proposal = cast("Proposal", opener.open_peer(record.data))
            missing.append(Body(sequence=record.sequence, batch=proposal.batch))
    assert len(certificates) == len(missing) == K - 1
    world.cluster.deferred = True
    hand(world.cluster, *certificates)
    world.cluster.now_ms += PATIENCE_MS + 100  # asleep: no timer expires
    hand(world.cluster, *missing)
    world.cluster.pump(ME)
    world.cluster.deferred = False
    assert world.cluster.nodes[ME].executed == K
    world.listen()
    world.run(1)


def hand(cluster: Cluster, *messages: CommitCertificate | Body) -> None:
    """All of them in one step, from replica 0."""
    items = tuple(FromPeer(peer=ReplicaId(0), message=message) for message in messages)
    cluster.step(ME, Received(now=cluster.now(ME), messages=items))


def test_a_repaired_replica_does_not_take_its_state_for_damaged_after_a_restart() -> None:
    """Its vote at K was for a damaged state, and stays said; what counts is the state that it has now."""
    world = World()
    world.keep_back = lambda message: isinstance(message, Checkpoint)
    world.run(K)
    node, craft = world.cluster.nodes[ME], Craft(world.cluster.members)
    right = node.executor.state.root()
    wrong = craft.checkpoint(ME, K, digest("damaged"))
    signed = Record(RecordKind.CHECKPOINT, SequenceNumber(K), wrong.wire)
    node.ledger = [signed if record.kind is RecordKind.CHECKPOINT else record for record in node.ledger]
    assert signed in node.ledger
    node.stored.add(wrong.wire)
    world.cluster.crash(ME)
    world.cluster.restart(ME, link_up=False)
    world.cluster.on_send = lambda _flight: False
    world.cluster.inject(0, ME, craft.checkpoint_certificate(K, right, (0, 1, 2)))
    world.cluster.deliver_all()
    assert world.replica.log.low_watermark == K
    assert RecordKind.DIVERGED not in world.kinds
    assert world.replica.state_repair.is_whole


# -- one more is down, so that the group needs the one that fetches its state, which needs the group


def test_pitfall_19_a_replica_with_an_empty_state_votes_where_nobody_holds_a_snapshot() -> None:
    """Three of four restart, one with nothing: the next checkpoint, which helps it, takes its vote."""
    interval = 40
    ran = 3 * interval + 2
    cluster = Cluster(checkpoint_interval=interval, pipeline_depth=1)
    for first in range(ran):
        cluster.request("a", first=first, ack=first, to=range(4))
        cluster.deliver_all()
        cluster.advance(5)
    cluster.settle(cluster.executed_everywhere(ran))
    for me, node in cluster.nodes.items():
        cluster.crash(me)
        node.executor._served = None
    empty = cluster.nodes[ReplicaId(2)]
    empty.executor.lose_state()
    empty.ledger = [record for record in empty.ledger if record.sequence >= 3 * interval]
    for restarted in (0, 1, 2):
        cluster.restart(restarted)
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(2)].state_repair.is_transferring
    for first in range(ran, ran + interval + 2):
        cluster.request("a", first=first, ack=first, to=(0, 1, 2))
        cluster.settle(ran_by(cluster, first + 1, 0, 1))
    cluster.settle(cluster.executed_everywhere(ran + interval + 2), within_ms=LONG_MS)


def test_pitfall_19_one_that_was_cut_off_for_a_moment_does_not_wait_for_a_state_that_nobody_holds_any_more() -> None:
    """Its votes on digests let the others run to the end of the window, where they hold the state of h + L; it asks
    for that of h."""
    world = World()
    world.run(K - 1)
    world.cluster.on_send = without(world.cluster, ME)
    world.run(1, without=ME)
    assert stable_of(world.cluster, 2).checkpoint.sequence == K
    world.cluster.crash(1)
    world.cluster.inject(2, ME, stable_of(world.cluster, 2))
    world.pass_time(PATIENCE_MS + 500)
    assert world.replica.state_repair.is_transferring
    world.listen()
    for _ in range(2 * K):
        world.ask()
        world.cluster.deliver_all()
    world.cluster.settle(world.have_caught_up, within_ms=LONG_MS)
    world.run(2 * K)


def test_pitfall_19_the_others_go_on_from_the_certified_state_while_a_damaged_one_waits_for_it() -> None:
    world = World()
    world.run(K + 1)
    world.rot()
    world.cluster.crash(0)
    world.hold_the_transfer()
    for _ in range(2 * K - 1):
        world.ask()
        world.pass_time(1500)
    held = {world.cluster.nodes[ReplicaId(me)].executor.durable_checkpoint for me in (1, 2)}
    assert min(held) > stable_of(world.cluster, 1).checkpoint.sequence == K, "nobody holds it any more"
    world.kept_back = []
    world.let_go()
    world.cluster.settle(world.have_caught_up, within_ms=LONG_MS)
    world.run(K)
    world.cluster.assert_same_state()


def test_pitfall_19_a_straggler_when_one_crashes_before_a_checkpoint_is_certified() -> None:
    """The others have executed h + K, for which two votes are left, and hold that state; the straggler needs h's."""
    world = World()
    world.cluster.on_send = without(world.cluster, ME)
    world.run(5 * K, without=ME)
    apart = without(world.cluster, ME)
    world.cluster.on_send = lambda flight: (
        apart(flight) and not isinstance(message_of(world.cluster, flight), Checkpoint)
    )
    world.run(K, without=ME)
    assert world.cluster.replicas[ReplicaId(0)].log.low_watermark == 5 * K
    world.cluster.crash(1)
    world.listen()
    world.cluster.connect(ME)
    world.cluster.settle(world.have_caught_up, within_ms=LONG_MS)
    world.run(2 * K)
    world.cluster.assert_same_state()
