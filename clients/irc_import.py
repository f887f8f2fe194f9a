"""Putting an IRC log into a room: every nick becomes a user, every line a message.

A message carries where in which log it stood, so that an interrupted import goes on where it was, and nothing is
said twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from clients.imported_users import ImportedUsers, Person, patiently
from clients.irc_log import Log, LogLine
from clients.sdk import Chat, ChatError
from crypto.signing import Ed25519Signer
from pbft.client.directory import GroupDirectory
from pbft.core.types import ReplicaId

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


def line_nonce(log: Log, line: LogLine) -> bytes:
    """Marks a message as this line of this log: 8 bytes of the file's digest, 4 of the line number."""
    return log.digest[:8] + line.number.to_bytes(4, "big")


class Importer:
    """Imports logs into one room, over connections of its own for every user."""

    def __init__(self, users: ImportedUsers, room: str) -> None:
        self._users = users
        self._room = room
        self.done = Imported()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: GroupDirectory, importer: Ed25519Signer, room: str, *, timeout_s: float
    ) -> AsyncIterator[Importer]:
        """Users stay connected until the context ends, or until others need their place."""
        opening = ImportedUsers.open(directory, importer, taken_suffix=TAKEN_SUFFIX, timeout_s=timeout_s)
        async with opening as users:
            yield cls(users, room)

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
        self.done.users = self._users.introduced
        return self.done

    async def _post(self, line: LogLine, nonce: bytes) -> None:
        try:
            chat = await self._users.in_room(Person(line.nick, line.nick), self._room)
            await patiently(
                lambda: chat.post(self._room, line.text, action=line.action, nonce=nonce, claimed_ms=line.said_ms)
            )
        except ChatError as error:
            self.done.refused.append(f"line {line.number}: {error}")
            return
        self.done.messages += 1

    def lies(self) -> dict[ReplicaId, int]:
        """Contradictions found so far, by replica, over all users."""
        return self._users.lies()
