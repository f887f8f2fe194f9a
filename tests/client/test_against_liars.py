"""Whole clients against f liars that agree among themselves, and a network that loses, repeats and reorders.

Whatever happens: nothing untrue is accepted, no correct replica is accused, and when the network heals all gets done.
A failing run names its seed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbft.client.quorums import Accepted, Answered, ClientCore, Output, QueryId, SubscriptionId, Ticket
from pbft.client.quorums.subscriptions import AHEAD_MAX
from pbft.core.messages import Query, SignedRequest, Subscribe, ToClient, Unsubscribe
from pbft.core.types import EventIndex, ReplicaId
from tests.client.said import answer, core_of, events, ms, opened, reply, result, signed

TOPIC = b"room"


def true_result(client_sequence: int) -> bytes:
    return b"done %d" % client_sequence


def true_answer(sequence: int) -> bytes:
    return b"state %d" % (sequence // 3)


def true_event(index: int) -> bytes:
    return b"event %d" % index


@dataclass
class World:
    """n replicas, the last f of them liars, and one client."""

    n: int
    random: Random
    core: ClientCore = field(init=False)
    now: int = 0
    order: dict[int, int] = field(default_factory=dict)
    """Client sequence -> sequence number at which it was ordered."""
    said: deque[tuple[int, ToClient]] = field(default_factory=deque)
    streams: dict[tuple[int, int], tuple[int, bool]] = field(default_factory=dict)
    """(replica, subscription) -> (next event, bodies)."""
    event_count: int = 0
    outcomes: dict[Ticket, Accepted] = field(default_factory=dict)
    answers: dict[QueryId, Answered] = field(default_factory=dict)
    events: dict[SubscriptionId, list[int]] = field(default_factory=dict)
    healed: bool = False

    def __post_init__(self) -> None:
        self.core = core_of(self.n, client_window=16)
        self.f = self.core.group.faulty_max
        self.liars = range(self.n - self.f, self.n)

    # -- replicas

    def lie(self, replica: int, question: object) -> None:
        """Liars agree: their lies are drawn from few, so that all f often say the same."""
        pick = self.random.choice
        match question:
            case SignedRequest() as request:
                name = request.message.first_client_sequence + self.random.randrange(5)
                said = result(name, pick([b"lie", true_result(name)]), refused=pick([True, False, False]))
                sequence = pick([0, 1, 2**62, self.order.get(name, 5)])
                self.said.append((replica, reply(replica, said, sequence=sequence, view=pick([0, 3, 2**40]))))
            case Query() as query:
                sequence = pick([0, query.minimum_sequence, len(self.order), 2**62])
                said_now = pick([b"lie", true_answer(query.minimum_sequence)])
                self.said.append((replica, answer(replica, query.query_id, said_now, sequence=sequence)))
            case Subscribe() as subscribe:
                first = pick([subscribe.start, subscribe.start + 1, 0, 2**40])
                items = [pick([b"lie", true_event(first)]) for _ in range(self.random.randrange(3))]
                closed = pick([True, False, False])
                number = subscribe.subscription
                said_events = events(
                    replica, number, first, items, bodies=pick([True, False]), closed=closed, sequence=2**62
                )
                if said_events.message.bodies and pick([True, False, False]):
                    said_events = signed(replica, replace(said_events.message, items=(b"garbage",)))
                self.said.append((replica, said_events))
            case _:
                pass

    def answer_truly(self, replica: int, question: object) -> None:
        match question:
            case SignedRequest() as request:
                first = request.message.first_client_sequence
                for name in range(first, first + len(request.message.operations)):
                    sequence = self.order.setdefault(name, len(self.order) + 1)
                    self.said.append((replica, reply(replica, result(name, true_result(name)), sequence=sequence)))
            case Query() as query:
                newest = len(self.order)
                if query.minimum_sequence <= newest:
                    lag = 0 if self.healed else self.random.randrange(newest - query.minimum_sequence + 1)
                    sequence = newest - lag
                    said = answer(replica, query.query_id, true_answer(sequence), sequence=sequence)
                    self.said.append((replica, said))
            case Subscribe() as subscribe:
                self.streams[replica, subscribe.subscription] = (subscribe.start, subscribe.bodies)
                self.stream(replica, subscribe.subscription)
            case Unsubscribe() as unsubscribe:
                self.streams.pop((replica, unsubscribe.subscription), None)
            case _:
                pass

    def stream(self, replica: int, number: int) -> None:
        first, bodies = self.streams[replica, number]
        count = min(self.event_count - first, self.random.randint(1, 5))
        if count > 0:
            self.streams[replica, number] = (first + count, bodies)
            items = [true_event(index) for index in range(first, first + count)]
            said = events(replica, number, first, items, bodies=bodies, sequence=len(self.order))
            self.said.append((replica, said))

    # -- the client

    def carry_out(self) -> None:
        out = self.core.take()
        for send in out.send:
            question = opened(self.core.group, send)
            for replica in send.to:
                self.put(replica, question)
        self.check(out)

    def put(self, replica: int, question: object) -> None:
        if replica in self.liars:
            for _ in range(self.random.randrange(3)):
                self.lie(replica, question)
        elif self.healed or self.random.random() < 0.7:
            self.answer_truly(replica, question)

    def check(self, out: Output) -> None:
        """All that became known is true."""
        for ticket, outcome in out.outcomes:
            if isinstance(outcome, Accepted):
                assert outcome.result == true_result(outcome.client_sequence)
                assert outcome.sequence == self.order[outcome.client_sequence]
                assert ticket not in self.outcomes
                self.outcomes[ticket] = outcome
        for query, answered in out.answers:
            if isinstance(answered, Answered):
                assert answered.result.startswith(b"state ")
                self.answers[query] = answered
        for number, event in out.events:
            seen = self.events.setdefault(number, [])
            assert (event.index, event.head) == (len(seen), true_event(event.index))
            seen.append(event.index)
            if event.index % 7 == 0:
                self.core.on_taken(number, EventIndex(event.index + 1))
        assert not out.closed, "nobody correct has closed the topic"
        accused = self.core.contradictions.counts
        assert all(replica in self.liars for replica in accused), f"a correct replica was accused: {accused}"
        for subscription in self.core.subscriptions.values():
            assert subscription.buffered <= AHEAD_MAX

    def hear(self, count: int) -> None:
        heard = []
        for _ in range(min(count, len(self.said))):
            if not self.healed and self.random.random() < 0.3:
                self.said.rotate(self.random.randrange(len(self.said)))
            _, message = self.said.popleft()
            if self.healed or self.random.random() > 0.15:
                heard.append(message)
            if self.random.random() < 0.1:
                heard.append(message)
        heard = [message for message in heard if not self.core.is_surplus(message.message)]
        self.core.on_heard(ms(self.now), heard)
        self.carry_out()

    def step(self) -> None:
        match self.random.randrange(8):
            case 0:
                self.core.submit(ms(self.now), [b"x"] * self.random.randint(1, 5))
            case 1 if self.core.queries.outstanding < 8:
                self.core.ask(ms(self.now), b"?")
            case 2 if len(self.core.subscriptions) < 2:
                self.core.subscribe(ms(self.now), TOPIC, EventIndex(0))
            case 3:
                self.event_count += self.random.randrange(4)
            case 4:
                replica = ReplicaId(self.random.randrange(self.n))
                self.core.on_link(ms(self.now), replica, up=self.random.random() < 0.7)
            case 5:
                self.now += self.random.choice([10, 100, 700])
                self.core.on_time(ms(self.now))
            case _:
                self.hear(self.random.randint(1, 6))
        for key in list(self.streams):
            if self.random.random() < 0.2:
                self.stream(*key)
        self.carry_out()

    def heal(self) -> None:
        """The network is whole again; the liars lie on."""
        self.healed = True
        for replica in self.core.group.replicas:
            self.core.on_link(ms(self.now), replica, up=True)
        for _ in range(600):
            for key in list(self.streams):
                self.stream(*key)
            self.carry_out()
            self.hear(len(self.said))
            self.now += 100
            self.core.on_time(ms(self.now))
            self.carry_out()


@pytest.mark.parametrize("n", [4, 7])
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_nothing_untrue_is_accepted_nobody_correct_is_accused_and_all_gets_done(n: int, seed: int) -> None:
    world = World(n, Random(seed))  # noqa: S311 - a schedule, not a secret
    for _ in range(120):
        world.step()
    world.heal()
    assert world.core.requests.outstanding == world.core.requests.waiting == 0
    assert world.core.queries.outstanding == 0
    for number in world.core.subscriptions:
        assert world.events.get(number, []) == list(range(world.event_count))


@pytest.mark.parametrize("n", [4, 7])
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_f_liars_alone_get_nothing_accepted(n: int, seed: int) -> None:
    world = World(n, Random(seed))  # noqa: S311 - the same
    for replica in range(world.n - world.f):
        world.core.on_link(ms(0), ReplicaId(replica), up=False)
    world.core.submit(ms(0), [b"x"] * 3)
    world.core.ask(ms(0), b"?", within_ms=10_000)
    number = world.core.subscribe(ms(0), TOPIC, EventIndex(0))
    for _ in range(60):
        world.carry_out()
        world.hear(len(world.said))
        world.now += 200
        world.core.on_time(ms(world.now))
    assert not world.outcomes
    assert not world.answers
    assert number not in world.events
    assert world.core.knowledge.seen == 0
    assert world.core.knowledge.believed_view == 0
