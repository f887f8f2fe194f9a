"""Nothing is lost on the way in or out: between a page and what follows it, at leaving, when a session has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import trio
from trio.testing import MockClock

from clients.terminal.lines import Fate
from clients.terminal.model import Model
from clients.terminal.session import LEAVE_S, Session
from pbft.core.application import EventItem
from tests.client.fake_replicas import World
from tests.clients.backend import ChatBackend
from tests.clients.outbox_runs import said
from tests.harness.waiting import until
from tests.sdk.test_chat import BOB, chat_of
from tests.terminal.clocks import in_time
from tests.terminal.test_session import desk_in


class ForgetfulBackend(ChatBackend):
    """Does not tell of the garden's events for a while, as when they are not kept so far back."""

    forgets = False

    def events(self, topic: bytes) -> Sequence[EventItem] | None:
        return None if self.forgets and topic == b"garden" else super().events(topic)


@pytest.fixture
def backend() -> Iterator[ForgetfulBackend]:
    backend = ForgetfulBackend()
    yield backend
    backend.service.close()


class SlowFollower(Session):
    """Follows no room before it is told to."""

    may_follow = False

    def _follow_soon(self, name: str) -> None:
        if self.may_follow:
            super()._follow_soon(name)


async def test_what_is_said_between_the_page_and_following_is_shown(world: World) -> None:
    async with chat_of(world) as alice, chat_of(world, BOB) as bob:
        await alice.register("Alice")
        await bob.register("Bob")
        await alice.create("garden")
        await bob.join("garden")
        await bob.post("garden", "before")
        assert world.nursery is not None
        session = SlowFollower(alice, Model())
        await world.nursery.start(session.run)
        await session.enter("garden")
        await bob.post("garden", "between")
        session.may_follow = True
        session._follow_soon("garden")
        await bob.post("garden", "after")
        log = session.model.rooms["garden"].log
        await until(lambda: [entry.message.body for entry in log.entries()] == ["before", "between", "after"])
        session.leave()


async def test_what_is_said_while_a_log_begins_anew_is_shown(
    world: World, backend: ForgetfulBackend, autojump_clock: MockClock
) -> None:
    async with desk_in(world) as desk:
        first = desk.room.log
        backend.forgets = True
        await desk.bob.post("garden", "one")
        await until(lambda: desk.room.log is not first and desk.room.is_loaded)
        backend.forgets = False
        await desk.bob.post("garden", "two")
        await in_time(lambda: desk.bodies() == ["before", "one", "two"])


async def test_whoever_leaves_waits_for_the_lines_on_their_way(world: World, backend: ForgetfulBackend) -> None:
    async with desk_in(world) as desk:
        desk.session.say(desk.room, "goodbye all")
        desk.session.say(desk.room, "see you")
        desk.session.leave()
        await desk.over.wait()
        assert said(backend) == ["before", "goodbye all", "see you"]
        assert desk.model.unsent() == []


async def test_what_has_no_outcome_is_told_after_leaving(world: World, autojump_clock: MockClock) -> None:
    async with desk_in(world) as desk:
        desk.session.say(desk.room, "refused", reply_to=99)
        await in_time(lambda: desk.room.log.pending[0].fate is Fate.FAILED)
        for replica in world.replicas:
            replica.silent = True
        desk.session.say(desk.room, "on its way")
        desk.session.say(desk.room, "behind\nit")
        began = trio.current_time()
        desk.session.leave()
        await desk.over.wait()
        assert trio.current_time() - began < 2 * LEAVE_S
        refused, first, second = desk.model.unsent()
        assert refused.startswith("not sent to #garden: refused (")
        assert first == "it is not known whether this was sent to #garden: on its way"
        assert second == "not sent to #garden: behind / it"
