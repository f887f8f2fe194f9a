"""One simulated node: a real replica with its disk, which carries effects out as `pbft.node.node.Node` does.

A crash may come between any two effects. What the node does in tasks and threads, the host does in events.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from adversary.behaviours.base import Behaviour
from adversary.behaviours.playing import BehaviourFailed, Played
from adversary.simulator.broken import Broken
from adversary.simulator.chores import Chores
from adversary.simulator.clock import HostClock
from adversary.simulator.hands import Hands
from adversary.simulator.intake import Intake
from adversary.simulator.storage import Disk, Image
from adversary.simulator.surroundings import Surroundings
from crypto.signing import Signer
from pbft.core.effects import Input, LinkUp, RecordKind, Recovered, Timer, TimerExpired, merge_effects
from pbft.core.errors import InvariantViolation
from pbft.core.messages import Checkpoint
from pbft.core.replica import Replica
from pbft.core.state_messages import StateAnswer
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.core.voting_rules import VotingRules
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StateDamaged as StateIsDamaged
from pbft.state.errors import StateError, StorageFailure

FATAL = (InvariantViolation, StateError, LedgerDamaged)


class Crashed(Exception):  # noqa: N818 - what happened
    """The process dies here."""


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
        behaviour: Behaviour | None,
        service_us: int,
        message_us: int = 0,
    ) -> None:
        self._around = around
        self.number = number
        self.me = me
        self.signer = signer
        self.disk = disk
        self.clock = clock
        self.played = Played(behaviour)
        self.service_us = service_us
        self.replica: Replica
        self.mode = "down"
        """up, paused, down (crashed), stopped (by itself, to be started again), or gone for good."""
        self.incarnation = 0
        self.highest_view = 0
        self.fuse: int | None = None
        self.power_fuse = False
        self.timers: dict[Timer, Milliseconds] = {}
        self.stopped_by = ""
        self.had_trouble = False
        """Whether its disk was in trouble since the start: then it may stop."""
        self.lost_power = False
        """Whether its last run ended so."""
        self.planted: set[str] = set()
        """Damage done to its files since they were opened last."""
        self._is_transferring = False
        self.intake = Intake(self, around, message_us)
        self.hands = Hands(self, around)
        self._awake = False
        self.chores = Chores(self, around)

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
        self.had_trouble = self.disk.is_full
        try:
            opening = self.disk.open()
        except FATAL as error:
            self._refuse(error)
            return
        around.checker.on_opened(self, opening)
        self.planted.clear()
        self.incarnation += 1
        self.clock.boot(around.now_us, self.incarnation)
        self.mode = "up"
        self.stopped_by = ""
        self.hands.stored_at = self.now().steady
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
        self.chores.begin()

    def note_damage(self, what: str) -> None:
        """Somebody does this to its files."""
        self.planted.add(what)
        self._around.checker.on_damage(self, what)

    def answer(self, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        """What it says of its state when a peer asks."""
        return self.played.answer(self, to, answer)

    @property
    def lies(self) -> int:
        return self.played.lies

    def lied(self, frame: bytes) -> bool:
        """Whether it sent a frame that no honest core made; once `played.watch` was called."""
        return self.played.lied(frame)

    def _refuse(self, error: Exception) -> None:
        """A full disk can be emptied; what is damaged stays so until there is a way to mend it."""
        self.mode = "stopped" if self.disk.is_full else "gone"
        self.stopped_by = str(error)
        self._around.checker.on_stop(self, error)
        self._around.stopped(self, str(error))

    def _recovered(self) -> Recovered:
        executor, last = self.disk.executor, self.disk.executor.checkpoint
        position = executor.position.last_executed
        stands_at = position if executor.position.is_whole else None
        records = self.disk.ledger.records_to_resume(stands_at, self._around.group.parameters.window)
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
            is_whole=executor.position.is_whole,
            evidence=tuple(self.disk.proofs),
        )

    def die(self, *, power: bool = False) -> Image:
        """The process ends at once. Gives the files as they were, with logs that no orderly end has folded away."""
        if self.mode in {"down", "stopped", "gone"}:
            return self.disk.image()
        image = self.disk.image()
        before = self.executed
        self.disk.kill(power=power)
        self.lost_power = power
        self._around.checker.on_death(self, before)
        if self._is_transferring:
            self._around.marks.reach("state transfer interrupted by a crash")
        self.mode = "down"
        self.fuse = None
        self._is_transferring = False
        self.intake.drop()
        self.hands.drop()
        self.timers = {}
        self._awake = False
        self.chores = Chores(self, self._around)
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
        if isinstance(error, StateIsDamaged):
            self.disk.set_state_aside()
            self._around.checker.on_state_aside(self)
            self._around.start_again(self)

    def pause(self) -> None:
        if self.is_up:
            self.mode = "paused"

    def resume(self) -> None:
        if self.mode != "paused":
            return
        self.mode = "up"
        self.intake.thaw()
        for timer, at in sorted(self.timers.items(), key=lambda item: item[0].value):
            self._around.set_timer(self, timer, at)
        self.wake()
        self.chores.tick_soon()
        self.chores.flush_soon()

    def fill_disk(self) -> None:
        self.disk.is_full = self.had_trouble = True
        if self.mode in {"up", "paused"}:
            self.disk.fill()

    def fail_sync(self, *, kept: bool) -> None:
        if self.mode in {"up", "paused"}:
            self.had_trouble = True
            self.disk.fail_sync(kept=kept)

    # -- what comes in besides frames

    def link_up(self, peer: ReplicaId) -> None:
        if self.is_up:
            self.intake.post(LinkUp(now=self.now(), peer=peer))

    def expire(self, timer: Timer, at: Milliseconds) -> None:
        """The time of a timer has come, unless it was moved meanwhile."""
        if self.is_up and self.timers.get(timer) == at:
            del self.timers[timer]
            self.intake.post(TimerExpired(now=self.now(), timer=timer))

    def wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._around.wake(self, self.service_us + self.intake.charge())

    # -- the loop of the machine's task

    def work(self) -> None:
        """Whatever waits is one step and one durable transaction."""
        self._awake = False
        if not self.is_up:
            return
        inputs = self.intake.take()
        if self.is_up:
            self._guarded(inputs)
        if self.is_up and (self.hands.has_reads or self.intake.is_waiting):
            self.wake()

    def or_stop(self, do: Callable[[], None]) -> None:
        """Do something outside a step, if it is up; what would stop a node stops it."""
        if self.is_up:
            try:
                do()
            except FATAL as error:
                self._stop(error)

    def _guarded(self, inputs: list[Input]) -> None:
        try:
            self._perform([*inputs, *self.hands.read_some()])
        except Crashed:
            recovering = any(isinstance(given, Recovered) for given in inputs)
            self._around.marks.reach("crash during recovery" if recovering else "crash between two effects")
            self.die(power=self.power_fuse)
        except (Broken, BehaviourFailed):
            raise
        except Exception as error:  # noqa: BLE001 - what is not FATAL ends a real node too, less politely
            self.die_of(error)

    def die_of(self, error: Exception) -> None:
        """As a node does, whatever it is. A fault of the simulator itself is no result, and raised again."""
        if not isinstance(error, FATAL) and _is_of_the_adversary(error):
            raise error
        self._stop(error)

    def _perform(self, inputs: Sequence[Input]) -> None:
        while inputs:
            effects = merge_effects([self.played.step(self, given) for given in inputs])
            self._around.checker.on_step(self, inputs, effects)
            inputs = self.hands.carry_out(effects)
            self._follow_transfer()
        self.highest_view = max(self.highest_view, self.replica.log.view)
        self._around.checker.after_step(self)

    def _follow_transfer(self) -> None:
        is_transferring = self.replica.state_repair.is_transferring
        if is_transferring and not self._is_transferring:
            self._around.marks.reach("state transfer started")
        elif self._is_transferring and not is_transferring:
            self._around.marks.reach("state transfer finished")
            self._around.transfers += 1
        if is_transferring and self.replica.log.view > self.highest_view:
            self._around.marks.reach("view change during state transfer")
        self._is_transferring = is_transferring

    def say(self, to: ReplicaId, frame: bytes) -> None:
        """For behaviours: send something that the core knows nothing of."""
        self.played.on_said(frame)
        self._around.delivery.transmit(self, to, "said", frame)

    def say_later(self, delay_ms: int, to: Sequence[ReplicaId], frame: bytes) -> None:
        """The same, after a while."""

        def now() -> None:
            for peer in to:
                self.say(peer, frame)

        self._around.later(self, delay_ms * 1000, now)

    def between(self) -> None:
        """Between two effects."""
        if self.fuse is not None:
            if self.fuse == 0:
                raise Crashed
            self.fuse -= 1


def _is_of_the_adversary(error: Exception) -> bool:
    """Whether it was raised in these packages, and not in the code that is simulated."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
