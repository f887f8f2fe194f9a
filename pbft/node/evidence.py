"""Proofs of misbehaviour, kept as received: one file each, in the encoding of `pbft.core.evidence`.

The name says whom a proof is about: CODE-replica-N-DIGEST.cbor, or CODE-device-KEY-DIGEST.cbor.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import structlog

from crypto.digest import digest_of
from crypto.files import PRIVATE_MODE, atomic_write
from pbft.core.bodies import EVIDENCE_BYTES_MAX
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import decode_evidence, encode_evidence
from pbft.core.exchange import SHARED_OF_DEVICES_MAX, SHARED_PER_CULPRIT_MAX
from pbft.core.group import Group
from pbft.state.errors import StorageFailure

EVIDENCE_FILES_MAX = 1024
EVIDENCE_PER_CULPRIT_MAX = 32
"""Of one code: more proves nothing more, and one culprit must not push out another's."""
CLIENT_EVIDENCE_MAX = 256
"""Devices cost nothing to make, so they share a part."""

NAME: Final = re.compile(
    r"(?P<about>(?P<code>[A-Z0-9-]{2,24})-(?:replica-(?P<replica>[0-9]{1,3})|device-[0-9a-f]{16})-)[0-9a-f]{24}\.cbor"
)

log = structlog.get_logger()


class EvidenceStore:
    """Bounded: the first proofs are kept, and what comes beyond the bound is counted. Other files are let be."""

    def __init__(self, directory: Path, group: Group) -> None:
        self._group = group
        self._directory = directory / "evidence"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._names = {path.name for path in self._directory.glob("*.cbor") if NAME.fullmatch(path.name)}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._names)

    def proven(self) -> dict[str, dict[str, int]]:
        """How many proofs of each code there are against each replica, by its number in decimals."""
        counts: dict[str, Counter[str]] = {}
        for name in sorted(self._names):
            parts = NAME.fullmatch(name)
            if parts is not None and parts["replica"] is not None:
                counts.setdefault(parts["replica"], Counter())[parts["code"]] += 1
        return {who: dict(codes) for who, codes in sorted(counts.items(), key=lambda item: int(item[0]))}

    def to_share(self) -> tuple[Evidence, ...]:
        """The first of each kind that are small enough to travel. What cannot be read is left out, and told of."""
        taken: Counter[str] = Counter()
        found: list[Evidence] = []
        for name in sorted(self._names):
            parts = NAME.fullmatch(name)
            if parts is None:
                continue
            is_replica = parts["replica"] is not None
            account = parts["about"] if is_replica else parts["code"]
            if taken[account] >= (SHARED_PER_CULPRIT_MAX if is_replica else SHARED_OF_DEVICES_MAX):
                continue
            evidence = self._read(name)
            if evidence is not None:
                taken[account] += 1
                found.append(evidence)
        return tuple(found)

    def _read(self, name: str) -> Evidence | None:
        path = self._directory / name
        try:
            if not path.is_file() or path.stat().st_size > EVIDENCE_BYTES_MAX:
                return None
            return decode_evidence(self._group, path.read_bytes())
        except (OSError, ProtocolViolation) as error:
            log.warning("kept evidence cannot be read", file=name, reason=str(error))
            return None

    def _is_full(self, about: str, *, is_replica: bool) -> bool:
        if sum(name.startswith(about) for name in self._names) >= EVIDENCE_PER_CULPRIT_MAX:
            return True
        if is_replica:
            return len(self._names) >= EVIDENCE_FILES_MAX
        return sum("-device-" in name for name in self._names) >= CLIENT_EVIDENCE_MAX

    def add(self, evidence: Evidence) -> None:
        """Keep the proof, durably; the same one again changes nothing. Raises StorageFailure."""
        data = encode_evidence(self._group, evidence)
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
