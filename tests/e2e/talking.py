"""Users who talk while things go wrong, and know what must have become of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from clients.sdk import Chat, OutcomeUnknown
from crypto.signing import Ed25519Signer
from pbft.client.directory import GroupDirectory
from tests.e2e.processes import DEADLINE_S, RunningGroup

ROOM = "room"
LINES_MAX = 100_000
OUTCOME_S = 30.0
RETRIES_MAX = 3


class Talker:
    """A user that says numbered lines, one after the other, each again under its name until its outcome is known."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.said = 0
        self.longest_gap_s = 0.0
        """Between two accepted lines."""
        self._enough = False
        self._accepted = trio.Event()

    async def run(self) -> None:
        last = time.monotonic()
        while not self._enough:
            await self._say(f"line {self.said}")
            now = time.monotonic()
            self.longest_gap_s, last = max(self.longest_gap_s, now - last), now
            self.said += 1
            self._accepted.set()
            self._accepted = trio.Event()

    async def _say(self, line: str) -> None:
        try:
            await self.chat.post(ROOM, line)
        except OutcomeUnknown as unknown:
            for _ in range(RETRIES_MAX):
                try:
                    await self.chat.retry(unknown)
                except OutcomeUnknown as again:
                    unknown = again
                else:
                    return
            raise

    async def more(self, count: int) -> None:
        """Until so many more lines were accepted."""
        goal = self.said + count
        with trio.fail_after(DEADLINE_S):
            while self.said < goal:
                await self._accepted.wait()

    def stop(self) -> None:
        """After the line that is under way."""
        self._enough = True


@asynccontextmanager
async def talking(directory: GroupDirectory) -> AsyncIterator[Talker]:
    """A user that talks all the time, in a room. In the end all that it said must be there, once and in order."""
    async with Chat.connect(directory, Ed25519Signer.generate(), timeout=OUTCOME_S) as chat:
        await chat.register("alice")
        await chat.create(ROOM)
        talker = Talker(chat)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talker.run)
            yield talker
            talker.stop()
        await assert_all_is_there(chat, talker.said)


async def assert_all_is_there(chat: Chat, said: int) -> None:
    there = [message.body for message in await chat.history(ROOM, limit=LINES_MAX)]
    assert there == [f"line {number}" for number in range(said)], "something accepted was lost, or ran twice"


async def assert_sound(group: RunningGroup) -> None:
    """All replicas hold the same, and nobody was accused or alarmed."""
    reports = await group.until_equal()
    assert [report["evidence"] for report in reports] == [0] * len(reports)
    assert [report["alarms"] for report in reports] == [[]] * len(reports)
