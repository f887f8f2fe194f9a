"""The same group for tests that are no coroutines: every call blocks until the group has answered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from adversary.testing.group import SimulatedGroup
from adversary.testing.people import TIMEOUT_S, Person, Receipt
from chatsvc.application.answers import Answer, Message
from chatsvc.application.operations import Operation
from chatsvc.application.queries import Query
from crypto.signing import Signer

T = TypeVar("T")


def done(work: Coroutine[Any, Any, T]) -> T:
    """Outside of trio nothing in a simulated group waits for anything real: one step, and it is done."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    msg = "a plain group cannot be used inside trio: use `async with simulated_group(...)` there"
    raise RuntimeError(msg)


class PlainPerson:
    """See Person."""

    def __init__(self, person: Person) -> None:
        self._person = person

    @property
    def name(self) -> str:
        return self._person.name

    @property
    def signer(self) -> Signer:
        return self._person.signer

    @property
    def is_idle(self) -> bool:
        return self._person.is_idle

    def register(self, name: str | None = None, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.register(name, timeout_s=timeout_s))

    def create(self, room: str, *, topic: str = "", timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.create(room, topic=topic, timeout_s=timeout_s))

    def join(self, room: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.join(room, timeout_s=timeout_s))

    def leave(self, room: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.leave(room, timeout_s=timeout_s))

    def post(self, room: str, text: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.post(room, text, timeout_s=timeout_s))

    def post_nowait(self, room: str, text: str) -> None:
        self._person.post_nowait(room, text)

    def do(self, operation: Operation, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return done(self._person.do(operation, timeout_s=timeout_s))

    def do_nowait(self, operation: Operation) -> None:
        self._person.do_nowait(operation)

    def ask(self, query: Query, *, timeout_s: float = TIMEOUT_S) -> Answer:
        return done(self._person.ask(query, timeout_s=timeout_s))

    def history(self, room: str, *, timeout_s: float = TIMEOUT_S) -> list[Message]:
        return done(self._person.history(room, timeout_s=timeout_s))


class PlainGroup:
    """See SimulatedGroup: what is not repeated here is the same there, as `group.real`."""

    def __init__(self, real: SimulatedGroup) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        """What needs no waiting: `crash`, `partition`, `evidence`, `roots`, ..."""
        return getattr(self.real, name)

    def client(self, name: str) -> PlainPerson:
        return PlainPerson(done(self.real.client(name)))

    def advance(self, seconds: float) -> None:
        done(self.real.advance(seconds))

    def settled(self, *, timeout_s: float = TIMEOUT_S) -> None:
        done(self.real.settled(timeout_s=timeout_s))

    def until(self, is_so: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
        done(self.real.until(is_so, timeout_s=timeout_s))
