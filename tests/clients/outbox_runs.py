"""Runs of an outbox's delivery that end wherever a test says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from chatsvc.application.answers import History
from chatsvc.application.bodies import MessageText
from chatsvc.application.names import RoomName
from chatsvc.application.queries import ReadHistory
from clients.outbox import Draft, Name, Outbox, Place, State
from clients.outbox_delivery import Delivery, Waiting
from clients.sdk import Chat
from pbft.core.messages import OperationResult, Reply, SignedRequest
from pbft.core.types import ClientSequence, View
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import World
from tests.clients.backend import ALICE, ChatBackend

GARDEN = RoomName("garden")


class EndingWorld(World):
    """Replicas that end sessions when told to, as they do when a device opens more than they keep."""

    def __init__(self, directory: Path, backend: ChatBackend) -> None:
        super().__init__(directory, backend=backend)
        self.ended: set[int] = set()
        self.sent: dict[tuple[int, int], set[bytes]] = {}
        self.bob: Chat | None = None
        """His connection for reading."""

    def execute(self, request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        named = request.message
        name = (named.session, named.first_client_sequence)
        self.sent.setdefault(name, set()).add(request.wire)
        if named.session not in self.ended:
            return super().execute(request)
        results = tuple(
            OperationResult(client_sequence=ClientSequence(name[1] + offset), index=0, refused=True, result=b"")
            for offset in range(len(named.operations))
        )
        refusal = Reply(
            device=request.device,
            session=named.session,
            view=View(0),
            sequence=self.sequence,
            results=results,
        )
        return [refusal], []


class Crash(BaseException):
    """The program ends here."""


class MortalOutbox(Outbox):
    """Dies before or after the n-th of its steps is on the disk."""

    synchronous = "OFF"
    """It is the program that dies, not the machine."""
    die: tuple[int, bool] = (-1, False)
    steps = 0

    def _step(self, write: Callable[[], None]) -> None:
        place, after = self.die
        mine = self.steps
        self.steps += 1
        if place == mine and not after:
            raise Crash
        write()
        if place == mine:
            raise Crash

    def name(self, number: int, name: Name) -> None:
        self._step(lambda: super(MortalOutbox, self).name(number, name))

    def unname(self, number: int, problem: str = "") -> None:
        self._step(lambda: super(MortalOutbox, self).unname(number, problem))

    def ordered(self, number: int, place: Place) -> None:
        self._step(lambda: super(MortalOutbox, self).ordered(number, place))

    def verified(self, number: int) -> None:
        self._step(lambda: super(MortalOutbox, self).verified(number))

    def refused(self, number: int, problem: str) -> None:
        self._step(lambda: super(MortalOutbox, self).refused(number, problem))


def queue(path: Path, *bodies: str, room: RoomName = GARDEN) -> None:
    with Outbox.open(path) as outbox:
        for body in bodies:
            outbox.append(Draft(room=room, body=MessageText(body), nonce=os.urandom(16)), NOON)


async def deliver(
    world: EndingWorld, path: Path, *, die: tuple[int, bool] = (-1, False), chat: Chat | None = None
) -> Waiting | None:
    """One run of the program, Bob's unless it is another's. Raises Crash when it dies."""
    assert world.bob is not None
    with MortalOutbox.open(path) as outbox, outbox.delivering():
        outbox.die = die
        return await Delivery(chat or world.bob, outbox, timeout_s=10, dial=world.dial).run()


async def crash(world: EndingWorld, path: Path, die: tuple[int, bool]) -> bool:
    """Whether it died before it was done."""
    try:
        await deliver(world, path, die=die)
    except Crash:
        return True
    return False


def states(path: Path) -> list[State]:
    with Outbox.open(path) as outbox:
        return [entry.state for entry in outbox.entries()]


def problems(path: Path) -> list[str]:
    with Outbox.open(path) as outbox:
        return [entry.problem for entry in outbox.entries()]


def name_of(path: Path) -> Name:
    with Outbox.open(path) as outbox:
        entry = outbox.first_pending()
    assert entry is not None
    assert entry.name is not None
    return entry.name


def said(backend: ChatBackend) -> list[str]:
    page = backend.service.ask(ReadHistory(room="garden"), ALICE.public_key)
    assert isinstance(page, History)
    return [message.body for message in page.messages]
