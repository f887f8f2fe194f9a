"""A room's log: pages of its history and its events, folded into what stands there now."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from chatsvc.application.answers import Message, Reaction
from chatsvc.application.bodies import MessageText
from chatsvc.application.events import EventKind
from chatsvc.application.schema import MessageKind
from clients.sdk import Receipt, RoomEvent
from clients.terminal.lines import Entry, Fate, Happening, Line, Pending, Shown, words_of

LINES_MAX = 2000
"""Kept of a room while nobody reads further up."""
HELD_LINES_MAX = 10_000
"""Kept while somebody does."""
CHANGES_MAX = 1000
"""Latest events about messages that are not held, for pages that were asked for before them."""
PENDING_MAX = 100
_BY_EVENT = attrgetter("event")


class RoomLog:
    """Lines in the order of their events, each once. Nothing here fails for what the group might say."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.lines: list[Line] = []
        self.pending: list[Pending] = []
        self.held = False
        """Whether somebody reads further up, so that nothing may be dropped from there."""
        self.complete = False
        """Whether the log reaches back to the first message that is kept."""
        self._entries: dict[int, Entry] = {}
        self._changes: deque[RoomEvent] = deque(maxlen=CHANGES_MAX)
        self._receipts: dict[int, Receipt] = {}
        self.next_event = 0
        """The first that has not been taken; 0 when nothing is known of any."""

    def renewed(self) -> RoomLog:
        """Return an empty log for the same room, with the same own lines waiting."""
        log = RoomLog(self.me)
        log.pending = self.pending  # the very list: whoever sends them knows the old log
        return log

    # -- reading

    @property
    def shown(self) -> Sequence[Shown]:
        return [*self.lines, *self.pending]

    @property
    def first_index(self) -> int | None:
        """Of the oldest message here."""
        return next((line.message.index for line in self.lines if isinstance(line, Entry)), None)

    @property
    def is_full(self) -> bool:
        """Whether of another page nothing would be kept."""
        return len(self.lines) >= HELD_LINES_MAX

    def entry(self, index: int) -> Entry | None:
        return self._entries.get(index)

    def entries(self) -> list[Entry]:
        return [line for line in self.lines if isinstance(line, Entry)]

    def last(self, *, mine: bool = False) -> Entry | None:
        """Return the last message that is not deleted, or the last own one."""
        for line in reversed(self.lines):
            if isinstance(line, Entry) and line.message.deleted_by is None:
                if mine and line.message.author != self.me:
                    continue
                return line
        return None

    # -- what the group says

    def follow_from(self, event: int) -> None:
        """Begin with this event, if none has been taken: pages that are read from now on hold those before it."""
        self.next_event = self.next_event or event

    def add_page(self, messages: Iterable[Message]) -> None:
        """Add what a question about the room's history gave, newer than what is here or older."""
        for message in messages:
            known = self._entries.get(message.index)
            if known is None:
                self._add_entry(Entry(message))
            elif message.event == known.message.event:
                known.message = message
                known.version += 1
            self._settle(message)
        # The page may be older than events that were heard meanwhile: they say what is, so they can be said again.
        for event in list(self._changes):
            self._change(event)
        self._trim()

    def apply(self, event: RoomEvent) -> Entry | None:
        """Take what happened in the room. Returns the message if it is a new one."""
        head = event.head
        if head.event < self.next_event:
            return None
        self.next_event = head.event + 1
        new: Entry | None = None
        message = event.message
        if message is not None:
            new = self._posted(message, event)
        elif head.index is not None:
            self._change(event)
            self._changes.append(event)
        words = words_of(head)
        if words is not None:
            insort(self.lines, Happening(head.event, head.time, words), key=_BY_EVENT)
        self._trim()
        return new

    def _posted(self, message: Message, event: RoomEvent) -> Entry | None:
        known = self._entries.get(message.index)
        self._settle(message)
        if known is not None:
            known.vouchers = event.vouchers
            return None
        entry = Entry(message, vouchers=event.vouchers)
        if message.kind is MessageKind.POLL:
            entry.votes = (0,) * len(entry.options)
        self._add_entry(entry)
        return entry

    def _add_entry(self, entry: Entry) -> None:
        entry.receipt = self._receipts.pop(entry.message.index, None)
        self._entries[entry.message.index] = entry
        insort(self.lines, entry, key=_BY_EVENT)

    def _settle(self, message: Message) -> None:
        """Take the pending line away whose message this is."""
        if message.author == self.me and message.nonce:
            for line in self.pending:
                if line.nonce == message.nonce:
                    if line.receipt is not None:
                        self._receipts[message.index] = line.receipt
                    self.pending.remove(line)
                    break
        entry = self._entries.get(message.index)
        if entry is not None and message.index in self._receipts:
            entry.receipt = self._receipts.pop(message.index)

    def _change(self, event: RoomEvent) -> None:
        """Change the message that the event is about. What it says is absolute: again does no harm."""
        head = event.head
        entry = None if head.index is None else self._entries.get(head.index)
        if entry is None:
            return
        message, data = entry.message, head.data
        match head.kind, data:
            case EventKind.EDITED, [int(edits)] if edits >= message.edits and event.content is not None:
                if message.deleted_by is None:
                    body = MessageText(event.content.body)
                    entry.message = msgspec.structs.replace(
                        message, body=body, nonce=event.content.nonce, edits=edits, edited_ms=head.time
                    )
            case EventKind.DELETED, _:
                entry.pinned = False
                entry.message = msgspec.structs.replace(
                    message, body=MessageText(""), nonce=b"", deleted_by=head.actor, reactions=(), mentions=()
                )
            case ((EventKind.REACTED | EventKind.UNREACTED), [str(reaction), int(count)]):
                entry.message = msgspec.structs.replace(message, reactions=_counted(message, reaction, count))
            case EventKind.PINNED, _:
                entry.pinned = message.deleted_by is None
            case EventKind.UNPINNED, _:
                entry.pinned = False
            case ((EventKind.VOTED | EventKind.POLL_CLOSED), votes):
                entry.votes = tuple(int(vote) for vote in votes if isinstance(vote, int))
                entry.closed = entry.closed or head.kind is EventKind.POLL_CLOSED
            case _:
                return
        entry.version += 1

    def set_pins(self, indices: Iterable[int]) -> None:
        pinned = frozenset(indices)
        for entry in self._entries.values():
            if entry.pinned != (entry.message.index in pinned):
                entry.pinned = not entry.pinned
                entry.version += 1

    def set_poll(self, index: int, votes: tuple[int, ...], *, closed: bool) -> None:
        """Take what a poll stood at, unless events have told of it since."""
        entry = self._entries.get(index)
        if entry is not None and entry.votes is None:
            entry.votes, entry.closed = votes, closed
            entry.version += 1

    # -- own lines

    def send(
        self,
        nonce: bytes,
        body: str,
        *,
        action: bool = False,
        reply_to: int | None = None,
        thread: str | None = None,
    ) -> Pending | None:
        """Show an own line until its message comes. None when too many wait."""
        if len(self.pending) >= PENDING_MAX:
            return None
        line = Pending(nonce, body, action=action, reply_to=reply_to, thread=thread)
        self.pending.append(line)
        return line

    def mark(self, line: Pending, fate: Fate, why: str = "") -> None:
        line.fate, line.why = fate, why
        line.version += 1

    def accepted(self, line: Pending, index: int, receipt: Receipt) -> None:
        """The outcome of an own line is here: its message may be, or is to come."""
        entry = self._entries.get(index)
        if entry is not None:
            entry.receipt = receipt
            entry.version += 1
            self.drop(line)
        else:
            line.receipt = receipt
            self.mark(line, Fate.ACCEPTED)

    def drop(self, line: Pending) -> None:
        if line in self.pending:
            self.pending.remove(line)

    # -- how much

    def _trim(self) -> None:
        too_many = len(self.lines) - (HELD_LINES_MAX if self.held else LINES_MAX)
        if too_many <= 0:
            return
        for line in self.lines[:too_many]:
            if isinstance(line, Entry):
                del self._entries[line.message.index]
        del self.lines[:too_many]
        self.complete = False

    def place(self, event: int) -> int:
        """Return the place of the first line of this event or a later one."""
        return bisect_left(self.lines, event, key=_BY_EVENT)


def _counted(message: Message, reaction: str, count: int) -> tuple[Reaction, ...]:
    """Return the message's reactions, in the order of their first use, with one of them counted anew."""
    found = [Reaction(r.reaction, count if r.reaction == reaction else r.count) for r in message.reactions]
    if all(r.reaction != reaction for r in found):
        found.append(Reaction(reaction, count))
    return tuple(r for r in found if r.count > 0)
