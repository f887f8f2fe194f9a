"""A group in which one client after the other says something, and the state of replica 3 can rot."""

from __future__ import annotations

from collections.abc import Callable

from pbft.core.effects import IgnoreReason, RecordKind, StateDamaged
from pbft.core.events import decode_item
from pbft.core.messages import ClientMessage, Events, Subscribe
from pbft.core.replica import Replica
from pbft.core.state_messages import FetchState
from pbft.core.types import EventIndex, ReplicaId
from tests.harness.cluster import Cluster
from tests.harness.executor import TOPIC
from tests.harness.looking import message_of
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
        self.listen()
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
        """Order so many batches of one operation; all that live execute them, but for one."""
        for _ in range(count):
            self.ask()
            self.cluster.settle(lambda: self.have_caught_up(without=without))

    def ask(self) -> None:
        """One operation more."""
        self.cluster.request("a", first=self.ran, ack=self.ran, to=self.cluster.group.replicas)
        self.ran += 1

    def have_caught_up(self, *, without: int | None = None) -> bool:
        """Whether all that live have executed all that was asked for, but for one."""
        counted = [node for me, node in self.cluster.nodes.items() if node.alive and me != without]
        return all(len(node.executor.state.ran) == self.ran for node in counted)

    def pass_time(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 50):
            self.cluster.deliver_all()
            self.cluster.advance(50)

    def listen(self) -> None:
        """All links carry again."""
        self.cluster.on_send = self._may_leave

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
                told += [decode_item(item).head for item in message.items]
        return told


def mended(world: World) -> bool:
    states = [node.executor.state for node in world.cluster.nodes.values()]
    same = len({state.root() for state in states}) == 1 and len({state.last_executed for state in states}) == 1
    return bool(same and world.replica.state_repair.is_whole)
