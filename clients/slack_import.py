"""Putting a Slack export into rooms: every person becomes a user, every channel a room, every message a message.

A message carries a mark made of its channel, its time and the importer's secret, so that an interrupted import goes
on where it was, and nothing is said twice. Reactions are the same however often they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chatsvc.application.answers import Message
from chatsvc.application.bodies import BODY_BYTES_MAX, TOPIC_BYTES_MAX, BadText, parse_topic
from chatsvc.application.names import BadName, parse_room
from chatsvc.application.results import ErrorCode
from chatsvc.application.texts import parse_reaction, parse_thread
from clients.imported_already import Already, secret_nonce
from clients.imported_users import ImportedUsers, Person, patiently
from clients.sdk import Chat, ChatError
from clients.slack_export import Channel, Export, Messages, SlackMessage, account_name
from clients.slack_text import pieces_of, plain_text
from crypto.signing import Ed25519Signer

TAKEN_SUFFIX = "_slack"
TITLE_CHARACTERS_MAX = 48
"""Of a thread's title, which is the beginning of its first message."""


@dataclass(slots=True)
class Imported:
    """What an import did. `refused`: what the group did not take, and why."""

    messages: int = 0
    found: int = 0
    reactions: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Thread:
    title: str | None
    root: int | None
    """Index of its first message in the room; None if that is not there."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message is; `there`: as the room had it before this run, None for a new one."""

    index: int
    there: Message | None


def message_nonce(importer: Ed25519Signer, channel: Channel, message: SlackMessage, piece: int) -> bytes:
    """Marks a message as this piece of that one in Slack."""
    parts = (channel.id.encode(), message.ts.encode(), piece.to_bytes(2, "big"))
    return secret_nonce(importer, b"slack", *parts)


def room_of(channel: Channel) -> str:
    """The room that a channel becomes: its own name, or what a room can be called like it. Raises ChatError."""
    for name in (channel.name, account_name(channel.name), channel.id):
        try:
            return parse_room(name)
        except BadName:
            continue
    raise ChatError(ErrorCode.BAD_NAME, f"no room can be called like the channel {channel.name[:40]!r}")


def topic_of(text: str) -> str:
    """As much of a channel's topic as a room takes."""
    line = " ".join(text.split())
    while len(line.encode()) > TOPIC_BYTES_MAX:
        line = line[:-1]
    try:
        return parse_topic(line)
    except BadText:
        return ""


class ChannelImport:
    """Imports one channel into its room, which is there."""

    def __init__(self, export: Export, channel: Channel, users: ImportedUsers, room: str) -> None:
        self.done = Imported()
        self._export = export
        self._channel = channel
        self._users = users
        self._room = room
        self._already = Already(users, room)
        self._titles: set[str] = set()
        self._threads: dict[str, _Thread] = {}

    async def look(self, chat: Chat) -> None:
        """Find out what of it the room has."""
        await self._already.look(chat)

    async def run(self, messages: Messages, progress: Callable[[], None]) -> Imported:
        """Post the messages one after the other: their order in the room is that in the channel."""
        begun = {message.thread_ts for message in messages.messages if message.thread_ts not in {None, message.ts}}
        for message in messages.messages:
            try:
                await self._import(message, begins_thread=message.ts in begun)
            except ChatError as error:
                self.done.refused.append(f"{message.where}: {error}")
            progress()
        return self.done

    async def _import(self, message: SlackMessage, *, begins_thread: bool) -> None:
        text = plain_text(message.text, people=self._export.names, channels=self._export.channel_names)
        links = (f"{plain_text(title, people={}, channels={})}: {url}" for title, url in message.links)
        body = "\n".join(filter(None, [text, *links]))
        if not body.strip():
            return
        thread = self._thread_of(message, text, begins=begins_thread)
        first: _Place | None = None
        for number, piece in enumerate(pieces_of(body, BODY_BYTES_MAX)):
            place = await self._post(message, number, piece, thread)
            first = place if first is None else first
        if first is None:
            return
        if thread is not None and begins_thread:
            thread.root = first.index
        await self._react(message, first)

    def _thread_of(self, message: SlackMessage, text: str, *, begins: bool) -> _Thread | None:
        """Made by its first message, or by the first reply where that is missing."""
        ts = message.ts if begins else message.thread_ts
        if ts is None or (ts == message.ts and not begins):
            return None
        if ts not in self._threads:
            self._threads[ts] = _Thread(self._title(text if begins else "", ts), None)
        return self._threads[ts]

    def _title(self, text: str, ts: str) -> str | None:
        """No two threads of the room have one title."""
        for wanted in (" ".join(text.split())[:TITLE_CHARACTERS_MAX].strip(), f"thread {ts}"):
            try:
                title, number = parse_thread(wanted), 1
                while title.key in self._titles:
                    number += 1
                    title = parse_thread(f"{wanted} ({number})")
            except BadText:
                continue
            self._titles.add(title.key)
            return title.title
        return None

    async def _post(self, message: SlackMessage, number: int, piece: str, thread: _Thread | None) -> _Place:
        nonce = message_nonce(self._users.importer, self._channel, message, number)
        person = self._person(message.user)
        there = await self._already.find(nonce, person, message.said_ms)
        if there is not None:
            self.done.found += 1
            return _Place(there.index, there)
        chat = await self._users.in_room(person, self._room)
        posted = await patiently(
            chat,
            lambda: chat.post(
                self._room,
                piece,
                action=message.action,
                reply_to=None if thread is None else thread.root,
                thread=None if thread is None else thread.title,
                claimed_ms=message.said_ms,
                nonce=nonce,
            ),
        )
        self.done.messages += 1
        return _Place(posted.value.index, None)

    async def _react(self, message: SlackMessage, place: _Place) -> None:
        """Where as many have reacted so already, nothing is to be done again; nor where it was deleted."""
        there = place.there
        if there is not None and there.deleted_by is not None:
            return
        counts = {} if there is None else {reaction.reaction: reaction.count for reaction in there.reactions}
        for name, people in message.reactions:
            try:
                reaction = parse_reaction(f":{name.partition('::')[0]}:")
            except BadText as error:
                self.done.refused.append(f"{message.where}: reaction {name[:40]!r}: {error}")
                continue
            if counts.get(reaction, 0) >= len(people):
                continue
            for user in people:
                await self._react_as(message, place.index, reaction, user)

    async def _react_as(self, message: SlackMessage, index: int, reaction: str, user: str) -> None:
        try:
            self._export.name_person(user, user)
            chat = await self._users.in_room(self._person(user), self._room)
            await patiently(chat, lambda: chat.react(self._room, index, reaction))
        except ChatError as error:
            self.done.refused.append(f"{message.where}: reaction {reaction}: {error}")
            return
        self.done.reactions += 1

    def _person(self, user: str) -> Person:
        return Person(f"slack/{user}", self._export.names[user])
