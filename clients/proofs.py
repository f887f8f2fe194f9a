"""Proofs of a replica's lies, kept on the user's machine."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from crypto.digest import digest_of
from crypto.errors import MalformedEncoding
from crypto.files import PRIVATE_MODE, atomic_write
from crypto.signing import Ed25519Verifier
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import encode_evidence
from pbft.core.group import Group
from pbft.core.messages import Reply

PROOFS_PER_REPLICA_MAX = 16
"""Of one group: more proves nothing more."""
PROOFS_MAX = 256


def proofs_directory() -> Path:
    """Return `quorate/evidence` where this system keeps users' data."""
    return platformdirs.user_data_path("quorate") / "evidence"


def keep_proof(group: Group, evidence: Evidence) -> str:
    """Write the proof to a file, and say where it is, or why there is none. Blocks on the disk."""
    data = encode_evidence(group, evidence)
    about = f"{group.group_id.hex()[:16]}-{evidence.code}-replica-{evidence.culprit!r}-"
    path = proofs_directory() / f"{about}{digest_of(data).hex()[:24]}.cbor"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            names = [other.name for other in path.parent.glob("*.cbor")]
            alike = sum(name.startswith(about) for name in names)
            if len(names) >= PROOFS_MAX or alike >= PROOFS_PER_REPLICA_MAX:
                return f"there are {alike or len(names)} proofs in {path.parent} already, and it was not kept"
            atomic_write(path, data, PRIVATE_MODE)
    except OSError as error:
        return f"the proof could not be kept in {path}: {error.strerror or error}"
    return f"proof kept in {path}"


def in_words(group: Group, evidence: Evidence) -> str:
    """Who lied, and what shows it, as far as the frames say so."""
    who = f"replica {evidence.culprit!r} lied"
    try:
        opener = Opener(group, Ed25519Verifier())
        lie, *others = (opener.parse_reply(frame).value for frame in evidence.statements)
    except (ProtocolViolation, MalformedEncoding, ValueError):
        return f"{who}: its statements prove {evidence.code}"
    names = " ".join(str(other.signer) for other in others)
    where = f" at {lie.message.sequence}" if isinstance(lie.message, Reply) else ""
    return f"{who}: its reply{where} contradicts replicas {names}"
