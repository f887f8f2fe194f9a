"""A damaged state in a group: nothing comes out of it, what it led to is not said twice, and it is mended."""

from __future__ import annotations

from collections.abc import Callable

from pbft.core.effects import IgnoreReason, RecordKind, StateDamaged
from pbft.core.messages import Checkpoint, ClientMessage, Events, Query, Subscribe, Unsubscribe
from pbft.core.replica import Replica
from pbft.core.state_messages import FetchState
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from tests.harness.cluster import Cluster
from tests.harness.executor import TOPIC
from tests.harness.looking import message_of, without
from tests.harness.simnode import Flight
from tests.harness.votes import Votes

K = 4
ME = ReplicaId(3)


class World:
    """A group in which one client after the other says something, and the state of replica 3 can rot."""

    def __init__(self) -> None:
        self.cluster = Cluster(checkpoint_interval=K, pipeline_depth=1)
        self.votes = Votes(self.cluster)
        self.kept_back: list[Flight] = []
        """Of what `keep_back` holds on to."""
        self.keep_back: Callable[[object], bool] = lambda _message: False
        self.cluster.on_send = self._may_leave
        self.reader = self.cluster.members.device("reader")
        self.ran = 0

    def _may_leave(self, flight: Flight) -> bool:
        self.votes(flight)
        if not self.keep_back(message_of(self.cluster, flight)):
            return True
        self.kept_back.append(flight)
        return False

    def let_go(self) -> None:
        self.keep_back = lambda _message: False
        self.cluster.flying += self.kept_back
        self.kept_back = []

    def run(self, count: int, *, without: int | None = None) -> None:
        """Order so many batches of one operation; all execute them, but for one."""
        counted = [node for me, node in self.cluster.nodes.items() if me != without]
        for _ in range(count):
            self.cluster.request("a", first=self.ran, ack=self.ran, to=self.cluster.group.replicas)
            self.ran += 1
            self.cluster.settle(lambda: all(len(node.executor.state.ran) == self.ran for node in counted))

    def rot(self) -> None:
        """A row changes behind the replica's back."""
        rows = self.cluster.nodes[ME].executor.state.rows
        rows["log", (0,)] = (b"rotten", *rows["log", (0,)][1:])

    def scrub(self) -> None:
        self.cluster.step(ME, StateDamaged(now=self.cluster.now(ME), what="a page of log"))

    def hold_the_transfer(self) -> None:
        """Replica 3 notices the damage, and its questions about a whole state do not get through."""
        self.keep_back = lambda message: isinstance(message, FetchState)
        self.scrub()
        assert self.replica.state_repair.is_transferring

    @property
    def replica(self) -> Replica:
        return self.cluster.replicas[ME]

    @property
    def kinds(self) -> list[RecordKind]:
        return [record.kind for record in self.cluster.nodes[ME].ledger]

    def say(self, message: ClientMessage) -> None:
        self.cluster.from_client(self.reader, ME, message)

    def subscribe(self, number: int) -> None:
        self.say(Subscribe(subscription=number, topic=TOPIC, start=EventIndex(0), bodies=True))

    def ignored(self, reason: IgnoreReason) -> int:
        return self.cluster.nodes[ME].ignored[reason]

    def told(self) -> list[object]:
        return [message for me, _, message in self.cluster.replies if me == ME]

    def events(self) -> list[bytes]:
        """What the reader was told by replica 3, in order; each event once."""
        told: list[bytes] = []
        for message in self.told():
            if isinstance(message, Events):
                assert message.first == len(told), "a gap, or an event told twice"
                told += message.items
        return told


def mended(world: World) -> bool:
    states = [node.executor.state for node in world.cluster.nodes.values()]
    same = len({state.root() for state in states}) == 1 and len({state.last_executed for state in states}) == 1
    return bool(same and world.replica.state_repair.is_whole)


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
