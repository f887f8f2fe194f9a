"""What each replica said in the protocol: no restart, lost ledger or view change excuses a contradiction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from adversary.simulator.marks import Marks
from crypto.digest import Digest, digest_of
from pbft.core.messages import (
    Checkpoint,
    Commit,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    Proposal,
    Signed,
    ViewChange,
)
from pbft.core.types import View

Vote = Prepare | Commit | PrePrepare
Slot = tuple[str, int, int]
"""Kind, view, sequence."""


@dataclass(slots=True)
class _Voter:
    said: dict[Slot, Digest] = field(default_factory=dict)
    left_to: View = View(0)
    """No vote in a lower view may follow."""
    commits: dict[int, tuple[View, Digest]] = field(default_factory=dict)
    """The highest COMMIT of each sequence number: a later VIEW-CHANGE has to show what it stood on."""


class Votes:
    """Told what a replica sends, gives what is wrong with it, in words."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._voters: dict[int, _Voter] = {}

    def on_restart(self, replica: int, view: View) -> None:
        """The ledger brought a replica back into `view`: what it said of views is not forgotten."""
        voter = self._voter(replica)
        voter.left_to = max(voter.left_to, view)

    def left_to(self, replica: int) -> View:
        return self._voter(replica).left_to

    def on_stored(self, replica: int, view: View) -> None:
        """A VIEW-CHANGE or NEW-VIEW is durable: after a restart nothing lower may be said."""
        self.on_restart(replica, view)

    def on_send(self, replica: int, message: PeerMessage) -> str | None:
        voter = self._voter(replica)
        for statement in _statements(replica, message):
            wrong = self._why_wrong(voter, statement)
            if wrong is not None:
                return f"{replica} {wrong}"
        return None

    def _voter(self, replica: int) -> _Voter:
        voter = self._voters.get(replica)
        if voter is None:
            voter = self._voters[replica] = _Voter()
        return voter

    def _why_wrong(
        self,
        voter: _Voter,
        signed: Signed[Prepare]
        | Signed[Commit]
        | Signed[PrePrepare]
        | Signed[Checkpoint]
        | Signed[ViewChange]
        | Signed[NewView],
    ) -> str | None:
        match signed.message:
            case Checkpoint() as checkpoint:
                return _twice(voter, ("Checkpoint", 0, checkpoint.sequence), checkpoint.state_root)
            case ViewChange() as change:
                twice = _twice(voter, ("ViewChange", change.view, 0), digest_of(signed.wire))
                return twice or self._leaves(voter, change)
            case NewView() as new_view:
                voter.left_to = max(voter.left_to, new_view.view)
                return _twice(voter, ("NewView", new_view.view, 0), digest_of(signed.wire))
            case vote:
                return self._votes(voter, vote)

    @staticmethod
    def _leaves(voter: _Voter, change: ViewChange) -> str | None:
        voter.left_to = max(voter.left_to, change.view)
        shown = {each.pre_prepare.message.sequence: each.pre_prepare.message for each in change.prepared}
        for sequence, (view, digest) in voter.commits.items():
            if sequence <= change.stable_checkpoint or view >= change.view:
                continue
            proof = shown.get(sequence)  # type: ignore[call-overload]
            same = proof is not None and (proof.view > view or (proof.view, proof.batch_digest) == (view, digest))
            if not same:
                return f"hides in its VIEW-CHANGE to {change.view} that it committed in view {view} at {sequence}"
        return None

    def _votes(self, voter: _Voter, vote: Vote) -> str | None:
        if vote.view < voter.left_to:
            return f"votes in view {vote.view} at {vote.sequence}, after it left for view {voter.left_to}"
        voter.left_to = vote.view
        if isinstance(vote, Commit):
            before = voter.commits.get(vote.sequence)
            if before is None or vote.view >= before[0]:
                voter.commits[vote.sequence] = (vote.view, vote.batch_digest)
            if before is not None and before[0] != vote.view:
                self._marks.reach("same sequence prepared in two views")
        return _twice(voter, (type(vote).__name__, vote.view, vote.sequence), vote.batch_digest)


def _twice(voter: _Voter, slot: Slot, digest: Digest) -> str | None:
    if voter.said.setdefault(slot, digest) == digest:
        return None
    kind, view, sequence = slot
    return f"sends a second {kind} for view {view} at {sequence}"


def _statements(
    replica: int, message: PeerMessage
) -> Iterator[
    Signed[Prepare] | Signed[Commit] | Signed[PrePrepare] | Signed[Checkpoint] | Signed[ViewChange] | Signed[NewView]
]:
    """Those of the replica's own that a message of it holds."""
    if isinstance(message, Proposal) and message.pre_prepare.signer == replica:
        yield message.pre_prepare
    if isinstance(message, Signed) and message.signer == replica:
        yield message
        if isinstance(message.message, NewView):
            yield from message.message.pre_prepares
