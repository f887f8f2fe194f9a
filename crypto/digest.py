"""SHA-256, the only hash of the protocol and of the state: a browser's WebCrypto has it too."""

from hashlib import sha256
from typing import NewType

Digest = NewType("Digest", bytes)

DIGEST_BYTES = 32

_LENGTH_BYTES = 8


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of `data`."""
    return Digest(sha256(data).digest())


def digest_of_parts(domain: bytes, *parts: bytes) -> Digest:
    """Return the SHA-256 of `domain` and `parts`, each preceded by its length (8 bytes, big endian).

    Two different lists never give the same input to the hash: no bytes can move from one part to the next.
    """
    pieces: list[bytes] = []
    for piece in (domain, *parts):
        pieces.append(len(piece).to_bytes(_LENGTH_BYTES, "big"))
        pieces.append(piece)
    return Digest(sha256(b"".join(pieces)).digest())
