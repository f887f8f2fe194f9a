"""One connection of a client, past its handshake."""

from __future__ import annotations

import trio

from crypto.signing import PublicKey
from pbft.core.claims import Unverified
from pbft.core.messages import ClientMessage, SignedRequest
from pbft.node.streams import FrameStream, SendQueue
from pbft.node.turns import HOLD_SECONDS, Door, Party, Ration, Room, Share, Turn, places_of


class Connection:
    """Of a client: whose it is, what waits to be sent over it, and what of it waits for the replica's task."""

    def __init__(
        self, device: PublicKey, host: str, *, room: Room, strangers: Ration, stream: FrameStream, queue: SendQueue
    ) -> None:
        self.device = device
        self.queue = queue
        self.scope = trio.CancelScope()
        self._stream = stream
        self.party: Party = (Share.NEWCOMERS, host, None)
        self.host = host
        self._room = room
        self._strangers = strangers
        self._reserved = 0

    @property
    def held_bytes(self) -> int:
        return self.queue.waiting_bytes + self._stream.unfinished_bytes

    def drop(self) -> None:
        """Close it, and forget at once what it holds."""
        self.scope.cancel()
        self.queue.clear()
        self._stream.forget_unfinished()

    def become(self, *, known: bool) -> None:
        """Whose turns it takes from now on."""
        self.party = (Share.PEOPLE, self.host, self.device) if known else (Share.NEWCOMERS, self.host, None)

    async def admit(self, messages: list[Unverified[ClientMessage]], turn: Turn) -> list[Unverified[ClientMessage]]:
        """Without the requests, if there is no room for them for long; of strangers what their ration allows."""
        if self.party[0] is Share.NEWCOMERS:
            messages = await self._within_ration(messages, turn)
        requests = [message.value for message in messages if isinstance(message.value, SignedRequest)]
        operations = sum(map(_asked, requests))
        places = places_of(operations, sum(len(request.wire) for request in requests))
        if requests and not await self._enter(self._room, places, turn):
            return [message for message in messages if not isinstance(message.value, SignedRequest)]
        return messages

    async def _within_ration(
        self, messages: list[Unverified[ClientMessage]], turn: Turn
    ) -> list[Unverified[ClientMessage]]:
        """One by one: nothing is known to be signed yet, and those who come from elsewhere have turns in between."""
        until = trio.current_time() + HOLD_SECONDS
        for count, message in enumerate(messages):
            if not await self._enter(self._strangers, _asked(message.value), turn, until):
                return messages[:count]
        return messages

    async def _enter(self, door: Door, amount: int, turn: Turn, until: float | None = None) -> bool:
        """`until`: when to give up, if not after HOLD_SECONDS."""
        if not door.enter_now(self.party, amount):
            turn.end()
            hold = HOLD_SECONDS if until is None else max(0.0, until - trio.current_time())
            if not await door.enter(self.party, amount, hold):
                await turn.begin()
                return False
            # Nothing may come between: a connection that ends while it waits for its turn must give back its room.
            self._took(door, amount)
            await turn.begin()
            return True
        self._took(door, amount)
        return True

    def _took(self, door: Door, amount: int) -> None:
        if door is self._room:
            self._reserved += amount

    def hand_over(self) -> None:
        """What was admitted is in the inbox, or was refused in between."""
        self._room.hand_over(self._reserved)
        self._reserved = 0

    def release(self) -> None:
        """What was admitted is given up, if there is anything that was not handed over."""
        if self._reserved:
            self._room.leave(self._reserved)
            self._reserved = 0


def _asked(message: ClientMessage) -> int:
    """Operations, or questions."""
    return len(message.message.operations) if isinstance(message, SignedRequest) else 1
