"""What was queued is posted, in its order and once, whatever dies at whatever moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from chatsvc.application import bearer
from chatsvc.application.answers import History
from chatsvc.application.bearer import Purpose
from chatsvc.application.bodies import MessageText
from chatsvc.application.names import RoomName
from chatsvc.application.operations import (
    AddDevice,
    Archive,
    Delete,
    Edit,
    InviteDevice,
    Join,
    Post,
    Register,
    RevokeDevice,
    SetSlowMode,
)
from chatsvc.application.queries import ReadHistory
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageIndex
from clients.outbox import PENDING_MAX, Draft, Name, Outbox, OutboxFailed, Place, State, outbox_path
from clients.outbox_delivery import UNCLEAR, Delivery, Waiting
from clients.sdk import Chat, ChatError, ClientFailure, OutcomeUnknown, RequestRejected
from pbft.core.messages import OperationResult, Reply, SignedRequest
from pbft.core.types import ClientSequence, Milliseconds, SequenceNumber, SessionNumber, View
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import World, signer_of
from tests.clients.backend import ALICE, BOB, ChatBackend, chat_of

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
        return [], [refusal]


class Crash(BaseException):
    """The program ends here."""


class MortalOutbox(Outbox):
    """Dies before or after the n-th of its steps is on the disk."""

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


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = ChatBackend()
    backend.do(ALICE, Register("Alice"))
    backend.do(BOB, Register("Bob"))
    backend.create(ALICE, "garden")
    backend.do(BOB, Join("garden"))
    yield backend
    backend.service.close()


@pytest.fixture
async def world(
    tmp_path: Path, nursery: trio.Nursery, backend: ChatBackend, autojump_clock: MockClock
) -> AsyncIterator[EndingWorld]:
    world = EndingWorld(tmp_path, backend)
    world.sequence = backend.sequence
    world.nursery = nursery
    async with chat_of(world, BOB) as chat:
        world.bob = chat
        yield world


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return outbox_path(tmp_path / "identity.toml", b"g" * 32)


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


# -- dying


async def test_messages_are_delivered_in_their_order(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one", "two", "three")
    assert states(path) == [State.PENDING] * 3
    assert await deliver(world, path) is None
    assert states(path) == [State.VERIFIED] * 3
    assert said(backend) == ["one", "two", "three"]
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two", "three"]


async def test_it_may_die_at_every_step_and_nothing_is_lost_or_said_twice(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    expected: list[str] = []
    step = deaths = 0
    died = True
    while died:
        for after in (False, True):
            bodies = [f"{word} {step} {after}" for word in ("one", "two")]
            expected += bodies
            queue(path, *bodies)
            died = await crash(world, path, (step, after))
            deaths += died
            assert await deliver(world, path) is None
            assert said(backend) == expected
            assert set(states(path)) == {State.VERIFIED}
        step += 1
    assert deaths == 12, "each of two messages is named, ordered and verified"
    assert all(len(wires) == 1 for wires in world.sent.values()), "the same bytes under the same name"


async def test_it_may_die_again_and_again(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one", "two", "three")
    while await crash(world, path, (1, False)):
        pass
    assert said(backend) == ["one", "two", "three"]
    assert all(len(wires) == 1 for wires in world.sent.values())


def test_what_was_queued_is_there_after_a_kill(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom clients.outbox import *\n"
        "outbox = Outbox.open(Path(sys.argv[1]))\n"
        "while True:\n"
        "    entry = outbox.append(Draft(room='garden', body='x', nonce=b'n'), 0)\n"
        "    print(entry.number, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(5):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    told = 5 + len([line for line in child.stdout if line.endswith("\n")])
    child.stdout.close()
    child.wait()
    assert len(states(path)) in {told, told + 1}


async def test_an_outcome_that_does_not_come_leaves_the_message_where_it_is(
    world: EndingWorld, backend: ChatBackend, path: Path, autojump_clock: MockClock
) -> None:
    queue(path, "one", "two")

    def silence(request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        World.execute(world, request)
        return [], []

    world.execute = silence  # type: ignore[method-assign]  # the group orders, and every answer is lost
    with pytest.raises(OutcomeUnknown, match="stays in it"):
        await deliver(world, path)
    assert states(path) == [State.PENDING] * 2
    del world.execute
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two"]


# -- sessions that were ended


async def test_what_was_posted_is_found_though_its_session_ended_and_it_was_edited_or_deleted(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    for number, change in enumerate((None, Edit, Delete)):
        queue(path, f"message {number}")
        assert await crash(world, path, (1, False)), "ordered, and nobody wrote it down"
        backend.do(ALICE, Post(room="garden", body="meanwhile"))
        if change is Edit:
            backend.do(BOB, Edit("garden", MessageIndex(2 * number), "edited"))
        elif change is Delete:
            backend.do(ALICE, Delete("garden", MessageIndex(2 * number)))
        world.ended.add(name_of(path).session)
        assert await deliver(world, path) is None
    assert said(backend) == ["message 0", "meanwhile", "edited", "meanwhile", "", "meanwhile"]
    assert states(path) == [State.VERIFIED] * 3


async def test_what_was_not_posted_when_its_session_ended_is_sent_under_another_name(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    backend.do(ALICE, Post(room="garden", body="one"))
    assert await crash(world, path, (0, True)), "named, and not sent"
    backend.do(BOB, Post(room="garden", body="one"))
    ended = name_of(path).session
    world.ended.add(ended)
    for die in ((0, False), (0, True), (1, False), (1, True)):
        assert await crash(world, path, die)
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "one", "one", "two"], "others said the same: the nonce tells them apart"


async def test_when_the_room_has_forgotten_nobody_can_tell_and_it_is_not_sent_again(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    assert await crash(world, path, (1, False))
    world.ended.add(name_of(path).session)
    backend.do(ALICE, Archive("garden", archived=True))
    backend.forget_events("garden")
    assert await deliver(world, path) is None
    assert states(path) == [State.REFUSED] * 2
    assert problems(path)[0].startswith(UNCLEAR)
    assert said(backend) == ["one"]


async def test_a_group_that_refuses_every_session_is_not_asked_for_ever(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one")

    class AllButReads(set[int]):
        def __contains__(self, session: object) -> bool:
            return world.bob is None or session != world.bob.client.session

    world.ended = AllButReads()
    with pytest.raises(RequestRejected, match="clock"):
        await deliver(world, path)


# -- refusals


async def test_a_refused_message_says_why_and_the_others_go_on(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    backend.create(ALICE, "cellar")
    queue(path, "one")
    queue(path, "two", room=RoomName("cellar"))
    queue(path, "three", room=RoomName("nowhere"))
    queue(path, "four")
    assert await deliver(world, path) is None
    assert states(path) == [State.VERIFIED, State.REFUSED, State.REFUSED, State.VERIFIED]
    _, not_a_member, no_such_room, _ = problems(path)
    assert not_a_member == "join #cellar first"
    assert no_such_room == "there is no room of this name"
    assert said(backend) == ["one", "four"]


async def test_what_is_refused_for_now_waits_and_those_behind_it_too(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    backend.do(ALICE, SetSlowMode("garden", 60))
    queue(path, "one", "two", "three")
    waiting = await deliver(world, path)
    assert waiting is not None
    assert waiting.entry.draft.body == "two"
    assert waiting.retry_ms > NOON
    assert states(path) == [State.VERIFIED, State.PENDING, State.PENDING]
    assert "wait" in problems(path)[1]
    backend.do(ALICE, SetSlowMode("garden", 0))
    world.sequence = backend.sequence
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two", "three"]


async def test_who_is_not_registered_delivers_nothing(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one")
    async with chat_of(world, signer_of(9)) as stranger:
        with pytest.raises(ChatError) as caught:
            await deliver(world, path, chat=stranger)
    assert caught.value.code is ErrorCode.NOT_REGISTERED
    assert states(path) == [State.PENDING]


async def test_what_was_sent_with_another_key_waits_until_that_key_is_revoked(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    assert await crash(world, path, (1, False))
    other = signer_of(7)
    invitation = signer_of(8)
    backend.do(BOB, InviteDevice(invitation.public_key, Milliseconds(NOON + 3_600_000)))
    proof = bearer.prove(invitation, Purpose.DEVICE, other.public_key)
    backend.do(other, AddDevice(invitation.public_key, proof))
    async with chat_of(world, other) as chat:
        with pytest.raises(ClientFailure, match="may be posted still"):
            await deliver(world, path, chat=chat)
        backend.do(other, RevokeDevice(BOB.public_key))
        assert await deliver(world, path, chat=chat) is None
    assert said(backend) == ["one", "two"]


# -- the file


def test_one_delivers_at_a_time_and_others_may_queue(path: Path) -> None:
    with Outbox.open(path) as outbox, outbox.delivering(), Outbox.open(path) as other:
        queue(path, "one")
        with pytest.raises(OutboxFailed, match="another program"), other.delivering():
            pass
    with Outbox.open(path) as outbox, outbox.delivering():
        assert outbox.first_pending() is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_outbox_is_named(path: Path) -> None:
    queue(path, "one")
    path.write_bytes(b"x" * 5000)
    with pytest.raises(OutboxFailed, match=str(path)):
        Outbox.open(path)


def test_an_entry_keeps_everything_that_was_written(path: Path) -> None:
    draft = Draft(room=GARDEN, body=MessageText("x"), action=True, reply_to=3, thread="Seeds", nonce=b"n" * 16)
    name = Name(device=BOB.public_key, session=SessionNumber(2**62), client_sequence=ClientSequence(3), event=9)
    place = Place(message=MessageIndex(4), sequence=SequenceNumber(8), batch_index=1)
    with Outbox.open(path) as outbox:
        number = outbox.append(draft, NOON).number
        outbox.name(number, name)
        outbox.ordered(number, place)
    with Outbox.open(path) as outbox:
        entry = outbox.entry(number)
        assert (entry.draft, entry.name, entry.place, entry.state) == (draft, name, place, State.ORDERED)
        assert outbox.last_session() == name.session


def test_an_outbox_holds_so_many_and_forgets_old_ones(path: Path) -> None:
    with Outbox.open(path) as outbox:
        outbox._execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO entries"
            " (state, room, body, action, nonce, queued_ms) SELECT 'pending', 'garden', 'x', 0, x'00', 0 FROM n",
            (PENDING_MAX,),
        )
    with pytest.raises(OutboxFailed, match="wait already"):
        queue(path, "one more")
    with Outbox.open(path) as outbox:
        outbox._execute("UPDATE entries SET state = 'verified'")
    queue(path, "one more")
    with Outbox.open(path) as outbox:
        assert len(outbox.entries()) == 1001
