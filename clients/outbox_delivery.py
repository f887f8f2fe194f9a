"""Delivering what waits in an outbox: in its order, each once, whatever dies in between.

One message is under way at a time. Before it is sent, its name (key, session, client sequence) is on the disk; sent
again after a crash, in the same session, it has the same name and the same bytes, and the group runs it once. A
session may have been ended meanwhile by sixteen later ones: then the replicas say that the name is dead, and the
room's own events, read in the order of all writes, tell whether the message was posted before it gets another name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import trio

from chatsvc.application import queries, results
from chatsvc.application.answers import History, Message, RoomDetails
from chatsvc.application.events import Content, EventKind, Head, content_digest
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.results import ErrorCode, Posted, decode_result
from chatsvc.application.schema import MessageIndex
from clients.outbox import Entry, Name, Outbox, Place, State
from clients.sdk import Chat, ChatError, ClientFailure, ExitCode, OutcomeUnknown, RequestRejected
from crypto.errors import MalformedEncoding
from pbft.client.connection import Dial, dial_tcp
from pbft.client.driver import ReplicaClient, open_client
from pbft.client.quorums import Accepted, Rejected, Unknown
from pbft.client.quorums.operations import FIRST_NAME
from pbft.client.sessions import next_session
from pbft.core.types import ClientSequence, Milliseconds, SessionNumber

DEAD_NAMES_MAX = 3
"""New sessions that may be refused in a row: more are when the clock of this machine is far behind."""
UNCLEAR = (
    "its session was ended, and the room does not say any more whether it was posted: look for it, and send it again"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The group takes the next message later. `retry_ms`: from this time on; the text is for people."""

    entry: Entry
    problem: str
    retry_ms: Milliseconds


