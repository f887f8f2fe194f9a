"""Who received two statements that contradict each other: whoever did must have proof of it.

Written apart from `pbft.core.witness`, which it checks: what counts as received is what the replica took in while it
ran, and what it has to remember still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from crypto.digest import Digest
from pbft.core.effects import Effects, FrameRefused, FromClient, FromPeer, Input, Received
from pbft.core.messages import (
    Checkpoint,
    CheckpointCertificate,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    Proposal,
    Signed,
    ViewChange,
)
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.host import Host

Place = tuple[str, int, int, int]
"""Code of what two different statements prove, signer, view, sequence."""

CHANGES_REMEMBERED = 3
"""VIEW-CHANGEs of one signer, as many as a replica has to remember."""
VOTES: Final[Mapping[type, str]] = {PrePrepare: "E1", Prepare: "E2", Commit: "E3"}


@dataclass(slots=True)
class _Heard:
    """What the replica of one host took in since it started."""

    first: dict[Place, Digest] = field(default_factory=dict)
    changes: dict[int, dict[int, ViewChange]] = field(default_factory=dict)
    """The first VIEW-CHANGE of each signer to each view that was the current one or the next."""
    asked: dict[int, set[int]] = field(default_factory=dict)
    """All views that each signer asked for."""
    view: int = 0
    """Its view after the last step."""
    begun: NewView | None = None
    """The last NEW-VIEW."""
    low: int = 0
    """Its low watermark after the last step."""


class Witnesses:
    """Remembers, per start of a host, the first statement that its replica took in of each place and signer."""

    def __init__(self, faulty: frozenset[int]) -> None:
        self._faulty = faulty
        self._heard: dict[int, _Heard] = {}
        self._proven: dict[int, set[tuple[str, int]]] = {}

    def forget(self, host: int) -> None:
        """It starts anew, with what its ledger holds; proofs stay."""
        self._heard[host] = _Heard()

    def missed(self, host: Host, inputs: Sequence[Input], effects: Effects) -> str | None:
        """Evidence that the step should have given and did not. The step is over, its effects are not carried out."""
        if not self._faulty:
            return None
        heard = self._heard[host.number]
        proven = self._proven.setdefault(host.number, set())
        proven.update((item.code, item.culprit) for item in effects.evidence if isinstance(item.culprit, int))
        for given in inputs:
            found: Iterator[tuple[str, int]] = iter(())
            match given:
                case Received(messages=messages):
                    found = (each for item in messages for each in self._contradictions(host, heard, item))
                case FrameRefused(evidence=evidence) if isinstance(evidence.culprit, int):
                    found = iter([(evidence.code, evidence.culprit)])
            for code, culprit in found:
                if culprit in self._faulty and (code, culprit) not in proven:
                    return f"{host.me} received what proves {code} against {culprit}, and has no proof"
        heard.low, heard.view = host.replica.log.low_watermark, host.replica.log.view
        return None

    def _contradictions(self, host: Host, heard: _Heard, item: FromPeer | FromClient) -> Iterator[tuple[str, int]]:
        for place, digest, is_certified in _statements(host, item):
            if place[1] not in self._faulty:
                continue
            known = heard.first.get(place)
            if known is None:
                if (is_certified or _is_held(host, place, digest)) and self._must_remember(host, heard, place):
                    heard.first[place] = digest
            elif known != digest and self._must_remember(host, heard, place):
                yield place[0], place[1]
            changes = self._kept_changes(host, heard, place[1]) if place[0] == "E3" else {}
            if any(_hides(change, place) for change in changes.values()):
                yield "E5", place[1]
        match item.message:
            case Signed(message=NewView() as new_view, signer=signer) if signer in self._faulty:
                begun = heard.begun
                heard.begun = new_view
                if begun is not None and begun.view == new_view.view and begun != new_view:
                    yield "E7", signer
        for signed in _view_changes(item):
            if signed.signer in self._faulty:
                has_begun = isinstance(item.message, Signed) and isinstance(item.message.message, NewView)
                yield from self._of_view_change(host, heard, signed, has_begun=has_begun)

    def _of_view_change(
        self, host: Host, heard: _Heard, signed: Signed[ViewChange], *, has_begun: bool
    ) -> Iterator[tuple[str, int]]:
        change, signer = signed.message, signed.signer
        known = self._kept_changes(host, heard, signer).get(change.view)
        if known is not None and known != change:
            yield "E6", signer
        heard.asked.setdefault(signer, set()).add(change.view)
        if change.view <= heard.view + 1 or has_begun:
            heard.changes.setdefault(signer, {}).setdefault(change.view, change)
        commits = (place for place in heard.first if place[0] == "E3" and place[1] == signer)
        if any(_hides(change, place) and self._must_remember(host, heard, place) for place in commits):
            yield "E5", signer

    @staticmethod
    def _kept_changes(host: Host, heard: _Heard, signer: int) -> dict[int, ViewChange]:
        """Those with few enough later ones, up to the view that is next: there is room for them whatever came."""
        views = [view for view in heard.asked.get(signer, ()) if view <= host.replica.log.view + 1]
        kept = heard.changes.get(signer, {})
        return {view: kept[view] for view in kept if sum(each > view for each in views) < CHANGES_REMEMBERED}

    @staticmethod
    def _must_remember(host: Host, heard: _Heard, place: Place) -> bool:
        """One window and one view back; less only if there was too much to remember."""
        log, window = host.replica.log, host.replica.group.parameters.window
        code, _, view, sequence = place
        is_near = log.low_watermark - window < sequence <= heard.low + window
        return is_near and (code == "E4" or log.view - 1 <= view <= log.view) and not host.replica.witness.is_full


def _hides(change: ViewChange, commit: Place) -> bool:
    _, _, view, sequence = commit
    if view >= change.view or sequence <= change.stable_checkpoint:
        return False
    shown = {held.pre_prepare.message.sequence: held.pre_prepare.message.view for held in change.prepared}
    return shown.get(sequence, -1) < view  # type: ignore[call-overload,no-any-return]


def _view_changes(item: FromPeer | FromClient) -> Iterator[Signed[ViewChange]]:
    match item.message:
        case Signed(message=NewView() as new_view):
            yield from new_view.view_changes
        case Signed(message=ViewChange() as change, signer=signer, signature=signature, wire=wire):
            yield Signed(message=change, signer=signer, signature=signature, wire=wire)


def _statements(host: Host, item: FromPeer | FromClient) -> Iterator[tuple[Place, Digest, bool]]:
    """Everything signed in a message that is about one place; and whether the replica has to take it for the
    signer's whatever it does with the message."""
    message = item.message
    match message:
        case Proposal(pre_prepare=Signed(message=PrePrepare() as vote, signer=signer)):
            yield ("E1", signer, vote.view, vote.sequence), vote.batch_digest, False
        case Signed(message=Prepare() | Commit() as vote, signer=signer):
            yield (VOTES[type(vote)], signer, vote.view, vote.sequence), vote.batch_digest, False
        case Signed(message=Checkpoint() as vote, signer=signer):
            if host.replica.group.is_checkpoint(vote.sequence):
                yield ("E4", signer, 0, vote.sequence), vote.state_root, True
        case Signed(message=NewView() as new_view, signer=signer):
            for again in new_view.pre_prepares:
                place: Place = ("E1", signer, again.message.view, again.message.sequence)
                yield place, again.message.batch_digest, True
        case _:
            pass
    for change in _view_changes(item):
        yield from _shown(change.message)


def _shown(change: ViewChange) -> Iterator[tuple[Place, Digest, bool]]:
    if isinstance(change.checkpoint, CheckpointCertificate):
        vouched = change.checkpoint.checkpoint
        for replica, _ in change.checkpoint.endorsements:
            yield ("E4", replica, 0, vouched.sequence), vouched.state_root, True
    for held in change.prepared:
        vote = held.pre_prepare.message
        yield ("E1", held.pre_prepare.signer, vote.view, vote.sequence), vote.batch_digest, True
        for replica, _ in held.prepares:
            yield ("E2", replica, vote.view, vote.sequence), vote.batch_digest, True


def _is_held(host: Host, place: Place, digest: Digest) -> bool:
    """Whether the replica took the statement for the signer's."""
    code, signer, view, sequence = place
    log = host.replica.log
    held = log.get(sequence)
    if held is None or log.view != view or not log.low_watermark < sequence <= log.high_watermark:
        return False
    if code == "E1":
        return held.proposal is not None and held.proposal.batch.digest == digest
    votes: Mapping[ReplicaId, Signed[Prepare] | Signed[Commit]] = held.prepares if code == "E2" else held.commits
    vote = votes.get(ReplicaId(signer))
    return vote is not None and vote.message.batch_digest == digest
