"""A subscription that a replica had no room for any more is asked for again: its client misses nothing for ever."""

from __future__ import annotations

import pytest

from pbft.client.quorums import ClientCore, Event, Settings
from pbft.core.application import EventItem
from pbft.core.codec import Opener
from pbft.core.effects import EventsDone, IgnoreReason, ReadEvents
from pbft.core.messages import Events, Signed, Subscribe
from pbft.core.output import Output
from pbft.core.readers import Readers
from pbft.core.types import EventIndex, Milliseconds, Now, ReplicaId, SequenceNumber, SessionNumber
from pbft.core.voting_rules import VotingRules
from tests.client.said import ms
from tests.harness.keys import make_group

MEMBERS = make_group(4)
TOPIC = b"room"
CLIENT = MEMBERS.device("client")


class World:
    """A client, and the readers of four replicas that execute the same events at the same moment."""

    def __init__(self) -> None:
        group = MEMBERS.group
        self.now = 0
        self.told: list[bytes] = []
        self.core = ClientCore(group, CLIENT, SessionNumber(1), Settings())
        self.readers = [Readers(VotingRules(group, replica, MEMBERS.signers[replica])) for replica in group.replicas]
        self.asked = 0
        """SUBSCRIBEs of the client."""
        self.blamed: list[IgnoreReason] = []
        """What the replicas have ignored of the client's, or on its account."""
        self.events: list[Event] = []
        for replica in group.replicas:
            self.core.on_link(ms(0), replica, up=True)
        self.core.subscribe(ms(0), TOPIC, EventIndex(0))
        self.carry_out()

    def carry_out(self) -> None:
        out = self.core.take()
        self.events += [event for _, event in out.events]
        for send in out.send:
            message = Opener(MEMBERS.group, MEMBERS.verifier).open_client(send.wire)
            assert isinstance(message, Subscribe)
            self.asked += len(send.to)
            for replica in send.to:
                said = Output()
                self.readers[replica].on_subscribe(said, CLIENT.public_key, message, "home")
                self.carry_out_at(replica, said)

    def carry_out_at(self, replica: ReplicaId, out: Output) -> None:
        """Reads are done at once, and what is for the client reaches it."""
        self.blamed += [each.reason for each in out.ignored if each.source == CLIENT.public_key]
        for read in out.read:
            assert isinstance(read, ReadEvents)
            done = EventsDone(
                now=Now(Milliseconds(self.now), Milliseconds(self.now)),
                device=read.device,
                subscription=read.subscription,
                sequence=SequenceNumber(len(self.told)),
                start=read.start,
                events=tuple(EventItem(head=told) for told in self.told[read.start : read.start + read.limit]),
            )
            then = Output()
            self.readers[replica].on_events_done(then, done)
            self.carry_out_at(replica, then)
        for reply in out.reply:
            if reply.device == CLIENT.public_key:
                assert isinstance(reply.message, Signed)
                assert isinstance(reply.message.message, Events)
                self.core.on_heard(ms(self.now), [reply.message])
        self.carry_out()

    def execute(self, body: bytes) -> None:
        self.told.append(body)
        for replica in MEMBERS.group.replicas:
            out = Output()
            self.readers[replica].on_executed(out, [TOPIC], SequenceNumber(len(self.told)))
            self.carry_out_at(replica, out)

    def crowd(self, count: int) -> None:
        """Others subscribe to something else, from the same address: who came first there makes room."""
        for number in range(count):
            subscribe = Subscribe(subscription=0, topic=b"elsewhere", start=EventIndex(0), bodies=False)
            for replica in MEMBERS.group.replicas:
                out = Output()
                device = MEMBERS.device(f"other {number}").public_key
                self.readers[replica].on_subscribe(out, device, subscribe, "home")
                self.carry_out_at(replica, out)

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.core.on_time(ms(self.now))
        self.carry_out()


def test_a_client_whose_subscription_had_to_make_room_gets_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbft.core.readers.SUBSCRIPTIONS_MAX", 8)
    world = World()
    world.execute(b"first")
    world.crowd(7)
    assert world.blamed == [IgnoreReason.TOO_MANY_SUBSCRIPTIONS] * 4, "it made room at every replica"
    world.execute(b"second")
    assert [event.head for event in world.events] == [b"first"]
    world.wait(Settings().quiet_ms)
    assert [event.head for event in world.events] == [b"first", b"second"]
    world.execute(b"third")
    assert world.events[-1].head == b"third"


def test_a_quiet_topic_costs_a_question_now_and_then_and_nobody_is_blamed_for_it() -> None:
    world = World()
    world.execute(b"first")
    minute = 60_000
    for _ in range(minute // 100):
        world.wait(100)
    assert world.asked == 4 + 4 * (minute // Settings().quiet_ms)
    assert world.blamed == []
    assert [event.head for event in world.events] == [b"first"]
