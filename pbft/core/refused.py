"""What a frame that does not open proves of whoever signed it: E7 and E8.

The link that it came over is closed, as for any such frame; but a signature is a signature, whoever passed it on.
To find out may take a thousand checks, so it goes in parts: who is suspected of what, the suspect's own signature,
and then everything that has to hold inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crypto.canonical import Value, decode
from crypto.errors import MalformedEncoding
from pbft.core import bodies
from pbft.core.claims import Claim, check_claims
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import InvalidMessageSignature, MalformedMessage, ProtocolViolation
from pbft.core.evidence import InvalidEvidence, proposed_requests
from pbft.core.frames import PROPOSAL
from pbft.core.messages import SignedRequest
from pbft.core.types import ReplicaId


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`own`: the suspect's signature; if it is forged, there is no suspect."""

    code: str
    culprit: ReplicaId
    frame: bytes
    own: tuple[Claim, ...]

    @property
    def evidence(self) -> Evidence:
        """If it is confirmed."""
        return Evidence(code=self.code, culprit=self.culprit, statements=(self.frame,))


def suspicion_in(opener: Opener, frame: bytes) -> Suspicion | None:
    """Whom the frame accuses, if anybody, and of what: read off its outermost layer."""
    try:
        match decode(frame, bytes_max=opener.frame_bytes_max):
            case [bodies.VIEW_CHANGE | bodies.NEW_VIEW as kind, *_]:
                return _suspicion(opener, "E7", frame, frame, str(kind))
            case [str(kind), bytes(header), bytes()] if kind == PROPOSAL:
                return _suspicion(opener, "E8", frame, header, bodies.PRE_PREPARE)
    except (MalformedEncoding, ProtocolViolation):
        return None
    return None


def _suspicion(opener: Opener, code: str, frame: bytes, signed: Value, kind: str) -> Suspicion:
    envelope = opener.parse_envelope(bytes(signed), kind)  # type: ignore[arg-type]  # matched as bytes
    return Suspicion(code, envelope.value.signer, frame, envelope.claims)


def claims_inside(opener: Opener, suspicion: Suspicion) -> Iterator[tuple[Claim, ...]]:
    """What has to hold for the frame to be valid; the suspicion is confirmed if one does not.

    Confirms it at once by a ProtocolViolation if the frame is malformed inside; InvalidEvidence says that it proves
    nothing after all. `opener` must remember nothing: what was checked before does not count.
    """
    if suspicion.code == "E7":
        yield opener.parse_peer(suspicion.frame).claims
        return
    parsed = [opener.parse_peer(wire) for wire in proposed_requests(opener, suspicion.frame)]
    if not all(isinstance(each.value, SignedRequest) for each in parsed):
        raise MalformedMessage("a batch holds something that is no REQUEST")
    for each in parsed:
        yield each.claims


def proof_in(opener: Opener, frame: bytes) -> Evidence | None:
    """Evidence that verifies, if there is any in a frame that does not open; most hold none. All at once."""
    suspicion = suspicion_in(opener, frame)
    if suspicion is None:
        return None
    try:
        check_claims(opener.verifier, suspicion.own)
    except InvalidMessageSignature:
        return None
    try:
        for claims in claims_inside(opener, suspicion):
            check_claims(opener.verifier, claims)
    except InvalidEvidence:
        return None
    except ProtocolViolation:
        return suspicion.evidence
    return None
