"""What each replica said, as far as it may still be contradicted: here lies are found. Protocol, section 9.

Votes of the current view stand in the slots and are only looked up there. What slots forget, when a view is left or a
checkpoint becomes stable, is kept here for one more window, beside the statements that came inside certificates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from crypto.digest import Digest, digest_of
from crypto.signing import PublicKey, Signature
from pbft.core import bodies
from pbft.core.effects import Evidence
from pbft.core.evidence import CODE_OF_TWO, Shown, hides, shown_by
from pbft.core.frames import encode_signed
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import (
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Signed,
    ViewChange,
)
from pbft.core.output import Output
from pbft.core.slot import Slot
from pbft.core.types import ReplicaId, SequenceNumber, View

ACCUSATIONS_MAX = 8
"""Of one code against one culprit: more proves nothing more."""
ACCUSED_DEVICES_MAX = 256
"""Devices cost nothing to make, so they share a part."""
PLACES_PER_WINDOW = 4
"""Of each type and signer, in numbers of the window: two windows of two views."""
VIEWS_KEPT = 3
"""VIEW-CHANGEs of each replica, and NEW-VIEWs, that are remembered. A replica may ask for any number of views, so
those far above the current one are forgotten first; a NEW-VIEW takes a quorum, and the oldest goes."""

Vote = PrePrepare | Prepare | Commit
Place = tuple[View, SequenceNumber]
Said = tuple[Digest, Signature]
"""All but signer and place, so that the frame can be made again."""

_TYPES: Final[Mapping[type, str]] = {
    PrePrepare: bodies.PRE_PREPARE,
    Prepare: bodies.PREPARE,
    Commit: bodies.COMMIT,
}
BY_FRAME = -1
NO_VIEW = View(0)
"""Place of a CHECKPOINT."""


@dataclass(frozen=True, slots=True)
class _Change:
    signed: Signed[ViewChange]
    shown: Shown


class Witness:
    """Every method but `is_news` may accuse. Bounded: so many places of each type and signer."""

    def __init__(self, group: Group, log: Log) -> None:
        self._group = group
        self._log = log
        self._most = PLACES_PER_WINDOW * group.parameters.window
        self._said: dict[tuple[str, ReplicaId], dict[Place, Said]] = {}
        self._changes: dict[ReplicaId, dict[View, _Change]] = {}
        self._new_views: dict[View, Signed[NewView]] = {}
        self._accused: set[tuple[str, ReplicaId | PublicKey, int, int]] = set()
        self._counts: Counter[tuple[str, ReplicaId | PublicKey | None]] = Counter()

    @property
    def largest(self) -> int:
        """The most places remembered of one type and signer."""
        return max(map(len, self._said.values()), default=0)

    @property
    def is_full(self) -> bool:
        """Whether something had to be forgotten early, or will be next."""
        return self.largest >= self._most

    # -- accusing

    def accuse(
        self,
        out: Output,
        code: str,
        culprit: ReplicaId | PublicKey,
        place: tuple[int, int],
        *statements: bytes,
    ) -> None:
        """Once for each place, and not without end."""
        if self._may_accuse(code, culprit, place):
            self._accused.add((code, culprit, *place))
            self._counts[_account(code, culprit)] += 1
            out.accuse(code, culprit, *statements)

    def _may_accuse(self, code: str, culprit: ReplicaId | PublicKey, place: tuple[int, int]) -> bool:
        most = ACCUSED_DEVICES_MAX if isinstance(culprit, bytes) else ACCUSATIONS_MAX
        return self._counts[_account(code, culprit)] < most and (code, culprit, *place) not in self._accused

    def accuse_by_frame(self, out: Output, evidence: Evidence) -> None:
        """Of what one frame proves by itself, whoever brought it."""
        name = digest_of(b"".join(evidence.statements))
        self.accuse(out, evidence.code, evidence.culprit, (BY_FRAME, int.from_bytes(name[:8])), *evidence.statements)

    # -- votes

    def is_news(self, signed: Signed[PrePrepare] | Signed[Prepare] | Signed[Commit]) -> bool:
        """Whether a statement that is of no other use would prove something, if its signature is good. Pure."""
        vote = signed.message
        kind = _TYPES[type(vote)]
        known = self._known(kind, signed.signer, (vote.view, vote.sequence))
        if known is not None and known[0] != vote.batch_digest:
            return self._may_accuse(CODE_OF_TWO[kind], signed.signer, (vote.view, vote.sequence))
        if not isinstance(vote, Commit):
            return False
        changes = self._changes.get(signed.signer, {}).values()
        return any(
            hides(change.shown, vote.view, vote.sequence)
            and self._may_accuse("E5", signed.signer, (change.shown.view, vote.sequence))
            for change in changes
        )

    def compare(self, out: Output, signed: Signed[PrePrepare] | Signed[Prepare] | Signed[Commit]) -> None:
        """With what is kept here: a slot takes the statement, and has none of its signer."""
        vote = signed.message
        kind = _TYPES[type(vote)]
        said = self._said.get((kind, signed.signer))
        known = said.get((vote.view, vote.sequence)) if said is not None else None
        if known is not None and known[0] != vote.batch_digest:
            self._contradiction(out, kind, signed.signer, (vote.view, vote.sequence), (known, _said(signed)))
        if isinstance(vote, Commit) and signed.signer in self._changes:
            self._compare_with_changes(out, signed.signer, vote, signed.signature)

    def hear(self, out: Output, signed: Signed[PrePrepare] | Signed[Prepare] | Signed[Commit]) -> None:
        """A statement that no slot takes."""
        vote = signed.message
        is_timely = vote.view <= self._log.view
        self._take(out, signed.signer, vote, signed.signature, remember=is_timely)

    def _take(
        self, out: Output, signer: ReplicaId, vote: Vote, signature: Signature, *, remember: bool = True
    ) -> None:
        kind, place, said = _TYPES[type(vote)], (vote.view, vote.sequence), (vote.batch_digest, signature)
        known = self._known(kind, signer, place)
        if known is None:
            if remember and self._is_near(vote.sequence):
                self._remember(kind, signer, place, said)
        elif known[0] != said[0]:
            self._contradiction(out, kind, signer, place, (known, said))
        if isinstance(vote, Commit):
            self._compare_with_changes(out, signer, vote, signature)

    def _known(self, kind: str, signer: ReplicaId, place: Place) -> Said | None:
        view, sequence = place
        slot = self._log.get(sequence) if view == self._log.view else None
        if slot is not None:
            held: Signed[PrePrepare] | Signed[Prepare] | Signed[Commit] | None
            match kind:
                case bodies.PRE_PREPARE:
                    held = slot.pre_prepare if slot.pre_prepare and slot.pre_prepare.signer == signer else None
                case bodies.PREPARE:
                    held = slot.prepares.get(signer)
                case _:
                    held = slot.commits.get(signer)
            if held is not None:
                return _said(held)
        said = self._said.get((kind, signer))
        return said.get(place) if said is not None else None

    def _is_near(self, sequence: SequenceNumber) -> bool:
        low = self._log.low_watermark
        return low - self._group.parameters.window < sequence <= self._log.high_watermark

    def _remember(self, kind: str, signer: ReplicaId, place: Place, said: Said) -> None:
        places = self._said.setdefault((kind, signer), {})
        places.setdefault(place, said)
        while len(places) > self._most:
            del places[next(iter(places))]

    def _contradiction(
        self, out: Output, kind: str, signer: ReplicaId, place: Place, pair: tuple[Said, Said]
    ) -> None:
        frames = (self._frame(kind, signer, place, *said) for said in pair)
        self.accuse(out, CODE_OF_TWO[kind], signer, place, *frames)

    def _frame(self, kind: str, signer: ReplicaId, place: Place, digest: Digest, signature: Signature) -> bytes:
        """As it was signed: a statement has one encoding."""
        view, sequence = place
        if kind == bodies.CHECKPOINT:
            body = bodies.encode_checkpoint(Checkpoint(sequence=sequence, state_root=digest))
        else:
            body = bodies.encode_vote(Commit(view=view, sequence=sequence, batch_digest=digest))
        return encode_signed(kind, self._group.epoch, signer, body, signature)

    def keep(self, slot: Slot) -> None:
        """The slot's votes are about to be forgotten: the view is left, or the sequence number is stable."""
        votes = (slot.pre_prepare, *slot.prepares.values(), *slot.commits.values())
        for signed in votes:
            if signed is not None:
                vote = signed.message
                self._remember(_TYPES[type(vote)], signed.signer, (vote.view, vote.sequence), _said(signed))

    def hear_commit_certificate(self, out: Output, certificate: CommitCertificate) -> None:
        for replica, signature in certificate.endorsements:
            self._take(out, replica, certificate.commit, signature)

    def is_news_of_certificate(self, certificate: CommitCertificate) -> bool:
        """As `is_news`: whether one of its signers is known to have committed to something else there."""
        vote = certificate.commit
        place = (vote.view, vote.sequence)
        for replica, _ in certificate.endorsements:
            known = self._known(bodies.COMMIT, replica, place)
            if known is not None and known[0] != vote.batch_digest and self._may_accuse("E3", replica, place):
                return True
        return False

    # -- checkpoints

    def hear_checkpoint(self, out: Output, signed: Signed[Checkpoint]) -> None:
        self._take_checkpoint(out, signed.signer, signed.message, signed.signature)

    def hear_checkpoint_certificate(self, out: Output, certificate: CheckpointCertificate) -> None:
        for replica, signature in certificate.endorsements:
            self._take_checkpoint(out, replica, certificate.checkpoint, signature)

    def _take_checkpoint(self, out: Output, signer: ReplicaId, checkpoint: Checkpoint, signature: Signature) -> None:
        place, said = (NO_VIEW, checkpoint.sequence), (checkpoint.state_root, signature)
        known = self._known_checkpoint(signer, place)
        if known is None:
            if self._is_near(checkpoint.sequence):
                self._remember(bodies.CHECKPOINT, signer, place, said)
        elif known[0] != said[0]:
            self._contradiction(out, bodies.CHECKPOINT, signer, place, (known, said))

    def _known_checkpoint(self, signer: ReplicaId, place: Place) -> Said | None:
        return self._said.get((bodies.CHECKPOINT, signer), {}).get(place)

    # -- view changes

    def is_news_of_views(self, signer: ReplicaId, message: ViewChange | NewView) -> bool:
        """As `is_news`, of what comes too late to be of any other use."""
        if isinstance(message, ViewChange):
            known = self._changes.get(signer, {}).get(message.view)
            if known is not None and known.signed.message != message:
                return self._may_accuse("E6", signer, (message.view, 0))
            shown = shown_by(message)
            return known is None and any(
                hides(shown, vote.view, vote.sequence) and self._may_accuse("E5", signer, (shown.view, vote.sequence))
                for vote, _ in self._commits_of(signer)
            )
        begun = self._new_views.get(message.view)
        return begun is not None and begun.message != message and self._may_accuse("E7", signer, (message.view, 0))

    def hear_view_change(self, out: Output, signed: Signed[ViewChange], *, current: View | None = None) -> None:
        """`current`: the view that begins, if that is why it is heard."""
        change, signer = signed.message, signed.signer
        changes = self._changes.setdefault(signer, {})
        known = changes.get(change.view)
        if known is not None:
            if known.signed.message == change:
                return
            self.accuse(out, "E6", signer, (change.view, 0), known.signed.wire, signed.wire)
        heard = _Change(signed, shown_by(change))
        for vote, signature in self._commits_of(signer):
            self._compare_commit(out, signer, vote, signature, heard)
        if known is None:
            _keep_nearest(changes, heard, self._log.view if current is None else max(current, self._log.view))
        if change.checkpoint is not None:
            self.hear_checkpoint_certificate(out, change.checkpoint)
        for held in change.prepared:
            self.hear_prepared(out, held)

    def hear_prepared(self, out: Output, held: PreparedCertificate) -> None:
        vote = held.pre_prepare.message
        self._take(out, held.pre_prepare.signer, vote, held.pre_prepare.signature)
        prepare = Prepare(view=vote.view, sequence=vote.sequence, batch_digest=vote.batch_digest)
        for replica, signature in held.prepares:
            self._take(out, replica, prepare, signature)

    def hear_new_view(self, out: Output, signed: Signed[NewView]) -> None:
        new_view = signed.message
        known = self._new_views.get(new_view.view)
        if known is None:
            self._new_views[new_view.view] = signed
            while len(self._new_views) > VIEWS_KEPT:
                del self._new_views[next(iter(self._new_views))]
        elif known.message == new_view:
            return
        else:
            self.accuse(out, "E7", signed.signer, (new_view.view, 0), known.wire, signed.wire)
        for change in new_view.view_changes:
            self.hear_view_change(out, change, current=new_view.view)
        for pre_prepare in new_view.pre_prepares:
            self._take(out, pre_prepare.signer, pre_prepare.message, pre_prepare.signature)

    def _commits_of(self, signer: ReplicaId) -> Iterator[tuple[Commit, Signature]]:
        for slot in self._log.slots():
            held = slot.commits.get(signer)
            if held is not None:
                yield held.message, held.signature
        for (view, sequence), (digest, signature) in self._said.get((bodies.COMMIT, signer), {}).items():
            yield Commit(view=view, sequence=sequence, batch_digest=digest), signature

    def _compare_with_changes(self, out: Output, signer: ReplicaId, vote: Commit, signature: Signature) -> None:
        for change in self._changes.get(signer, {}).values():
            self._compare_commit(out, signer, vote, signature, change)

    def _compare_commit(
        self, out: Output, signer: ReplicaId, vote: Commit, signature: Signature, change: _Change
    ) -> None:
        if hides(change.shown, vote.view, vote.sequence):
            frame = self._frame(bodies.COMMIT, signer, (vote.view, vote.sequence), vote.batch_digest, signature)
            self.accuse(out, "E5", signer, (change.shown.view, vote.sequence), frame, change.signed.wire)


def _account(code: str, culprit: ReplicaId | PublicKey) -> tuple[str, ReplicaId | PublicKey | None]:
    return code, None if isinstance(culprit, bytes) else culprit


def _said(signed: Signed[PrePrepare] | Signed[Prepare] | Signed[Commit]) -> Said:
    return signed.message.batch_digest, signed.signature


def _keep_nearest(kept: dict[View, _Change], change: _Change, current: View) -> None:
    """Whoever asks for one view after the other must not make what it said of the current or next one forgotten."""
    kept[change.shown.view] = change
    while len(kept) > VIEWS_KEPT:
        highest = max(kept)
        del kept[highest if highest > current + 1 else min(kept)]
