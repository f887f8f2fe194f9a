"""Who broke the agreement: every statement that several ledgers hold, compared signer by signer.

More than f faulty replicas can make correct ones execute different batches. PBFT then names at least f + 1 of them
(Sheng et al., "BFT Protocol Forensics", CCS 2021), from what correct replicas keep: two quorums share f + 1 signers.

- Two commit certificates of one view: those signed two COMMITs (E3).
- Of views v < w: take the lowest view above v that began without the batch committed in v. Its NEW-VIEW holds a
  quorum of VIEW-CHANGEs. Those who signed the COMMITs and hid it are f + 1 (E5), or the primary ignored what they
  showed (E7), or the batch shown instead was prepared in v too (E1, E2).
- Two certificates of one checkpoint: those signed two roots (E4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from crypto.canonical import decode, expect_bytes, expect_list
from crypto.digest import Digest, digest_of
from crypto.errors import MalformedEncoding
from pbft.core import bodies
from pbft.core.claims import check_claims
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, Record, RecordKind
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import (
    CODE_OF_TWO,
    InvalidEvidence,
    Place,
    Shown,
    hides,
    shown_by,
    verify_evidence,
    why_invalid,
)
from pbft.core.frames import (
    CHECKPOINT_CERTIFICATE,
    COMMIT_CERTIFICATE,
    PREPARED,
    PROPOSAL,
    encode_signed,
)
from pbft.core.group import Group
from pbft.core.messages import CheckpointCertificate, CommitCertificate, Endorsements, Signed, ViewChange
from pbft.core.types import ReplicaId, SequenceNumber, View

PROOFS_PER_CULPRIT_MAX: Final = 32
"""Of one code: more proves nothing more."""
WITHOUT_STATEMENTS: Final = frozenset({RecordKind.BODY, RecordKind.AMNESIA, RecordKind.REJOINED, RecordKind.REPAIRED})
"""Kinds of records in which no replica says anything signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Certificates of one sequence number that exclude each other, by the digest or the state root they certify.

    `views`: in which each digest was committed; empty when it is checkpoints that differ.
    """

    sequence: SequenceNumber
    digests: tuple[Digest, ...]
    views: tuple[View, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the ledgers show. `statements`: how many different ones with a valid signature were compared."""

    evidence: tuple[Evidence, ...]
    forks: tuple[Fork, ...]
    statements: int

    @property
    def culprits(self) -> tuple[ReplicaId, ...]:
        """In order; no correct replica is among them, however many are faulty."""
        return tuple(sorted({ReplicaId(each.culprit) for each in self.evidence if isinstance(each.culprit, int)}))

    def names_enough(self, group: Group) -> bool:
        """Whether more are named than the group bears, as there must be if agreement broke."""
        return len(self.culprits) >= group.honest_minimum


_VOTES: Final = frozenset({bodies.PRE_PREPARE, bodies.PREPARE, bodies.COMMIT, bodies.CHECKPOINT})
_INSIDE: Final[Mapping[str, frozenset[str]]] = {
    PROPOSAL: frozenset({bodies.PRE_PREPARE}),
    PREPARED: frozenset({bodies.PRE_PREPARE}),
    bodies.VIEW_CHANGE: frozenset({CHECKPOINT_CERTIFICATE, PREPARED}),
    bodies.NEW_VIEW: frozenset({bodies.VIEW_CHANGE, bodies.PRE_PREPARE}),
}
"""What each kind of frame may hold: nothing holds its like, so that it goes four deep and no further."""
_ANYWHERE: Final = _VOTES | _INSIDE.keys() | {COMMIT_CERTIFICATE, CHECKPOINT_CERTIFICATE}


