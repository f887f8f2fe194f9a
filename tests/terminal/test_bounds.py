"""Times, numbers and logs at the edges of what they may be."""

from __future__ import annotations

import json
from datetime import timedelta, timezone

import pytest
import trio
from trio.testing import MockClock

from chatsvc.application.operations import TIME_MS_MAX
from clients.sdk import ChatError
from clients.terminal.arguments import BadCommand
from clients.terminal.commands import jump
from clients.terminal.model import Model, Report, health_of
from clients.terminal.screen import Screen
from clients.terminal.session import Session
from pbft.client.errors import LinkState
from pbft.core.types import ReplicaId
from tests.client.fake_replicas import World
from tests.harness.waiting import until
from tests.sdk.test_chat import chat_of
from tests.terminal.clocks import in_time
from tests.terminal.saying import message
from tests.terminal.test_screen import Desk
from tests.terminal.test_session import desk_in


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_a_claimed_time_is_marked_and_may_be_as_early_or_late_as_there_are_dates(hours: int) -> None:
    desk = Desk()
    desk.screen = Screen(desk.model, zone=timezone(timedelta(hours=hours)))
    page = [message(0, "old", claimed_ms=0), message(1, "late", claimed_ms=TIME_MS_MAX), message(2, "now")]
    desk.model.rooms["garden"].log.add_page(page)
    text = desk.text()
    assert "✓ (time claimed) <Bob> old" in text
    assert "✓ (time claimed) <Bob> late" in text
    assert "✓ <Bob> now" in text
    assert "9999" in text


def test_numbers_that_cannot_be_written_are_no_numbers() -> None:
    links = [LinkState(replica=ReplicaId(number), connected=True, refused=None, last_error=None) for number in (0, 1)]
    long = json.loads('{"view": 9, "last_executed": -' + "9" * 4300 + "}")
    reports = {ReplicaId(0): Report(long, 12), ReplicaId(1): Report({"view": 2**63, "last_executed": 11}, 12)}
    first, second = health_of(links, {}, reports)
    assert (first.view, first.executed, first.behind) == (9, None, 0)
    assert (second.view, second.executed, second.behind) == (None, 11, 1)


async def test_a_replica_that_reports_such_numbers_ends_no_list_of_replicas(
    world: World, autojump_clock: MockClock
) -> None:
    world.replicas[1].report = b'{"view": 1, "last_executed": -' + b"9" * 4300 + b"}"
    async with desk_in(world) as desk:
        await in_time(lambda: any(one.view == 1 for one in desk.model.health))
        await desk.do("/replicas")
        assert "replica 1 +\n  connected; says it is in view 1" in desk.side()


async def test_numbers_that_are_typed_too_long_are_refused(world: World) -> None:
    async with desk_in(world) as desk:
        with pytest.raises(ChatError):
            await desk.do("/link " + "9" * 5000)
        await desk.do("/poll Tea? | yes | no")
        await until(lambda: len(desk.bodies()) == 2)
        for number in ("9" * 5000, "0", "-1"):
            with pytest.raises(BadCommand, match="1 to 2"):
                await desk.do(f"/vote {number}")


async def test_a_log_that_is_full_goes_back_no_further(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.terminal.roomlog.HELD_LINES_MAX", 15)
    monkeypatch.setattr("clients.terminal.session.PAGE", 10)
    async with chat_of(world) as alice, trio.open_nursery() as nursery:
        await alice.register("Alice")
        await alice.create("garden")
        for number in range(22):
            await alice.post("garden", f"line {number}")
        session = Session(alice, Model())
        await nursery.start(session.run)
        await session.enter("garden")
        room = session.model.rooms["garden"]
        with trio.fail_after(10):
            await jump(session, "2")
        assert room.log.first_index == 7
        assert session.model.side is not None
        assert session.model.side.title == "#garden around 2"
        assert not await session.load_older(room)
        session.leave()
