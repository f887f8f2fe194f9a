"""Own lines on their way: each is ordered once, in the order in which they were typed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from chatsvc.application.answers import RoomDetails
from chatsvc.application.bodies import parse_body
from chatsvc.application.events import Content, EventKind, content_digest
from chatsvc.application.queries import ShowRoom
from chatsvc.application.results import Posted
from clients.sdk import Chat, ChatError, ClientFailure, OutcomeUnknown, RequestRejected
from clients.sdk.port import refuse_nonsense
from clients.terminal.lines import Fate, Pending
from clients.terminal.roomlog import PENDING_MAX, RoomLog
from pbft.client.errors import TooBusy
from pbft.client.quorums.operations import UnknownTicket

AGAIN_S = 1.0
WAITING_MAX = 8 * PENDING_MAX


class Outbox:
    """`explain`: a refusal in words for a person. `on_ended`: the group takes nothing more in this session; returns
    whether there will be another one, with an outbox for what waits."""

    def __init__(self, chat: Chat, explain: Callable[[ClientFailure], str], on_ended: Callable[[], bool]) -> None:
        self.has_posted = False
        self._chat = chat
        self._explain, self._on_ended = explain, on_ended
        self._is_over = False
        self._put, self._taken = trio.open_memory_channel[tuple[RoomLog, str, Pending]](WAITING_MAX)
        self._waiting = 0
        self._idle = trio.Event()

    def put(self, log: RoomLog, room: str, line: Pending) -> None:
        try:
            self._put.send_nowait((log, room, line))
        except trio.WouldBlock:
            log.mark(line, Fate.FAILED, "too many lines wait")
        else:
            self._waiting += 1

    async def wait_idle(self) -> None:
        """Wait until every line that was put here has met its fate."""
        while self._waiting:
            self._idle = trio.Event()
            await self._idle.wait()

    async def run(self) -> None:
        """Post what is put here, until the session has ended. While the outcome of a line is unknown, those after it
        wait."""
        async for log, room, line in self._taken:
            if line in log.pending:  # not given up before it was sent
                await self._deliver(log, room, line)
            if self._is_over:
                return
            self._waiting -= 1
            if not self._waiting:
                self._idle.set()

    async def _deliver(self, log: RoomLog, room: str, line: Pending) -> None:
        before = line.since
        try:
            if before is not None and await self._is_posted(log, room, line, before):
                log.drop(line)  # the room shows it
            else:
                await self._post(log, room, line)
        except (ChatError, TooBusy) as error:
            line.since = before
            log.mark(line, Fate.FAILED, self._explain(error))
        except RequestRejected as error:
            self._is_over = self._on_ended()
            if self._is_over:  # whoever comes after finds out whether it was posted
                log.mark(line, Fate.UNKNOWN, str(error))
            else:
                log.mark(line, Fate.GIVEN_UP, "the group refuses new sessions of this key: is this clock behind?")
        except UnknownTicket:
            log.mark(line, Fate.GIVEN_UP, "its outcome was forgotten")
        except ClientFailure as error:
            log.mark(line, Fate.GIVEN_UP, str(error))

    async def _post(self, log: RoomLog, room: str, line: Pending) -> None:
        if line.since is None:
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
            self.has_posted = True
            log.accepted(line, done.value.index, done.receipt)
            return
        while True:  # under the same name: however often it is asked for, it happens once
            try:
                again = await self._chat.retry(unknown)
            except OutcomeUnknown as error:
                unknown = error
                await trio.sleep(AGAIN_S)
                continue
            if not isinstance(again.value, Posted):
                refuse_nonsense(f"{type(again.value).__name__} in place of Posted")
            self.has_posted = True
            log.accepted(line, again.value.index, again.receipt)
            return

    async def _is_posted(self, log: RoomLog, room: str, line: Pending, since: int) -> bool:
        """Ask until it is known. Raises ClientFailure when the room does not say."""
        while True:
            try:
                return await self._is_among_events(log.me, room, line, since)
            except ChatError as error:
                raise ClientFailure(f"{room} does not say: {error}") from error
            except OutcomeUnknown as error:
                log.mark(line, Fate.UNKNOWN, str(error))
                await trio.sleep(AGAIN_S)

    async def _is_among_events(self, me: str, room: str, line: Pending, since: int) -> bool:
        """Look through the events, which stay what they are when a message is edited or deleted.

        Up to where the order of all writes is now: what told us that a name is dead may be ahead of other replicas.
        """
        details = (await self._chat.ask(ShowRoom(room), linearizable=True)).value
        if not isinstance(details, RoomDetails):
            refuse_nonsense(f"{type(details).__name__} in place of RoomDetails")
        if details.first_event > since:
            raise ClientFailure(f"{room} does not say any more what happened then")
        if details.event_count <= since:
            return False
        digest = content_digest(Content(parse_body(line.body), line.nonce))
        async with self._chat.follow(room, since) as events:
            async for event in events:
                head = event.head
                if head.kind is EventKind.POSTED and head.actor == me and head.digest == digest:
                    return True
                if head.event >= details.event_count - 1:
                    break
        return False
