"""All that the screen shows, as values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chatsvc.application.answers import Invitation, RoomDetails, Unread
from chatsvc.application.events import EventKind, NoticeHead, NoticeKind
from clients.sdk import RoomEvent
from clients.terminal.lines import Entry, Fate
from clients.terminal.roomlog import RoomLog
from clients.terminal.texts import one_line
from pbft.client.errors import LinkState
from pbft.core.types import ReplicaId

NOTICES_MAX = 200
SIDE_ROWS_MAX = 1000
FAR_MIN = 16
"""Batches behind what was believed, from which on a replica counts as slow: asking takes time too."""


@dataclass(slots=True)
class RoomState:
    """A room that this user is in."""

    name: str
    log: RoomLog
    topic: str = ""
    direct: bool = False
    people: tuple[str, ...] = ()
    """The others in a direct conversation."""
    read: int = 0
    message_count: int = 0
    mentions: int = 0
    members: list[str] = field(default_factory=list)
    """For completion: the first that were found."""
    role: str = ""
    is_loaded: bool = False
    """Whether its history was read."""
    unread_from: int | None = None
    """Where the line `unread` stands since the room was opened."""
    thread: str | None = None
    """What is said next belongs there."""
    reply_to: int | None = None
    """What is said next answers this message."""
    editing: int | None = None
    """What is typed next replaces what this message says."""
    draft: str = ""

    @property
    def title(self) -> str:
        return f"@{', '.join(map(one_line, self.people))}" if self.direct else f"#{one_line(self.name)}"

    @property
    def unread(self) -> int:
        return max(0, self.message_count - self.read)

    @property
    def is_urgent(self) -> bool:
        """Whether what is unread was meant for this user."""
        return self.mentions > 0 or (self.direct and self.unread > 0)


@dataclass(frozen=True, slots=True)
class SideRow:
    """A row beside the messages: markup of text, and the message that it leads to, or the room."""

    text: str
    attribute: str = "body"
    room: str | None = None
    index: int | None = None


@dataclass(slots=True)
class Side:
    """What stands beside the messages: a thread, what a search found, a list, or help."""

    title: str
    rows: list[SideRow]
    room: str | None = None
    thread: str | None = None
    """With `room`: messages of this thread are added as they come."""
    selected: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica said of itself, and the place in the order that f+1 had signed of when it was asked."""

    values: Mapping[str, object]
    seen: int


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """How it stands with one replica, as far as it can be seen from here."""

    replica: ReplicaId
    answers: bool
    lies: int = 0
    view: int | None = None
    """By its own word, as what follows."""
    executed: int | None = None
    behind: int = 0
    """Batches that it has executed less than what f+1 have signed of."""

    @property
    def mark(self) -> str:
        if self.lies:
            return "!"
        if not self.answers:
            return "-"
        return "~" if self.behind >= FAR_MIN else "+"


def health_of(
    links: Sequence[LinkState], lies: Mapping[ReplicaId, int], reports: Mapping[ReplicaId, Report]
) -> tuple[ReplicaHealth, ...]:
    """Put together what is known of the replicas."""
    found = []
    for link in links:
        report = reports.get(link.replica, Report({}, 0))
        view, executed = _number(report.values.get("view")), _number(report.values.get("last_executed"))
        found.append(
            ReplicaHealth(
                replica=link.replica,
                answers=link.connected and link.refused is None,
                lies=lies.get(link.replica, 0),
                view=view,
                executed=executed,
                behind=0 if executed is None else max(0, report.seen - executed),
            )
        )
    return tuple(found)


def _number(value: object) -> int | None:
    """What a replica says of itself may be anything, even a number too long to be written."""
    return value if type(value) is int and 0 <= value < 2**63 else None


