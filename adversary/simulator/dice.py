"""Independent streams of random numbers, each named by what it is for: taking one fault out moves no other's dice."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from struct import Struct

FACES = 2**32
PER_ROLL = 8
_FACES = Struct(f">{PER_ROLL}I")


class Streams:
    """Every number follows from the seed and the name of its stream, however many others were drawn before."""

    def __init__(self, seed: int) -> None:
        self._key = blake2b(b"quorate/simulation/1/%d" % seed, digest_size=32).digest()

    def random(self, *name: str | int) -> Random:
        """A generator for what draws much and seldom: a scenario, a fuzzer."""
        return Random(int.from_bytes(self._digest(name), "big"))  # noqa: S311 - schedules, not secrets

    def roll(self, *name: str | int) -> tuple[int, ...]:
        """PER_ROLL numbers below FACES, for what happens to one message."""
        return _FACES.unpack(self._digest(name))

    def _digest(self, name: tuple[str | int, ...]) -> bytes:
        return blake2b(repr(name).encode(), key=self._key, digest_size=4 * PER_ROLL).digest()


def hits(face: int, permille: int) -> bool:
    """Whether a face of the die is among so many thousandths of them."""
    return face * 1000 < permille * FACES


def below(face: int, limit: int) -> int:
    """A number from 0 to `limit` - 1 out of a face of the die; 0 for limit 0."""
    return face * limit // FACES