class Statements:
    """All that replicas signed, as far as it was seen: the first statement of each signer about each place.

    Frames may come from anywhere. What does not open, or bears an invalid signature, counts for nothing.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._group = opener.group
        self._seen: set[Digest] = set()
        self._first: dict[tuple[str, ReplicaId, Place], tuple[Digest, bytes]] = {}
        self._commits: defaultdict[ReplicaId, dict[Place, bytes]] = defaultdict(dict)
        self._changes: defaultdict[ReplicaId, list[tuple[Shown, bytes]]] = defaultdict(list)
        """Valid ones: what each shows, and the frame."""
        self._proofs: defaultdict[tuple[str, ReplicaId], list[Evidence]] = defaultdict(list)
        self._committed: defaultdict[SequenceNumber, dict[Digest, View]] = defaultdict(dict)
        self._certified: defaultdict[SequenceNumber, set[Digest]] = defaultdict(set)

    def add(self, frame: bytes) -> None:
        """Take in a frame, and all the statements inside it: a vote, certificate, proposal or view change."""
        self._add(frame, _ANYWHERE)

    def _add(self, frame: bytes, allowed: frozenset[str]) -> None:
        name = digest_of(frame)
        if name in self._seen:
            return
        try:
            fields = expect_list(decode(frame, bytes_max=self._opener.frame_bytes_max))
            kind = fields[0] if fields else None
            if not isinstance(kind, str) or kind not in allowed:
                return
            self._seen.add(name)
            if kind in _VOTES:
                self._add_vote(frame, kind)
            elif kind == PROPOSAL:
                self._add(expect_bytes(fields[1]), _INSIDE[PROPOSAL])
            elif kind == PREPARED:
                self._add_prepared(frame)
            elif kind in _INSIDE:
                self._add_view_message(frame, kind)
            else:
                self._add_certificate(frame)
        except (ProtocolViolation, MalformedEncoding, IndexError):
            return

    # -- votes

    def _add_vote(self, frame: bytes, kind: str) -> bool:
        """Whether its signer said so. Raises ProtocolViolation, MalformedEncoding."""
        envelope = self._opener.parse_envelope(frame, kind)
        signer, body = envelope.value.signer, envelope.value.message
        place: Place
        if kind == bodies.CHECKPOINT:
            checkpoint = bodies.decode_checkpoint(body)
            place, content = (checkpoint.sequence,), checkpoint.state_root
        else:
            vote = bodies.decode_commit(body)  # the three kinds of votes have one form
            place, content = (vote.view, vote.sequence), vote.batch_digest
        held = self._first.get((kind, signer, place))
        if held is not None and held[0] == content:
            return True
        check_claims(self._opener.verifier, envelope.claims)
        self._note(kind, signer, place, content, frame)
        if kind == bodies.COMMIT:
            self._commits[signer].setdefault(place, frame)
        return True

    def _note(self, kind: str, signer: ReplicaId, place: Place, content: Digest, frame: bytes) -> None:
        """Its signature is valid."""
        held, first = self._first.setdefault((kind, signer, place), (content, frame))
        if held != content:
            self._prove(CODE_OF_TWO[kind], signer, first, frame)

    def _prove(self, code: str, culprit: ReplicaId, *statements: bytes) -> None:
        proofs = self._proofs[code, culprit]
        if len(proofs) >= PROOFS_PER_CULPRIT_MAX:
            return
        evidence = Evidence(code=code, culprit=culprit, statements=statements)
        try:
            verify_evidence(self._opener, evidence)
        except InvalidEvidence:
            return
        proofs.append(evidence)

    # -- certificates

    def _add_prepared(self, frame: bytes) -> None:
        certificate = self._opener.parse_prepared_certificate(frame).value
        self._add(certificate.pre_prepare.wire, _INSIDE[PREPARED])
        body = bodies.encode_vote(certificate.pre_prepare.message)
        self._all_said(bodies.PREPARE, body, certificate.prepares)

    def _add_certificate(self, frame: bytes) -> None:
        match self._opener.parse_peer(frame).value:
            case CommitCertificate(commit=commit, endorsements=endorsements):
                if self._all_said(bodies.COMMIT, bodies.encode_vote(commit), endorsements):
                    self._committed[commit.sequence].setdefault(commit.batch_digest, commit.view)
            case CheckpointCertificate(checkpoint=checkpoint, endorsements=endorsements):
                if self._all_said(bodies.CHECKPOINT, bodies.encode_checkpoint(checkpoint), endorsements):
                    self._certified[checkpoint.sequence].add(checkpoint.state_root)
            case _:
                pass

    def _all_said(self, kind: str, body: bytes, endorsements: Endorsements) -> bool:
        frames = (
            encode_signed(kind, self._group.epoch, replica, body, signature) for replica, signature in endorsements
        )
        said = [self._said(frame, kind) for frame in frames]  # all of them count, also beside a forged one
        return all(said)

    def _said(self, frame: bytes, kind: str) -> bool:
        try:
            return self._add_vote(frame, kind)
        except ProtocolViolation:
            return False

    # -- view changes

    def _add_view_message(self, frame: bytes, kind: str) -> None:
        envelope = self._opener.parse_envelope(frame, kind)
        check_claims(self._opener.verifier, envelope.claims)
        signer, body = envelope.value.signer, envelope.value.message
        if why_invalid(self._opener, frame) is not None:
            self._prove("E7", signer, frame)
        elif kind == bodies.VIEW_CHANGE:
            self._keep_change(frame)
        if kind == bodies.VIEW_CHANGE:
            view, _, checkpoint, parts = bodies.decode_view_change(body, bytes_max=self._group.view_change_bytes_max)
            inner = parts if checkpoint is None else [checkpoint, *parts]
        else:
            view, changes, proposals = bodies.decode_new_view(body, bytes_max=self._opener.frame_bytes_max)
            inner = [*changes, *proposals]
        self._note(kind, signer, (view,), digest_of(body), frame)
        for part in inner:
            self._add(part, _INSIDE[kind])

    def _keep_change(self, frame: bytes) -> None:
        match self._opener.parse_peer(frame).value:
            case Signed(message=ViewChange() as change, signer=signer):
                self._changes[signer].append((shown_by(change), frame))
            case _:
                pass

    # -- what they prove

    def findings(self) -> Findings:
        """What all that was added proves."""
        self._find_hidden()
        proofs = [proof for _, proofs in sorted(self._proofs.items()) for proof in proofs]
        return Findings(evidence=tuple(proofs), forks=self._forks(), statements=len(self._first))

    def _find_hidden(self) -> None:
        """E5: one proof for each VIEW-CHANGE that hides something is enough."""
        for signer, changes in self._changes.items():
            self._proofs.pop(("E5", signer), None)
            for shown, change in changes:
                for (view, sequence), commit in sorted(self._commits[signer].items()):
                    if hides(shown, View(view), SequenceNumber(sequence)):
                        self._prove("E5", signer, commit, change)
                        break

    def _forks(self) -> tuple[Fork, ...]:
        batches = [
            Fork(sequence=sequence, digests=tuple(sorted(found)), views=tuple(found[each] for each in sorted(found)))
            for sequence, found in sorted(self._committed.items())
            if len(found) > 1
        ]
        roots = [
            Fork(sequence=sequence, digests=tuple(sorted(found)))
            for sequence, found in sorted(self._certified.items())
            if len(found) > 1
        ]
        return (*batches, *roots)


def forensics_of(opener: Opener, ledgers: Iterable[Iterable[Record]], kept: Iterable[Evidence] = ()) -> Findings:
    """Compare what several ledgers hold, and the statements in the proofs that were `kept`."""
    seen = Statements(opener)
    for records in ledgers:
        for record in records:
            if record.kind not in WITHOUT_STATEMENTS:
                seen.add(record.data)
    for evidence in kept:
        for frame in evidence.statements:
            seen.add(frame)
    return seen.findings()
