"""Queries and streams out of the executed state: a few in each step, so that ordering does not wait for them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from crypto.signing import PublicKey
from pbft.core.effects import EventsDone, QueryDone, ReadEvents, RunQuery
from pbft.node.clock import Clock
from pbft.state.executor import Executor

READS_PER_STEP = 4
READ_SECONDS_PER_STEP = 0.002
"""A read may take milliseconds: ordering does not wait for another one after that."""


class Reads:
    """Those that wait. `has_room`: whether a client takes what it asked for before."""

    def __init__(self, executor: Executor, clock: Clock, has_room: Callable[[PublicKey], bool]) -> None:
        self._executor = executor
        self._clock = clock
        self._has_room = has_room
        self._waiting: deque[RunQuery | ReadEvents] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, reads: Iterable[RunQuery | ReadEvents]) -> None:
        self._waiting.extend(reads)

    def clear(self) -> None:
        """The state is replaced: whoever reads it must ask again."""
        self._waiting.clear()

    @property
    def can_go_on(self) -> bool:
        """Whether `next_slice` has something to do."""
        return any(isinstance(read, RunQuery) or self._has_room(read.device) for read in self._waiting)

    def next_slice(self) -> list[QueryDone | EventsDone]:
        """The next few, of clients that take what they asked for before. Of the others, streams wait, and queries go
        without an answer: they would keep their places among those few that are under way."""
        done: list[QueryDone | EventsDone] = []
        until = time.perf_counter() + READ_SECONDS_PER_STEP
        for _ in range(len(self._waiting)):
            if len(done) == READS_PER_STEP or (done and time.perf_counter() > until):
                break
            read = self._waiting.popleft()
            has_room = self._has_room(read.device)
            match read:
                case RunQuery():
                    done.append(self._query(read, is_wanted=has_room))
                case ReadEvents() if has_room:
                    done.append(self._events(read))
                case ReadEvents():
                    self._waiting.append(read)
        return done

    def _query(self, read: RunQuery, *, is_wanted: bool) -> QueryDone:
        now = self._clock.now()
        sequence, result = self._executor.position.last_executed, None
        if is_wanted:
            sequence, result = self._executor.query(read.device, read.query)
        return QueryDone(now=now, device=read.device, query_id=read.query_id, sequence=sequence, result=result)

    def _events(self, read: ReadEvents) -> EventsDone:
        now = self._clock.now()
        sequence, events = self._executor.events(read.device, read.topic, read.start, read.limit)
        return EventsDone(
            now=now,
            device=read.device,
            subscription=read.subscription,
            sequence=sequence,
            start=read.start,
            events=events,
        )
