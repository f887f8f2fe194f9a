"""Proofs of misbehaviour, kept as received: one file each, in the encoding of `pbft.core.evidence`.

The name says whom a proof is about: CODE-replica-N-DIGEST.cbor, or CODE-device-KEY-DIGEST.cbor. A name proves
nothing: what stands in the files of an earlier run counts once it was verified.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from crypto.digest import digest_of
from crypto.files import PRIVATE_MODE, atomic_write
from pbft.core.bodies import EVIDENCE_BYTES_MAX
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import decode_evidence, encode_evidence, verify_evidence
from pbft.core.exchange import SHARED_PER_CULPRIT_MAX
from pbft.state.errors import StorageFailure

EVIDENCE_PER_CULPRIT_MAX = 8
"""Of one code: more proves nothing more. None takes the room of another."""
CLIENT_EVIDENCE_MAX = 256
CLIENT_EVIDENCE_BYTES_MAX = 4 * 1024 * 1024
"""Devices cost nothing to make, so they share a part."""
VERIFIED_AT_START_BYTES_MAX = 4 * 1024 * 1024
"""Of files, the smallest first: some three seconds, if they are made of signatures."""

NAME: Final = re.compile(
    r"(?P<about>(?P<code>[A-Z0-9-]{2,24})-(?:replica-(?P<replica>[0-9]{1,3})|device-[0-9a-f]{16})-)[0-9a-f]{24}\.cbor"
)

log = structlog.get_logger()


class EvidenceStore:
    """Bounded: the first proofs are kept, and what comes beyond the bound is counted. Other files are let be."""

    def __init__(self, directory: Path, opener: Opener) -> None:
        self._opener = opener
        self._group = opener.group
        self._directory = directory / "evidence"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._names: set[str] = set()
        self._about: Counter[str] = Counter()
        self._devices = 0
        self._device_bytes = 0
        self._proven: Counter[tuple[int, str]] = Counter()
        self._to_share: list[Evidence] = []
        self.dropped = 0
        self._take_stock()

    def __len__(self) -> int:
        """Proofs against replicas, and what is kept about devices."""
        return self._proven.total() + self._devices

    def _take_stock(self) -> None:
        """Of what earlier runs left."""
        sizes: dict[str, int] = {}
        for path in self._directory.glob("*.cbor"):
            parts = NAME.fullmatch(path.name)
            if parts is None or path.is_symlink() or not path.is_file():
                continue
            size = sizes[path.name] = path.stat().st_size
            self._note_name(path.name, parts["about"], None if parts["replica"] else size)
        shared: Counter[tuple[int, str]] = Counter()
        for evidence in self._verified(sizes):
            about = int(evidence.culprit), evidence.code
            self._proven[about] += 1
            shared[about] += 1
            is_small = len(encode_evidence(self._group, evidence)) <= EVIDENCE_BYTES_MAX
            if is_small and shared[about] <= SHARED_PER_CULPRIT_MAX:
                self._to_share.append(evidence)

    def _verified(self, sizes: dict[str, int]) -> Iterator[Evidence]:
        """The proofs against replicas; what cannot be read, or proves nothing, is told of."""
        left = VERIFIED_AT_START_BYTES_MAX
        for name in sorted(sizes, key=lambda each: (sizes[each], each)):
            if "-device-" in name:
                continue
            left -= sizes[name]
            if left < 0:
                log.warning("kept evidence is too much to be verified at start", file=name)
                return
            try:
                evidence = decode_evidence(self._group, (self._directory / name).read_bytes())
                verify_evidence(self._opener, evidence)
            except (OSError, ProtocolViolation) as error:
                log.warning("kept evidence proves nothing", file=name, reason=str(error))
                continue
            if isinstance(evidence.culprit, int):
                yield evidence

    def _note_name(self, name: str, about: str, device_bytes: int | None) -> None:
        self._names.add(name)
        self._about[about] += 1
        if device_bytes is not None:
            self._devices += 1
            self._device_bytes += device_bytes

    def proven(self) -> dict[str, dict[str, int]]:
        """How many proofs of each code there are against each replica, by its number in decimals."""
        counts: dict[str, dict[str, int]] = {}
        for (who, code), count in sorted(self._proven.items()):
            counts.setdefault(str(who), {})[code] = count
        return counts

    def to_share(self) -> tuple[Evidence, ...]:
        """Of what was here at start, the first of each kind that are small enough to travel, verified."""
        return tuple(self._to_share)

    def may_take(self, code: str, culprit: int) -> bool:
        """Whether there is room for one more of this code against this replica."""
        return self._about[f"{code}-replica-{culprit}-"] < EVIDENCE_PER_CULPRIT_MAX

    def _is_full(self, about: str, device_bytes: int | None) -> bool:
        if self._about[about] >= EVIDENCE_PER_CULPRIT_MAX:
            return True
        if device_bytes is None:
            return False
        return self._devices >= CLIENT_EVIDENCE_MAX or self._device_bytes + device_bytes > CLIENT_EVIDENCE_BYTES_MAX

    def add(self, evidence: Evidence) -> None:
        """Keep the proof, durably; the same one again changes nothing. Raises StorageFailure."""
        data = encode_evidence(self._group, evidence)
        device_bytes: int | None = None
        if isinstance(evidence.culprit, int):
            culprit = f"replica-{evidence.culprit}"
        else:
            culprit, device_bytes = f"device-{evidence.culprit.hex()[:16]}", len(data)
        about = f"{evidence.code}-{culprit}-"
        name = f"{about}{digest_of(data).hex()[:24]}.cbor"
        if name in self._names:
            return
        if self._is_full(about, device_bytes):
            self.dropped += 1
            return
        try:
            atomic_write(self._directory / name, data, PRIVATE_MODE)
        except OSError as error:
            msg = (
                f"{self._directory / name}: {error.strerror}; free the disk or replace it, then start the node again"
            )
            raise StorageFailure(msg) from error
        self._note_name(name, about, device_bytes)
        if isinstance(evidence.culprit, int):
            self._proven[evidence.culprit, evidence.code] += 1
        log.warning("misbehaviour proven", code=evidence.code, culprit=culprit, file=name)
