"""The model in step with the group: what happens there comes in, what a person does goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import TypeVarTuple, Unpack, cast

import trio

from chatsvc.application.bodies import BadText, parse_body
from chatsvc.application.events import NoticeKind
from chatsvc.application.results import ErrorCode
from clients.codes import new_nonce
from clients.sdk import Chat, ChatError, ClientFailure, RequestRejected, RoomEvent
from clients.terminal.arguments import BadCommand
from clients.terminal.lines import Fate, Pending
from clients.terminal.marks import ReadMarks
from clients.terminal.model import Model, Report, RoomState, health_of
from clients.terminal.outbox import Outbox
from clients.terminal.texts import one_line
from clients.times import now_ms
from pbft.core.types import ReplicaId

Ts = TypeVarTuple("Ts")

PAGE = 100
"""Messages asked for at once."""
MEMBERS_MAX = 500
"""Members remembered for completion."""
FOLLOWED_MAX = 60
"""Rooms whose events come in as they happen; how much is unread in others is asked for now and then."""
LOOK_S = 1.0
INSPECT_S = 10.0
REFRESH_S = 30.0
AGAIN_S = 2.0
LEAVE_S = 3.0
RENEWALS_MAX = 3
"""Sessions that may be ended in a row without having taken anything: the clock of this machine may be behind."""
_CALLING = (NoticeKind.MENTION, NoticeKind.REPLY, NoticeKind.DIRECT)


class Session:
    """One user's chat, for as long as `run` runs. `changed`: the model is to be drawn; `ring`: call attention."""

    def __init__(
        self,
        chat: Chat,
        model: Model,
        *,
        ring: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = now_ms,
        zone: tzinfo | None = None,
        renewals: int = 0,
    ) -> None:
        """`renewals`: how many sessions before this one were ended by the group without taking anything."""
        self.chat = chat
        self.model = model
        self.now_ms = now_ms
        self.zone = zone
        """In which times are shown; None for this machine's."""
        self.leaving = trio.Event()
        self.is_ended = False
        """Whether the group has ended it, so that it takes another one to write anything."""
        self._renewals = renewals
        self.marks = ReadMarks()
        self._ring = ring
        self._nursery: trio.Nursery | None = None
        self._followed: dict[str, trio.CancelScope] = {}
        self._loading: set[str] = set()
        self._marked = trio.Event()
        self._rooms_lock, self._marks_lock = trio.Lock(), trio.Lock()
        self._outbox = Outbox(chat, self.explain, self._end)
        self._reports: dict[ReplicaId, Report] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow everything until `leave`; started when the rooms are known. ChatError: the key has no account."""
        await self._until_known(self._meet)
        self.model.needed = self.chat.client.group.honest_minimum
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._watch_replicas)
            nursery.start_soon(self._inspect_replicas)
            nursery.start_soon(self._outbox.run)
            nursery.start_soon(self._tell_marks)
            await self._until_known(self.load_rooms)
            self._go_on()
            nursery.start_soon(self._follow_notices)
            nursery.start_soon(self._refresh)
            task_status.started()
            await self.leaving.wait()
            with trio.move_on_after(0 if self.is_ended else LEAVE_S):
                await self._send_marks(leaving=True)
                await self._outbox.wait_idle()
            self._nursery = None  # nothing can be started any more
            nursery.cancel_scope.cancel()

    async def _meet(self) -> None:
        self.model.me, self.model.group = (await self.chat.whoami()).name, self.chat.client.group.name

    def _go_on(self) -> None:
        """Take over what an earlier session has left in the model."""
        for room in self.model.rooms.values():
            self._follow_soon(room.name)
            if self._renewals and room.name == self.model.open:
                self.marks.saw(room.name, room.read)
            for line in room.log.pending:
                if line.fate in (Fate.PENDING, Fate.UNKNOWN):
                    self._outbox.put(room.log, room.name, line)

    def _end(self) -> bool:
        """The group has ended this session. Returns False when it ends every new one, too."""
        if self.leaving.is_set():
            return True
        if self.renewals > RENEWALS_MAX:
            self._renewals = 0
            return False
        self.is_ended = True
        self.leaving.set()
        return True

    @property
    def renewals(self) -> int:
        """For the session after this one."""
        return 1 if self._outbox.has_posted else self._renewals + 1

    def leave(self) -> None:
        """End `run`, after the last read markers and own lines were sent, or a while later."""
        self.leaving.set()

    # -- what a person does

    def start(self, job: Callable[[Unpack[Ts]], Awaitable[object]], *arguments: *Ts) -> None:
        """Do it in the background; what goes wrong is said in the status line."""
        if self._nursery is not None:
            self._nursery.start_soon(self._guarded, job, *arguments)

    async def _guarded(self, job: Callable[[Unpack[Ts]], Awaitable[object]], *arguments: *Ts) -> None:
        try:
            await job(*arguments)
        except BadCommand as error:
            self.model.complain(str(error))
        except ClientFailure as error:
            self.model.complain(one_line(self.explain(error)))
            if isinstance(error, RequestRejected) and self._end() and cast("object", job) != self.chat.mark_read:
                self.model.complain("this session was ended by later ones: look whether it was done, and do it again")

    def explain(self, error: ClientFailure) -> str:
        if isinstance(error, ChatError) and error.retry_ms is not None:
            wait_s = max(1, -(-(error.retry_ms - self.now_ms()) // 1000))
            return f"{error} (again in {wait_s} s)"
        return str(error)

    async def enter(self, name: str) -> None:
        """Show a room that this user is in, with its history."""
        if name not in self.model.rooms:
            await self.load_rooms()
        if name not in self.model.rooms:
            raise BadCommand(f"you are not in {one_line(name)}: /join it first")
        self.model.enter(name)
        self._follow_soon(name)
        room = self.model.rooms[name]
        if not room.is_loaded and name not in self._loading:
            self._loading.add(name)
            try:
                while not room.is_loaded:  # again when the log began anew meanwhile
                    await self._load(room)
            finally:
                self._loading.discard(name)
        self.saw()

    async def _load(self, room: RoomState) -> None:
        log, details = room.log, await self.chat.room(room.name)
        self.model.take_details(details)
        log.follow_from(details.event_count)  # known before the page is read: what comes after it is an event
        page = await self.chat.history(room.name, before=log.first_index, limit=PAGE)
        log.complete = len(page) < PAGE
        log.add_page(page)
        if room.log is not log:
            return
        room.is_loaded = True
        room.log.set_pins([message.index for message in await self.chat.pins(room.name)])
        await self._load_polls(room)
        room.members = []
        async for member in self.chat.members(room.name):
            room.members.append(member.name)
            if len(room.members) >= MEMBERS_MAX:
                break

    async def _load_polls(self, room: RoomState) -> None:
        for entry in room.log.entries():
            if entry.options and entry.votes is None:
                poll = await self.chat.poll(room.name, entry.message.index)
                room.log.set_poll(entry.message.index, poll.votes, closed=poll.closed_ms is not None)

    async def load_older(self, room: RoomState) -> bool:
        """Put another page of history before what is there. Returns whether the log goes back further now."""
        first = room.log.first_index
        if room.log.complete or room.log.is_full or first is None or room.name in self._loading:
            return False
        self._loading.add(room.name)
        log = room.log
        log.held = True
        try:
            page = await self.chat.history(room.name, before=first, limit=PAGE)
            log.complete = len(page) < PAGE
            log.add_page(page)
            await self._load_polls(room)
        finally:
            self._loading.discard(room.name)
        return room.log.first_index != first

    def say(
        self,
        room: RoomState,
        body: str,
        *,
        action: bool = False,
        reply_to: int | None = None,
        thread: str | None = None,
    ) -> bool:
        """Show the line and send it. Returns False, and says why, for what cannot be said."""
        try:
            parse_body(body)
        except BadText as error:
            self.model.complain(f"not sent: {error}")
            return False
        nonce = new_nonce()
        line = room.log.send(nonce, body, action=action, reply_to=reply_to, thread=thread)
        if line is None:
            self.model.complain("not sent: too many lines wait for their outcome")
            return False
        self._outbox.put(room.log, room.name, line)
        return True

    def say_again(self, room: RoomState, line: Pending) -> None:
        """Send a line again that was refused, or, if it is not there, one that was given up."""
        if line.fate in (Fate.FAILED, Fate.GIVEN_UP):
            room.log.mark(line, Fate.PENDING)
            self._outbox.put(room.log, room.name, line)

    def saw(self) -> None:
        """The end of the open room is on the screen."""
        seen = self.model.saw()
        if seen is not None:
            self.marks.saw(*seen)
            self._marked.set()

    # -- what comes in

    async def load_rooms(self) -> None:
        """Ask which rooms there are and what is unread in them."""
        async with self._rooms_lock:
            new = self.model.update_rooms([room async for room in self.chat.unread()])
            self.model.invitations = await self.chat.invitations()
        for name in new:
            self._follow_soon(name)

    def forget(self, name: str) -> None:
        """This user has left the room: nothing that happened there before counts any more."""
        self.model.drop_room(name)
        scope = self._followed.pop(name, None)
        if scope is not None:
            scope.cancel()

    def _follow_soon(self, name: str) -> None:
        """Follow a room unless it is followed, or so many are that this one must wait until it is opened."""
        if name in self._followed or self._nursery is None:
            return
        if len(self._followed) >= FOLLOWED_MAX:
            if name != self.model.open:
                return
            next(scope for other, scope in self._followed.items() if other != name).cancel()
        self._followed[name] = trio.CancelScope()
        self._nursery.start_soon(self._follow, name, self._followed[name])

    async def _follow(self, name: str, scope: trio.CancelScope) -> None:
        with scope:
            while name in self.model.rooms:
                room = self.model.rooms[name]
                try:
                    if not room.log.next_event:
                        room.log.follow_from((await self.chat.room(name)).event_count)
                    async with self.chat.follow(name, room.log.next_event) as events:
                        async for event in events:
                            if self._is_over(name, event):
                                break
                except ChatError as error:
                    await self._begin_again(room, error)
                except ClientFailure as error:
                    self.model.complain(one_line(f"{room.title}: {error}"))
                    await trio.sleep(AGAIN_S)
        if self._followed.get(name) is scope:
            del self._followed[name]

    def _is_over(self, name: str, event: RoomEvent) -> bool:
        """Take an event. Returns whether it was the last one that this user may see."""
        if name not in self.model.rooms:
            return True
        if self.model.has_left(event):
            self.model.drop_room(name)
            if event.head.actor != self.model.me:
                self.model.complain(one_line(f"{event.head.actor} removed you from #{name}"))
            return True
        self.model.apply(name, event)
        room = self.model.rooms[name]
        if name == self.model.open and not room.log.held:
            self.saw()
        return False

    async def _begin_again(self, room: RoomState, error: ChatError) -> None:
        """The events that come next cannot be read: not any more, so the log begins anew, or not by us."""
        try:
            details = await self.chat.room(room.name)
        except ClientFailure as failure:
            if isinstance(failure, ChatError):
                self.model.drop_room(room.name)
            self.model.complain(one_line(f"{room.title}: {failure}"))
        else:
            if details.role is None and self.model.rooms.get(room.name) is room:
                self.model.drop_room(room.name)
                self.model.complain(one_line(f"{room.title}: {error}"))
            room.log = room.log.renewed()
            room.log.follow_from(details.event_count)
            room.is_loaded = False
            if room.name == self.model.open:
                self.start(self.enter, room.name)
        await trio.sleep(AGAIN_S)

    async def _follow_notices(self) -> None:
        while True:
            await self._until_known(self._take_notices)

    async def _take_notices(self) -> None:
        known = await self.chat.notices(limit=50)
        self.model.notices.clear()
        self.model.notices.extend(known.notices)
        async with await self.chat.follow_notices(known.end) as notices:
            async for notice in notices:
                self.model.notice(notice)
                if notice.kind in _CALLING:
                    self._ring()
                if notice.room not in self.model.rooms:
                    self.start(self.load_rooms)

    async def _until_known(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Do it until it succeeds. Raises ChatError for NOT_REGISTERED."""
        while True:
            try:
                await ask()
            except ClientFailure as error:
                if isinstance(error, ChatError) and error.code is ErrorCode.NOT_REGISTERED:
                    raise
                self.model.complain(one_line(str(error)))
                await trio.sleep(AGAIN_S)
            else:
                return

    # -- now and then

    async def _refresh(self) -> None:
        while True:
            await trio.sleep(REFRESH_S)
            await self._guarded(self.load_rooms)
            room = self.model.room
            if room is not None and not room.is_loaded:
                await self._guarded(self.enter, room.name)

    async def _watch_replicas(self) -> None:
        while True:
            self.model.health = health_of(self.chat.links(), self.chat.lies(), self._reports)
            self.model.connected = sum(one.answers for one in self.model.health) >= self.model.needed
            await trio.sleep(LOOK_S)

    async def _inspect_replicas(self) -> None:
        while True:
            for replica in self.chat.client.group.replicas:
                seen = self.chat.client.seen
                report = await self.chat.client.inspect(replica, within_s=LOOK_S)
                if report is None:
                    self._reports.pop(replica, None)
                else:
                    self._reports[replica] = Report(report, seen)
            await trio.sleep(INSPECT_S)

    async def _tell_marks(self) -> None:
        while True:
            wait_s = self.marks.wait_s(trio.current_time())
            if wait_s is None:
                await self._marked.wait()
                self._marked = trio.Event()
                continue
            await trio.sleep(wait_s)
            await self._send_marks(leaving=False)

    async def _send_marks(self, *, leaving: bool) -> None:
        async with self._marks_lock:  # whoever leaves waits for those on their way
            for room, index in self.marks.take_due(trio.current_time(), leaving=leaving):
                await self._guarded(self.chat.mark_read, room, index)