class Delivery:
    """Delivers one outbox for the user of `chat`. The caller holds `Outbox.delivering`."""

    def __init__(
        self,
        chat: Chat,
        outbox: Outbox,
        *,
        timeout_s: float,
        told: Callable[[Entry], None] = lambda _entry: None,
        dial: Dial = dial_tcp,
    ) -> None:
        """`told` is called with every entry whose state has changed."""
        self._chat = chat
        self._outbox = outbox
        self._timeout_s = timeout_s
        self._told = told
        self._dial = dial
        self._events: dict[RoomName, int] = {}
        self._account = DisplayName("")
        self._dead_names = 0

    async def run(self) -> Waiting | None:
        """Deliver all that waits; None when nothing does any more.

        Raises ChatError for a user who is not registered, OutcomeUnknown and NotEnoughReplicas when the group
        cannot be reached: nothing is lost by that, and the next run goes on.
        """
        self._account = (await self._chat.whoami()).name
        for done in self._outbox.entries(State.ORDERED):
            if not done.problem:
                await self._verify(done)
        while (entry := self._outbox.first_pending()) is not None:
            if entry.name is not None and entry.name.device != self._chat.signer.public_key:
                await self._settle_other_key(entry, entry.name)
                continue
            session, at = next_session(self._outbox.last_session()), FIRST_NAME
            if entry.name is not None:
                session, at = entry.name.session, entry.name.client_sequence
            opening = open_client(
                self._chat.client.directory, self._chat.signer, session=session, resume_at=at, dial=self._dial
            )
            async with opening as client:
                await client.wait_connected(within_s=self._timeout_s)
                waiting = await self._deliver_in(client, session, at)
            if waiting is not None:
                return waiting
        return None

    async def _deliver_in(self, client: ReplicaClient, session: SessionNumber, at: ClientSequence) -> Waiting | None:
        """Deliver in one session until nothing waits, or until it has ended."""
        while (entry := self._outbox.first_pending()) is not None:
            name = entry.name
            if name is None:
                try:
                    event = await self._event_count(entry.draft.room)
                except ChatError as error:
                    self._refuse(entry, str(error))
                    continue
                name = Name(device=self._chat.signer.public_key, session=session, client_sequence=at, event=event)
                self._outbox.name(entry.number, name)
            try:
                outcome = await client.submit(entry.draft.operation, within_s=self._timeout_s)
            except (ValueError, MalformedEncoding) as error:  # nothing was sent, nor its place in the session used
                self._refuse(entry, f"no group takes it: {error}")
                continue
            match outcome:
                case Accepted():
                    self._dead_names = 0
                    waiting = await self._accepted(entry, outcome)
                    if waiting is not None:
                        return waiting
                case Rejected():
                    self._dead_names += 1
                    if self._dead_names > DEAD_NAMES_MAX:
                        msg = "the group refuses new sessions of this key: is the clock of this machine behind?"
                        raise RequestRejected(msg)
                    await self._settle(entry, name)
                    return None
                case Unknown():
                    msg = f"no outcome within {self._timeout_s:g} s: message {entry.number} of the outbox stays in it"
                    raise OutcomeUnknown(msg)
                case _:
                    assert_never(outcome)
            at = ClientSequence(at + 1)
        return None

    async def _accepted(self, entry: Entry, outcome: Accepted) -> Waiting | None:
        try:
            result = decode_result(outcome.result)
        except MalformedEncoding as error:
            raise _nonsense(str(error)) from error
        match result:
            case Posted(index=index):
                place = Place(message=index, sequence=outcome.sequence, batch_index=outcome.index)
                self._outbox.ordered(entry.number, place)
                self._told(self._outbox.entry(entry.number))
                await self._verify(self._outbox.entry(entry.number))
            case results.Rejected(detail=detail, retry_ms=int(retry_ms)):
                # It ran, and changed nothing: under another name it may do so later.
                self._outbox.unname(entry.number, detail)
                return Waiting(entry, detail, Milliseconds(retry_ms))
            case results.Rejected(detail=detail):
                self._refuse(entry, detail)
            case _:
                raise _nonsense(type(result).__name__)
        return None

    # -- after the fact

    async def _verify(self, entry: Entry) -> None:
        """Look for the message where f+1 replicas said it is; one that lags behind may not show it yet.

        What is not there in the order of all writes either is given up: it was deleted with its room's old messages,
        or its author may not read the room any more.
        """
        place = entry.place
        if place is None:
            return
        problem = ""
        try:
            message: Message | None = await self._chat.message(entry.draft.room, place.message)
        except ChatError:
            try:
                message = await self._message_in_order(entry.draft.room, place.message)
                problem = "it was ordered, but the room does not keep it any more"
            except ChatError as error:
                if error.retry_ms is not None:
                    return
                message, problem = None, f"it was ordered, but cannot be looked at any more: {error}"
        if message is not None:
            seen = (message.author, message.sequence, message.batch_index)
            if seen == (self._account, place.sequence, place.batch_index):
                self._outbox.verified(entry.number)
                self._told(self._outbox.entry(entry.number))
                return
            problem = "it was ordered, but the room shows another message in its place"
        self._outbox.unverified(entry.number, problem)
        self._told(self._outbox.entry(entry.number))

    async def _message_in_order(self, room: RoomName, index: MessageIndex) -> Message | None:
        """Raises ChatError for a room that cannot be read."""
        query = queries.ReadHistory(room=room, before=MessageIndex(index + 1), limit=1)
        reading = await self._chat.ask(query, linearizable=True)
        if not isinstance(reading.value, History):
            raise _nonsense(type(reading.value).__name__)
        return next((message for message in reading.value.messages if message.index == index), None)

    async def _settle_other_key(self, entry: Entry, name: Name) -> None:
        """Raises ClientFailure while what was sent under another key may run still."""
        devices = {device.device: device for device in await self._chat.devices()}
        other = devices.get(name.device)
        if other is None or other.revoked_ms is None:
            msg = (
                f"message {entry.number} of the outbox was sent with the key {name.device.hex()[:16]}..., and may be "
                "posted still: deliver it with that identity, or revoke that device first"
            )
            raise ClientFailure(msg, exit_code=ExitCode.REJECTED)
        await self._settle(entry, name)

    async def _settle(self, entry: Entry, name: Name) -> None:
        """The name is dead: find out whether the message was posted under it."""
        try:
            head = await self._posted_since(entry, name.event)
        except ChatError as error:
            self._refuse(entry, f"{UNCLEAR} ({error})")
            return
        if head is None:
            self._outbox.unname(entry.number)
        elif head.index is not None:
            place = Place(message=head.index, sequence=head.sequence, batch_index=head.batch_index)
            self._outbox.ordered(entry.number, place)
            self._told(self._outbox.entry(entry.number))
            await self._verify(self._outbox.entry(entry.number))

    async def _posted_since(self, entry: Entry, event: int) -> Head | None:
        """Look through the room's events, which stay what they are when a message is edited or deleted.

        Read in the order of all writes, as what told us that the name is dead may be ahead of f+1 other replicas.
        Raises ChatError when they cannot be read any more.
        """
        room = entry.draft.room
        reading = await self._chat.ask(queries.ShowRoom(room), linearizable=True)
        if not isinstance(reading.value, RoomDetails):
            raise _nonsense(type(reading.value).__name__)
        end = reading.value.event_count
        if reading.value.first_event > event:
            raise ChatError(ErrorCode.NO_SUCH_MESSAGE, "the room has forgotten what happened then")
        digest = content_digest(Content(entry.draft.body, entry.draft.nonce))
        if event >= end:
            return None
        async with self._chat.follow(room, event) as stream:
            while True:
                with trio.move_on_after(self._timeout_s) as patience:
                    head = (await anext(stream)).head
                if patience.cancelled_caught:
                    raise OutcomeUnknown("the room's events do not come: the outbox stays as it is")
                if head.kind is EventKind.POSTED and head.actor == self._account and head.digest == digest:
                    return head
                if head.event >= end - 1:
                    return None

    # -- inside

    async def _event_count(self, room: RoomName) -> int:
        """Of any time before the message is sent: it is asked once for each room."""
        if room not in self._events:
            self._events[room] = (await self._chat.room(room)).event_count
        return self._events[room]

    def _refuse(self, entry: Entry, problem: str) -> None:
        self._outbox.refused(entry.number, problem)
        self._told(self._outbox.entry(entry.number))


def _nonsense(what: str) -> ClientFailure:
    msg = f"the replicas agree on something that this client does not understand: {what}"
    return ClientFailure(msg, exit_code=ExitCode.DISAGREE)
