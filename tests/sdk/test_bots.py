"""The bots of the examples, against four replicas that run the real chat."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import MockClock

from clients.sdk import Chat, MessageStream
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds, SequenceNumber
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import FakeReplica, World, signer_of
from tests.harness.waiting import until
from tests.sdk.test_chat import ChatBackend, chat_of
from tests.terminal.clocks import in_time

BOTS = Path(__file__).parents[2] / "docs" / "examples" / "bots"
ROBOT = signer_of(7)
ROOM = "garden"
Bot: TypeAlias = Callable[[Chat, str], Awaitable[None]]
Load: TypeAlias = Callable[[str], Any]
"""Gives an example by the name of its module."""


class Timed(ChatBackend):
    """The replicas agree on trio's clock."""

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:
        self.service.sequence = sequence - 1
        return self.service.execute(device, operation, time=agreed_ms()).result


def agreed_ms() -> Milliseconds:
    return Milliseconds(NOON + int(trio.current_time() * 1000))


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = Timed()
    yield backend
    backend.service.close()


@pytest.fixture
def bots(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load an example as it is run: from its own directory."""
    monkeypatch.syspath_prepend(str(BOTS))
    return importlib.import_module


class Garden:
    """Alice, and what she sees the bot say."""

    def __init__(self, alice: Chat, messages: MessageStream) -> None:
        self.alice = alice
        self._messages = messages

    async def says(self, body: str) -> int:
        return (await self.alice.post(ROOM, body)).value.index

    async def answer(self) -> tuple[str, int | None]:
        """The bot's next message, and what it answers."""
        with trio.fail_after(100_000):
            while True:
                message = await anext(self._messages)
                if message.author == "robot":
                    return message.body, message.reply_to

    async def answers(self) -> list[tuple[str, int | None]]:
        """All that the bot has ever said."""
        found = await self.alice.history(ROOM, limit=1000)
        return [(one.body, one.reply_to) for one in found if one.author == "robot"]


@asynccontextmanager
async def garden_of(world: World) -> AsyncIterator[Garden]:
    async with chat_of(world) as alice:
        await alice.register("Alice")
        await alice.create(ROOM)
        async with alice.subscribe(ROOM) as messages:
            yield Garden(alice, messages)


@asynccontextmanager
async def at_work(world: World, bots: Load, bot: Bot) -> AsyncIterator[None]:
    """The bot, as soon as it follows its room, until it is killed."""
    serve = partial(bots("echo_bot").serve, bot, world.directory, ROBOT, "robot", ROOM, dial=world.dial)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await until(lambda: all(follows(replica) for replica in world.replicas))
        yield
        nursery.cancel_scope.cancel()
    for replica in world.replicas:
        forget(replica)


def follows(replica: FakeReplica) -> bool:
    return any(device == ROBOT.public_key for device, _ in replica.streams)


def forget(replica: FakeReplica) -> None:
    """What a replica does when a connection ends."""
    replica.streams = {name: kept for name, kept in replica.streams.items() if name[0] != ROBOT.public_key}


def reminder_bot(bots: Load, *, ahead_ms: int = 0) -> Bot:
    """On a machine whose clock is ahead of the group's."""

    async def remind(chat: Chat, room: str) -> None:
        await bots("reminder_bot").ReminderBot(chat, room, clock=lambda: agreed_ms() + ahead_ms).run()

    return remind


# -- echo


async def test_the_echo_bot_answers_commands_and_never_itself(
    world: World, bots: Load, autojump_clock: MockClock
) -> None:
    async with garden_of(world) as garden:
        await garden.says("!echo before it came")
        async with at_work(world, bots, bots("echo_bot").echo):
            await garden.says("hello")
            await garden.says("!echo !echo twice")
            assert await garden.answer() == ("!echo twice", 2)
            await garden.says("!echo again")
            assert await garden.answer() == ("again", 4)


async def test_a_bot_connects_again_and_says_once_what_nobody_answered(
    world: World, bots: Load, autojump_clock: MockClock
) -> None:
    async with garden_of(world) as garden:
        for replica in world.replicas:
            replica.down = True
        async with trio.open_nursery() as nursery:
            bot = bots("echo_bot")
            nursery.start_soon(partial(bot.serve, bot.echo, world.directory, ROBOT, "robot", ROOM, dial=world.dial))
            await in_time(lambda: trio.current_time() > 60)
            for replica in world.replicas:
                replica.down = False
            await in_time(lambda: all(map(follows, world.replicas)))
            await garden.says("!echo once")
            assert await garden.answer() == ("once", 0)
            nursery.cancel_scope.cancel()
        assert await garden.answers() == [("once", 0)]


# -- reminders


@pytest.mark.parametrize("ahead_ms", [0, -NOON, NOON], ids=["right", "behind", "ahead"])
async def test_reminders_come_by_the_groups_time_whatever_the_bots_clock_shows(
    world: World, bots: Load, autojump_clock: MockClock, ahead_ms: int
) -> None:
    async with garden_of(world) as garden, at_work(world, bots, reminder_bot(bots, ahead_ms=ahead_ms)):
        began = trio.current_time()
        await garden.says("!remind 10m the tea")
        await garden.says("!remind 2m the door")
        assert await garden.answer() == ("@Alice the door", 1)
        assert 115 < trio.current_time() - began < 125
        assert await garden.answer() == ("@Alice the tea", 0)
        assert 590 < trio.current_time() - began < 610
        assert [one.reaction for one in (await garden.alice.history(ROOM))[0].reactions] == ["⏰"]


async def test_a_restarted_bot_answers_what_it_has_not_answered_and_nothing_else(
    world: World, bots: Load, autojump_clock: MockClock
) -> None:
    bot = reminder_bot(bots)
    async with garden_of(world) as garden:
        async with at_work(world, bots, bot):
            await garden.says("!remind 1h the meeting")
            await garden.says("!remind 1m the door")
            assert await garden.answer() == ("@Alice the door", 1)
        await garden.says("!remind 5m said while it was away")
        async with at_work(world, bots, bot):
            assert await garden.answer() == ("@Alice said while it was away", 3)
        async with at_work(world, bots, bot):
            assert await garden.answer() == ("@Alice the meeting", 0)
        async with at_work(world, bots, bot):
            for _ in range(2):  # when it answers again it has moved its read marker
                await garden.says("!remind 1s now")
                await garden.answer()
        assert [reply_to for _, reply_to in await garden.answers()] == [1, 3, 0, 6, 8]
        async with chat_of(world, ROBOT) as robot:
            (row,) = [row async for row in robot.unread()]
            assert row.read > 6, "what was answered need not be read again"


async def test_what_is_no_span_of_time_is_explained(world: World, bots: Load, autojump_clock: MockClock) -> None:
    async with garden_of(world) as garden, at_work(world, bots, reminder_bot(bots)):
        await garden.says("!remind soon the tea")
        body, reply_to = await garden.answer()
        assert "@Alice 'soon' is no span of time" in body
        assert reply_to == 0
