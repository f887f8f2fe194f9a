"""Places for queries and subscriptions are few: whoever holds most of them makes room for a newcomer (attack 26)."""

from __future__ import annotations

import pytest

from crypto.signing import PublicKey
from pbft.core.effects import EventsDone, IgnoreReason, QueryDone, ReadEvents
from pbft.core.messages import Query, Subscribe, Unsubscribe
from pbft.core.output import Output
from pbft.core.readers import QUERIES_AT_ONCE, READS_PER_DEVICE_MAX, Readers
from pbft.core.types import EventIndex, Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from tests.harness.keys import make_group

GROUP = make_group(4)
NOW = Now(Milliseconds(0), Milliseconds(0))


def query(number: int, minimum: int = 0) -> Query:
    return Query(query_id=number, minimum_sequence=SequenceNumber(minimum), query=b"count")


def readers_for_a_few(monkeypatch: pytest.MonkeyPatch) -> Readers:
    """With places for 14 queries and 14 subscriptions of devices that the application knows."""
    monkeypatch.setattr("pbft.core.readers.QUERIES_MAX", 16)
    monkeypatch.setattr("pbft.core.readers.SUBSCRIPTIONS_MAX", 16)
    return Readers(VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1]))


def device(name: str) -> PublicKey:
    return GROUP.device(name).public_key


def subscribe(number: int) -> Subscribe:
    return Subscribe(subscription=number, topic=b"t", start=EventIndex(0), bodies=True)


def open_subscriptions(readers: Readers, whose: PublicKey, numbers: range) -> list[int]:
    """Those that the device can still end."""
    found = []
    for number in numbers:
        out = Output()
        readers.on_unsubscribe(out, whose, Unsubscribe(subscription=number))
        found += [] if out.ignored else [number]
    return found


def test_queries_for_a_far_state_deny_no_newcomer_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered devices that take all places: each newcomer gets one of those that have most."""
    readers, out = readers_for_a_few(monkeypatch), Output()
    greedy = [device("greedy 1"), device("greedy 2")]
    for number in range(7):
        for each in greedy:
            readers.on_query(out, each, query(number, 1), SequenceNumber(0), "host")
    assert out.ignored == []
    for number in range(6):
        readers.on_query(out, device(f"newcomer {number}"), query(0, 0), SequenceNumber(0), "host")
    assert [read.device for read in out.read] == [device(f"newcomer {number}") for number in range(6)]
    assert {ignored.source for ignored in out.ignored} <= set(greedy)
    readers.on_query(out, greedy[0], query(100, 1), SequenceNumber(0), "host")
    readers.on_query(out, greedy[0], query(101, 1), SequenceNumber(0), "host")
    assert out.ignored[-1].source == greedy[0], "who holds as many as anybody gets no more"


def test_the_host_that_holds_most_makes_room_however_many_devices_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    readers, out = readers_for_a_few(monkeypatch), Output()
    for number in range(12):
        readers.on_subscribe(out, device(f"crowd {number}"), subscribe(0), "crowd")
    for number in range(2):
        readers.on_subscribe(out, device("person"), subscribe(number), "elsewhere")
    for number in range(3):
        readers.on_subscribe(out, device("newcomer"), subscribe(number), "a third")
    assert [ignored.source for ignored in out.ignored] == [device(f"crowd {number}") for number in range(3)]
    readers.on_subscribe(out, device("crowd 100"), subscribe(0), "crowd")
    assert out.ignored[-1].source == device("crowd 3"), "in a host, too, the newcomer gets a place: of the first"
    assert open_subscriptions(readers, device("person"), range(2)) == [0, 1]
    assert open_subscriptions(readers, device("newcomer"), range(3)) == [0, 1, 2]


def test_a_newcomer_gets_a_subscription_of_the_device_that_has_most_and_of_that_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers, out = readers_for_a_few(monkeypatch), Output()
    for number in range(9):
        readers.on_subscribe(out, device("greedy"), subscribe(number))
    for number in range(5):
        readers.on_subscribe(out, device("modest"), subscribe(number))
    readers.on_subscribe(out, device("newcomer"), subscribe(0))
    assert [(ignored.source, ignored.reason) for ignored in out.ignored] == [
        (device("greedy"), IgnoreReason.TOO_MANY_SUBSCRIPTIONS)
    ]
    readers.on_subscribe(out, device("greedy"), subscribe(100))
    assert len(out.ignored) == 2
    assert open_subscriptions(readers, device("greedy"), range(101)) == list(range(1, 9))
    assert open_subscriptions(readers, device("modest"), range(5)) == list(range(5))


def test_a_device_that_subscribes_and_leaves_off_again_and_again_has_few_reads_under_way() -> None:
    readers = Readers(VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1]))
    out = Output()
    for number in range(2 * READS_PER_DEVICE_MAX):
        readers.on_subscribe(out, device("restless"), subscribe(number))
        readers.on_unsubscribe(out, device("restless"), Unsubscribe(subscription=number))
    assert len(out.read) == READS_PER_DEVICE_MAX
    for read in out.read:
        assert isinstance(read, ReadEvents)
        done = EventsDone(
            now=NOW,
            device=read.device,
            subscription=read.subscription,
            sequence=SequenceNumber(0),
            start=read.start,
            events=(),
        )
        readers.on_events_done(Output(), done)
    out = Output()
    readers.on_subscribe(out, device("restless"), subscribe(0))
    assert len(out.read) == 1


def test_a_query_whose_client_takes_nothing_makes_way_for_others() -> None:
    readers = Readers(VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1]))
    out = Output()
    for number in range(QUERIES_AT_ONCE):
        readers.on_query(out, device(f"deaf {number}"), query(0, 0), SequenceNumber(0))
    readers.on_query(out, device("another"), query(0, 0), SequenceNumber(0))
    assert device("another") not in {read.device for read in out.read}
    deaf = device("deaf 0")
    readers.on_query_done(out, QueryDone(now=NOW, device=deaf, query_id=0, sequence=SequenceNumber(0), result=None))
    assert out.reply == []
    assert out.read[-1].device == device("another")
