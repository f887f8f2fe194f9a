"""What happens, as it happens: events of rooms and notices, each once and in order, vouched for by f+1 replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chatsvc.application import answers, events
from chatsvc.application.bodies import MessageText
from chatsvc.application.events import Content, EventKind, Head, NoticeHead
from chatsvc.application.names import RoomName
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from clients.sdk.messages import MessageCalls
from clients.sdk.rooms import RoomCalls
from clients.sdk.values import ChatError, ClientFailure
from crypto.errors import MalformedEncoding
from pbft.client.errors import ExitCode, TopicClosed
from pbft.client.quorums import Event
from pbft.client.streams import EventStream
from pbft.core.types import EventIndex, Milliseconds, ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEvent:
    """Something that happened in a room."""

    head: Head
    content: Content | None
    """What a message said when it was posted or edited; None for another event, and when it was deleted since."""
    vouchers: tuple[ReplicaId, ...]

    @property
    def message(self) -> answers.Message | None:
        """The message that was posted, as it was then, or with an empty body if it was deleted since."""
        return None if self.head.kind is not EventKind.POSTED else _posted(self.head, self.content)


class Reader(MessageCalls, RoomCalls):
    """What a stream asks beside its events."""


class RoomEventStream:
    """`async with` subscribes, `async for` gives a room's events from `start` on, without end.

    `start`: None for those to come. Raises ChatError for a room that cannot be read, or not any more so far back.
    """

    def __init__(self, reader: Reader, room: RoomName, start: int | None) -> None:
        self.room = room
        self._reader = reader
        self._start = start
        self._events: EventStream | None = None

    async def __aenter__(self) -> Self:
        start = self._start
        if start is None:
            start = (await self._reader.room(self.room)).event_count
        self._events = self._reader.client.subscribe(self.room.encode(), EventIndex(start))
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._events is not None:
            await self._events.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RoomEvent:
        event = await _next(self._events, f"#{self.room} cannot be read, or not any more from there on")
        try:
            head = events.decode_head(event.head)
            content = None if event.content is None else events.decode_content(event.content)
        except MalformedEncoding as error:
            raise _unknown(f"#{self.room}: event {event.index}", error) from error
        if content is None and event.content_digest:
            content = await self._still_said(head)
        return RoomEvent(head=head, content=content, vouchers=event.vouchers)

    async def _still_said(self, head: Head) -> Content | None:
        """Return what the message says now: one replica sends content, and this one did not. So it was deleted, or
        the replica keeps it back; f+1 of them know."""
        try:
            message = await self._reader.message(self.room, -1 if head.index is None else head.index)
        except ChatError:
            return None
        return None if message.deleted_by is not None else Content(message.body, message.nonce)


class MessageStream:
    """`async with` subscribes, `async for` gives a room's messages from index `start` on, each once and in order,
    without end. Raises ChatError when the room cannot be read."""

    def __init__(self, reader: Reader, room: RoomName, start: int) -> None:
        self.room = room
        self._reader = reader
        self._start = start
        self._events: RoomEventStream | None = None

    async def __aenter__(self) -> Self:
        self._events = RoomEventStream(self._reader, self.room, await self._first_event())
        await self._events.__aenter__()
        return self

    async def _first_event(self) -> int:
        details = await self._reader.room(self.room)
        if self._start >= details.message_count:
            return details.event_count
        if self._start <= details.first_message:
            return details.first_event
        return (await self._reader.message(self.room, self._start)).event

    async def __aexit__(self, *exception: object) -> None:
        if self._events is not None:
            await self._events.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> answers.Message:
        if self._events is None:
            raise RuntimeError("a stream is entered before it is read")
        while True:
            event = await anext(self._events)
            message = event.message
            if message is not None and message.index >= self._start:
                return message


class NoticeStream:
    """`async with` subscribes, `async for` gives what this user's account is told, from notice `start` on.

    Raises ChatError when there is no such account, or when so old notices are no longer kept.
    """

    def __init__(self, reader: Reader, topic: bytes, start: int) -> None:
        self._events = reader.client.subscribe(topic, EventIndex(start))

    async def __aenter__(self) -> Self:
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._events.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NoticeHead:
        event = await _next(self._events, "these notices cannot be read, or are not kept any more")
        try:
            return events.decode_notice(event.head)
        except MalformedEncoding as error:
            raise _unknown(f"notice {event.index}", error) from error


async def _next(stream: EventStream | None, closed: str) -> Event:
    if stream is None:
        raise RuntimeError("a stream is entered before it is read")
    try:
        return await anext(stream)
    except TopicClosed as error:
        raise ChatError(ErrorCode.NO_SUCH_ROOM, closed) from error


def _unknown(what: str, error: MalformedEncoding) -> ClientFailure:
    return ClientFailure(f"{what} is none that this version knows: {error}", exit_code=ExitCode.DISAGREE)


def _posted(head: Head, content: Content | None) -> answers.Message:
    """Raises ClientFailure for a head that this version does not know."""
    match head.data:
        case [str(kind), int(reply_to), str(thread), int(claimed_ms), int(serial)] if head.index is not None:
            return answers.Message(
                room=head.room,
                index=head.index,
                kind=MessageKind(kind),
                author=head.actor,
                body=MessageText("" if content is None else content.body),
                reply_to=None if reply_to < 0 else MessageIndex(reply_to),
                thread=thread or None,
                nonce=b"" if content is None else content.nonce,
                time=head.time,
                claimed_ms=None if claimed_ms < 0 else Milliseconds(claimed_ms),
                sequence=head.sequence,
                batch_index=head.batch_index,
                serial=MessageSerial(serial),
                event=head.event,
            )
        case _:
            msg = f"#{head.room}: event {head.event} is none that this version knows"
            raise ClientFailure(msg, exit_code=ExitCode.DISAGREE)
