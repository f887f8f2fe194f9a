"""Own lines on their way: each is ordered once, in the order in which they were typed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from chatsvc.application.results import Posted
from clients.sdk import Chat, ChatError, ClientFailure, OutcomeUnknown, RequestRejected
from clients.terminal.lines import Fate, Pending
from clients.terminal.roomlog import PENDING_MAX, RoomLog
from pbft.client.errors import TooBusy
from pbft.client.quorums.operations import UnknownTicket

AGAIN_S = 1.0
WAITING_MAX = 8 * PENDING_MAX


class Outbox:
    """`explain`: a refusal in words for a person."""

    def __init__(self, chat: Chat, explain: Callable[[ClientFailure], str]) -> None:
        self._chat = chat
        self._explain = explain
        self._put, self._taken = trio.open_memory_channel[tuple[RoomLog, str, Pending]](WAITING_MAX)
        self._waiting = 0
        self._idle = trio.Event()

    def put(self, log: RoomLog, room: str, line: Pending) -> None:
        try:
            self._put.send_nowait((log, room, line))
        except trio.WouldBlock:
            log.fail(line, "too many lines wait; /retry sends it again")
        else:
            self._waiting += 1

    async def wait_idle(self) -> None:
        """Wait until every line that was put here has met its fate."""
        while self._waiting:
            self._idle = trio.Event()
            await self._idle.wait()

    async def run(self) -> None:
        """Post what is put here, for ever. While the outcome of a line is unknown, those after it wait."""
        async for log, room, line in self._taken:
            if line in log.pending:  # not given up before it was sent
                await self._deliver(log, room, line)
            self._waiting -= 1
            if not self._waiting:
                self._idle.set()

    async def _deliver(self, log: RoomLog, room: str, line: Pending) -> None:
        try:
            await self._post(log, room, line)
        except ChatError as error:
            log.fail(line, self._explain(error))
        except (RequestRejected, TooBusy) as error:
            log.fail(line, str(error))
        except ClientFailure as error:
            log.mark(line, Fate.UNKNOWN, f"not known whether it was carried out: {error}")

    async def _post(self, log: RoomLog, room: str, line: Pending) -> None:
        line.since = log.next_event
        try:
            done = await self._chat.post(
                room,
                line.body,
                action=line.action,
                reply_to=line.reply_to,
                thread=line.thread,
                nonce=line.nonce,
            )
        except OutcomeUnknown as error:
            log.mark(line, Fate.UNKNOWN, str(error))
            unknown = error
        else:
            log.accepted(line, done.value.index, done.receipt)
            return
        while True:  # under the same name: however often it is asked for, it happens once
            try:
                again = await self._chat.retry(unknown)
            except OutcomeUnknown as error:
                unknown = error
                await trio.sleep(AGAIN_S)
                continue
            except UnknownTicket:
                log.mark(line, Fate.UNKNOWN, "its outcome was forgotten: the room shows whether it was posted")
                return
            if isinstance(again.value, Posted):
                log.accepted(line, again.value.index, again.receipt)
            return
