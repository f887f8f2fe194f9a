"""Places for queries and subscriptions are few: whoever holds most of them makes room for a newcomer (attack 26)."""

from __future__ import annotations

import pytest

from crypto.signing import PublicKey
from pbft.core.effects import EventsDone, IgnoreReason, QueryDone, ReadEvents
from pbft.core.messages import Credit, Query, Subscribe, Unsubscribe
from pbft.core.output import Output
from pbft.core.readers import FORGIVEN_MAX, QUERIES_AT_ONCE, READS_PER_DEVICE_MAX, RESTARTS_MAX, Readers
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


def test_what_is_said_of_a_subscription_that_made_room_for_others_is_no_fault_and_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers, out = readers_for_a_few(monkeypatch), Output()
    for number in range(14):
        readers.on_subscribe(out, device("evicted"), subscribe(number), "home")
    readers.on_subscribe(out, device("newcomer"), subscribe(0), "elsewhere")
    credit = Credit(subscription=0, taken=EventIndex(1))
    for _ in range(FORGIVEN_MAX + 1):
        readers.on_credit(out, device("evicted"), credit)
    readers.on_credit(out, device("another"), credit)
    made_room, none = IgnoreReason.TOO_MANY_SUBSCRIPTIONS, IgnoreReason.NO_SUBSCRIPTION
    assert [each.reason for each in out.ignored] == [made_room] * (1 + FORGIVEN_MAX) + [none, none]


def test_what_made_room_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbft.core.readers.DROPPED_REMEMBERED", 2)
    readers, out = readers_for_a_few(monkeypatch), Output()
    for number in range(14 + 3):
        readers.on_subscribe(out, device(f"{number}"), subscribe(0))
    for number in range(3):
        readers.on_unsubscribe(out, device(f"{number}"), Unsubscribe(subscription=0))
    made_room = IgnoreReason.TOO_MANY_SUBSCRIPTIONS
    assert [each.reason for each in out.ignored[3:]] == [IgnoreReason.NO_SUBSCRIPTION, made_room, made_room]


def test_restarts_of_a_subscription_that_is_not_read_are_their_clients_own_doing() -> None:
    readers, out = Readers(VotingRules(GROUP.group, ReplicaId(1), GROUP.signers[1])), Output()
    for _ in range(RESTARTS_MAX + 2):
        readers.on_subscribe(out, device("restless"), subscribe(0))
    assert [each.reason for each in out.ignored] == [IgnoreReason.DEVICE_FULL] * 2


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
