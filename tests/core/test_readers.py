"""Queries and subscriptions as one client sees them at one replica."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.signing import PublicKey
from pbft.core.application import EventItem
from pbft.core.effects import IgnoreReason, QueryDone, RunQuery
from pbft.core.events import decode_item, item_digest
from pbft.core.messages import Answer, ClientMessage, Credit, Events, Query, Subscribe, Unsubscribe
from pbft.core.output import Output
from pbft.core.places import STRANGERS_DIVISOR
from pbft.core.readers import (
    CREDIT_EVENTS,
    EVENTS_PER_FRAME_MAX,
    QUERIES_AT_ONCE,
    QUERIES_MAX,
    QUERIES_PER_DEVICE_MAX,
    SUBSCRIPTIONS_PER_DEVICE_MAX,
    Readers,
)
from pbft.core.types import EventIndex, Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from tests.harness.cluster import Cluster
from tests.harness.executor import TOPIC
from tests.harness.keys import make_group

ME = ReplicaId(1)
GROUP = make_group(4)
NOW = Now(Milliseconds(0), Milliseconds(0))


class Client:
    """A device that talks to one replica and keeps what it hears."""

    def __init__(self, cluster: Cluster, name: str = "reader") -> None:
        self.cluster = cluster
        self.signer = cluster.members.device(name)

    def say(self, *messages: ClientMessage) -> None:
        for message in messages:
            self.cluster.from_client(self.signer, ME, message)

    def subscribe(self, number: int = 1, *, start: int = 0, topic: bytes = TOPIC, bodies: bool = True) -> None:
        self.say(Subscribe(subscription=number, topic=topic, start=EventIndex(start), bodies=bodies))

    def credit(self, taken: int, number: int = 1) -> None:
        self.say(Credit(subscription=number, taken=EventIndex(taken)))

    @property
    def heard(self) -> list[object]:
        return [m for me, device, m in self.cluster.replies if me == ME and device == self.signer.public_key]

    @property
    def events(self) -> list[Events]:
        return [message for message in self.heard if isinstance(message, Events)]

    @property
    def answers(self) -> list[Answer]:
        return [message for message in self.heard if isinstance(message, Answer)]


def write(cluster: Cluster, count: int, *, start: int = 0) -> None:
    for first in range(start, start + count, 50):
        cluster.request("writer", *(b"e%d" % i for i in range(first, min(first + 50, start + count))), first=first,
                        ack=first)  # fmt: skip
        cluster.deliver_all()


def items(events: Sequence[Events]) -> list[bytes]:
    """What was told: heads, or digests."""
    return [decode_item(item).head if frame.bodies else item for frame in events for item in frame.items]


def query(number: int, minimum: int = 0) -> Query:
    return Query(query_id=number, minimum_sequence=SequenceNumber(minimum), query=b"count")


# -- queries


def test_a_query_waits_until_the_replica_has_executed_what_the_client_has_seen() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.say(query(1, 0), query(2, 1), query(3, 2))
    assert [(a.query_id, a.result) for a in client.answers] == [(1, b"count=0")]
    write(cluster, 1)
    assert [(a.query_id, a.sequence) for a in client.answers] == [(1, 0), (2, 1)]
    write(cluster, 1, start=1)
    assert [a.query_id for a in client.answers] == [1, 2, 3]


def test_waiting_queries_go_with_their_client() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.say(*(query(number, 1) for number in range(QUERIES_PER_DEVICE_MAX)))
    cluster.client_gone(client.signer, ME)
    client.say(*(query(number, 1) for number in range(QUERIES_PER_DEVICE_MAX)))
    assert cluster.nodes[ME].ignored[IgnoreReason.TOO_MANY_READS] == 0
    write(cluster, 1)
    assert len(client.answers) == QUERIES_PER_DEVICE_MAX


# -- subscriptions


def test_events_come_once_and_in_order_from_the_start_asked_for() -> None:
    cluster = Cluster()
    client = Client(cluster)
    write(cluster, 5)
    client.subscribe(start=2)
    write(cluster, 3, start=5)
    assert items(client.events) == [b"e%d" % i for i in range(2, 8)]
    assert [frame.first for frame in client.events] == [2, 5]


def test_digests_instead_of_bodies() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.subscribe(bodies=False)
    write(cluster, 2)
    assert items(client.events) == [item_digest(EventItem(head=b"e0")), item_digest(EventItem(head=b"e1"))]


def test_a_stream_runs_ahead_of_its_client_by_a_bounded_number() -> None:
    cluster = Cluster()
    client = Client(cluster)
    write(cluster, CREDIT_EVENTS + 300)
    client.subscribe()
    assert len(items(client.events)) == CREDIT_EVENTS
    assert max(len(frame.items) for frame in client.events) == EVENTS_PER_FRAME_MAX
    write(cluster, 10, start=CREDIT_EVENTS + 300)
    assert len(items(client.events)) == CREDIT_EVENTS
    client.credit(100)
    assert len(items(client.events)) == CREDIT_EVENTS + 100
    client.credit(2**62)
    assert items(client.events) == [b"e%d" % i for i in range(CREDIT_EVENTS + 310)]


def test_a_topic_that_cannot_be_read_closes_the_subscription() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.subscribe(topic=b"secret")
    (closed,) = client.events
    assert (closed.closed, closed.items) == (True, ())
    client.say(Unsubscribe(subscription=1))
    assert cluster.nodes[ME].ignored[IgnoreReason.NO_SUBSCRIPTION] == 1


def test_nothing_comes_after_unsubscribing_or_leaving() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.subscribe(1)
    client.subscribe(2)
    client.say(Unsubscribe(subscription=1))
    write(cluster, 1)
    assert {frame.subscription for frame in client.events} == {2}
    cluster.client_gone(client.signer, ME)
    write(cluster, 1, start=1)
    assert len(client.events) == 1


def test_events_of_other_topics_are_none_of_its_business() -> None:
    cluster = Cluster()
    client = Client(cluster)
    client.subscribe(1)
    cluster.client_gone(client.signer, ME)
    client.subscribe(2, start=5)
    client.credit(1, 2)
    write(cluster, 3)
    assert client.events == []
    client.say(Unsubscribe(subscription=2))
    write(cluster, 3, start=3)
    assert client.events == []


def test_a_query_done_after_its_client_left_is_harmless() -> None:
    cluster = Cluster()
    client = Client(cluster)
    cluster.deferred = True
    client.say(query(1))
    client.subscribe()
    cluster.client_gone(client.signer, ME)
    cluster.deferred = False
    cluster.pump(ME)
    assert len(client.answers) == 1
    assert client.events == []


def test_events_that_come_while_a_read_is_under_way_are_not_missed() -> None:
    cluster = Cluster()
    client = Client(cluster)
    write(cluster, 1)
    cluster.deferred = True
    client.subscribe()
    cluster.request("writer", b"e1", first=1, ack=1)
    for _ in range(3):
        cluster.deliver_all()
        for me in (0, 2, 3):
            cluster.pump(ReplicaId(me))
    cluster.deferred = False
    cluster.pump(ME)
    assert items(client.events) == [b"e0", b"e1"]


def test_a_subscription_that_is_restarted_gets_nothing_of_what_was_read_for_the_first() -> None:
    """The number is taken again for another topic while the first read is under way."""
    cluster = Cluster()
    client = Client(cluster)
    write(cluster, 2)
    cluster.deferred = True
    client.subscribe(1, topic=TOPIC)
    client.subscribe(1, topic=b"secret")
    client.subscribe(2, topic=TOPIC)
    client.say(Unsubscribe(subscription=2))
    client.subscribe(2, topic=b"secret")
    cluster.deferred = False
    cluster.pump(ME)
    assert [(frame.subscription, frame.closed, frame.items) for frame in client.events] == [
        (1, True, ()),
        (2, True, ()),
    ]


def test_a_subscription_that_is_restarted_elsewhere_starts_there() -> None:
    cluster = Cluster()
    client = Client(cluster)
    write(cluster, 4)
    cluster.deferred = True
    client.subscribe(1, start=0)
    client.subscribe(1, start=3)
    cluster.deferred = False
    cluster.pump(ME)
    assert items(client.events) == [b"e3"]
    write(cluster, 1, start=4)
    assert items(client.events) == [b"e3", b"e4"]


def test_large_events_come_in_frames_that_a_client_can_open() -> None:
    """As many events as are asked for may be larger together than any frame."""
    cluster = Cluster()
    client = Client(cluster)
    operation = bytes(cluster.group.parameters.operation_bytes_max)
    for first in range(0, 320, 64):
        cluster.request("writer", *[operation] * 64, first=first, ack=first)
        cluster.deliver_all()
    client.subscribe()
    client.subscribe(2, bodies=False)
    whole = [frame for frame in client.events if frame.bodies]
    assert items(whole) == [operation] * 320
    assert [frame.first for frame in whole] == [sum(len(f.items) for f in whole[:i]) for i in range(len(whole))]
    assert len(whole) < 20
    assert [len(frame.items) for frame in client.events if not frame.bodies] == [256, 64]


# -- taking turns


def test_reads_of_many_questions_take_turns_and_few_are_under_way_at_once() -> None:
    rules = VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1])
    readers = Readers(rules)
    out = Output()
    greedy, modest = GROUP.device("greedy").public_key, GROUP.device("modest").public_key
    for number in range(QUERIES_PER_DEVICE_MAX):
        readers.on_query(out, greedy, query(number, 0), SequenceNumber(0))
    readers.on_query(out, modest, query(0, 0), SequenceNumber(0))
    assert len(out.read) == QUERIES_AT_ONCE
    served: list[PublicKey] = []
    while out.read:
        read = out.read.pop(0)
        assert isinstance(read, RunQuery)
        served.append(read.device)
        done = QueryDone(now=NOW, device=read.device, query_id=read.query_id, sequence=SequenceNumber(0), result=b"")
        readers.on_query_done(out, done)
        assert len(out.read) <= QUERIES_AT_ONCE
    assert len(served) == QUERIES_PER_DEVICE_MAX + 1
    assert served.index(modest) <= QUERIES_AT_ONCE + 1, "the other device did not wait for the whole queue"


def test_a_device_that_left_leaves_no_place_taken() -> None:
    rules = VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1])
    readers = Readers(rules)
    device = GROUP.device("a").public_key
    for _ in range(3):
        out = Output()
        for number in range(QUERIES_PER_DEVICE_MAX):
            readers.on_query(out, device, query(number, number % 2), SequenceNumber(0))
        assert out.ignored == []
        readers.on_client_gone(device)
        for read in out.read:
            assert isinstance(read, RunQuery)
            readers.on_query_done(
                Output(),
                QueryDone(now=NOW, device=device, query_id=read.query_id, sequence=SequenceNumber(0), result=b""),
            )


def test_a_device_with_too_many_subscriptions_loses_its_oldest() -> None:
    rules = VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1])
    readers = Readers(rules)
    out = Output()
    device = GROUP.device("a").public_key
    for number in range(SUBSCRIPTIONS_PER_DEVICE_MAX + 1):
        readers.on_subscribe(
            out, device, Subscribe(subscription=number, topic=b"t", start=EventIndex(0), bodies=True)
        )
    assert out.ignored == []
    readers.on_unsubscribe(out, device, Unsubscribe(subscription=0))
    readers.on_unsubscribe(out, device, Unsubscribe(subscription=1))
    assert [ignored.reason for ignored in out.ignored] == [IgnoreReason.NO_SUBSCRIPTION]


def test_strangers_have_a_small_part_of_the_places_and_of_the_turns() -> None:
    rules = VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1])
    member = GROUP.device("member").public_key
    readers = Readers(rules, knows=lambda device: device == member)
    out = Output()
    strangers = [GROUP.device(f"stranger {number}").public_key for number in range(QUERIES_MAX // STRANGERS_DIVISOR)]
    for stranger in strangers:
        readers.on_query(out, stranger, query(0, 0), SequenceNumber(0))
        readers.on_query(out, stranger, query(1, 0), SequenceNumber(0))
    refused = len(out.ignored)
    assert refused == QUERIES_MAX // STRANGERS_DIVISOR - QUERIES_AT_ONCE
    for number in range(20):
        readers.on_query(out, member, query(number, 0), SequenceNumber(0))
    assert len(out.ignored) == refused
    served: list[bool] = []
    while len(served) < QUERIES_AT_ONCE + 20:
        read = out.read.pop(0)
        assert isinstance(read, RunQuery)
        served.append(read.device == member)
        done = QueryDone(now=NOW, device=read.device, query_id=read.query_id, sequence=SequenceNumber(0), result=b"")
        readers.on_query_done(out, done)
    assert served[QUERIES_AT_ONCE:].count(True) >= 16
    readers.on_client_gone(strangers[100])
    readers.on_query(out, strangers[101], query(2, 0), SequenceNumber(0))
    assert len(out.ignored) == refused, "those who were answered, or left, made room"
