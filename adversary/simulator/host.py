"""One simulated node: a real replica with its disk, which carries effects out as `pbft.node.node.Node` does.

A crash may come between any two effects. What the node does in tasks and threads, the host does in events.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, Protocol

from adversary.simulator.byzantine import Strategy
from adversary.simulator.clock import HostClock
from adversary.simulator.frames import FrameCache, message_type
from adversary.simulator.invariants import Broken, Checker
from adversary.simulator.marks import Marks
from adversary.simulator.storage import Disk, Image
from crypto.signing import PublicKey, Signer
from pbft.core.effects import (
    BatchExecuted,
    Effects,
    EventsDone,
    Execute,
    FromClient,
    FromPeer,
    IgnoreReason,
    Input,
    LinkUp,
    QueryDone,
    ReadEvents,
    Received,
    Record,
    RecordKind,
    Recovered,
    RunQuery,
    Timer,
    TimerExpired,
    merge_effects,
)
from pbft.core.errors import InvariantViolation, ProtocolViolation
from pbft.core.frames import wire_of
from pbft.core.group import Group
from pbft.core.messages import Checkpoint, ToClient
from pbft.core.replica import Replica
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.core.voting_rules import VotingRules
from pbft.node.archive import archived_frames
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StateError, StorageFailure

CARRIED: Final = (
    "persist",
    "archive",
    "send",
    "reply",
    "execute",
    "read",
    "serve",
    "timers",
    "evidence",
    "alarms",
    "ignored",
)
"""Effects that hosts carry out. A test compares them with those that there are."""

TICK_US = 50_000
READS_PER_STEP = 4
ARCHIVE_FLUSH_MS = 500
PENDING_MAX = 512
"""Frames that wait for a host from one source, in the buffers of the connection."""

FATAL = (InvariantViolation, StateError, LedgerDamaged)


class Crashed(Exception):  # noqa: N818 - what happened
    """The process dies here."""


class Surroundings(Protocol):
    """What a host sees of the simulation."""

    now_us: int
    group: Group
    frames: FrameCache
    checker: Checker
    marks: Marks

    def wake(self, host: Host, delay_us: int) -> None: ...

    def tick(self, host: Host, delay_us: int) -> None: ...

    def set_timer(self, host: Host, timer: Timer, at: Milliseconds) -> None: ...

    def transmit(self, host: Host, to: ReplicaId, kind: str, frame: bytes) -> None: ...

    def reply(self, host: Host, device: PublicKey, message: ToClient) -> None: ...

    def lost(self, host: Host) -> None: ...

    def note(self, what: str, source: int = -1) -> None: ...

    def stopped(self, host: Host, reason: str) -> None: ...


class Host:
    """`number` is its address; `me` the replica that it claims to be: twins share one."""

    def __init__(
        self,
        around: Surroundings,
        *,
        number: int,
        me: ReplicaId,
        signer: Signer,
        disk: Disk,
        clock: HostClock,
        strategy: Strategy | None,
        service_us: int,
    ) -> None:
        self._around = around
        self.number = number
        self.me = me
        self.signer = signer
        self.disk = disk
        self.clock = clock
        self.strategy = strategy
        self.service_us = service_us
        self.replica: Replica
        self.mode = "down"
        """up, paused, down (crashed), stopped (by itself, to be started again), or gone for good."""
        self.incarnation = 0
        self.fuse: int | None = None
        self.power_fuse = False
        self.timers: dict[Timer, Milliseconds] = {}
        self.stopped_by = ""
        self._entries: list[tuple[FromPeer | FromClient, ...] | LinkUp | TimerExpired] = []
        self._messages: list[FromPeer | FromClient] = []
        self._frozen: list[tuple[ReplicaId | PublicKey, bytes]] = []
        self._waiting: Counter[ReplicaId | PublicKey] = Counter()
        self._reads: deque[RunQuery | ReadEvents] = deque()
        self._archive: list[Record] = []
        self._stored_at = 0
        self._awake = False
        self._ticking = False

    # -- life and death

    @property
    def is_up(self) -> bool:
        return self.mode == "up"

    def now(self) -> Now:
        return self.clock.read(self._around.now_us)

    @property
    def executed(self) -> int:
        """Last sequence number that the state has executed; only while it is up."""
        return self.disk.executor.position.last_executed

    def start(self) -> None:
        """Open the disk and take up where the ledger ends. A disk that cannot be opened keeps the host down."""
        around = self._around
        try:
            self.disk.open()
        except LedgerDamaged as error:
            around.marks.reach("damaged ledger refused")
            self._refuse(str(error))
            return
        except StateError as error:
            self._refuse(str(error))
            return
        self.incarnation += 1
        self.clock.boot(around.now_us, self.incarnation)
        self.mode = "up"
        self.stopped_by = ""
        self._stored_at = self.now().steady
        self.replica = Replica(
            group=around.group,
            me=self.me,
            rules=VotingRules(around.group, self.me, self.signer),
            opener=around.frames.opener,
            executed=self.disk.executor,
        )
        recovered = self._recovered()
        around.checker.on_start(self, recovered)
        self._guarded([recovered])

    def _refuse(self, reason: str) -> None:
        self.mode = "gone"
        self.stopped_by = reason
        self._around.stopped(self, reason)

    def _recovered(self) -> Recovered:
        executor, last = self.disk.executor, self.disk.executor.checkpoint
        records = self.disk.ledger.records_to_resume()
        position = executor.position.last_executed
        kinds = {record.kind for record in records if record.sequence > position}
        if kinds & {RecordKind.PREPARE, RecordKind.COMMIT, RecordKind.PROPOSAL}:
            self._around.marks.reach("restart with votes to send again")
        if RecordKind.COMMITTED in kinds:
            self._around.marks.reach("state behind its ledger executed again")
        return Recovered(
            now=self.now(),
            records=records,
            last_executed=position,
            checkpoint=Checkpoint(sequence=last.sequence, state_root=last.state_root) if last else None,
        )

    def die(self, *, power: bool = False) -> Image:
        """The process ends at once. Gives the files as they were, with logs that no orderly end has folded away."""
        if self.mode in {"down", "stopped", "gone"}:
            return self.disk.image()
        image = self.disk.image()
        before = self.executed
        self.disk.kill(power=power)
        self._around.checker.on_death(self, before)
        self.mode = "down"
        self.fuse = None
        self._entries, self._messages, self._frozen = [], [], []
        self._waiting.clear()
        self._reads.clear()
        self._archive = []
        self.timers = {}
        self._awake = self._ticking = False
        self._around.note("dies", self.number)
        self._around.lost(self)
        return image

    def close(self) -> None:
        """The run is over."""
        if self.mode in {"up", "paused"}:
            self.disk.kill()
            self.mode = "gone"

    def _stop(self, error: Exception) -> None:
        """As a node: it stops by itself and says why. Storage troubles are nobody's fault; the rest is checked."""
        self.die()
        self.mode = "stopped"
        self.stopped_by = str(error)
        self._around.checker.on_stop(self, error)
        if isinstance(error, StorageFailure):
            full = self.disk.is_full
            self._around.marks.reach("full disk stopped a node" if full else "failed fsync stopped a node")
        self._around.stopped(self, str(error))

    def pause(self) -> None:
        if self.is_up:
            self.mode = "paused"

    def resume(self) -> None:
        if self.mode != "paused":
            return
        self.mode = "up"
        frozen, self._frozen = self._frozen, []
        for source, frame in frozen:
            self._waiting[source] -= 1
            self._take_in(source, frame)
        for timer, at in sorted(self.timers.items(), key=lambda item: item[0].value):
            self._around.set_timer(self, timer, at)
        self._wake()

    def fill_disk(self) -> None:
        self.disk.is_full = True
        if self.mode in {"up", "paused"}:
            self.disk.fill()

    def fail_sync(self, *, kept: bool) -> None:
        if self.mode in {"up", "paused"}:
            self.disk.fail_sync(kept=kept)

    # -- what comes in

    def receive(self, source: ReplicaId | PublicKey, frame: bytes) -> None:
        if self.mode == "paused":
            if self._waiting[source] >= PENDING_MAX:
                self._around.marks.reach("queue overflow while paused")
                return
            self._waiting[source] += 1
            self._frozen.append((source, frame))
        elif self.is_up:
            self._take_in(source, frame)

    def _take_in(self, source: ReplicaId | PublicKey, frame: bytes) -> None:
        frames = self._around.frames
        try:
            if isinstance(source, bytes):
                self._messages.append(FromClient(device=source, message=frames.from_client(frame)))
            else:
                message = frames.from_peer(frame)
                if self.replica.is_useless(message):
                    return
                self._messages.append(FromPeer(peer=source, message=message))
        except ProtocolViolation as error:
            self._around.checker.on_malformed(source, error)
            self._around.marks.reach("malformed frame refused")
            return
        self._wake()

    def link_up(self, peer: ReplicaId) -> None:
        if self.is_up:
            self._post(LinkUp(now=self.now(), peer=peer))

    def expire(self, timer: Timer, at: Milliseconds) -> None:
        """The time of a timer has come, unless it was moved meanwhile."""
        if self.is_up and self.timers.get(timer) == at:
            del self.timers[timer]
            self._post(TimerExpired(now=self.now(), timer=timer))

    def _post(self, notice: LinkUp | TimerExpired) -> None:
        self._close_entry()
        self._entries.append(notice)
        self._wake()

    def _close_entry(self) -> None:
        if self._messages:
            self._entries.append(tuple(self._messages))
            self._messages = []

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._around.wake(self, self.service_us)

    # -- the loop of the machine's task

    def work(self) -> None:
        """Whatever waits is one step and one durable transaction."""
        self._awake = False
        if not self.is_up:
            return
        self._close_entry()
        entries, self._entries = self._entries, []
        now = self.now()
        inputs: list[Input] = [
            Received(now=now, messages=entry) if isinstance(entry, tuple) else entry for entry in entries
        ]
        self._guarded(inputs)
        if self.is_up and self._reads:
            self._wake()

    def tick(self) -> None:
        self._ticking = False
        if not self.is_up:
            return
        try:
            self.disk.executor.settle()
            if self._archive and self.now().steady - self._stored_at >= ARCHIVE_FLUSH_MS:
                self._store(())
        except FATAL as error:
            self._stop(error)
            return
        if self._archive:
            self._tick_soon()

    def _tick_soon(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._around.tick(self, TICK_US)

    def _guarded(self, inputs: list[Input]) -> None:
        try:
            reads = [self._reads.popleft() for _ in range(min(READS_PER_STEP, len(self._reads)))]
            self._perform([*inputs, *(self._read(read) for read in reads)])
        except Crashed:
            recovering = any(isinstance(given, Recovered) for given in inputs)
            self._around.marks.reach("crash during recovery" if recovering else "crash between two effects")
            self.die(power=self.power_fuse)
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 - what is not FATAL ends a real node too, less politely
            self._stop(error)

    def _perform(self, inputs: Sequence[Input]) -> None:
        while inputs:
            effects = merge_effects([self._step(given) for given in inputs])
            self._around.checker.on_step(self, inputs, effects)
            inputs = self._carry_out(effects)
        self._around.checker.after_step(self)

    def _step(self, given: Input) -> Effects:
        effects = self.replica.step(given)
        return effects if self.strategy is None else self.strategy.rewrite(self, given, effects)

    def say(self, to: ReplicaId, frame: bytes) -> None:
        """For strategies: send something that the core knows nothing of."""
        self._around.transmit(self, to, "said", frame)

    def _between(self) -> None:
        """Between two effects."""
        if self.fuse is not None:
            if self.fuse == 0:
                raise Crashed
            self.fuse -= 1

    def _carry_out(self, effects: Effects) -> list[Input]:
        around = self._around
        self._archive.extend(effects.archive)
        if effects.persist:
            self._between()
            self._store(effects.persist)
            if self.fuse == 0:
                around.marks.reach("crash right after storing a vote")
        if self._archive:
            self._tick_soon()
        for send in effects.send:
            around.checker.on_send(self, send.message)
            kind, frame = message_type(send.message), wire_of(around.group.epoch, send.message)
            for peer in send.to:
                self._between()
                around.transmit(self, peer, kind, frame)
        for reply in effects.reply:
            self._between()
            around.reply(self, reply.device, reply.message)
        results: list[Input] = []
        for execute in effects.execute:
            self._between()
            results.append(self._execute(execute))
        self._reads.extend(effects.read)
        if effects.read:
            self._wake()
        if effects.serve:
            self._between()
            self._serve(effects)
        for timer in effects.timers:
            self.timers[timer.timer] = timer.at
            around.set_timer(self, timer.timer, timer.at)
        self._note(effects)
        return results

    def _serve(self, effects: Effects) -> None:
        around = self._around
        if self._archive:
            self._store(())
        for serve in effects.serve:
            for frame in archived_frames(self.disk.ledger, around.frames.opener, serve):
                around.marks.reach("archive served")
                around.transmit(self, serve.to, "archive", frame)

    def _note(self, effects: Effects) -> None:
        around = self._around
        for evidence in effects.evidence:
            around.note(f"evidence {evidence.code}", self.number)
            around.checker.on_evidence(self, evidence)
        for alarm in effects.alarms:
            around.marks.reach("divergence noticed")
            around.checker.on_alarm(self, alarm.text)
        for ignored in effects.ignored:
            if ignored.reason is IgnoreReason.TIMESTAMP_OUT_OF_RANGE:
                around.marks.reach("proposal from the future refused")
            elif ignored.reason is IgnoreReason.CONFLICTING_PROPOSAL:
                around.marks.reach("two proposals for one slot")
            elif ignored.reason is IgnoreReason.ALREADY_EXECUTED and ignored.message_type == "REQUEST":
                around.marks.reach("duplicate request answered from the cache")

    def _store(self, records: Sequence[Record]) -> None:
        waiting, self._archive = self._archive, []
        together = [*waiting, *records]
        self.disk.ledger.append(together)
        self._around.checker.on_stored(self, together)
        self._stored_at = self.now().steady

    def _execute(self, execute: Execute) -> BatchExecuted:
        if self._archive and self._around.group.is_checkpoint(execute.sequence):
            self._store(())
        done = self.disk.execute(execute, self.now())
        root = "" if done.state_root is None else f", root {done.state_root.hex()[:16]}"
        self._around.note(f"execute {done.sequence}: {done.batch.digest.hex()[:16]}{root}", self.number)
        self._around.checker.on_executed(self, done)
        self._tick_soon()
        return done

    def _read(self, read: RunQuery | ReadEvents) -> QueryDone | EventsDone:
        now, executor = self.now(), self.disk.executor
        if isinstance(read, RunQuery):
            sequence, result = executor.query(read.device, read.query)
            self._around.checker.on_answer(self, read, sequence, result)
            return QueryDone(now=now, device=read.device, query_id=read.query_id, sequence=sequence, result=result)
        sequence, events = executor.events(read.device, read.topic, read.start, read.limit)
        return EventsDone(
            now=now,
            device=read.device,
            subscription=read.subscription,
            sequence=sequence,
            start=read.start,
            events=events,
        )
