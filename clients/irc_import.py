"""Putting an IRC log into a room: every nick becomes a user, every line a message.

A message carries a mark made of the log, its line and the importer's secret, so that an interrupted import goes on
where it was, and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from clients.imported_already import Already, secret_nonce
from clients.imported_users import ImportedUsers, Person, patiently
from clients.irc_log import Log, LogLine
from clients.sdk import Chat, ChatError
from crypto.signing import Ed25519Signer
from pbft.client.connection import Dial, dial_tcp
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


def line_nonce(importer: Ed25519Signer, log: Log, line: LogLine) -> bytes:
    """Marks a message as this line of this log."""
    return secret_nonce(importer, b"irc", log.digest, line.number.to_bytes(4, "big"))


class Importer:
    """Imports logs into one room, over connections of its own for every user."""

    def __init__(self, users: ImportedUsers, importer: Ed25519Signer, room: str) -> None:
        self._users = users
        self._importer = importer
        self._room = room
        self._already = Already(users, room)
        self.done = Imported()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: GroupDirectory,
        importer: Ed25519Signer,
        room: str,
        *,
        timeout_s: float,
        dial: Dial = dial_tcp,
    ) -> AsyncIterator[Importer]:
        """Users stay connected until the context ends, or until others need their place."""
        opening = ImportedUsers.open(directory, importer, taken_suffix=TAKEN_SUFFIX, timeout_s=timeout_s, dial=dial)
        async with opening as users:
            yield cls(users, importer, room)

    async def look(self, chat: Chat) -> None:
        """Find out what of it the room has: for an import that may have begun before."""
        await self._already.look(chat)

    async def run(self, log: Log, lines: tuple[LogLine, ...], progress: Callable[[], None]) -> Imported:
        """Post `lines` one after the other: their order in the room is their order in the log."""
        for line in lines:
            try:
                await self._import(line, line_nonce(self._importer, log, line))
            except ChatError as error:
                self.done.refused.append(f"line {line.number}: {error}")
            progress()
        self.done.users = self._users.introduced
        return self.done

    async def _import(self, line: LogLine, nonce: bytes) -> None:
        person = Person(line.nick, line.nick)
        if await self._already.find(nonce, person, line.said_ms) is not None:
            self.done.found += 1
            return
        chat = await self._users.in_room(person, self._room)
        await patiently(
            chat,
            lambda: chat.post(self._room, line.text, action=line.action, nonce=nonce, claimed_ms=line.said_ms),
        )
        self.done.messages += 1

    def lies(self) -> dict[ReplicaId, int]:
        """Contradictions found so far, by replica, over all users."""
        return self._users.lies()
