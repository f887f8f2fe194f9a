"""Events of one topic as an async iterator."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Protocol, Self

import trio

from pbft.client.errors import TopicClosed
from pbft.client.quorums import Event
from pbft.core.readers import CREDIT_EVENTS
from pbft.core.types import EventIndex

TAKEN_STEP = CREDIT_EVENTS // 8


class StreamOwner(Protocol):
    """Whoever feeds the streams."""

    def open_stream(self, stream: EventStream) -> None: ...
    def close_stream(self, stream: EventStream) -> None: ...
    def on_taken(self, stream: EventStream, taken: EventIndex) -> None: ...


class EventStream:
    """`async with` subscribes, `async for` gives the events, each once and in order, without end.

    Whoever does not take them is not sent more than a bounded number. Raises TopicClosed, after the events
    before, when the topic cannot be read.
    """

    def __init__(self, owner: StreamOwner, topic: bytes, start: EventIndex) -> None:
        self.topic = topic
        self.start = start
        self._owner = owner
        self._events: deque[Event] = deque()
        self._wake = trio.Event()
        self._closed = False
        self._told = start

    async def __aenter__(self) -> Self:
        """Raise ValueError when the client has too many subscriptions."""
        await trio.lowlevel.checkpoint()
        self._owner.open_stream(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._owner.close_stream(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                msg = f"{self.topic.decode(errors='replace')}: f+1 replicas say that it cannot be read"
                raise TopicClosed(msg)
            self._wake = trio.Event()
            await self._wake.wait()
        event = self._events.popleft()
        taken = EventIndex(event.index + 1)
        if taken - self._told >= TAKEN_STEP:
            self._told = taken
            self._owner.on_taken(self, taken)
            await trio.lowlevel.checkpoint()
        return event

    # -- for the owner

    def deliver(self, event: Event) -> None:
        self._events.append(event)
        self._wake.set()

    def end(self) -> None:
        self._closed = True
        self._wake.set()
