"""Putting an IRC log into a room: every nick becomes a user with a key of its own, every line a message.

The keys are derived from the importer's, so that a second run finds its users again; a message carries where in
which log it stood, so that an interrupted import goes on where it was, and nothing is said twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from chatsvc.application.results import ErrorCode
from clients.errors import ChatError
from clients.irc_log import Log, LogLine
from clients.sdk import Chat
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
    lies: dict[ReplicaId, int] = field(default_factory=dict)


def user_signer(importer: Ed25519Signer, nick: str) -> Ed25519Signer:
    """The key of one nick: the importer's secret and the nick give it, so it need not be kept."""
    return Ed25519Signer(SecretSeed(digest_of_parts(b"quorate/import/1", importer.reveal_seed(), nick.encode())))


def line_nonce(log: Log, line: LogLine) -> bytes:
    """Marks a message as this line of this log: 8 bytes of the file's digest, 4 of the line number."""
    return log.digest[:8] + line.number.to_bytes(4, "big")


class Importer:
    """Imports logs into one room, over connections of its own for every user."""

    def __init__(self, directory: GroupDirectory, importer: Ed25519Signer, room: str, *, timeout_s: float) -> None:
        self._directory = directory
        self._importer = importer
        self._room = room
        self._timeout_s = timeout_s
        self._users: OrderedDict[str, tuple[Chat, AsyncExitStack]] = OrderedDict()
        self._known: set[str] = set()
        self.done = Imported()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: GroupDirectory, importer: Ed25519Signer, room: str, *, timeout_s: float
    ) -> AsyncIterator[Importer]:
        self = cls(directory, importer, room, timeout_s=timeout_s)
        try:
            yield self
        finally:
            while self._users:
                await self._close_oldest()

    async def already_there(self, chat: Chat, log: Log) -> set[bytes]:
        """Nonces of this log's messages that the room has."""
        prefix = log.digest[:8]
        found: set[bytes] = set()
        after = -1
        while page := await chat.history(self._room, after=after, limit=200):
            found.update(message.nonce for message in page if message.nonce.startswith(prefix))
            after = page[-1].index
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
        if nick in self._users:
            self._users.move_to_end(nick)
            return self._users[nick][0]
        if len(self._users) >= OPEN_USERS_MAX:
            await self._close_oldest()
        stack = AsyncExitStack()
        try:
            signer = user_signer(self._importer, nick)
            chat = await stack.enter_async_context(Chat.connect(self._directory, signer, timeout_s=self._timeout_s))
            if nick not in self._known:
                await self._introduce(chat, nick)
                self._known.add(nick)
        except BaseException:
            await stack.aclose()
            raise
        self._users[nick] = (chat, stack)
        return chat

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

    async def _close_oldest(self) -> None:
        _, (chat, stack) = self._users.popitem(last=False)
        for replica, count in chat.lies().items():
            self.done.lies[replica] = self.done.lies.get(replica, 0) + count
        await stack.aclose()

    def lies(self) -> dict[ReplicaId, int]:
        """Contradictions found so far, by replica, over all users."""
        total = dict(self.done.lies)
        for chat, _ in self._users.values():
            for replica, count in chat.lies().items():
                total[replica] = total.get(replica, 0) + count
        return total
