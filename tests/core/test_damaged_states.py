"""A damaged state in a group: nothing comes out of it, what it led to is not said twice, and it is mended."""

from __future__ import annotations

from pbft.core.effects import IgnoreReason, RecordKind
from pbft.core.messages import Checkpoint, ClientMessage, Query, Subscribe, Unsubscribe
from pbft.core.state_messages import FetchState
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from tests.core.damage import ME, K, World, mended
from tests.harness.executor import TOPIC
from tests.harness.looking import without

# -- mended from where


def test_a_scrub_finding_takes_the_state_back_to_the_last_stable_checkpoint_and_replays_from_there() -> None:
    world = World()
    world.run(2 * K + 2)
    world.rot()
    fetched: list[int] = []

    def note(message: object) -> bool:
        if isinstance(message, FetchState):
            fetched.append(message.sequence)
        return False

    world.keep_back = note
    world.scrub()
    assert world.cluster.nodes[ME].executed == 2 * K + 2
    world.cluster.settle(lambda: mended(world))
    assert set(fetched) == {2 * K}
    assert world.cluster.nodes[ME].executed == 2 * K + 2
    assert world.kinds.count(RecordKind.REPAIRED) == 1
    assert world.kinds.count(RecordKind.DIVERGED) == 0
    world.run(K)
    world.cluster.assert_same_state()


def test_before_the_first_stable_checkpoint_it_begins_anew_and_replays_everything() -> None:
    world = World()
    world.run(K - 1)
    world.rot()
    world.keep_back = lambda message: isinstance(message, FetchState)
    world.scrub()
    world.cluster.settle(lambda: mended(world))
    assert world.kept_back == [], "there is no state to be fetched yet"
    assert world.cluster.nodes[ME].executed == K - 1
    world.run(2)
    world.cluster.assert_same_state()


def test_pitfall_14_a_rotted_row_that_nobody_noticed_shows_at_the_next_checkpoint() -> None:
    world = World()
    world.run(K + 1)
    world.rot()
    world.run(K - 1)
    world.cluster.settle(lambda: mended(world))
    assert world.kinds.count(RecordKind.DIVERGED) == world.kinds.count(RecordKind.REPAIRED) == 1
    assert any("differs from the one that a quorum certified" in text for text in world.cluster.nodes[ME].alarms)
    world.cluster.crash(ME)
    world.cluster.restart(ME)
    assert world.replica.describe()["role"] == "voting"
    world.run(K)
    world.cluster.assert_same_state()


def test_damage_in_the_middle_of_a_mending_is_part_of_it() -> None:
    world = World()
    world.run(K + 2)
    world.rot()
    world.hold_the_transfer()
    world.scrub()
    world.let_go()
    world.cluster.settle(lambda: mended(world))
    assert world.kinds.count(RecordKind.REPAIRED) == 1


def test_a_crash_in_the_middle_of_a_mending_costs_one_more_walk() -> None:
    world = World()
    world.run(2 * K)
    world.rot()
    world.hold_the_transfer()
    world.cluster.nodes[ME].executor.state.is_whole = False
    world.kept_back = []
    world.cluster.crash(ME)
    world.keep_back = lambda _message: False
    world.cluster.restart(ME)
    assert not world.replica.state_repair.is_whole
    world.cluster.settle(lambda: mended(world))
    world.run(K)
    world.cluster.assert_same_state()


# -- what was signed


def test_a_checkpoint_that_was_signed_is_not_signed_again_after_a_repair_with_another_root() -> None:
    """What it said of the damaged state stays said: its vote is lost at this checkpoint, and not at the next."""
    world = World()
    world.keep_back = lambda message: isinstance(message, Checkpoint)
    world.run(1)
    world.rot()
    world.run(K - 1)
    (signed,) = world.replica.checkpoints.own_votes()
    assert signed.message.state_root != world.cluster.nodes[ReplicaId(0)].executor.state.root()
    world.scrub()
    world.cluster.settle(lambda: mended(world))
    assert world.replica.checkpoints.own_votes() == (signed,)
    world.let_go()
    world.cluster.settle(lambda: world.replica.log.low_watermark == K)
    world.run(K)
    assert world.replica.log.low_watermark == 2 * K
    assert (ME, "checkpoint", 2 * K) in world.votes.seen
    assert world.kinds.count(RecordKind.DIVERGED) == 0
    world.cluster.assert_same_state()


# -- what does not come out of it


def test_clients_are_not_answered_out_of_a_state_that_is_not_whole() -> None:
    world = World()
    world.run(K + 2)
    world.rot()
    world.hold_the_transfer()
    before = world.told()
    again = world.cluster.request("a", first=world.ran - 1, ack=world.ran - 1, to=())
    messages: list[ClientMessage] = [
        Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"count"),
        Subscribe(subscription=1, topic=TOPIC, start=EventIndex(0), bodies=True),
        Unsubscribe(subscription=1),
    ]
    for message in messages:
        world.say(message)
    world.cluster.from_client(world.cluster.members.device("a"), ME, again)
    assert world.ignored(IgnoreReason.STATE_NOT_WHOLE) == len(messages) + 1
    assert world.told() == before
    world.let_go()
    world.cluster.settle(lambda: mended(world))
    world.cluster.from_client(world.cluster.members.device("a"), ME, again)
    assert len(world.told()) > len(before), "and once it is whole they are"


def test_a_subscription_goes_on_after_the_repair_with_all_that_it_missed() -> None:
    world = World()
    world.subscribe(1)
    world.run(K + 1)
    assert len(world.events()) == K + 1
    world.rot()
    world.hold_the_transfer()
    told = world.events()
    world.run(2, without=ME)
    assert world.events() == told
    world.let_go()
    world.cluster.settle(lambda: mended(world))
    assert len(world.events()) == K + 3
    assert b"rotten" not in world.events()[K + 1 :]
    world.run(1)
    assert len(world.events()) == K + 4, "and it goes on"


def test_a_subscription_gets_the_events_that_came_with_a_fetched_state() -> None:
    """Nothing is replayed here that would tell of them: the state is fetched as it is at the last batch."""
    world = World()
    world.subscribe(1)
    world.run(K)
    world.cluster.on_send = without(world.cluster, ME)
    world.run(3 * K, without=ME)
    assert len(world.events()) == K
    world.cluster.on_send = None
    world.cluster.connect(ME)
    world.cluster.settle(lambda: mended(world))
    assert world.kinds.count(RecordKind.REPAIRED) == 1
    assert len(world.events()) == 4 * K


def test_reads_that_were_under_way_when_the_damage_was_found_are_dropped() -> None:
    world = World()
    world.run(K + 1)
    world.cluster.deferred = True
    world.subscribe(1)
    world.say(Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"count"))
    before = world.told()
    world.keep_back = lambda message: isinstance(message, FetchState)
    world.scrub()
    world.cluster.deferred = False
    world.cluster.pump(ME)
    assert world.told() == before
    world.let_go()
    world.cluster.settle(lambda: mended(world))
    assert len(world.events()) == K + 1, "the stream is read again"
    world.say(Query(query_id=2, minimum_sequence=SequenceNumber(0), query=b"count"))
    assert [getattr(message, "query_id", None) for message in world.told()][-1] == 2
