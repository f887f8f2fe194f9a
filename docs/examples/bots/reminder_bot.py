#!/usr/bin/env python
"""Reminds whoever asks for it: `!remind 10m the tea`. Run it with QUORATE_GROUP set: reminder_bot.py ROOM IDENTITY

It keeps nothing but what the group keeps: requests and its answers are in the room, and its read marker says from
where on there may be a request that it has not answered. So it may be killed and started anew at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import trio
from echo_bot import main, say

from chatsvc.application.answers import Message
from clients.sdk import Chat, ChatError, ClientFailure
from clients.times import now_ms, span_ms

WAITING_MAX = 1000
MARK_EVERY = 100
"""Messages after which the read marker moves, if nobody is reminded before."""
NOTED = "⏰"
_ASKED = re.compile(r"!remind (\S+) (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reminder:
    """`due_ms`: by the time that the replicas agreed on, in milliseconds since 1970."""

    request: int
    due_ms: int
    body: str


def reminder_of(message: Message) -> Reminder | None:
    """Return what a message asks for; what cannot be done is said at once."""
    asked = _ASKED.fullmatch(message.body)
    if asked is None:
        return None
    try:
        after_ms = span_ms(asked[1])
    except ClientFailure as error:
        return Reminder(message.index, message.time, f"@{message.author} {error}")
    return Reminder(message.index, message.time + after_ms, f"@{message.author} {asked[2]}")


class ReminderBot:
    """`clock`: of this machine. The group's time is taken from messages as they come in, so it need not be right."""

    def __init__(self, chat: Chat, room: str, *, clock: Callable[[], int] = now_ms) -> None:
        self.waiting: dict[int, Reminder] = {}
        self._chat, self._room, self._clock = chat, room, clock
        self._ahead_ms = 0
        """What the group's clock shows more than this machine's."""
        self._seen = self._marked = 0
        self._live_from = 0
        """Messages before this one were there when the bot came."""
        self._changed = trio.Event()

    async def run(self) -> None:
        me = (await self._chat.whoami()).name
        rows = {row.room: row async for row in self._chat.unread()}
        row = rows[(await self._chat.room(self._room)).header.room]
        self._seen = self._marked = row.read
        self._live_from = row.message_count
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._remind)
            async with self._chat.subscribe(self._room, row.read) as messages:
                async for message in messages:
                    await self._take(message, is_mine=message.author == me)

    async def _take(self, message: Message, *, is_mine: bool) -> None:
        self._seen = message.index + 1
        is_live = message.index >= self._live_from
        if is_live:
            self._ahead_ms = message.time - self._clock()
        reminder = None if is_mine else reminder_of(message)
        if is_mine and message.reply_to is not None:
            self.waiting.pop(message.reply_to, None)  # it was answered, now or before a restart
        elif reminder is not None and len(self.waiting) < WAITING_MAX:
            self.waiting[message.index] = reminder
            if is_live:
                await self._note(message.index)
        self._changed.set()
        if self._seen - self._marked >= MARK_EVERY:
            await self._mark()

    async def _note(self, index: int) -> None:
        with suppress(ChatError):  # it may have been deleted meanwhile, and is only a courtesy
            await self._chat.react(self._room, index, NOTED)

    async def _remind(self) -> None:
        while True:
            self._changed = trio.Event()
            first = min(self.waiting.values(), key=lambda one: (one.due_ms, one.request), default=None)
            wait_s = float("inf")
            if first is not None and self._seen >= self._live_from:  # before, its answer may still be read
                wait_s = (first.due_ms - self._ahead_ms - self._clock()) / 1000
            if first is None or wait_s > 0:
                with trio.move_on_after(wait_s):
                    await self._changed.wait()
                continue
            with suppress(ChatError):  # what it may not say now it may not later either
                await say(self._chat, self._room, first.body, reply_to=first.request)
            self.waiting.pop(first.request, None)
            await self._mark()

    async def _mark(self) -> None:
        """Everything before the oldest request that waits need never be read again."""
        oldest = min(self.waiting, default=self._seen)
        if oldest > self._marked:
            self._marked = oldest
            await self._chat.mark_read(self._room, oldest)


async def remind(chat: Chat, room: str) -> None:
    await ReminderBot(chat, room).run()


if __name__ == "__main__":
    main(remind, "reminder-bot")
