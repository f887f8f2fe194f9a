"""Fake replicas that run the real chat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from chatsvc.application.operations import Create, Operation
from chatsvc.application.results import Rejected, Result
from chatsvc.application.schema import RoomRow
from clients.sdk import Chat
from crypto.signing import Ed25519Signer, PublicKey
from pbft.core.application import EventItem
from pbft.core.types import EventIndex, SequenceNumber
from tests.chatsvc.fakes import Service
from tests.client.fake_replicas import World, signer_of

ALICE, BOB = signer_of(1), signer_of(2)


class ChatBackend:
    """The chat application, executed once for all the fake replicas. `do` is what others do meanwhile."""

    def __init__(self) -> None:
        self.service = Service()
        self.before_query: Callable[[bytes], None] = lambda _query: None

    @property
    def sequence(self) -> SequenceNumber:
        return SequenceNumber(self.service.sequence)

    def do(self, signer: Ed25519Signer, operation: Operation) -> Result:
        result = self.service.do(signer.public_key, operation)
        assert not isinstance(result, Rejected), result
        return result

    def create(self, signer: Ed25519Signer, room: str) -> None:
        self.do(signer, Create(room, ""))

    def forget_events(self, room: str) -> None:
        """As retention does once it has taken all messages that there were."""
        row = RoomRow.from_row(self.service.rows.committed["rooms"][room,])
        self.service.rows.committed["rooms"][room,] = tuple(row._replace(first_event=row.event_count))

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:
        self.service.sequence = sequence - 1
        return self.service.execute(device, operation).result

    def query(self, device: PublicKey, query: bytes) -> bytes:
        self.before_query(query)
        return self.service.application.query(self.service.rows, device, query)

    def events(self, topic: bytes) -> Sequence[EventItem] | None:
        return self.service.application.events(self.service.rows, ALICE.public_key, topic, EventIndex(0), 10_000)


@asynccontextmanager
async def chat_of(world: World, signer: Ed25519Signer = ALICE, *, timeout_s: float = 10) -> AsyncIterator[Chat]:
    async with Chat.connect(world.directory, signer, timeout=timeout_s, dial=world.dial) as chat:
        await chat.client.wait_connected(4)
        yield chat
