"""Claims: signatures of parsed messages that are still to be checked, and what was checked before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from crypto.canonical import Value
from crypto.digest import Digest
from crypto.errors import InvalidSignature
from crypto.signing import Domain, PublicKey, Signature, Verifier
from pbft.core import bodies
from pbft.core.errors import InvalidMessageSignature
from pbft.core.messages import SignedRequest

VERIFIED_REQUESTS_MAX = 16_384
VERIFIED_BYTES_MAX = 64 * 1024 * 1024
STATEMENTS_MAX = 32_768
REMEMBERED = frozenset({bodies.PRE_PREPARE, bodies.PREPARE, bodies.CHECKPOINT, bodies.VIEW_CHANGE})
"""Statements that come again inside the certificates of a view change."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature still to be checked."""

    public_key: PublicKey
    domain: Domain
    body: bytes
    signature: Signature


@dataclass(frozen=True, slots=True)
class Unverified(Generic[T_co]):
    """A well-formed message that nobody may act on before its claims are checked."""

    value: T_co
    claims: tuple[Claim, ...]
    new_requests: tuple[SignedRequest, ...] = ()


Parser = Callable[[bytes, list[Value]], Unverified[T]]
"""From the received bytes and the list that they encode."""


def check_claims(verifier: Verifier, claims: Iterable[Claim]) -> None:
    """Pure: may run in any thread. Raises InvalidMessageSignature."""
    for claim in claims:
        try:
            verifier.verify(claim.public_key, claim.domain, claim.body, claim.signature)
        except InvalidSignature as error:
            msg = f"signature on a {claim.domain.message_type} by {claim.public_key.hex()[:16]} does not verify"
            raise InvalidMessageSignature(msg) from error


class RequestMemory:
    """Requests whose signature was checked, by digest: each is checked once. Forgets the oldest at its bounds."""

    def __init__(self) -> None:
        self._requests: OrderedDict[Digest, SignedRequest] = OrderedDict()
        self._bytes = 0

    def get(self, digest: Digest) -> SignedRequest | None:
        return self._requests.get(digest)

    def add(self, request: SignedRequest) -> None:
        if request.digest in self._requests:
            return
        self._requests[request.digest] = request
        self._bytes += len(request.wire)
        while len(self._requests) > VERIFIED_REQUESTS_MAX or self._bytes > VERIFIED_BYTES_MAX:
            _, oldest = self._requests.popitem(last=False)
            self._bytes -= len(oldest.wire)


class StatementMemory:
    """Signatures of replicas that were checked: a NEW-VIEW repeats thousands of them. Forgets the oldest."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, str, bytes, bytes], None] = OrderedDict()

    def add(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.domain.message_type in REMEMBERED:
                self._known[_key(claim)] = None
        while len(self._known) > STATEMENTS_MAX:
            self._known.popitem(last=False)

    def unknown(self, claims: Iterable[Claim]) -> tuple[Claim, ...]:
        """Those still to be checked, each once."""
        return tuple(
            claim for key, claim in {_key(claim): claim for claim in claims}.items() if key not in self._known
        )


def _key(claim: Claim) -> tuple[bytes, str, bytes, bytes]:
    """All claims of one Opener are of one group and epoch."""
    return claim.public_key, claim.domain.message_type, claim.body, claim.signature
