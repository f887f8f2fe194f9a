"""Three failures in three forms: an expected refusal is an IgnoreReason, a peer's fault a ProtocolViolation,
our own bug an InvariantViolation."""

from __future__ import annotations


class ProtocolViolation(Exception):  # noqa: N818 - the protocol's own word for it
    """A peer sent what no correct peer sends. Closes the link it came over; never stops the node."""

    frame: bytes = b""
    """What did not open, where that is known: it may prove something of whoever signed it."""


class MalformedMessage(ProtocolViolation):
    """Bytes that are no message: wrong encoding, shape, size or type."""


class InvalidMessageSignature(ProtocolViolation):
    """A signature that does not verify, or a signer that is no member of the epoch."""


class InvalidCertificate(ProtocolViolation):
    """A certificate that mixes statements, repeats a signer, or has too few of them."""


class InvariantViolation(Exception):  # noqa: N818 - the protocol's own word for it
    """This replica's own state contradicts itself: a bug. The node stops rather than guess."""


class UnsafeVote(InvariantViolation):
    """A vote was asked for that contradicts one already signed. Nothing was signed."""


def invariant(holds: object, message: str) -> None:
    """Raise InvariantViolation unless `holds`; unlike assert, survives `python -O`."""
    if not holds:
        raise InvariantViolation(message)
