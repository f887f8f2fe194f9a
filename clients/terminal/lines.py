"""What stands in a room's log: messages, what else happened, and what this user has said and is not ordered yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from chatsvc.application.answers import Message
from chatsvc.application.events import EventKind, Head
from chatsvc.application.schema import MessageKind
from clients.sdk import Receipt
from pbft.core.types import ReplicaId


@dataclass(slots=True)
class Entry:
    """A message in its place. `version` counts its changes, for whoever keeps what was drawn."""

    message: Message
    vouchers: tuple[ReplicaId, ...] = ()
    """Who signed what it was made of; empty where a page of history was, which f+1 have signed as a whole."""
    receipt: Receipt | None = None
    """Of an own one."""
    votes: tuple[int, ...] | None = None
    closed: bool = False
    pinned: bool = False
    version: int = 0

    @property
    def event(self) -> int:
        return self.message.event

    @property
    def time_ms(self) -> int:
        return self.message.shown_ms

    @property
    def options(self) -> tuple[str, ...]:
        """Of a poll."""
        return tuple(self.message.body.split("\n")[1:]) if self.message.kind is MessageKind.POLL else ()


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that is no message, in words."""

    event: int
    time_ms: int
    text: str
    version: int = 0


class Fate(Enum):
    """How it stands with an own line."""

    PENDING = "pending"
    UNKNOWN = "outcome unknown, asking again"
    ACCEPTED = "accepted"
    """Its outcome has come, but the room's event has not."""
    FAILED = "refused"
    GIVEN_UP = "outcome unknown, and not asked for any more"


@dataclass(slots=True)
class Pending:
    """An own line until its message stands in the room."""

    nonce: bytes
    body: str
    action: bool = False
    reply_to: int | None = None
    thread: str | None = None
    fate: Fate = Fate.PENDING
    why: str = ""
    receipt: Receipt | None = None
    since: int | None = None
    """Its message is this event of the room or a later one, if it is there; None while it cannot be."""
    version: int = 0


Line: TypeAlias = Entry | Happening
Shown: TypeAlias = Entry | Happening | Pending


def words_of(head: Head) -> str | None:
    """Return what a line says of an event; None for one that changes a message, or is one."""
    actor, data = head.actor, [str(part) for part in head.data]
    match head.kind, data:
        case EventKind.JOINED, _:
            return f"{actor} joined"
        case EventKind.LEFT, _:
            return f"{actor} left"
        case EventKind.INVITED, [name]:
            return f"{actor} invited {name}"
        case EventKind.KICKED, [name, reason]:
            return f"{actor} removed {name}{_because(reason)}"
        case EventKind.BANNED, [name, reason]:
            return f"{actor} banned {name}{_because(reason)}"
        case EventKind.UNBANNED, [name]:
            return f"{actor} lifted the ban of {name}"
        case EventKind.MUTED, [name, until]:
            return f"{actor} lets {name} speak again" if until == "0" else f"{actor} muted {name}"
        case EventKind.ROLE, [name, role]:
            return f"{actor} made {name} {role}"
        case EventKind.TOPIC, [topic]:
            return f"{actor} changed the topic: {topic}" if topic else f"{actor} removed the topic"
        case EventKind.DESCRIPTION, _:
            return f"{actor} changed the description"
        case _:
            return _words_of_settings(head, data)


def _words_of_settings(head: Head, data: list[str]) -> str | None:
    actor = head.actor
    match head.kind, data:
        case EventKind.SLOW_MODE, [seconds]:
            return f"{actor} ended slow mode" if seconds == "0" else f"{actor} set slow mode to {seconds} s"
        case EventKind.RETENTION, [seconds]:
            return f"{actor} keeps messages for ever" if seconds == "0" else f"{actor} keeps messages for {seconds} s"
        case EventKind.ARCHIVED, [flag]:
            return f"{actor} archived the room" if flag == "1" else f"{actor} opened the room again"
        case EventKind.PINNED, _:
            return f"{actor} pinned message {head.index}"
        case EventKind.UNPINNED, _:
            return f"{actor} took the pin out of message {head.index}"
        case EventKind.POLL_CLOSED, _:
            return f"{actor} closed the poll {head.index}"
        case _:
            return None


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
