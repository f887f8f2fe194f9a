"""Repair inside the window: replicas tell each other where they stand (STATUS) and send what the other lacks.

Votes are re-sent by the replica that made them; commit certificates and bodies come from anyone, for they prove
themselves. Protocol, sections 6 and 7.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from crypto.digest import Digest
from pbft.core.bodies import STATUS_SLOTS_MAX
from pbft.core.checkpoints import Checkpoints
from pbft.core.effects import Archived, ServeArchive
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Body, Fetch, SlotStatus, Status
from pbft.core.output import Output
from pbft.core.rejoin import Rejoin
from pbft.core.slot import Slot
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber
from pbft.core.view_votes import ViewVotes

CERTIFICATES_PER_STATUS = 32
FETCH_AT_ONCE = 8
BODIES_AHEAD_MAX = 64
"""Slots beyond the last executed one whose bodies are fetched: they have to be held until they are executed."""
RETRY_AFTER_MS = 300
PATIENCE_MS = 200
"""A slot younger than this is left alone: its messages may be under way."""
HEARD_WITHIN_MS = 3000
"""Three times as long as a silent replica waits between two STATUS."""
SERVE_PAUSE_MS = 50
"""A STATUS of a peer is answered at most this often: a flood of them must not become a flood of answers."""
SERVE_BYTES_PER_MS = 16 * 1024
"""What a peer is sent at most, in the long run: a question is small, and its answer may be megabytes."""
SERVE_BURST_MS = 500
"""A peer that has asked for nothing so long may be sent as much at once."""
SERVE_BYTES_MAX = 4 * 1024 * 1024
"""Of proposals in one answer; the rest when it asks again."""
ARCHIVED_BODY_BYTES = 256 * 1024
"""What a body out of the ledger is taken for, whose size is not known here."""


@dataclass(slots=True)
class _Peer:
    heard_at: Milliseconds | None = None
    last_executed: SequenceNumber = SequenceNumber(0)
    status_from: Milliseconds = Milliseconds(0)
    """Its next STATUS is answered from then on."""
    fetch_from: Milliseconds = Milliseconds(0)


class Repair:
    """What this replica knows of its peers' progress, and which questions of its own are open."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        log: Log,
        checkpoints: Checkpoints,
        votes: ViewVotes,
        rejoin: Rejoin,
    ) -> None:
        self._group = group
        self._me = me
        self._log = log
        self._checkpoints = checkpoints
        self._votes = votes
        self._rejoin = rejoin
        self._peers = {peer: _Peer() for peer in group.others(me)}
        self._turn = 0
        self._asked_until = Milliseconds(0)
        self._asked_for = SequenceNumber(0)
        self._fetching_until = Milliseconds(0)
        self._fetching: set[SequenceNumber] = set()
        """Whose bodies were asked for last, and have not come."""

    # -- asking

    def status(self) -> Status:
        slots: list[SlotStatus] = []
        for slot in self._log.unexecuted():
            if len(slots) == STATUS_SLOTS_MAX:
                break
            if slot.sequence <= self._log.low_watermark:
                continue  # nobody votes there any more
            slots.append(slot.status(self._group))
        return Status(
            view=self._log.view,
            stable_checkpoint=self._log.low_watermark,
            last_executed=self._log.last_executed,
            slots=tuple(slots),
            in_view=self._log.in_view,
            view_changes=self._votes.held(),
            rejoining=self._rejoin.rejoining,
        )

    @property
    def is_behind(self) -> bool:
        """Somebody says so; it may lie."""
        return any(peer.last_executed > self._log.last_executed for peer in self._peers.values())

    @property
    def is_surely_behind(self) -> bool:
        """A correct replica says so: the group goes on, whatever this replica lacks."""
        ahead = sum(peer.last_executed > self._log.last_executed for peer in self._peers.values())
        return ahead >= self._group.honest_minimum

    def on_heard(self, peer: ReplicaId, now: Milliseconds) -> None:
        """A message came over the link to `peer`."""
        self._peers[peer].heard_at = now

    def hears_quorum(self, now: Milliseconds) -> bool:
        """Whether enough peers spoke lately to change a view with: alone, a replica would only leave the others."""
        recent = (
            peer.heard_at is not None and now - peer.heard_at <= HEARD_WITHIN_MS for peer in self._peers.values()
        )
        return sum(recent) + 1 >= self._group.quorum

    @property
    def lacks_body(self) -> bool:
        """Whether the next batch cannot be executed for want of its body."""
        slot = self._log.get(self._log.last_executed + 1)
        return slot is not None and slot.missing_body is not None

    def ask(self, out: Output, now: Milliseconds) -> None:
        """Ask for what is missing most: bodies of certified slots first, then certificates of one peer in turn."""
        if self._fetch_bodies(out, now):
            return
        ahead = [peer for peer, known in self._peers.items() if known.last_executed > self._log.last_executed]
        answered = self._log.last_executed >= self._asked_for
        if not ahead or (now < self._asked_until and not answered):
            return
        self._turn += 1
        peer = ahead[self._turn % len(ahead)]
        self._asked_until = Milliseconds(now + RETRY_AFTER_MS)
        reach = min(self._peers[peer].last_executed, self._log.last_executed + CERTIFICATES_PER_STATUS)
        self._asked_for = SequenceNumber(reach)
        out.send_to((peer,), self.status())

    def _fetch_bodies(self, out: Output, now: Milliseconds) -> bool:
        """Says whether one lacks that is certified: then nothing else is asked for."""
        wanted: list[tuple[SequenceNumber, Digest]] = []
        certified = False
        for slot in itertools.islice(self._log.unexecuted(), BODIES_AHEAD_MAX):
            digest = slot.missing_body
            if digest is not None and len(wanted) < FETCH_AT_ONCE:
                wanted.append((slot.sequence, digest))
                certified = certified or slot.certificate is not None
        if not wanted:
            return False
        if now >= self._fetching_until:
            # First one that says it has it; after an unanswered question anybody, for the boast may be empty.
            first = wanted[0][0]
            again = first in self._fetching
            able = [peer for peer, known in self._peers.items() if known.last_executed >= first and not again]
            able = able or list(self._peers)
            self._turn += 1
            self._fetching_until = Milliseconds(now + RETRY_AFTER_MS)
            self._fetching = {sequence for sequence, _ in wanted}
            out.send_to((able[self._turn % len(able)],), Fetch(wanted=tuple(wanted)))
        return certified

    def on_body(self, slot: Slot, body: Body) -> bool:
        """Keep a body that was asked for; says whether it was."""
        if slot.missing_body != body.batch.digest:
            return False
        slot.bodies[body.batch.digest] = body.batch
        self._fetching.discard(slot.sequence)
        if not self._fetching:
            self._fetching_until = Milliseconds(0)
        return True

    # -- answering

    def on_status(self, out: Output, now: Milliseconds, peer: ReplicaId, status: Status) -> None:
        """Send what `peer` lacks. The claim is used for nothing else, so a lie costs only its teller."""
        known = self._peers[peer]
        known.last_executed = status.last_executed
        if now < known.status_from:
            return
        lacks = self._votes.what_lacks(status)
        if lacks is not None:
            out.send_to((peer,), lacks)
        stable = self._checkpoints.stable
        if stable is not None and status.stable_checkpoint < stable.checkpoint.sequence:
            out.send_to((peer,), stable)
        for vote in self._checkpoints.own_votes():
            # Also to a peer that has not executed so far: it may want to fetch the state there.
            if vote.message.sequence > status.stable_checkpoint:
                out.send_to((peer,), vote)
        self._send_certificates(out, peer, status)
        size = len(lacks.wire) if lacks is not None else 0
        if status.view == self._log.view:
            size += self._send_votes(out, now, peer, status)
        known.status_from = Milliseconds(now + max(SERVE_PAUSE_MS, size // SERVE_BYTES_PER_MS))

    @staticmethod
    def _serve(out: Output, peer: ReplicaId, what: Archived, first: int, last: int) -> None:
        if first <= last:
            out.serve.append(ServeArchive(to=peer, what=what, first=SequenceNumber(first), last=SequenceNumber(last)))

    def _send_certificates(self, out: Output, peer: ReplicaId, status: Status) -> None:
        first = status.last_executed + 1
        # Also those that this replica cannot execute yet, for want of a body that the peer may have.
        last = min(max(self._log.highest, self._log.last_executed), status.last_executed + CERTIFICATES_PER_STATUS)
        for sequence in range(first, last + 1):
            slot = self._log.get(sequence)
            if slot is not None and slot.certificate is not None:
                out.send_to((peer,), slot.certificate)
        archived = min(last, self._log.low_watermark)
        self._serve(out, peer, Archived.COMMIT_CERTIFICATES, first, archived)

    def _send_votes(self, out: Output, now: Milliseconds, peer: ReplicaId, status: Status) -> int:
        """What this replica said of the slots that `peer` has not executed. Gives the bytes of the proposals sent."""
        size = 0
        theirs = {slot.sequence: slot for slot in status.slots}
        first = max(status.last_executed, self._log.low_watermark) + 1
        for sequence in range(first, min(self._log.highest, first + STATUS_SLOTS_MAX - 1) + 1):
            slot = self._log.get(sequence)
            if slot is None or now - slot.since < PATIENCE_MS:
                continue
            has = theirs.get(
                slot.sequence, SlotStatus(sequence=slot.sequence, has_proposal=False, prepares=0, commits=0)
            )
            mine = slot.pre_prepare is not None and slot.pre_prepare.signer == self._me
            proposal = slot.proposal if mine and not has.has_proposal and size < SERVE_BYTES_MAX else None
            if proposal is not None:
                out.send_to((peer,), proposal)
                size += len(proposal.wire)
            prepare = slot.prepares.get(self._me)
            if prepare is not None and not has.prepares >> self._me & 1:
                out.send_to((peer,), prepare)
            commit = slot.commits.get(self._me)
            if commit is not None and not has.commits >> self._me & 1:
                out.send_to((peer,), commit)
        return size

    def on_fetch(self, out: Output, now: Milliseconds, peer: ReplicaId, fetch: Fetch) -> None:
        """Serve as many bodies as a correct peer asks for at once, those of old slots out of the ledger."""
        known = self._peers[peer]
        if now < known.fetch_from:
            return
        size = 0
        for sequence, digest in list(dict.fromkeys(fetch.wanted))[:FETCH_AT_ONCE]:
            slot = self._log.get(sequence)
            batch = slot.holds(digest) if slot is not None else None
            if batch is not None:
                out.send_to((peer,), Body(sequence=sequence, batch=batch))
                size += len(batch.wire)
            else:
                out.serve.append(
                    ServeArchive(to=peer, what=Archived.BODIES, first=sequence, last=sequence, digest=digest)
                )
                size += ARCHIVED_BODY_BYTES
        known.fetch_from = Milliseconds(max(known.fetch_from, now - SERVE_BURST_MS) + size // SERVE_BYTES_PER_MS)
