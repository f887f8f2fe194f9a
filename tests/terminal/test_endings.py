"""Sessions that the group ends, as when sixteen later ones of the same key were opened, and lines without outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from clients.sdk import Chat
from clients.terminal.lines import Fate, Pending
from clients.terminal.model import Model
from clients.terminal.outbox import Outbox
from clients.terminal.roomlog import RoomLog
from clients.terminal.session import RENEWALS_MAX, Session
from crypto.signing import PublicKey
from pbft.core.messages import Reply, SignedRequest
from pbft.core.types import SequenceNumber
from tests.client.fake_replicas import World
from tests.clients.backend import ChatBackend
from tests.clients.outbox_runs import EndingWorld, said
from tests.harness.waiting import until
from tests.sdk.test_chat import BOB, chat_of
from tests.terminal.clocks import in_time
from tests.terminal.test_app import app_of
from tests.terminal.test_session import desk_in


class MumblingBackend(ChatBackend):
    """Answers some operations with what no client understands, and does nothing."""

    mumbles = False

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:
        return b"mumble" if self.mumbles else super().execute(device, operation, sequence)


class SwallowingWorld(EndingWorld):
    """May execute a request, end its session, and have the replies get lost; or end every session."""

    swallows = False
    ends_all = False

    def execute(self, request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        session = request.message.session
        if self.ends_all:
            self.ended.add(session)
        if self.swallows and session not in self.ended:
            super().execute(request)
            self.ended.add(session)
            return [], []
        return super().execute(request)


@pytest.fixture
def backend() -> Iterator[MumblingBackend]:
    backend = MumblingBackend()
    yield backend
    backend.service.close()


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery, backend: MumblingBackend) -> SwallowingWorld:
    world = SwallowingWorld(tmp_path, backend)
    world.nursery = nursery
    return world


async def make_garden(world: World) -> None:
    async with chat_of(world) as alice:
        await alice.register("Alice")
        await alice.create("garden")
        await alice.post("garden", "before")


async def test_when_its_session_was_ended_the_chat_goes_on_in_another(
    world: SwallowingWorld, backend: MumblingBackend, tmp_path: Path
) -> None:
    await make_garden(world)
    app = app_of(world, tmp_path, room="garden")
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.model.open == "garden" and app.model.rooms["garden"].is_loaded)
        room, session = app.model.rooms["garden"], app.screen.session
        assert app.chat is not None
        assert session is not None
        world.ended.add(app.chat.client.session)
        session.say(room, "one")
        session.say(room, "two")
        await until(lambda: len(room.log.entries()) == 3 and app.screen.session not in (None, session))
        assert [entry.message.body for entry in room.log.entries()] == ["before", "one", "two"]
        assert room.log.pending == []
        assert said(backend) == ["before", "one", "two"]
        app.quit()


async def test_a_command_that_an_ended_session_could_not_carry_out_is_told(
    world: SwallowingWorld, tmp_path: Path
) -> None:
    await make_garden(world)
    app = app_of(world, tmp_path, room="garden")
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.model.open == "garden" and app.model.rooms["garden"].is_loaded)
        first = app.chat
        assert first is not None
        world.ended.add(first.client.session)
        app.screen.command("/topic roses")
        await until(lambda: app.chat is not first and app.screen.session is not None)
        assert app.model.says == "this session was ended by later ones: look whether it was done, and do it again"
        app.screen.command("/topic roses")
        await until(lambda: app.model.rooms["garden"].topic == "roses")
        app.quit()


async def test_new_sessions_that_are_all_refused_end_in_a_word_about_the_clock(
    world: SwallowingWorld, backend: MumblingBackend, tmp_path: Path
) -> None:
    await make_garden(world)
    app = app_of(world, tmp_path, room="garden")
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.model.open == "garden" and app.model.rooms["garden"].is_loaded)
        room, session = app.model.rooms["garden"], app.screen.session
        assert session is not None
        world.ends_all = True
        session.say(room, "late")
        (line,) = room.log.pending
        await until(lambda: line.fate is Fate.GIVEN_UP)
        assert "clock" in line.why
        assert len(world.ended) == RENEWALS_MAX + 1
        world.ends_all = False
        await until(lambda: app.screen.session is not None)
        app.screen.command("/retry")
        await until(lambda: said(backend) == ["before", "late"] and not room.log.pending)
        app.quit()


async def run_outbox(chat: Chat, log: RoomLog, line: Pending) -> bool:
    """Returns whether the session ended."""
    ended = trio.Event()

    def end() -> bool:
        ended.set()
        return True

    outbox = Outbox(chat, str, end)
    outbox.put(log, "garden", line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await in_time(lambda: ended.is_set() or not log.pending or line.fate in (Fate.ACCEPTED, Fate.GIVEN_UP))
        nursery.cancel_scope.cancel()
    return ended.is_set()


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_line_of_an_ended_session_is_looked_for_before_it_is_sent_again(
    world: SwallowingWorld, backend: MumblingBackend, autojump_clock: MockClock, *, swallows: bool
) -> None:
    await make_garden(world)
    log = RoomLog("Alice")
    line = log.send(b"nonce", "once")
    assert line is not None
    async with chat_of(world) as chat:
        world.swallows = swallows
        if not swallows:
            world.ended.add(chat.client.session)
        assert await run_outbox(chat, log, line)
        assert line.fate is Fate.UNKNOWN
        world.swallows = False
    async with chat_of(world) as chat:
        assert not await run_outbox(chat, log, line)
        assert (line in log.pending) is not swallows
        assert said(backend) == ["before", "once"]


async def test_a_line_that_is_given_up_says_why_and_is_sent_again_when_asked(
    world: SwallowingWorld, backend: MumblingBackend
) -> None:
    async with desk_in(world) as desk:
        backend.mumbles = True
        desk.session.say(desk.room, "hello")
        (line,) = desk.room.log.pending
        await until(lambda: line.fate is Fate.GIVEN_UP)
        assert "does not understand" in line.why
        assert "does not understand" in desk.model.unsent()[0]
        backend.mumbles = False
        await desk.do("/retry")
        await desk.settled()
        assert said(backend) == ["before", "hello"]


async def test_a_group_that_does_not_answer_at_first_is_asked_again_who_this_is(
    world: SwallowingWorld, autojump_clock: MockClock
) -> None:
    await make_garden(world)
    async with chat_of(world, BOB) as bob, chat_of(world) as alice, trio.open_nursery() as nursery:
        await bob.register("Bob")
        session = Session(alice, Model())
        for replica in world.replicas:
            replica.silent = True
        nursery.start_soon(session.run)
        await in_time(lambda: session.model.says_error)
        for replica in world.replicas:
            replica.silent = False
        await in_time(lambda: session.model.me == "Alice" and "garden" in session.model.rooms)
        session.leave()
