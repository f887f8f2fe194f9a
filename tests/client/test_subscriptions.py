"""Subscriptions: events once and in order, at f+1 equal digests, from a streamer that is replaced when it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crypto.digest import digest_of
from pbft.client.quorums import Event, Knowledge, Output, Settings, SubscriptionId, SubscriptionTracker
from pbft.client.quorums.subscriptions import AHEAD_MAX, CREDIT_STEP, STREAM_BYTES_MAX
from pbft.core.application import EventItem
from pbft.core.events import encode_item
from pbft.core.messages import Credit, Events, Signed, Subscribe, Unsubscribe
from pbft.core.readers import CREDIT_EVENTS
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from tests.client.said import DEVICE, OTHER_DEVICE, events, knowledge_of, ms, opened, signed

NUMBER = SubscriptionId(7)


def body(index: int) -> bytes:
    return b"event %d" % index


def truth(replica: int, first: int, count: int, *, bodies: bool = False, sequence: int = 1) -> Signed[Events]:
    return events(replica, NUMBER, first, [body(first + i) for i in range(count)], bodies=bodies, sequence=sequence)


class Bench:
    """A subscription with replica 0 as its first streamer, its time, and what it has said so far."""

    def __init__(self, n: int = 4, *, start: int = 0, seen: int = 0) -> None:
        self.knowledge: Knowledge = knowledge_of(n)
        self.knowledge.on_seen(SequenceNumber(seen))
        self.group = self.knowledge.group
        self.tracker = SubscriptionTracker(
            self.knowledge,
            DEVICE,
            NUMBER,
            Settings(),
            topic=b"room",
            start=EventIndex(start),
            streamer=ReplicaId(0),
        )
        self.now = 0
        self.delivered: list[Event] = []
        self.closed = False
        self.subscribed: list[tuple[int, int, bool]] = []
        """(replica, start, bodies) of each SUBSCRIBE."""
        self.credits: list[tuple[int, int]] = []
        self.unsubscribed: list[int] = []
        out = Output()
        self.tracker.open(out, ms(0))
        self.note(out)

    def note(self, out: Output) -> Output:
        self.delivered.extend(event for _, event in out.events)
        self.closed = self.closed or bool(out.closed)
        for send in out.send:
            match opened(self.group, send):
                case Subscribe() as subscribe:
                    assert (subscribe.subscription, subscribe.topic) == (NUMBER, b"room")
                    self.subscribed.extend((replica, subscribe.start, subscribe.bodies) for replica in send.to)
                case Credit() as credit:
                    self.credits.extend((replica, credit.taken) for replica in send.to)
                case Unsubscribe():
                    self.unsubscribed.extend(send.to)
        return out

    def hear(self, *heard: Signed[Events]) -> Output:
        out = Output()
        for one in heard:
            self.tracker.on_events(out, ms(self.now), one)
        return self.note(out)

    def wait(self, milliseconds: int) -> Output:
        self.now += milliseconds
        out = Output()
        self.tracker.on_time(out, ms(self.now))
        return self.note(out)

    def link(self, replica: int, *, up: bool) -> None:
        out = Output()
        self.knowledge.on_link(ReplicaId(replica), up=up)
        self.tracker.on_link(out, ms(self.now), ReplicaId(replica), up=up)
        self.note(out)

    def take(self, taken: int) -> None:
        out = Output()
        self.tracker.on_taken(out, EventIndex(taken))
        self.note(out)

    @property
    def indices(self) -> list[int]:
        return [event.index for event in self.delivered]


def test_one_replica_is_asked_for_bodies_and_the_others_for_digests() -> None:
    assert Bench(start=5).subscribed == [(0, 5, True), (1, 5, False), (2, 5, False), (3, 5, False)]


@pytest.mark.parametrize("n", [4, 7, 13])
def test_an_event_is_delivered_when_f_plus_1_replicas_agree_on_its_digest(n: int) -> None:
    bench = Bench(n)
    for replica in range(bench.group.honest_minimum):
        assert not bench.delivered
        bench.hear(*[truth(replica, 0, 2, bodies=replica == 0, sequence=9)] * 2)
    assert [event.head for event in bench.delivered] == [body(0), body(1)]
    assert bench.delivered[0].vouchers == tuple(range(bench.group.honest_minimum))
    assert bench.knowledge.seen == 9


def test_events_are_delivered_once_and_in_order_whatever_arrives_when() -> None:
    bench = Bench()
    bench.hear(truth(1, 0, 3), truth(2, 2, 4), truth(0, 0, 1, bodies=True))
    assert bench.indices == [0]
    bench.hear(truth(0, 3, 3, bodies=True), truth(3, 0, 6), truth(0, 1, 2, bodies=True), truth(0, 0, 6, bodies=True))
    assert bench.indices == [0, 1, 2, 3, 4, 5]
    assert not len(bench.knowledge.lies)


def test_the_streamers_own_body_counts_as_its_digest_but_not_twice() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 1, bodies=True), truth(0, 0, 1))
    assert not bench.delivered
    bench.hear(truth(2, 0, 1))
    assert bench.delivered[0].vouchers == (0, 2)


def test_f_liars_deliver_nothing_and_are_convicted_by_both_signed_frames() -> None:
    bench = Bench(7)
    lies = [events(liar, NUMBER, 0, [b"lie"], bodies=liar == 0) for liar in (0, 6)]
    bench.hear(*lies)
    assert not bench.delivered
    truths = [truth(replica, 0, 1) for replica in (1, 2, 3)]
    found = bench.hear(*truths).contradictions
    assert [(one.replica, one.contradicting) for one in found] == [(0, lies[0].wire), (6, lies[1].wire)]
    assert all(one.accepted == tuple(one.wire for one in truths) for one in found)
    bench.wait(500)
    assert bench.tracker.streamer == 1
    bench.hear(truth(1, 0, 1, bodies=True))
    assert bench.delivered == [
        Event(index=EventIndex(0), head=body(0), vouchers=(ReplicaId(1), ReplicaId(2), ReplicaId(3)))
    ]


def test_a_lie_after_delivery_is_noticed_too() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 1, bodies=True), truth(1, 0, 1))
    bench.hear(events(3, NUMBER, 0, [b"lie"]))
    assert bench.knowledge.lies.counts == {3: 1}
    bench.hear(truth(2, 0, 1))
    assert bench.knowledge.lies.counts == {3: 1}


def test_a_replica_that_signs_two_bodies_for_one_event_convicts_itself() -> None:
    bench = Bench()
    first, second = events(0, NUMBER, 0, [b"a"], bodies=True), events(0, NUMBER, 0, [b"b"], bodies=True)
    (found,) = bench.hear(first, second).contradictions
    assert (found.accepted, found.contradicting) == ((first.wire,), second.wire)


# -- content


def content_of(number: int, *, withheld: bool = False) -> EventItem:
    said = b"what was said %d" % number
    return EventItem(head=body(number), content_digest=digest_of(said), content=None if withheld else said)


def test_content_is_delivered_with_its_head_though_only_the_streamer_sends_it() -> None:
    bench = Bench()
    told = [content_of(0), content_of(1)]
    bench.hear(events(0, NUMBER, 0, told, bodies=True), events(1, NUMBER, 0, told))
    assert [(event.head, event.content) for event in bench.delivered] == [
        (body(0), b"what was said 0"),
        (body(1), b"what was said 1"),
    ]


def test_replicas_with_and_without_the_content_vouch_for_one_event() -> None:
    bench = Bench()
    bench.hear(
        events(0, NUMBER, 0, [content_of(0, withheld=True)], bodies=True), events(1, NUMBER, 0, [content_of(0)])
    )
    (event,) = bench.delivered
    assert (event.head, event.content, event.content_digest) == (body(0), None, digest_of(b"what was said 0"))
    assert not len(bench.knowledge.lies)


def test_content_that_one_replica_sent_counts_before_another_keeps_it_back() -> None:
    bench = Bench()
    bench.hear(events(0, NUMBER, 0, [content_of(0)], bodies=True))
    bench.hear(
        events(0, NUMBER, 0, [content_of(0, withheld=True)], bodies=True), events(1, NUMBER, 0, [content_of(0)])
    )
    assert [event.content for event in bench.delivered] == [b"what was said 0"]


def garbage(replica: int, item: bytes) -> Signed[Events]:
    """What no correct replica signs in place of event 0."""
    return signed(replica, replace(truth(replica, 0, 1, bodies=True).message, items=(item,)))


FORGED = encode_item(replace(content_of(0), content=b"what was not said"))


@pytest.mark.parametrize(
    "item", [b"", b"no item", FORGED], ids=["nothing", "no encoding", "content of another event"]
)
def test_a_streamer_that_sends_what_is_no_event_is_accused_and_replaced(item: bytes) -> None:
    bench = Bench()
    del bench.subscribed[:]
    lie = garbage(0, item)
    (found,) = bench.hear(lie).contradictions
    assert (found.replica, found.accepted, found.contradicting) == (0, (), lie.wire)
    assert bench.subscribed == [(1, 0, True)], "the liar is asked for digests once it has had to wait"
    bench.wait(200)
    assert bench.subscribed[1:] == [(0, 0, False)]
    bench.hear(events(1, NUMBER, 0, [content_of(0)], bodies=True), events(2, NUMBER, 0, [content_of(0)]))
    assert [event.content for event in bench.delivered] == [b"what was said 0"]


def test_nothing_counts_in_a_statement_of_which_one_item_is_garbage() -> None:
    bench = Bench()
    mixed = truth(0, 0, 2, bodies=True).message
    bench.hear(signed(0, replace(mixed, items=(mixed.items[0], b"no item"))), truth(1, 0, 1))
    assert not bench.delivered


def test_a_liar_that_is_the_only_one_left_is_asked_ever_more_seldom() -> None:
    bench = Bench()
    for replica in (1, 2, 3):
        bench.link(replica, up=False)
    del bench.subscribed[:]
    bench.hear(garbage(0, b"no item"))
    asked = []
    for _ in range(100):
        if bench.wait(100).send:
            asked.append(bench.now)
            bench.hear(garbage(0, b"no item"))
    assert asked == [200, 600, 1_400, 3_000, 6_200]


# -- the streamer


def test_a_streamer_that_withholds_is_replaced_from_the_next_event_needed() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 2, bodies=True), truth(1, 0, 5), truth(2, 0, 5))
    bench.wait(499)
    assert bench.tracker.streamer == 0
    del bench.subscribed[:]
    bench.wait(1)
    assert bench.subscribed == [(1, 2, True), (0, 2, False)]
    bench.hear(truth(1, 2, 3, bodies=True))
    assert bench.indices == [0, 1, 2, 3, 4]


def test_when_one_after_the_other_withholds_all_are_tried() -> None:
    bench = Bench(7)
    bench.hear(*(truth(replica, 0, 1) for replica in range(7)))
    streamers = []
    for _ in range(400):
        bench.wait(50)
        if bench.tracker.streamer not in streamers:
            streamers.append(bench.tracker.streamer)
    assert sorted(streamers) == list(range(7))


def test_a_streamer_whose_link_breaks_is_replaced_at_once_and_comes_back_as_a_witness() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 2, bodies=True), truth(1, 0, 2))
    del bench.subscribed[:]
    bench.link(0, up=False)
    assert bench.subscribed == [(1, 2, True)]
    bench.link(0, up=True)
    assert bench.subscribed[1:] == [(0, 2, False)]


def test_after_all_links_broke_the_stream_goes_on_where_it_was() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 3, bodies=True), truth(1, 0, 3))
    for replica in range(4):
        bench.link(replica, up=False)
    del bench.subscribed[:]
    for replica in (2, 3, 0, 1):
        bench.link(replica, up=True)
    assert bench.subscribed == [(2, 3, True), (3, 3, False), (0, 3, False), (1, 3, False)]
    bench.hear(truth(2, 3, 2, bodies=True), truth(3, 3, 2))
    assert bench.indices == [0, 1, 2, 3, 4]


def test_what_was_lost_on_the_way_is_asked_for_again() -> None:
    bench = Bench()
    bench.hear(truth(0, 0, 1, bodies=True), truth(1, 0, 1))
    del bench.subscribed[:]
    bench.hear(truth(1, 3, 1))
    bench.wait(200)
    assert bench.subscribed == [(1, 1, False)]


def test_a_claim_that_nobody_shares_makes_the_silent_ones_be_asked_again_ever_more_seldom() -> None:
    bench = Bench()
    bench.hear(events(3, NUMBER, 0, [b"lie"]))
    del bench.subscribed[:]
    times = [bench.now for _ in range(290) if bench.wait(100).send]
    assert times == [2_000, 6_000, 14_000, 24_000]
    assert {replica for replica, *_ in bench.subscribed} == {0, 1, 2}


# -- flow


def test_credit_is_given_as_events_are_taken_and_never_beyond_what_was_sent() -> None:
    bench = Bench()
    total = 2 * CREDIT_STEP
    for first in range(0, total, 64):
        bench.hear(truth(0, first, 64, bodies=True), truth(1, first, 64))
    assert bench.indices == list(range(total))
    assert not bench.credits, "nothing was taken yet"
    bench.take(CREDIT_STEP)
    assert bench.credits == [(0, CREDIT_STEP), (1, CREDIT_STEP)]
    bench.take(10 * CREDIT_STEP)
    assert bench.credits[2:] == [(0, total), (1, total)]


def test_what_is_buffered_is_bounded_in_events_and_bytes() -> None:
    bench = Bench()
    for first in range(0, 10_000, 100):
        bench.hear(truth(1, first, 100), truth(3, first, 100))
    assert bench.tracker.buffered == AHEAD_MAX >= CREDIT_EVENTS
    heavy = b"z" * 1024 * 1024
    for index in range(200, 300):
        bench.hear(events(3, NUMBER, index, [heavy], bodies=True))
    assert bench.tracker._streams[ReplicaId(3)].held_bytes <= STREAM_BYTES_MAX


def test_far_away_events_are_not_looked_at() -> None:
    bench = Bench()
    bench.hear(truth(3, 2**61, 1), truth(2, 2**61, 1))
    assert bench.tracker.buffered == 0


def test_a_large_stream_gets_through_in_spite_of_the_bound_in_bytes() -> None:
    bench = Bench()
    large = [bytes([index]) * 1024 * 1024 for index in range(40)]
    sent = [0, 0]
    for _ in range(200):
        for replica in (0, 1):
            if sent[replica] < 40:
                bench.hear(events(replica, NUMBER, sent[replica], [large[sent[replica]]], bodies=replica == 0))
                sent[replica] += 1
        bench.wait(50)
        for replica, start, _ in bench.subscribed:
            if replica < 2:
                sent[replica] = start
        del bench.subscribed[:]
    assert bench.indices == list(range(40))


def test_who_says_nothing_for_long_is_asked_again_unless_it_may_say_no_more() -> None:
    bench, quiet_ms = Bench(), Settings().quiet_ms
    bench.hear(truth(0, 0, CREDIT_EVENTS, bodies=True), truth(1, 0, CREDIT_EVENTS))
    del bench.subscribed[:]
    bench.wait(quiet_ms)
    assert bench.subscribed == [(2, CREDIT_EVENTS, False), (3, CREDIT_EVENTS, False)]
    bench.take(CREDIT_EVENTS)
    bench.wait(quiet_ms)
    assert [replica for replica, _, _ in bench.subscribed] == [2, 3, 0, 1, 2, 3]


# -- the end


def test_a_topic_is_closed_when_f_plus_1_say_so() -> None:
    bench = Bench()
    bench.hear(events(3, NUMBER, 0, [], closed=True))
    closed = [bench.closed]
    bench.hear(events(2, NUMBER, 0, [], closed=True))
    closed.append(bench.closed)
    assert closed == [False, True]
    bench.hear(truth(0, 0, 1, bodies=True), truth(1, 0, 1))
    assert not bench.delivered
    assert bench.tracker.next_at is None


def test_replicas_that_do_not_know_a_topic_yet_are_asked_again() -> None:
    bench = Bench(seen=10)
    for replica in (2, 3):
        bench.hear(events(replica, NUMBER, 0, [], closed=True, sequence=9))
    assert not bench.closed
    del bench.subscribed[:]
    bench.wait(200)
    assert bench.subscribed == [(2, 0, False), (3, 0, False)]
    bench.hear(truth(0, 0, 1, bodies=True), truth(2, 0, 1, sequence=11))
    assert bench.indices == [0]


def test_a_streamer_that_closes_alone_is_replaced_without_haste() -> None:
    bench = Bench()
    del bench.subscribed[:]
    bench.hear(events(0, NUMBER, 0, [], closed=True))
    assert bench.subscribed == [(1, 0, True)]
    for _ in range(100):
        bench.hear(events(0, NUMBER, 0, [], closed=True))
    assert bench.subscribed == [(1, 0, True)]


def test_closing_tells_the_replicas_and_ends_everything() -> None:
    bench = Bench()
    out = Output()
    bench.tracker.close(out)
    bench.note(out)
    assert bench.unsubscribed == [0, 1, 2, 3]
    assert not bench.hear(truth(0, 0, 1, bodies=True), truth(1, 0, 1)).events


def test_statements_for_another_device_are_passed_over() -> None:
    bench = Bench()
    bench.hear(*(events(r, NUMBER, 0, [body(0)], bodies=r == 0, device=OTHER_DEVICE) for r in range(4)))
    assert not bench.delivered
