"""What must hold after every step, whatever the faulty do. Each check is told what happened, and raises Broken.

Replicas in `faulty` run other code, or forgot or lost what they held; nothing is expected of them but that they
harm nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adversary.simulator.beyond import Beyond, Name, Place
from adversary.simulator.broken import Broken
from adversary.simulator.durability import Durability
from adversary.simulator.history import History
from adversary.simulator.marks import Marks
from adversary.simulator.memory import why_too_large
from adversary.simulator.scenario import DAMAGES_OF_VOTES
from adversary.simulator.sights import PROVEN, alarm_says, seen_in
from adversary.simulator.spelling import is_spelt_once
from adversary.simulator.storage import Opening
from adversary.simulator.witnesses import Witnesses
from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.client.quorums.model import Accepted
from pbft.core.effects import (
    BatchExecuted,
    Effects,
    Evidence,
    Input,
    InstallState,
    Received,
    Record,
    RecordKind,
    Recovered,
    RunQuery,
    StateInstalled,
    Timer,
)
from pbft.core.errors import ProtocolViolation
from pbft.core.group import Group
from pbft.core.messages import CheckpointCertificate, Commit, PeerMessage, Proposal, Signed
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StateError, StorageFailure

if TYPE_CHECKING:
    from adversary.simulator.host import Host

MEMORY_CHECK_STEPS = 32


class Checker:
    """Sees everything, remembers what is needed, and is never seen."""

    def __init__(
        self,
        group: Group,
        faulty: frozenset[int],
        marks: Marks,
        *,
        more_than_f: bool | None = None,
        untrusted: frozenset[int] | None = None,
    ) -> None:
        """`untrusted`: whom of the faulty evidence may name; by default all. The others do not do what they should,
        and lie to nobody."""
        self._group = group
        self._faulty = faulty
        self._untrusted = faulty if untrusted is None else untrusted
        self.beyond = Beyond(more_than_f=len(faulty) > group.faulty_max if more_than_f is None else more_than_f)
        self._marks = marks
        self._witnesses = Witnesses(faulty)
        self.history = History(self.beyond)
        self._durability = Durability(marks)
        self._position: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._rotten: set[int] = set()
        """Hosts whose rows are not what was written."""
        self._diverged: set[int] = set()
        self._rotted: set[int] = set()
        """Replicas that were so at some time."""
        self.proofs: dict[tuple[str, int | bytes], tuple[Evidence, set[str]]] = {}
        """What correct replicas and clients can prove, by code and culprit, and who of them can."""
        self.strangers: set[PublicKey] = set()
        """Devices of people who do what they like: their frames need not open."""
        self._latest: Place = (0, 0)
        """The last place of an operation that a client has seen accepted."""
        self._steps = 0

    def is_correct(self, host: Host) -> bool:
        """Whether everything may be expected of it. One without its votes is correct too: it knows and is mute."""
        return host.me not in self._faulty and host.number not in self._rotten

    def is_rotten(self, host: Host, root: Digest | None = None) -> bool:
        """Whether rows of it rotted and were not replaced yet. Looks at the rows, and compares them with `root`, that
        of a sound replica at the same place."""
        if host.number in self._rotten and root is not None and host.is_up:
            executor = host.disk.executor
            if executor.position.is_whole and executor.recomputed_state_root() == root:
                self._rotten.discard(host.number)
        return host.number in self._rotten

    def _is_honest(self, replica: int) -> bool:
        """Whether nobody may blame it: what it says is so, and its rows are what was written."""
        return replica not in self._untrusted | self._rotted

    # -- damage, starting, stopping

    def on_damage(self, host: Host, what: str) -> None:
        if what == "flipped_state":
            self._rotten.add(host.number)
            self._rotted.add(host.me)
        elif what in {"lost_state", "lost_disk", "forgetful_disk"}:
            self._lose_state(host)

    def _lose_state(self, host: Host) -> None:
        self._rotten.discard(host.number)
        self._position[host.number] = self._durable[host.number] = 0

    def on_opened(self, host: Host, opening: Opening) -> None:
        """Something was found damaged: was it?"""
        if opening.ledger:
            self._durability.begin_again(host.number)
            self._marks.reach("ledger begun again")
            if host.me not in self._faulty and not host.planted & DAMAGES_OF_VOTES:
                raise Broken("storage", f"{host.me} begins its ledger again: {opening.ledger}")
        elif host.lost_power and host.planted & {"torn_ledger", "flipped_ledger"}:
            # Its witness is as old as its last sync, and cannot tell. Two disasters at once: it may vote again.
            self._faulty |= {host.me}
            self._untrusted |= {host.me}
        if opening.state:
            self._marks.reach("damaged state put aside")
            if self.is_correct(host):
                raise Broken("storage", f"{host.me} puts its state aside: {opening.state}")
            self._lose_state(host)

    def on_state_aside(self, host: Host) -> None:
        """A running node found its state damaged, and begins with an empty one."""
        self._marks.reach("damaged state put aside")
        self._lose_state(host)

    def on_start(self, host: Host, recovered: Recovered) -> None:
        self._durability.on_start(host.number)
        self.on_stored(host, recovered.records)
        self._durability.on_restored(host)
        before, durable = self._position.get(host.number, 0), self._durable.get(host.number, 0)
        if not recovered.is_whole:
            durable = 0
        if self.is_correct(host) and not durable <= recovered.last_executed <= before:
            raise Broken("order", f"{host.me} starts at {recovered.last_executed}, after {durable}..{before}")
        if recovered.last_executed < before:
            self._marks.reach("power loss undid executed batches")
        self._position[host.number] = recovered.last_executed
        self._witnesses.forget(host.number)

    def on_death(self, host: Host, executed: int) -> None:
        self._position[host.number] = executed

    def on_stop(self, host: Host, error: Exception) -> None:
        if not self.is_correct(host):
            return
        if isinstance(error, StorageFailure) and host.had_trouble:
            return
        if isinstance(error, StateError | LedgerDamaged):
            raise Broken("storage", f"{host.me} stopped: {error}")
        raise Broken("internal", f"{host.me} stopped: {type(error).__name__}: {error}")

    def on_alarm(self, host: Host, text: str) -> None:
        """Some tell of what is right; the others must have a reason."""
        harmless, mark, blamed = alarm_says(text)
        if mark:
            self._marks.reach(mark)
        if blamed is not None and self._is_honest(blamed) and self.is_correct(host):
            raise Broken("honest evidence", f"{host.me}: {text}")
        if not harmless and host.me not in self._faulty | self._rotted:
            self.beyond.noticed(Broken("equal roots", f"{host.me}: {text}"))

    def on_malformed(self, source: ReplicaId | PublicKey, error: ProtocolViolation) -> None:
        if source not in self._faulty and source not in self.strangers:
            raise Broken("well-formed", f"a frame of {source!r} does not open: {error}")

    def on_opened_frame(self, host: Host, source: ReplicaId | PublicKey, frame: bytes) -> None:
        """It takes the frame for a message. The honest have one encoder; the others try what else is read."""
        is_odd = source in self._faulty or source in self.strangers
        if is_odd and self.is_correct(host) and not is_spelt_once(frame):
            raise Broken("one spelling", f"{host.me} takes a frame of {source!r} in other bytes than its own")

    # -- steps

    def on_step(self, host: Host, inputs: Sequence[Input], effects: Effects) -> None:
        """Before the effects are carried out."""
        if host.me in self._faulty:
            return
        seen_in(host, inputs, effects, self._marks)
        if self.is_correct(host):
            self.beyond.on_stable(host.me, host.replica.checkpoints.stable, self.history.roots)
        stable = {record.data for record in effects.persist if record.kind is RecordKind.STABLE}
        received = [message for given in inputs if isinstance(given, Received) for message in given.messages]
        for item in received:
            if isinstance(item.message, CheckpointCertificate) and item.message.wire in stable:
                self._marks.reach("checkpoint certificate of others adopted")
            self._durability.note_view(item.message)
        for send in effects.send:
            self._durability.note_view(send.message)
        missed = self._witnesses.missed(host, inputs, effects)
        if missed is not None:
            raise Broken("evidence found", missed)

    def after_step(self, host: Host) -> None:
        if host.me in self._faulty:
            return
        if Timer.STATUS not in host.timers:
            raise Broken("timer", f"{host.me} has no timer set: it would never act by itself again")
        if host.replica.views.timer.is_armed and Timer.VIEW_CHANGE not in host.timers:
            raise Broken("timer", f"{host.me} times the primary, and nothing will wake it")
        self._steps += 1
        if self._steps % MEMORY_CHECK_STEPS == 0:
            too_large = why_too_large(host.replica)
            if too_large is not None:
                raise Broken("bounded memory", f"{host.me}: {too_large}")

    def on_stored(self, host: Host, records: Sequence[Record]) -> None:
        self._durability.on_stored(host.number, records)
        for record in records:
            match record.kind:
                case RecordKind.REJOINED if host.me not in self._faulty:
                    self._marks.reach("mute replica voted again")
                case RecordKind.DIVERGED:
                    self._marks.reach("divergence noticed")
                    self._diverged.add(host.number)
                case RecordKind.REPAIRED if host.number in self._diverged:
                    self._marks.reach("divergence repaired")
                case _:
                    pass

    def on_send(self, host: Host, message: PeerMessage) -> None:
        if host.me in self._faulty:
            return
        statement = message.pre_prepare if isinstance(message, Proposal) else message
        if not isinstance(statement, Signed) or statement.signer != host.me:
            return
        self._durability.on_send(host, message, statement)
        if isinstance(statement.message, Commit):
            self.beyond.on_commit(host.me, statement.message)

    # -- execution

    def on_executed(self, host: Host, done: BatchExecuted) -> None:
        before = self._position.get(host.number, 0)
        if done.sequence != before + 1 and self.is_correct(host):
            raise Broken("order", f"{host.me} executes {done.sequence} after {before}")
        self._position[host.number] = done.sequence
        if done.state_root is not None:
            self._durable[host.number] = done.sequence
            self._durability.on_state(host.number, done.sequence)
        self._note_marks(host, done)
        agreed = self.history.order.get(done.sequence)
        if agreed is None:
            if not self.is_correct(host):
                return  # a correct replica will have to say first
            self.history.on_first(done)
        elif agreed != done.batch.digest and host.number not in self._rotten and self._counts(host):
            raise self.beyond.forked(host.me, done)
        if self.is_correct(host):
            self.history.compare(host.me, done)

    def _counts(self, host: Host) -> bool:
        """Whether its order has to be that of the others: with at most f liars no honest core of theirs strays."""
        return self.is_correct(host) or not self.beyond.more_than_f

    def _note_marks(self, host: Host, done: BatchExecuted) -> None:
        if len(done.batch.requests) > 1:
            self._marks.reach("batch of several requests")
        if not done.batch.timestamp:
            self._marks.reach("null batch executed")
        slot = host.replica.log.get(done.sequence)
        if slot is not None and slot.prepared is None:
            self._marks.reach("late commit certificate executed")

    def on_pages(self, host: Host) -> None:
        """Some rows are of another state: it stands nowhere."""
        self._position[host.number] = self._durable[host.number] = 0

    def on_installed(self, host: Host, install: InstallState, installed: StateInstalled) -> None:
        """Another state is in place, if it came to the root that it should have."""
        if installed.state_root != install.state_root:
            return
        self._position[host.number] = self._durable[host.number] = install.sequence
        self._durability.on_state(host.number, install.sequence)
        root = self.history.roots.get(install.sequence)
        if root is not None and root != installed.state_root and host.me not in self._faulty:
            raise Broken("equal roots", f"{host.me} installs another state at {install.sequence} than others had")
        self.is_rotten(host, root)

    # -- what is proven, and what clients see

    def on_evidence(self, host: Host, evidence: Evidence) -> None:
        if not self.is_correct(host):
            return
        culprit = evidence.culprit
        if self.history.knows(culprit) if isinstance(culprit, bytes) else culprit not in self._untrusted:
            raise Broken("honest evidence", f"{host.me} has {evidence.code} against {culprit!r}")
        _, holders = self.proofs.setdefault((evidence.code, culprit), (evidence, set()))
        holders.add(f"replica {host.me}")
        if evidence.code in PROVEN:
            self._marks.reach(PROVEN[evidence.code])

    def on_answer(self, host: Host, read: RunQuery, sequence: SequenceNumber, result: bytes) -> None:
        if self.is_correct(host):
            self.history.on_answer(host.me, read, sequence, result)

    def on_request(self, device: PublicKey, digest: Digest) -> None:
        """A client signed this."""
        self.history.on_request(device, digest)

    def now_latest(self) -> Place:
        """What is sent from now on must be ordered after this place."""
        return self._latest

    def on_accepted(self, name: Name, accepted: Accepted, sent_after: Place, *, repeatable: bool) -> None:
        place = (int(accepted.sequence), accepted.index)
        known = self.history.results.get(place)
        if known is None and self.beyond.more_than_f:
            self.beyond.on_accepted(place, name, accepted.result, executed=False)
            return
        if known is None or known[0] != name or known[1].refused or known[1].result != accepted.result:
            raise Broken(
                "replies", f"a client accepts {accepted.result!r} at {place}, which is not what was executed"
            )
        if place <= sent_after and not repeatable:
            raise Broken("real time", f"an operation sent after {sent_after} was accepted stands at {place}")
        self._latest = max(self._latest, place)
        self.beyond.on_accepted(place, name, accepted.result, executed=True)

    def on_answered(self, client: str, sequence: int, seen: int) -> None:
        """A query asked after the client had seen `seen` was answered out of the state after `sequence`."""
        if sequence < seen:
            raise Broken("real time", f"{client} saw {seen}, and is answered out of the state at {sequence}")

    def on_lost_outcome(self, client: str, rejected: bool) -> None:  # noqa: FBT001 - which of two
        """No client of a run is so impatient, or so forgetful, that this may happen."""
        what = "was told that its operation is forgotten" if rejected else "gave up"
        raise Broken("replies", f"{client} {what}")

    def on_client_proof(self, client: str, proof: Evidence) -> None:
        """A client can prove to anybody that a replica lied to it."""
        culprit = proof.culprit
        if not isinstance(culprit, bytes) and self._is_honest(culprit):
            raise Broken("honest evidence", f"client {client} has {proof.code} against replica {culprit}")
        _, holders = self.proofs.setdefault((proof.code, proof.culprit), (proof, set()))
        holders.add(f"client {client}")
        self._marks.reach("a false REPLY proven (E9)")

    def on_contradiction(self, replica: ReplicaId) -> None:
        self._marks.reach("client caught a liar")
        if self._is_honest(replica):
            raise Broken("honest evidence", f"a client caught replica {replica} lying")
