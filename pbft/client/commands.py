"""What is posted to the one task that owns a client's trackers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from pbft.client.quorums import Outcome, QueryOutcome, Ticket
from pbft.client.streams import EventStream
from pbft.core.messages import ToClient
from pbft.core.types import EventIndex, ReplicaId

OnOutcome: TypeAlias = Callable[[Outcome], None]
"""Called once, in the client's task: must be quick and raise nothing."""


@dataclass(frozen=True, slots=True)
class Submit:
    operations: Sequence[bytes]
    on_outcomes: Sequence[OnOutcome]
    within_ms: int | None
    repeatable: bool
    keep_statements: bool = False

    @property
    def manner(self) -> tuple[int | None, bool, bool]:
        """What operations submitted together have in common."""
        return self.within_ms, self.repeatable, self.keep_statements


@dataclass(frozen=True, slots=True)
class Retry:
    ticket: Ticket
    on_outcome: OnOutcome
    within_ms: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    query: bytes
    on_answer: Callable[[QueryOutcome], None]
    within_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenStream:
    stream: EventStream


@dataclass(frozen=True, slots=True)
class Taken:
    stream: EventStream
    taken: EventIndex


@dataclass(frozen=True, slots=True)
class CloseStream:
    stream: EventStream


@dataclass(frozen=True, slots=True)
class Heard:
    messages: Sequence[ToClient]
    taken: trio.Event


@dataclass(frozen=True, slots=True)
class Link:
    replica: ReplicaId
    up: bool


class GiveUp:
    pass


Command: TypeAlias = Submit | Retry | Ask | OpenStream | Taken | CloseStream | Heard | Link | GiveUp


@dataclass(slots=True)
class Collected:
    """Outcomes of operations that were submitted together."""

    count: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    done: trio.Event = field(default_factory=trio.Event)

    def at(self, place: int) -> OnOutcome:
        def on_outcome(outcome: Outcome) -> None:
            self.outcomes[place] = outcome
            if len(self.outcomes) == self.count:
                self.done.set()

        return on_outcome


class Merger:
    """Operations submitted one after the other become one submission: they may share a signature."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._operations: list[bytes] = []
        self._on_outcomes: list[OnOutcome] = []
        self._last: Submit | None = None

    def add(self, command: Command) -> None:
        last = self._last
        if not isinstance(command, Submit):
            self.commands.append(command)
            self._last = None
        elif last is not None and last.manner == command.manner:
            self._operations.extend(command.operations)
            self._on_outcomes.extend(command.on_outcomes)
        else:
            self._operations, self._on_outcomes = [*command.operations], [*command.on_outcomes]
            self._last = Submit(self._operations, self._on_outcomes, *command.manner)
            self.commands.append(self._last)


def milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds * 1000)
