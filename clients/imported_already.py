"""What of an import its room has already, so that a second run says nothing twice.

Each message is known again by its nonce, which only the importer's own secret gives: nobody else can post one before
the import does. A deletion takes the nonce away and an edit puts another one in its place, but author and claimed
time stay: what is missing is looked for among those, one for each.
"""

from __future__ import annotations

from collections import defaultdict, deque

from chatsvc.application.answers import Message
from chatsvc.application.operations import NONCE_BYTES_MAX
from clients.imported_users import ImportedUsers, Person
from clients.sdk import Chat
from crypto.digest import digest_of_parts
from crypto.signing import Ed25519Signer

PAGE = 200


def secret_nonce(importer: Ed25519Signer, *place: bytes) -> bytes:
    """Marks a message as the one of this place in what is imported, for this importer alone."""
    secret = digest_of_parts(b"quorate/import-nonces/1", importer.reveal_seed())
    return digest_of_parts(b"quorate/import-nonce/1", secret, *place)[:NONCE_BYTES_MAX]


class Already:
    """Messages are to be asked for in the order in which they are imported, each once."""

    def __init__(self, users: ImportedUsers, room: str) -> None:
        self._users = users
        self._room = room
        self._by_nonce: dict[bytes, Message] = {}
        self._changed: defaultdict[tuple[str, int | None], deque[Message]] = defaultdict(deque)
        """Deleted and edited ones by author and claimed time, in the room's order."""

    async def look(self, chat: Chat) -> None:
        """Read the whole room."""
        before: int | None = None
        while page := await chat.history(self._room, before=before, limit=PAGE):
            for message in reversed(page):
                if message.nonce:
                    self._by_nonce[message.nonce] = message  # in the end the oldest: others may have copied it
                if message.edits or message.deleted_by is not None:
                    self._changed[message.author, message.claimed_ms].appendleft(message)
            before = page[0].index

    async def find(self, nonce: bytes, person: Person, said_ms: int | None) -> Message | None:
        """Return the message as the room has it now. Raises ChatError as `ImportedUsers.in_room` does."""
        there = self._by_nonce.get(nonce)
        if there is not None and self._users.may_be(person, there.author):
            alike = self._changed.get((there.author, there.claimed_ms))
            if alike is not None and there in alike:
                alike.remove(there)
            return there
        if not self._changed:
            return None
        changed = self._changed.get((await self._users.author(person, self._room), said_ms))
        return changed.popleft() if changed else None
