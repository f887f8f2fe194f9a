"""The trace as lines of text."""

from __future__ import annotations

from adversary.describe import Describe
from adversary.keys import Members
from adversary.simulator.frames import FrameCache
from adversary.simulator.network import REPLICA_ADDRESSES
from pbft.core.errors import ProtocolViolation


class Lines:
    """Of one run: digests have the same short names in all of its lines."""

    def __init__(self, members: Members, frames: FrameCache) -> None:
        self._describe = Describe(members)
        self._frames = frames

    def line(self, now_us: int, what: str, source: int, to: int, frame: bytes) -> str:
        """Virtual milliseconds, what, from where to where, and the message. An address below 0 is nobody's."""
        return f"{now_us / 1000:10.3f} {what} {_way(source, to)}{self._text(what, frame)}"

    def _text(self, what: str, frame: bytes) -> str:
        if not frame:
            return ""
        frames = self._frames
        try:
            if what == "reply":
                return ": " + self._describe.message(frames.from_replica(frame))
            if what == "client":
                return ": " + self._describe.message(frames.from_client(frame))
            return ": " + self._describe.message(frames.from_peer(frame))
        except ProtocolViolation as error:
            return f": {error}"


def _way(source: int, to: int) -> str:
    names = [f"client {a - REPLICA_ADDRESSES}" if a >= REPLICA_ADDRESSES else str(a) for a in (source, to)]
    return "" if source < 0 else names[0] if to < 0 else f"{names[0]}->{names[1]}"
