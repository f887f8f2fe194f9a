"""Putting an IRC log into a room: every nick becomes a user with a key of its own, every line a message.

The keys are derived from the importer's, so that a second run finds its users again; a message carries where in
which log it stood, so that an interrupted import goes on where it was, and nothing is said twice.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from chatsvc.application.results import ErrorCode
from clients.irc_log import Log, LogLine
from clients.sdk import Chat, ChatError
from crypto.digest import digest_of_parts
from crypto.signing import Ed25519Signer, SecretSeed
from pbft.client.directory import GroupDirectory
from pbft.core.types import ReplicaId

OPEN_USERS_MAX = 40
"""Users that are connected at the same time; the one that spoke longest ago leaves first."""
TAKEN_SUFFIX = "_irc"


@dataclass(slots=True)
class Imported:
    """What an import did."""

    messages: int = 0
    found: int = 0
    """Messages that were there already."""
    users: int = 0
    refused: list[str] = field(default_factory=list)
    """Lines that the group did not take, and why."""


@dataclass(frozen=True, slots=True)
class _User:
    chat: Chat
    leave: trio.Event


def user_signer(importer: Ed25519Signer, nick: str) -> Ed25519Signer:
    """The key of one nick: the importer's secret and the nick give it, so it need not be kept."""
    return Ed25519Signer(SecretSeed(digest_of_parts(b"quorate/import/1", importer.reveal_seed(), nick.encode())))


def line_nonce(log: Log, line: LogLine) -> bytes:
    """Marks a message as this line of this log: 8 bytes of the file's digest, 4 of the line number."""
    return log.digest[:8] + line.number.to_bytes(4, "big")


class Importer:
    """Imports logs into one room, over connections of its own for every user."""

    def __init__(
        self,
        directory: GroupDirectory,
        importer: Ed25519Signer,
        room: str,
        *,
        timeout_s: float,
        nursery: trio.Nursery,
    ) -> None:
        self._directory = directory
        self._importer = importer
        self._room = room
        self._timeout_s = timeout_s
        self._nursery = nursery
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._known: set[str] = set()
        self._refused: dict[str, ChatError] = {}
        self._lies: Counter[ReplicaId] = Counter()
        self.done = Imported()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: GroupDirectory, importer: Ed25519Signer, room: str, *, timeout_s: float
    ) -> AsyncIterator[Importer]:
        """Users stay connected until the context ends, or until others need their place."""
        async with trio.open_nursery() as nursery:
            yield cls(directory, importer, room, timeout_s=timeout_s, nursery=nursery)
            nursery.cancel_scope.cancel()

    async def already_there(self, chat: Chat, log: Log) -> set[bytes]:
        """Nonces of this log's messages that the room has."""
        prefix = log.digest[:8]
        found: set[bytes] = set()
        before: int | None = None
        while page := await chat.history(self._room, before=before, limit=200):
            found.update(message.nonce for message in page if message.nonce.startswith(prefix))
            before = page[0].index
        return found

    async def run(
        self, log: Log, lines: tuple[LogLine, ...], skip: set[bytes], progress: Callable[[], None]
    ) -> Imported:
        """Post `lines` one after the other: their order in the room is their order in the log."""
        for line in lines:
            nonce = line_nonce(log, line)
            if nonce in skip:
                self.done.found += 1
            else:
                await self._post(line, nonce)
            progress()
        return self.done

    async def _post(self, line: LogLine, nonce: bytes) -> None:
        try:
            chat = await self._user(line.nick)
            await chat.post(self._room, line.text, action=line.action, nonce=nonce, claimed_ms=line.said_ms)
        except ChatError as error:
            self.done.refused.append(f"line {line.number}: {error}")
            return
        self.done.messages += 1

    async def _user(self, nick: str) -> Chat:
        if nick in self._refused:
            raise self._refused[nick]
        known = self._users.get(nick)
        if known is not None:
            self._users.move_to_end(nick)
            return known.chat
        if len(self._users) >= OPEN_USERS_MAX:
            _, oldest = self._users.popitem(last=False)
            self._lies.update(oldest.chat.lies())
            oldest.leave.set()
        user: _User = await self._nursery.start(self._host, nick)
        if nick not in self._known:
            try:
                await self._introduce(user.chat, nick)
            except ChatError as error:
                self._refused[nick] = error
                user.leave.set()
                raise
            self._known.add(nick)
        self._users[nick] = user
        return user.chat

    async def _host(self, nick: str, *, task_status: trio.TaskStatus[_User]) -> None:
        """A connection lives in a task of its own: users come and go in any order."""
        signer = user_signer(self._importer, nick)
        async with Chat.connect(self._directory, signer, timeout=self._timeout_s) as chat:
            user = _User(chat=chat, leave=trio.Event())
            task_status.started(user)
            await user.leave.wait()

    async def _introduce(self, chat: Chat, nick: str) -> None:
        try:
            await chat.register(nick)
            self.done.users += 1
        except ChatError as error:
            if error.code is ErrorCode.NAME_TAKEN:
                await chat.register(nick + TAKEN_SUFFIX)
                self.done.users += 1
            elif error.code is not ErrorCode.ALREADY_REGISTERED:
                raise
        try:
            await chat.join(self._room)
        except ChatError as error:
            if error.code is not ErrorCode.ALREADY_A_MEMBER:
                raise

    def lies(self) -> dict[ReplicaId, int]:
        """Contradictions found so far, by replica, over all users."""
        total = self._lies.copy()
        for user in self._users.values():
            total.update(user.chat.lies())
        return dict(sorted(total.items()))
