"""kill -9 anywhere: what was accepted stays, nothing runs twice, nobody repairs by hand."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from clients.sdk import Chat, OutcomeUnknown
from crypto.signing import Ed25519Signer
from pbft.core.group import Parameters
from tests.e2e.processes import running_group

LINES_MAX = 5000


async def say(chat: Chat, number: int) -> None:
    """A numbered line; an outcome that is unknown is asked for again, under its name."""
    try:
        await chat.post("room", f"line {number}")
    except OutcomeUnknown as unknown:
        await chat.retry(unknown)


async def talk(chat: Chat, start: int, end: int) -> None:
    for number in range(start, end):
        await say(chat, number)


@dataclass
class Talker:
    """Says lines one after the other until it is told that it is enough."""

    said: int = 0
    enough: bool = False

    async def run(self, chat: Chat) -> None:
        while not self.enough and self.said < LINES_MAX:
            await say(chat, self.said)
            self.said += 1


@pytest.mark.parametrize("victim", [0, 2], ids=["the primary", "a backup"])
async def test_a_killed_replica_comes_back_and_nothing_is_lost(tmp_path: Path, victim: int) -> None:
    signer = Ed25519Signer.generate()
    async with running_group(tmp_path, parameters=Parameters(checkpoint_interval=16)) as group:
        await group.start(0, 1, 2, 3)
        await group.until(lambda reports: len(reports) == 4)
        async with Chat.connect(group.directory, signer, timeout=30) as chat:
            await chat.register("alice")
            await chat.create("room")
            async with trio.open_nursery() as nursery:
                talker = Talker()
                nursery.start_soon(talker.run, chat)
                for _ in range(3):
                    executed = (await group.until(bool))[1]["last_executed"]
                    await group.end(victim, signal.SIGKILL)
                    await group.start(victim)
                    await group.until(lambda reports, seen=executed: reports[1]["last_executed"] > seen + 3)  # type: ignore[misc]
                talker.enough = True
            said = [message.body for message in await chat.history("room", limit=LINES_MAX)]
            assert said == [f"line {number}" for number in range(talker.said)]
        reports = await group.until_equal()
        assert [report["evidence"] for report in reports] == [0, 0, 0, 0]


async def test_a_backup_that_slept_through_several_windows_catches_up_from_the_archives(tmp_path: Path) -> None:
    signer = Ed25519Signer.generate()
    async with running_group(tmp_path, parameters=Parameters(checkpoint_interval=8)) as group:
        await group.start(0, 1, 2, 3)
        await group.until(lambda reports: len(reports) == 4)
        async with Chat.connect(group.directory, signer, timeout=30) as chat:
            await chat.register("alice")
            await chat.create("room")
            group.processes[3].send_signal(signal.SIGSTOP)
            await talk(chat, 0, 60)
            group.processes[3].send_signal(signal.SIGCONT)
            reports = await group.until_equal()
            assert reports[3]["last_executed"] >= 60
            assert reports[3]["alarms"] == []
