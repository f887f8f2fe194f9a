"""The one task that owns a client's quorum logic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import assert_never

import trio

from pbft.client.commands import (
    Ask,
    CloseStream,
    Command,
    GiveUp,
    Heard,
    Link,
    Merger,
    OnOutcome,
    OpenStream,
    Retry,
    Submit,
    Taken,
)
from pbft.client.quorums import (
    ClientCore,
    Contradiction,
    QueryId,
    QueryOutcome,
    SubscriptionId,
    Ticket,
    Unknown,
    UnknownTicket,
)
from pbft.client.quorums.core import SUBSCRIPTIONS_MAX
from pbft.client.streams import EventStream
from pbft.core.handshake import framed
from pbft.core.messages import ToClient
from pbft.core.types import EventIndex, Milliseconds, ReplicaId


class Owner:
    """Feeds the core with what is posted, and carries out what the core says."""

    def __init__(
        self,
        core: ClientCore,
        *,
        send: Callable[[ReplicaId, bytes], None],
        on_contradiction: Callable[[Contradiction], None],
    ) -> None:
        self.core = core
        self.unfinished = 0
        """Operations whose outcome somebody waits for, posted ones included."""
        self._send_to = send
        self._on_contradiction = on_contradiction
        # Unbounded, because each sender bounds itself: a link has one chunk in it, operations are counted.
        self._send, self._receive = trio.open_memory_channel[Command](math.inf)
        self._waiting: dict[Ticket, OnOutcome] = {}
        self._asking: dict[QueryId, Callable[[QueryOutcome], None]] = {}
        self._streams: dict[SubscriptionId, EventStream] = {}
        self._numbers: dict[EventStream, SubscriptionId] = {}
        self._streams_open = 0

    def post(self, command: Command) -> None:
        self._send.send_nowait(command)

    def heard(self, messages: Sequence[ToClient]) -> trio.Event:
        """Post the messages; the event says when they are being handled."""
        taken = trio.Event()
        self.post(Heard(messages, taken))
        return taken

    # -- for the streams

    def open_stream(self, stream: EventStream) -> None:
        if self._streams_open >= SUBSCRIPTIONS_MAX:
            msg = f"a client has at most {SUBSCRIPTIONS_MAX} subscriptions"
            raise ValueError(msg)
        self._streams_open += 1
        self.post(OpenStream(stream))

    def close_stream(self, stream: EventStream) -> None:
        self._streams_open -= 1
        self.post(CloseStream(stream))

    def on_taken(self, stream: EventStream, taken: EventIndex) -> None:
        self.post(Taken(stream, taken))

    async def run(self) -> None:
        """Take all that waits, then carry out what it led to; until cancelled."""
        while True:
            next_at = self.core.next_at
            merger = Merger()
            # Half a millisecond late rather than early: an early one would find nothing due.
            with trio.move_on_at(math.inf if next_at is None else (next_at + 0.5) / 1000):
                merger.add(await self._receive.receive())
            for _ in range(self._receive.statistics().current_buffer_used):
                merger.add(self._receive.receive_nowait())
            now = Milliseconds(int(trio.current_time() * 1000))
            for command in merger.commands:
                self._carry(command, now)
            self.core.on_time(now)
            self._publish()

    def _carry(self, command: Command, now: Milliseconds) -> None:
        core = self.core
        match command:
            case Submit(operations, on_outcomes, within_ms, repeatable, keep):
                tickets = core.submit(
                    now, operations, within_ms=within_ms, repeatable=repeatable, keep_statements=keep
                )
                self._waiting.update(zip(tickets, on_outcomes, strict=True))
            case Retry(ticket, on_outcome, within_ms):
                try:
                    core.retry(now, ticket, within_ms=within_ms)
                except UnknownTicket:  # another retry of it was quicker
                    self.unfinished -= 1
                    on_outcome(Unknown(ticket=ticket, sent=True))
                else:
                    self._waiting[ticket] = on_outcome
            case Ask(query, on_answer, within_ms):
                self._asking[core.ask(now, query, within_ms=within_ms)] = on_answer
            case OpenStream() | Taken() | CloseStream():
                self._carry_stream(command, now)
            case Heard(messages, taken_event):
                taken_event.set()
                core.on_heard(now, messages)
            case Link(replica, up):
                core.on_link(now, replica, up=up)
            case GiveUp():
                core.give_up()
            case _:
                assert_never(command)

    def _carry_stream(self, command: OpenStream | Taken | CloseStream, now: Milliseconds) -> None:
        match command:
            case OpenStream(stream):
                number = self.core.subscribe(now, stream.topic, stream.start)
                self._streams[number] = stream
                self._numbers[stream] = number
            case Taken(stream, taken):
                if stream in self._numbers:
                    self.core.on_taken(self._numbers[stream], taken)
            case CloseStream(stream):
                number = self._numbers.pop(stream)
                del self._streams[number]
                self.core.unsubscribe(number)
            case _:
                assert_never(command)

    def _publish(self) -> None:
        out = self.core.take()
        for send in out.send:
            data = framed(send.wire)
            for replica in send.to:
                self._send_to(replica, data)
        for ticket, outcome in out.outcomes:
            self.unfinished -= 1
            self._waiting.pop(ticket)(outcome)
        for query, answer in out.answers:
            self._asking.pop(query)(answer)
        for number, event in out.events:
            if number in self._streams:
                self._streams[number].deliver(event)
        for number in out.closed:
            if number in self._streams:
                self._streams[number].end()
        for contradiction in out.contradictions:
            self._on_contradiction(contradiction)
