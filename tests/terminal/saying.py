"""Events and messages of a room as the group would tell them."""

from __future__ import annotations

from chatsvc.application.answers import Message
from chatsvc.application.bodies import MessageText
from chatsvc.application.events import Content, EventKind, Head
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from clients.sdk import Receipt, RoomEvent
from pbft.core.types import EventIndex, Milliseconds, ReplicaId, SequenceNumber

NOON_MS = 1_482_148_800_000
"""2016-12-19 12:00 UTC."""
VOUCHERS = (ReplicaId(0), ReplicaId(2))
RECEIPT = Receipt(sequence=SequenceNumber(9), index=0, vouchers=(ReplicaId(0), ReplicaId(1)), needed=2)


class Garden:
    """Tells what happens in a room, one event after the other, a minute apart."""

    def __init__(self, room: str = "garden") -> None:
        self.room = RoomName(room)
        self.event = 0
        self.index = 0

    def happens(
        self,
        kind: EventKind,
        *data: str | int,
        actor: str = "Bob",
        index: int | None = None,
        content: Content | None = None,
    ) -> RoomEvent:
        head = Head(
            room=self.room,
            event=EventIndex(self.event),
            kind=kind,
            actor=DisplayName(actor),
            index=None if index is None else MessageIndex(index),
            data=list(data),
            digest=b"" if content is None else b"d" * 32,
            time=Milliseconds(NOON_MS + 60_000 * self.event),
            sequence=SequenceNumber(self.event + 1),
            batch_index=0,
        )
        self.event += 1
        return RoomEvent(head=head, content=content, vouchers=VOUCHERS)

    def says(
        self,
        body: str,
        *,
        actor: str = "Bob",
        nonce: bytes = b"",
        kind: MessageKind = MessageKind.TEXT,
        reply_to: int = -1,
        thread: str = "",
    ) -> RoomEvent:
        index = self.index
        self.index += 1
        content = Content(body, nonce)
        data = (kind.value, reply_to, thread, -1, index)
        return self.happens(EventKind.POSTED, *data, actor=actor, index=index, content=content)


def message(
    index: int, body: str = "hello", *, author: str = "Bob", event: int | None = None, **more: object
) -> Message:
    """A message out of the history, posted at event `index` unless said otherwise."""
    return Message(
        room=RoomName("garden"),
        index=MessageIndex(index),
        kind=MessageKind.TEXT,
        author=DisplayName(author),
        body=MessageText(body),
        time=Milliseconds(NOON_MS + 60_000 * index),
        sequence=SequenceNumber(index + 1),
        batch_index=0,
        serial=MessageSerial(index),
        event=EventIndex(index if event is None else event),
        **more,  # type: ignore[arg-type]
    )
