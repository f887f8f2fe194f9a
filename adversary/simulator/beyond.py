"""What is watched besides, because it can happen with more than f faulty replicas alone: then it must be told.

With so many, correct replicas notice that something is wrong before it hurts anybody, and clients accept what no
correct replica has executed yet. Such things are kept, and told when nothing worse came of them.
"""

from __future__ import annotations

from typing import TypeAlias

from adversary.simulator.broken import Broken
from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.effects import BatchExecuted
from pbft.core.messages import CheckpointCertificate, Commit

Place: TypeAlias = tuple[int, int]
"""Sequence number and index in the batch."""
Name: TypeAlias = tuple[PublicKey, int, int]
"""Device, session, client sequence."""


class Beyond:
    """Of one run. `more_than_f`: whether more replicas are faulty than the protocol bears."""

    def __init__(self, *, more_than_f: bool) -> None:
        self.more_than_f = more_than_f
        self.later: Broken | None = None
        """What broke and hurts nobody yet."""
        self._committed: dict[tuple[int, int], Digest] = {}
        """What correct replicas sent COMMITs for, by view and sequence number."""
        self._accepted: dict[int, Name] = {}
        """An operation that a client saw accepted, by the sequence number of its batch."""
        self._unproven: dict[Place, tuple[Name, bytes]] = {}
        """What clients accepted before any correct replica executed it."""
        self._asked: dict[tuple[PublicKey, int, int], Digest] = {}
        """What was executed under the name of its first operation."""

    def noticed(self, broken: Broken) -> None:
        """By a correct replica. With at most f faulty nothing may be."""
        if not self.more_than_f:
            raise broken
        self.later = self.later or broken

    def on_commit(self, replica: int, vote: Commit) -> None:
        """Whoever sends a COMMIT holds a prepared certificate."""
        first = self._committed.setdefault((vote.view, vote.sequence), vote.batch_digest)
        if first != vote.batch_digest and self.later is None:
            text = f"{replica} prepared another batch in view {vote.view} at {vote.sequence} than others"
            self.later = Broken("one prepared", text)

    def on_stable(self, replica: int, stable: CheckpointCertificate | None, roots: dict[int, Digest]) -> None:
        """A correct replica holds this certificate; `roots`: those that correct replicas had."""
        if stable is None:
            return
        vouched = stable.checkpoint
        if roots.get(vouched.sequence, vouched.state_root) != vouched.state_root:
            text = f"{replica} holds a certificate for another state at {vouched.sequence} than there was"
            raise Broken("stable state", text)

    def on_first(self, done: BatchExecuted) -> None:
        """A correct replica executes this before all others."""
        for request in done.batch.requests:
            first = request.message.first_client_sequence
            self._asked[request.device, int(request.message.session), first] = request.digest
        for results in done.results:
            for result in results.results:
                name = (results.device, int(results.session), int(result.client_sequence))
                known = self._unproven.pop((int(done.sequence), result.index), (name, result.result))
                if known != (name, result.result):
                    raise Broken("replies", f"a client accepted at {done.sequence} what was not executed there")

    def on_accepted(self, place: Place, name: Name, result: bytes, *, executed: bool) -> None:
        self._accepted.setdefault(place[0], name)
        if not executed:
            self._unproven[place] = (name, result)

    @property
    def first_unproven(self) -> Place | None:
        """Where a client saw something accepted that no correct replica has executed so far."""
        return min(self._unproven, default=None)

    def forked(self, replica: int, done: BatchExecuted) -> Broken:
        """What it is that breaks when a correct replica executes another batch than others did."""
        for request in done.batch.requests:
            first = request.message.first_client_sequence
            known = self._asked.get((request.device, int(request.message.session), first))
            if known not in {None, request.digest}:
                text = f"{replica} executes another operation {first} of {request.device.hex()[:8]} than others did"
                return Broken("exactly once", text)
        name = self._accepted.get(done.sequence)
        ran = {(r.device, int(r.session), int(each.client_sequence)) for r in done.results for each in r.results}
        if name is not None and name not in ran:
            text = f"{replica} executes another batch at {done.sequence} than the one that a client saw accepted"
            return Broken("accepted kept", text)
        return Broken("agreement", f"{replica} executes another batch at {done.sequence} than others did")

    def in_the_end(self) -> Broken | None:
        if self._unproven:
            text = f"a client accepted at {self.first_unproven} what no correct replica ever executed"
            return Broken("replies", text)
        return self.later
