"""The chat once more, in plain dictionaries and as few words as will do: what the real one's results must be.

It knows only plain names (ASCII letters and digits) and short texts. What is asked of it is in `plain_answers`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from math import ceil

from chatsvc.application import operations as ops
from chatsvc.application.names import RoomName
from chatsvc.application.results import Applied, Posted, Rejected, Result
from chatsvc.application.schema import MessageIndex
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.plain_accounts import MEMBER, E, Message, Refused, Room, Thread, check, is_line
from tests.chatsvc.plain_rooms import PlainRooms

BODY_BYTES_MAX = 4096
_MENTION = re.compile(r"(?<![A-Za-z0-9])@([A-Za-z0-9]{1,32})")


@dataclass
class Said:
    """What is about to be a message."""

    body: str
    kind: str
    reply_to: int | None = None
    thread: str | None = None
    nonce: bytes = b""
    claimed_ms: int | None = None


class PlainChat(PlainRooms):
    """`apply` carries out an operation, `prune` is what a checkpoint does."""

    def do_post(self, op: ops.Post) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        check(op.kind.value != "poll", E.BAD_BODY)
        check_body(op.body)
        said = Said(op.body, op.kind.value, op.reply_to, op.thread, op.nonce, op.claimed_ms)
        return self._say(room, who, said)

    def _say(self, room: Room, who: str, said: Said) -> Posted:
        member = room.members[who]
        self.check_voice(room, who)
        self._check_pace(room, who)
        answered = None if said.reply_to is None else self._message(room, said.reply_to)
        title = answered.thread if said.thread is None and answered is not None else said.thread
        thread = None if title is None else self._thread(room, title)
        named = self._mentions(room, said.body)
        index = room.count
        message = Message(
            kind=said.kind,
            author=self.accounts[who].name,
            body=said.body,
            nonce=said.nonce,
            time=self.time,
            since_ms=self.time,
            place=self.place,
            serial=self.serial,
            event=room.event_count,
            reply_to=said.reply_to,
            thread=None if thread is None else thread.title,
            mentions=[self.accounts[key].name for key in named],
            claimed_ms=said.claimed_ms,
        )
        self.serial += 1
        room.messages[index] = message
        room.count += 1
        if room.slow_s:
            member.spoke_ms = self.time
        told = (said.kind, _or_none(said.reply_to), message.thread or "", _or_none(said.claimed_ms), message.serial)
        self.happened(room, "posted", who, index, *told, of=(message, 0))
        if thread is not None:
            room.threads[thread.title.lower()] = thread
            thread.entries[thread.count] = index
            thread.count, thread.last_ms = thread.count + 1, self.time
        self._tell_of(room, who, index, named, answered)
        return Posted(RoomName(room.name), MessageIndex(index))

    def _thread(self, room: Room, title: str) -> Thread:
        check(bool(title.strip(" ")) and len(title) <= 64 and is_line(title, 192), E.BAD_TEXT)
        known = room.threads.get(title.lower())
        check(known is not None or len(room.threads) < self.limits.threads_per_room, E.TOO_MANY)
        return known or Thread(title)

    def _tell_of(self, room: Room, who: str, index: int, named: list[str], answered: Message | None) -> None:
        told = dict.fromkeys(named, "mention")
        if answered is not None and answered.deleted_by is None:
            author = answered.author.lower()
            if not room.private or author in room.members:
                told.setdefault(author, "reply")
        if room.direct:
            for member in room.members:
                told.setdefault(member, "direct")
        told.pop(who, None)
        for key, kind in told.items():
            self.tell(key, kind, room, who, index)

    def _mentions(self, room: Room, body: str) -> list[str]:
        named = dict.fromkeys(name.lower() for name in _MENTION.findall(body))
        found = [key for key in named if key in self.accounts and (not room.private or key in room.members)]
        return found[: self.limits.mentions_per_message]

    def _check_pace(self, room: Room, who: str) -> None:
        member = room.members[who]
        if room.slow_s and member.role is MEMBER and member.spoke_ms + 1000 * room.slow_s > self.time:
            raise Refused(E.SLOW_MODE, member.spoke_ms + 1000 * room.slow_s)

    def _message(self, room: Room, index: int) -> Message:
        check(index in room.messages, E.NO_SUCH_MESSAGE)
        return room.messages[index]

    def _standing(self, room: Room, index: int) -> Message:
        message = self._message(room, index)
        check(message.deleted_by is None, E.MESSAGE_DELETED)
        return message

    def _may_meddle(self, room: Room, who: str, message: Message) -> bool:
        return message.author == self.accounts[who].name or room.members[who].role is not MEMBER

    def do_edit(self, op: ops.Edit) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        self.check_voice(room, who)
        check_body(op.body)
        message = self._standing(room, op.index)
        check(message.author == self.accounts[who].name and message.kind != "poll", E.NOT_ALLOWED)
        minutes = self.limits.edit_minutes
        check(not minutes or self.time <= message.time + minutes * 60_000, E.NOT_ALLOWED)
        if op.body == message.body:
            return Applied()
        self._check_pace(room, who)
        check(len(message.versions) < self.limits.edits_per_message, E.TOO_MANY)
        message.versions.append((message.body, message.nonce, message.since_ms))
        message.body, message.nonce, message.since_ms = op.body, op.nonce, self.time
        message.mentions = [self.accounts[key].name for key in self._mentions(room, op.body)]
        if room.slow_s:
            room.members[who].spoke_ms = self.time
        number = len(message.versions)
        self.happened(room, "edited", who, op.index, number, of=(message, number))
        return Applied()

    def do_delete(self, op: ops.Delete) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        message = self._message(room, op.index)
        check(self._may_meddle(room, who, message), E.NOT_ALLOWED)
        if message.deleted_by is None:
            message.deleted_by = self.accounts[who].name
            message.body, message.nonce, message.mentions, message.pinned = "", b"", [], False
            message.reactions, message.options, message.votes = {}, [], {}
            self.happened(room, "deleted", who, op.index)
        return Applied()

    def do_react(self, op: ops.React) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        self.check_voice(room, who)
        check(bool(op.reaction) and " " not in op.reaction and is_line(op.reaction, 32), E.BAD_TEXT)
        message = self._standing(room, op.index)
        people = message.reactions.get(op.reaction, {})
        if (who in people) == op.on:
            return Applied()
        if op.on:
            check(bool(people) or len(message.reactions) < self.limits.reactions_per_message, E.TOO_MANY)
            message.reactions.setdefault(op.reaction, people)[who] = self.time
        else:
            del people[who]
            if not people:
                del message.reactions[op.reaction]
        self.happened(room, "reacted" if op.on else "unreacted", who, op.index, op.reaction, len(people))
        return Applied()

    def do_pin(self, op: ops.Pin) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        check(room.direct or room.members[who].role is not MEMBER, E.NOT_ALLOWED)
        self.check_voice(room, who)
        message = self._standing(room, op.index)
        if message.pinned != op.on:
            pinned = sum(each.pinned for each in room.messages.values())
            check(not op.on or pinned < self.limits.pins_per_room, E.TOO_MANY)
            message.pinned = op.on
            self.happened(room, "pinned" if op.on else "unpinned", who, op.index)
        return Applied()

    def do_mark_read(self, op: ops.MarkRead) -> Result:
        who = self.who()
        room = self.inside(op.room, who)
        member = room.members[who]
        member.read = max(member.read, min(op.index, room.count))
        return Applied()

    # -- polls

    def do_poll(self, op: ops.OpenPoll) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        check(bool(op.question.strip(" ")) and is_line(op.question, 1024), E.BAD_TEXT)
        check(all(option.strip(" ") and is_line(option, 256) for option in op.options), E.BAD_TEXT)
        check(len(set(op.options)) == len(op.options), E.BAD_TEXT)
        body = "\n".join([op.question, *op.options])
        check_body(body)
        posted = self._say(room, who, Said(body, "poll", thread=op.thread, nonce=op.nonce))
        room.messages[posted.index].options = list(op.options)
        return posted

    def do_vote(self, op: ops.Vote) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        self.check_voice(room, who)
        poll = self._standing(room, op.index)
        check(poll.kind == "poll", E.NO_SUCH_POLL)
        check(poll.closed_ms is None, E.POLL_CLOSED)
        check(op.option is None or op.option < len(poll.options), E.NO_SUCH_OPTION)
        if poll.votes.get(who) != op.option:
            poll.votes.pop(who, None)
            if op.option is not None:
                poll.votes[who] = op.option
            self.happened(room, "voted", "", op.index, *poll.counts())
        return Applied()

    def do_close_poll(self, op: ops.ClosePoll) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        poll = self._standing(room, op.index)
        check(poll.kind == "poll", E.NO_SUCH_POLL)
        check(self._may_meddle(room, who, poll), E.NOT_ALLOWED)
        if poll.closed_ms is None:
            poll.closed_ms = self.time
            self.happened(room, "poll-closed", who, op.index, *poll.counts())
        return Applied()

    def pay_read(self, device: PublicKey, time: int) -> Rejected | None:
        """Take what an ordered read costs; return why it is refused if there is too little left."""
        self.device, self.time = device, time
        account = self.accounts.get(self.owner_of.get(device, ""))
        if account is None or device not in account.active():
            return None
        missing = 1 - self._credit(account)
        if self.limits.operations_per_minute and missing > 0:
            retry_ms = time + ceil(missing * 60_000 / self.limits.operations_per_minute)
            return Rejected(E.RATE_LIMITED, "", Milliseconds(retry_ms))
        account.credit, account.credit_ms = self._credit(account) - 1, time
        return None

    # -- checkpoints

    def prune(self, time: int, names: Collection[str]) -> None:
        """Forget what these rooms do not keep any longer; few enough for one checkpoint."""
        for room in self.rooms.values():
            if not room.retention_s or room.name not in names:
                continue
            before_ms = time - 1000 * room.retention_s
            for index in [index for index, message in room.messages.items() if message.time <= before_ms]:
                del room.messages[index]
            for thread in room.threads.values():
                thread.entries = {at: index for at, index in thread.entries.items() if index in room.messages}
            room.threads = {key: thread for key, thread in room.threads.items() if thread.entries}
            room.events = {event: told for event, told in room.events.items() if told[4] > before_ms}


def _or_none(number: int | None) -> int:
    """As events say it."""
    return -1 if number is None else number


def check_body(body: str) -> None:
    check(bool(body) and "\x00" not in body, E.BAD_BODY)
    check(len(body.encode()) <= BODY_BYTES_MAX, E.BODY_TOO_LONG)
