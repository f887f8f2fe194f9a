"""People of a simulated group: each has a device and says one thing after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from adversary.simulator.clients import SimulatedClient
from adversary.simulator.surroundings import Surroundings
from chatsvc.application.answers import Answer, History, Message, decode_answer
from chatsvc.application.operations import Create, Join, Leave, Operation, Post, Register, encode_operation
from chatsvc.application.queries import Query, ReadHistory, encode_query
from chatsvc.application.results import ErrorCode, Posted, Rejected, decode_result
from crypto.signing import Signer
from pbft.client.quorums import Accepted, Answered, Outcome, QueryId, QueryOutcome, Ticket
from pbft.client.quorums.model import Output

TIMEOUT_S: Final = 60.0
"""Of virtual time: a timeout that doubled several times has passed by then."""


class Refused(Exception):  # noqa: N818 - what the chat did
    """The chat refused an operation, at every correct replica alike: nothing was changed."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code.value}: {detail}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What f + 1 replicas vouched for: ordered at `sequence`. `index`: of a message in its room, else None."""

    sequence: int
    vouchers: tuple[int, ...]
    index: int | None = None


class Device(SimulatedClient):
    """Remembers what came of what was asked, until it is taken."""

    def __init__(self, around: Surroundings, *, address: int, name: str, signer: Signer) -> None:
        super().__init__(around, address=address, name=name, signer=signer)
        self._outcomes: dict[Ticket, Outcome] = {}
        self._answers: dict[QueryId, QueryOutcome] = {}

    def submit(self, operation: Operation) -> Ticket:
        registers = isinstance(operation, Register)
        ticket = self._submit(encode_operation(operation), is_read=registers)
        if registers:
            self._registering = ticket
        self._flush()
        return ticket

    @property
    def signer(self) -> Signer:
        return self._signer

    def ask(self, query: Query) -> QueryId:
        self.asked += 1
        number = self._core.ask(self._now(), encode_query(query))
        self._seen_when_asked[number] = self._seen
        self._flush()
        return number

    def _on_outcome(self, ticket: Ticket, outcome: Outcome) -> None:
        super()._on_outcome(ticket, outcome)
        self._outcomes[ticket] = outcome

    def _learn(self, out: Output) -> None:
        super()._learn(out)
        self._answers.update(out.answers)

    def outcome(self, ticket: Ticket) -> Outcome | None:
        return self._outcomes.get(ticket)

    def answer(self, number: QueryId) -> QueryOutcome | None:
        return self._answers.get(number)


class Until(Protocol):
    """Lets virtual time go by until something is so; `waits_for` says in words what."""

    async def __call__(self, is_so: Callable[[], bool], timeout_s: float, waits_for: str) -> None: ...


class Person:
    """Somebody in the chat. One thing at a time: each call returns when the group has answered."""

    def __init__(self, device: Device, until: Until, check_open: Callable[[], None]) -> None:
        self._device = device
        self._until = until
        self._check_open = check_open

    @property
    def name(self) -> str:
        return self._device.name

    @property
    def signer(self) -> Signer:
        """Of the device."""
        return self._device.signer

    async def register(self, name: str | None = None, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        """Take a name, one's own unless another is given. Without a name nothing can be said."""
        return await self._do(Register(name or self.name), timeout_s)

    async def create(self, room: str, *, topic: str = "", timeout_s: float = TIMEOUT_S) -> Receipt:
        return await self._do(Create(room, topic), timeout_s)

    async def join(self, room: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return await self._do(Join(room), timeout_s)

    async def leave(self, room: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return await self._do(Leave(room), timeout_s)

    async def post(self, room: str, text: str, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        return await self._do(Post(room=room, body=text), timeout_s)

    def post_nowait(self, room: str, text: str) -> None:
        """Ask for it and wait for nothing: `settled` waits for all."""
        self.do_nowait(Post(room=room, body=text))

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was asked for is under way."""
        return self._device.is_idle

    def do_nowait(self, operation: Operation) -> None:
        """The same for any operation."""
        self._check_open()
        self._device.submit(operation)

    async def do(self, operation: Operation, *, timeout_s: float = TIMEOUT_S) -> Receipt:
        """Any operation. Raises Refused, and NotInTime."""
        return await self._do(operation, timeout_s)

    async def _do(self, operation: Operation, timeout_s: float) -> Receipt:
        """Raises Refused, and NotInTime after `timeout_s` seconds of virtual time."""
        self._check_open()
        device, what = self._device, type(operation).__name__.lower()
        ticket = device.submit(operation)
        await self._until(lambda: device.outcome(ticket) is not None, timeout_s, f"{self.name}: {what}")
        outcome = device.outcome(ticket)
        assert isinstance(outcome, Accepted)  # noqa: S101 - any other is a broken invariant
        result = decode_result(outcome.result)
        if isinstance(result, Rejected):
            raise Refused(result.code, result.detail)
        index = int(result.index) if isinstance(result, Posted) else None
        return Receipt(sequence=int(outcome.sequence), vouchers=tuple(map(int, outcome.vouchers)), index=index)

    async def history(self, room: str, *, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """All messages of a room, in order, as f + 1 replicas tell them. Raises Refused, and NotInTime."""
        messages: list[Message] = []
        while True:
            before = messages[0].index if messages else None
            page = await self._page(ReadHistory(room=room, before=before), timeout_s)
            messages = [*page, *messages]
            if not page or page[0].index == 0:
                return messages

    async def _page(self, query: ReadHistory, timeout_s: float) -> tuple[Message, ...]:
        said = await self.ask(query, timeout_s=timeout_s)
        if isinstance(said, Rejected):
            raise Refused(said.code, said.detail)
        assert isinstance(said, History)  # noqa: S101 - correct replicas answer what was asked
        return said.messages

    async def ask(self, query: Query, *, timeout_s: float = TIMEOUT_S) -> Answer:
        """What f + 1 replicas answer. Raises NotInTime.

        While operations are executed answers may differ for a while: it asks until they do not.
        """
        self._check_open()
        device, found = self._device, list[Answered]()
        number = device.ask(query)

        def is_answered() -> bool:
            nonlocal number
            answer = device.answer(number)
            if isinstance(answer, Answered):
                found.append(answer)
            elif answer is not None:
                number = device.ask(query)
            return bool(found)

        await self._until(is_answered, timeout_s, f"{self.name}: {type(query).__name__.lower()}")
        return decode_answer(found[0].result)