@dataclass(slots=True)
class Model:
    """Changed by the session and by what a person does, drawn by the screen."""

    me: str = ""
    group: str = ""
    rooms: dict[str, RoomState] = field(default_factory=dict)
    open: str | None = None
    side: Side | None = None
    notices: deque[NoticeHead] = field(default_factory=lambda: deque(maxlen=NOTICES_MAX))
    invitations: tuple[Invitation, ...] = ()
    health: tuple[ReplicaHealth, ...] = ()
    needed: int = 1
    """Replicas that must answer."""
    connected: bool = False
    says: str = ""
    """The latest remark or error."""
    says_error: bool = False
    selected: int | None = None
    """The message, by its index in the open room, that keys and commands are about."""

    # -- rooms

    @property
    def room(self) -> RoomState | None:
        return None if self.open is None else self.rooms.get(self.open)

    def ordered_rooms(self) -> list[RoomState]:
        """Rooms by their names, then conversations."""
        return sorted(self.rooms.values(), key=lambda room: (room.direct, room.title.casefold()))

    def update_rooms(self, found: Iterable[Unread]) -> list[str]:
        """Take the group's list of this user's rooms. Returns the names of those that are new."""
        new: list[str] = []
        listed = set()
        for unread in found:
            listed.add(unread.room)
            room = self.rooms.get(unread.room)
            if room is None:
                room = self.rooms[unread.room] = RoomState(unread.room, RoomLog(self.me))
                new.append(unread.room)
            room.topic, room.direct, room.people = unread.topic, unread.direct, unread.with_
            room.read = max(room.read, unread.read)
            room.message_count = max(room.message_count, unread.message_count)
            room.mentions = 0 if room.name == self.open else unread.mentions
        for name in [name for name in self.rooms if name not in listed]:
            self.drop_room(name)
        return new

    def drop_room(self, name: str) -> None:
        self.rooms.pop(name, None)
        if self.open == name:
            self.open = self.selected = None

    def take_details(self, details: RoomDetails) -> None:
        room = self.rooms.get(details.header.room)
        if room is not None:
            room.topic = details.header.topic
            room.role = "" if details.role is None else details.role.value
            room.message_count = max(room.message_count, details.message_count)

    def enter(self, name: str) -> None:
        """Show a room that this user is in."""
        before = self.room
        if before is not None and before.name != name:
            before.unread_from = None
            before.log.held = False
        self.open, self.selected = name, None
        room = self.rooms[name]
        if room.unread_from is None and room.unread:
            room.unread_from = room.read
        room.mentions = 0

    def next_room(self, step: int, *, unread: bool = False) -> str | None:
        """Return the room that stands so far below the open one, or the next with something unread, urgent first."""
        rooms = self.ordered_rooms()
        if not rooms:
            return None
        names = [room.name for room in rooms]
        here = names.index(self.open) if self.open in names else -step
        if not unread:
            return names[(here + step) % len(names)]
        after = [rooms[(here + offset) % len(rooms)] for offset in range(1, len(rooms) + 1)]
        waiting = sorted((room for room in after if room.unread), key=lambda room: not room.is_urgent)
        return waiting[0].name if waiting else None

    # -- what happens

    def apply(self, name: str, event: RoomEvent) -> Entry | None:
        """Take what happened in a room. Returns the message if it is a new one of somebody else."""
        room = self.rooms.get(name)
        if room is None:
            return None
        head = event.head
        new = room.log.apply(event)
        match head.kind, head.data:
            case EventKind.TOPIC, [str(topic)]:
                room.topic = topic
            case EventKind.JOINED, _ if head.actor not in room.members:
                room.members.append(head.actor)
            case EventKind.LEFT, _ if head.actor in room.members:
                room.members.remove(head.actor)
            case ((EventKind.KICKED | EventKind.BANNED), [str(gone), _]) if gone in room.members:
                room.members.remove(gone)
            case EventKind.ROLE, [str(who), str(role)] if who == self.me:
                room.role = role
            case _:
                pass
        if head.kind is EventKind.POSTED and head.index is not None:
            room.message_count = max(room.message_count, head.index + 1)
        if new is None:
            return None
        self._add_to_side(name, new)
        return None if new.message.author == self.me else new

    def _add_to_side(self, name: str, entry: Entry) -> None:
        side, message = self.side, entry.message
        if side is None or side.thread is None or side.room != name or message.thread is None:
            return
        if message.thread.casefold() == side.thread.casefold() and len(side.rows) < SIDE_ROWS_MAX:
            side.rows.append(SideRow(f"{message.author}: {message.body}", room=name, index=message.index))

    def has_left(self, event: RoomEvent) -> bool:
        """Whether the event ends this user's being in the room."""
        head = event.head
        if head.kind is EventKind.LEFT:
            return head.actor == self.me
        return head.kind in (EventKind.KICKED, EventKind.BANNED) and bool(head.data) and head.data[0] == self.me

    def notice(self, notice: NoticeHead) -> None:
        """Take something that this user is told."""
        self.notices.appendleft(notice)
        room = self.rooms.get(notice.room)
        if room is not None and notice.room != self.open and notice.kind in (NoticeKind.MENTION, NoticeKind.REPLY):
            room.mentions += 1

    def saw(self) -> tuple[str, int] | None:
        """The open room's end is on the screen: return the room and what has been read, if that is news."""
        room = self.room
        if room is None or not room.is_loaded or room.read >= room.message_count:
            return None
        room.read = room.message_count
        room.mentions = 0
        return room.name, room.read

    # -- what is said below

    def say(self, text: str) -> None:
        self.says, self.says_error = text, False

    def complain(self, text: str) -> None:
        self.says, self.says_error = text, True

    def select(self, step: int) -> None:
        """Select the message before or after the selected one; after the last one none."""
        room = self.room
        indices: list[int] = [] if room is None else [entry.message.index for entry in room.log.entries()]
        if not indices:
            self.selected = None
        elif self.selected not in indices:
            self.selected = indices[-1] if step < 0 else None
        else:
            place = indices.index(self.selected) + step
            self.selected = indices[max(0, place)] if place < len(indices) else None

    def unsent(self) -> list[str]:
        """Say which own lines have no outcome, or a bad one."""
        found: list[str] = []
        for room in self.ordered_rooms():
            for line in room.log.pending:
                if line.fate is not Fate.ACCEPTED:
                    what = "not sent" if line.since is None else "it is not known whether this was sent"
                    why = f" ({one_line(line.why)})" if line.fate in (Fate.FAILED, Fate.GIVEN_UP) else ""
                    found.append(f"{what} to {room.title}: {one_line(line.body)}{why}")
        return found

    @property
    def view(self) -> int | None:
        """The view that most of the replicas say they are in."""
        views = [one.view for one in self.health if one.view is not None]
        return max(sorted(set(views)), key=views.count) if views else None
