"""Proofs of misbehaviour, kept as received: one file each, canonical CBOR [code, culprit, [statement, ...]]."""

from __future__ import annotations

from pathlib import Path

import structlog

from crypto.canonical import encode
from crypto.digest import digest_of
from crypto.files import PRIVATE_MODE, atomic_write
from pbft.core.effects import Evidence
from pbft.state.errors import StorageFailure

EVIDENCE_FILES_MAX = 1024
EVIDENCE_PER_CULPRIT_MAX = 32
"""Of one code: more proves nothing more, and one culprit must not push out another's."""
CLIENT_EVIDENCE_MAX = 256
"""Devices cost nothing to make, so they share a part."""

log = structlog.get_logger()


class EvidenceStore:
    """Bounded: the first statements are kept, and what comes beyond the bound is counted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "evidence"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._names = {path.name for path in self._directory.glob("*.cbor")}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._names)

    def _is_full(self, about: str, *, is_replica: bool) -> bool:
        if sum(name.startswith(about) for name in self._names) >= EVIDENCE_PER_CULPRIT_MAX:
            return True
        if is_replica:
            return len(self._names) >= EVIDENCE_FILES_MAX
        return sum("-device-" in name for name in self._names) >= CLIENT_EVIDENCE_MAX

    def add(self, evidence: Evidence) -> None:
        """Keep the pair; the same one again changes nothing. Raises StorageFailure."""
        data = encode([evidence.code, evidence.culprit, list(evidence.statements)])
        if isinstance(evidence.culprit, int):
            is_replica, culprit = True, f"replica-{evidence.culprit}"
        else:
            is_replica, culprit = False, f"device-{evidence.culprit.hex()[:16]}"
        about = f"{evidence.code}-{culprit}-"
        name = f"{about}{digest_of(data).hex()[:24]}.cbor"
        if name in self._names:
            return
        if self._is_full(about, is_replica=is_replica):
            self.dropped += 1
            return
        try:
            atomic_write(self._directory / name, data, PRIVATE_MODE)
        except OSError as error:
            msg = (
                f"{self._directory / name}: {error.strerror}; free the disk or replace it, then start the node again"
            )
            raise StorageFailure(msg) from error
        self._names.add(name)
        log.warning("misbehaviour proven", code=evidence.code, culprit=culprit, file=name)
