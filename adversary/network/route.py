"""What the network does with the bytes from one place to another."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import trio

CLIENTS: Final = "clients"
Place: TypeAlias = int | Literal["clients"]
"""A replica by its number, or all clients together."""
CHUNK_BYTES_MAX = 64 * 1024
NARROW_CHUNK_BYTES_MAX = 4096
"""Where bytes are counted by the second they go in smaller pieces, so that a change is felt soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to bytes on their way. The default is a perfect network.

    Bytes of a TLS connection cannot be lost one by one: loss is a connection that is cut, or held back.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Up to so much more delay, drawn anew for every chunk; their order stays."""
    bytes_per_s: float | None = None
    """Of all connections together; None for no limit."""
    held: bool = False
    """Nothing arrives until it is released; senders meet full buffers."""
    refused: bool = False
    """Connections that need this route are cut, and new ones end at once."""
    cut_chance: float = 0.0
    """How likely each chunk is to be the last of its connection."""
    spoil_chance: float = 0.0
    """How likely each chunk is to have a bit flipped."""

    def __post_init__(self) -> None:
        if min(self.delay_s, self.jitter_s) < 0 or (self.bytes_per_s is not None and self.bytes_per_s <= 0):
            msg = f"neither a delay nor a bandwidth can be {self}"
            raise ValueError(msg)
        if not (0 <= self.cut_chance <= 1 and 0 <= self.spoil_chance <= 1):
            msg = f"a chance is from 0 to 1, not as in {self}"
            raise ValueError(msg)


PERFECT = Rule()


class Route:
    """All bytes from one place to another: those that it sends over connections it dialled, and its answers on those
    that the other dialled."""

    def __init__(self, dice: random.Random) -> None:
        self.rule = PERFECT
        self.waiting_bytes = 0
        """Read from senders and not yet delivered."""
        self.carried_bytes = 0
        self._dice = dice
        self._changed = trio.Event()
        self._free_at = float("-inf")
        self._garbage: list[bytes] = []

    def change(self, **fields: Any) -> None:
        """Change the rule, for bytes that are on their way too."""
        self.rule = replace(self.rule, **fields)
        self._wake()

    def heal(self) -> None:
        """Be perfect again, also for bytes that are on their way. Garbage that was not delivered is gone."""
        self.rule = PERFECT
        self._garbage.clear()
        self._wake()

    def inject(self, garbage: bytes) -> None:
        """Put bytes of nobody's before the next ones that are delivered."""
        self._garbage.append(garbage)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def chunk_bytes_max(self) -> int:
        return CHUNK_BYTES_MAX if self.rule.bytes_per_s is None else NARROW_CHUNK_BYTES_MAX

    def draw(self) -> float:
        return self._dice.random()

    async def until_due(self, arrived: float, share_of_jitter: float) -> None:
        """Wait until what arrived then may go on, by the rule as it is by then."""

        def due() -> float:
            if self.rule.held:
                return float("inf")
            return arrived + self.rule.delay_s + share_of_jitter * self.rule.jitter_s

        await self._until(due)

    async def until_free(self, count: int) -> None:
        """Wait for the turn to send so many bytes, and take it."""
        await self._until(lambda: float("-inf") if self.rule.bytes_per_s is None else self._free_at)
        if self.rule.bytes_per_s is not None:
            self._free_at = trio.current_time() + count / self.rule.bytes_per_s

    async def _until(self, due: Callable[[], float]) -> None:
        while (at := due()) > trio.current_time():
            with trio.move_on_at(at):
                await self._changed.wait()

    def delivered(self, chunk: bytes) -> bytes | None:
        """What arrives of a chunk; None if the connection is cut instead."""
        if self.rule.cut_chance and self.draw() < self.rule.cut_chance:
            return None
        if self.rule.spoil_chance and self.draw() < self.rule.spoil_chance:
            place = self._dice.randrange(len(chunk))
            chunk = chunk[:place] + bytes([chunk[place] ^ 1 << self._dice.randrange(8)]) + chunk[place + 1 :]
        garbage, self._garbage = b"".join(self._garbage), []
        return garbage + chunk
