"""Opening frames once for all hosts: what bytes mean, and whether their signatures hold, is the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.messages import ClientMessage, PeerMessage, Signed, ToClient
from pbft.core.refused import proof_in

T = TypeVar("T")

_NAMES = {"SignedRequest": "Request"}


def message_type(message: PeerMessage | ClientMessage | ToClient) -> str:
    """The name of a message's class, for rules about types."""
    name = type(message.message if isinstance(message, Signed) else message).__name__
    return _NAMES.get(name, name)


class FrameCache:
    """The strict decoder behind a memory of frames that it has seen, good or bad."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self._peer: dict[bytes, PeerMessage | ProtocolViolation] = {}
        self._client: dict[bytes, ClientMessage | ProtocolViolation] = {}
        self._proofs: dict[bytes, Evidence | None] = {}
        self._reply: dict[bytes, ToClient | ProtocolViolation] = {}

    def from_peer(self, frame: bytes) -> PeerMessage:
        """Raises ProtocolViolation."""
        return _once(self._peer, self.opener.open_peer, frame)

    def proof_in(self, frame: bytes) -> Evidence | None:
        """What a frame that does not open proves by itself."""
        if frame not in self._proofs:
            self._proofs[frame] = proof_in(self.opener, frame)
        return self._proofs[frame]

    def from_client(self, frame: bytes) -> ClientMessage:
        """Raises ProtocolViolation."""
        return _once(self._client, self.opener.open_client, frame)

    def from_replica(self, frame: bytes) -> ToClient:
        """What a client is told. Raises ProtocolViolation."""
        return _once(self._reply, self.opener.open_reply, frame)


def _once(known: dict[bytes, T | ProtocolViolation], open_frame: Callable[[bytes], T], frame: bytes) -> T:
    found = known.get(frame)
    if found is None:
        try:
            found = open_frame(frame)
        except ProtocolViolation as error:
            found = error
        known[frame] = found
    if isinstance(found, ProtocolViolation):
        raise type(found)(*found.args)
    return found
