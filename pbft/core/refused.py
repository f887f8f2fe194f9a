"""What a frame that does not open proves of whoever signed it: E7 and E8.

The link that it came over is closed, as for any such frame; but a signature is a signature, whoever passed it on.
"""

from __future__ import annotations

from crypto.canonical import Value, decode
from crypto.errors import MalformedEncoding
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import InvalidEvidence, verify_evidence
from pbft.core.frames import PROPOSAL
from pbft.core.types import ReplicaId


def proof_in(opener: Opener, frame: bytes) -> Evidence | None:
    """Evidence that verifies, if there is any in a frame that does not open; most hold none."""
    try:
        accused = _accused(decode(frame, bytes_max=opener.frame_bytes_max), opener)
        if accused is None:
            return None
        code, culprit = accused
        evidence = Evidence(code=code, culprit=culprit, statements=(frame,))
        verify_evidence(opener, evidence)
    except (MalformedEncoding, InvalidEvidence):
        return None
    return evidence


def _accused(value: Value, opener: Opener) -> tuple[str, ReplicaId] | None:
    """Of what, and whom, the frame accuses if all its signatures hold that have to."""
    match value:
        case [bodies.VIEW_CHANGE | bodies.NEW_VIEW, _, int(signer), bytes(), bytes()]:
            return "E7", ReplicaId(signer)
        case [str(kind), bytes(header), bytes()] if kind == PROPOSAL:
            match decode(header, bytes_max=opener.frame_bytes_max):
                case [bodies.PRE_PREPARE, _, int(signer), bytes(), bytes()]:
                    return "E8", ReplicaId(signer)
    return None
