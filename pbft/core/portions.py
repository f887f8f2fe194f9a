"""Checks of signatures that may take several steps: nobody else waits for the whole of a large proof."""

from __future__ import annotations

from crypto.signing import Domain, PublicKey, Signature, Verifier


class PortionUsedUp(Exception):  # noqa: N818 - no error: to be gone on with
    """As much was checked as may be now. What was checked already need not be checked again."""


class Portions:
    """A verifier that stops with PortionUsedUp after `left` checks, and remembers those that held.

    It remembers as much as there are signatures in what it is used for: one proof, and then it is dropped."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._held: set[tuple[PublicKey, Domain, bytes, Signature]] = set()
        self.left = 0

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        """Raises InvalidSignature."""
        claim = (public_key, domain, body, signature)
        if claim in self._held:
            return
        if self.left <= 0:
            raise PortionUsedUp
        self.left -= 1
        self._verifier.verify(public_key, domain, body, signature)
        self._held.add(claim)
