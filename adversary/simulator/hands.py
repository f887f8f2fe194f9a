"""Carries out what a replica asks for, in the order of the fields of Effects, as `pbft.node.node.Node` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from adversary.simulator.frames import message_type
from adversary.simulator.surroundings import Surroundings
from pbft.core.effects import (
    BatchExecuted,
    Effects,
    EventsDone,
    Evidence,
    Execute,
    IgnoreReason,
    Input,
    InstallPages,
    InstallState,
    QueryDone,
    ReadEvents,
    Record,
    RunQuery,
    StateInstalled,
)
from pbft.core.frames import wire_of
from pbft.node.archive import archived_frames

if TYPE_CHECKING:
    from adversary.simulator.host import Host

CARRIED: Final = (
    "persist",
    "archive",
    "evidence",
    "send",
    "reply",
    "install",
    "execute",
    "read",
    "serve",
    "serve_state",
    "timers",
    "alarms",
    "ignored",
)
"""Effects that are carried out here. A test compares them with those that there are."""

READS_PER_STEP = 4
ARCHIVE_FLUSH_MS = 500


class Hands:
    """A crash may come between any two effects: before each, the host is asked whether it lives on."""

    def __init__(self, host: Host, around: Surroundings) -> None:
        self._host = host
        self._around = around
        self._reads: deque[RunQuery | ReadEvents] = deque()
        self._archive: list[Record] = []
        self.stored_at = 0

    @property
    def has_reads(self) -> bool:
        return bool(self._reads)

    @property
    def has_archive(self) -> bool:
        return bool(self._archive)

    @property
    def flush_in_ms(self) -> int:
        """How long what is archived may wait still."""
        return max(1, self.stored_at + ARCHIVE_FLUSH_MS - self._host.now().steady)

    def drop(self) -> None:
        """What was in memory alone is gone."""
        self._reads.clear()
        self._archive = []

    def read_some(self) -> list[Input]:
        """The next few reads that wait."""
        return [self._read(self._reads.popleft()) for _ in range(min(READS_PER_STEP, len(self._reads)))]

    def flush_if_due(self) -> None:
        if self._archive and self._host.now().steady - self.stored_at >= ARCHIVE_FLUSH_MS:
            self._store(())

    def carry_out(self, effects: Effects) -> list[Input]:
        around = self._around
        self._archive.extend(effects.archive)
        if effects.persist:
            self._host.between()
            self._store(effects.persist)
            if self._host.fuse == 0:
                around.marks.reach("crash right after storing a vote")
        for evidence in effects.evidence:
            self._host.between()
            self._prove(evidence)
        self._host.chores.flush_soon()
        for send in effects.send:
            around.checker.on_send(self._host, send.message)
            kind, frame = message_type(send.message), wire_of(around.group.epoch, send.message)
            for peer in send.to:
                self._host.between()
                around.delivery.transmit(self._host, peer, kind, frame)
        for reply in effects.reply:
            self._host.between()
            around.delivery.reply(self._host, reply.device, reply.message)
        results: list[Input] = []
        for install in effects.install:
            self._host.between()
            results.extend(self._install(install))
        for execute in effects.execute:
            self._host.between()
            results.append(self._execute(execute))
        self._reads.extend(effects.read)
        if effects.read:
            self._host.wake()
        if effects.serve or effects.serve_state:
            self._host.between()
            self._serve(effects)
        for timer in effects.timers:
            self._host.timers[timer.timer] = timer.at
            around.set_timer(self._host, timer.timer, timer.at)
        self._note(effects)
        return results

    def _serve(self, effects: Effects) -> None:
        around = self._around
        if effects.serve and self._archive:
            self._store(())
        for serve in effects.serve:
            for frame in archived_frames(self._host.disk.ledger, around.frames.opener, serve):
                around.marks.reach("archive served")
                around.delivery.transmit(self._host, serve.to, "archive", frame)
        for question in effects.serve_state:
            answer = self._host.answer(question.to, self._host.disk.executor.serve_state(question.fetch))
            if answer is not None:
                around.delivery.transmit(self._host, question.to, "StateAnswer", wire_of(around.group.epoch, answer))

    def _install(self, install: InstallPages | InstallState) -> list[StateInstalled]:
        """Reads that wait would be answered out of a state that is not whole."""
        self._reads.clear()
        host, disk = self._host, self._host.disk
        if isinstance(install, InstallPages):
            self._around.note(f"install {len(install.pages)} pages of {install.table}", host.number)
            disk.install_pages(install)
            self._around.checker.on_pages(host)
            return []
        installed = disk.install_state(install, host.now())
        self._around.note(f"install {install.sequence}: {installed.state_root.hex()[:16]}", host.number)
        self._around.checker.on_installed(host, install, installed)
        return [installed]

    def _prove(self, evidence: Evidence) -> None:
        self._around.note(f"evidence {evidence.code}", self._host.number)
        if self._around.watch is not None:
            self._around.watch.proven(self._around.now_us, self._host.number, evidence.code, evidence.culprit)
        self._around.checker.on_evidence(self._host, evidence)
        self._host.disk.keep(evidence)

    def _note(self, effects: Effects) -> None:
        around = self._around
        for alarm in effects.alarms:
            around.note(f"alarm: {alarm.text}", self._host.number)
            around.checker.on_alarm(self._host, alarm.text)
        for ignored in effects.ignored:
            if ignored.reason is IgnoreReason.TIMESTAMP_OUT_OF_RANGE:
                around.marks.reach("proposal from the future refused")
            elif ignored.reason is IgnoreReason.CONFLICTING_PROPOSAL:
                around.marks.reach("two proposals for one slot")
            elif ignored.reason is IgnoreReason.PROVES_NOTHING:
                around.marks.reach("a false accusation refused")
            elif ignored.reason is IgnoreReason.ALREADY_EXECUTED and ignored.message_type == "REQUEST":
                around.marks.reach("duplicate request answered from the cache")

    def _store(self, records: Sequence[Record]) -> None:
        waiting, self._archive = self._archive, []
        together = [*waiting, *records]
        self._host.disk.ledger.append(together)
        self._around.checker.on_stored(self._host, together)
        self.stored_at = self._host.now().steady

    def _execute(self, execute: Execute) -> BatchExecuted:
        if self._archive and self._around.group.is_checkpoint(execute.sequence):
            self._store(())
        done = self._host.disk.execute(execute, self._host.now())
        root = "" if done.state_root is None else f", root {done.state_root.hex()[:16]}"
        self._around.note(f"execute {done.sequence}: {done.batch.digest.hex()[:16]}{root}", self._host.number)
        self._around.checker.on_executed(self._host, done)
        self._host.chores.tick_soon()
        return done

    def _read(self, read: RunQuery | ReadEvents) -> QueryDone | EventsDone:
        now, executor = self._host.now(), self._host.disk.executor
        if isinstance(read, RunQuery):
            sequence, result = executor.query(read.device, read.query)
            self._around.checker.on_answer(self._host, read, sequence, result)
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
