"""The replica on trio: one task owns the state machine and carries its effects out, in their order.

    frames -> parse, check signatures -> inbox -> step -> ledger (one fsync) -> send -> execute -> step ...

Whatever waits in the inbox is one step and one durable transaction (group commit).
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import structlog
import trio

from crypto.signing import PublicKey
from pbft.core.bodies import REQUEST
from pbft.core.codec import Opener
from pbft.core.effects import (
    BatchExecuted,
    ClientGone,
    Effects,
    Evidence,
    Execute,
    FrameRefused,
    Input,
    InstallPages,
    InstallState,
    LinkUp,
    Received,
    Record,
    Recovered,
    StateDamaged,
    StateInstalled,
    Timer,
    TimerExpired,
    merge_effects,
)
from pbft.core.frames import wire_of
from pbft.core.handshake import framed
from pbft.core.messages import Checkpoint, PeerMessage
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.node.archive import archived_frames
from pbft.node.clients import Clients
from pbft.node.clock import Clock
from pbft.node.config import NodeConfig
from pbft.node.evidence import EvidenceStore
from pbft.node.failures import FATAL
from pbft.node.intake import Inbox, Intake
from pbft.node.ledger import Ledger
from pbft.node.listening import Acceptor, listen
from pbft.node.peers import OutgoingLink, PeerListener
from pbft.node.reads import Reads
from pbft.node.turns import Ration, Room, Turns, places_of
from pbft.state.executor import Executor

TICK_S = 0.05
ARCHIVE_FLUSH_MS = 500
ALARMS_SHOWN_MAX = 8
SCRUB_PAGES_PER_TICK = 1
"""Of the state: a tenth of a millisecond. A million messages are gone through in a quarter of an hour."""

log = structlog.get_logger()


class Machine(Protocol):
    """The replica, or whatever an adversary puts in its place."""

    def step(self, given: Input) -> Effects: ...

    def is_useless(self, message: PeerMessage) -> bool:
        """Whether a message may be dropped before its signature is checked."""
        ...

    def own_load(self) -> tuple[int, int]:
        """What clients brought here that waits to be executed: operations, and bytes of their requests."""
        ...

    def describe(self) -> dict[str, Any]:
        """Where it stands, for operators: values that JSON can hold."""
        ...


class Node:
    """Owns the machine, its ledger and its state, and every connection."""

    def __init__(
        self, config: NodeConfig, *, machine: Machine, opener: Opener, executor: Executor, ledger: Ledger
    ) -> None:
        self._config = config
        self._machine = machine
        self._opener = opener
        self._executor = executor
        self._ledger = ledger
        self._clock = Clock()
        self._evidence = EvidenceStore(config.directory, opener)
        self._inbox = Inbox()
        self._turns = Turns()
        self._room = Room(config.limits.room_operations, lambda: places_of(*machine.own_load()))
        self._strangers = Ration(config.limits.strangers_operations_per_s)
        self._intake = Intake(opener, threads=config.verify_threads, turns=self._turns)
        self._links = {peer: OutgoingLink(config, peer, self._on_link_up) for peer in config.group.others(config.me)}
        self._peers = PeerListener(
            config,
            opener=opener,
            intake=self._intake,
            turns=self._turns,
            inbox=self._inbox,
            is_useless=machine.is_useless,
            on_linked=self._on_linked,
            on_proof=self._on_proof,
            may_prove=self._evidence.may_take,
        )
        self._clients = Clients(
            config,
            opener=opener,
            intake=self._intake,
            turns=self._turns,
            room=self._room,
            strangers=self._strangers,
            inbox=self._inbox,
            is_useless=machine.is_useless,
            knows=executor.knows,
            report=self._report,
            on_gone=self._on_client_gone,
        )
        self._timers: dict[Timer, Milliseconds] = {}
        self._archive: list[Record] = []
        self._reads = Reads(executor, self._clock, self._clients.has_room)
        self._stored_at = Milliseconds(0)
        self._ignored: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._peer_doors = Acceptor(
            "replica", config.limits, self._peers.handle, refused=self._refused, stop=self._stop
        )
        self._client_doors = Acceptor(
            "client", config.limits, self._clients.handle, refused=self._refused, stop=self._stop
        )
        self._doors = (self._peer_doors, self._client_doors)
        self._alarms: deque[str] = deque(maxlen=ALARMS_SHOWN_MAX)
        self._fatal: list[Exception] = []
        self._scope = trio.CancelScope()
        self._started = time.monotonic()
        self._root: tuple[int, str] = (-1, "")
        self._epoch = config.group.epoch

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Raises FATAL exceptions plain, OSError if an address cannot be listened on."""
        with ExitStack() as stack:
            peers = await listen(self._config.replica_listener, "replica", stack)
            clients = await listen(self._config.client_listener, "client", stack)
            self._perform([self._recovered()])
            try:
                with self._scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._guarded, self._run_machine)
                        nursery.start_soon(self._guarded, self._run_timers)
                        nursery.start_soon(self._turns.run)
                        for link in self._links.values():
                            nursery.start_soon(link.run)
                        nursery.start_soon(self._peer_doors.run, peers)
                        nursery.start_soon(self._client_doors.run, clients)
                        log.info(
                            "node up",
                            replicas=str(self._config.replica_listener),
                            clients=str(self._config.client_listener),
                            last_executed=self._executor.position.last_executed,
                        )
                        task_status.started()
            finally:
                if self._fatal:
                    raise self._fatal[0]
                self._store(())  # whoever breaks the agreement is named by its last certificates too

    async def _guarded(self, body: Callable[[], Awaitable[None]]) -> None:
        try:
            await body()
        except FATAL as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        self._fatal.append(error)
        self._scope.cancel()

    # -- connections

    def _on_linked(self, peer: ReplicaId) -> None:
        if peer in self._links:  # not a member that dials itself
            self._links[peer].dial_now()

    def _on_link_up(self, peer: ReplicaId) -> None:
        self._inbox.post(LinkUp(now=self._clock.now(), peer=peer))

    def _on_proof(self, evidence: Evidence) -> None:
        self._inbox.post(FrameRefused(now=self._clock.now(), evidence=evidence))

    def _on_client_gone(self, device: PublicKey) -> None:
        self._inbox.post(ClientGone(now=self._clock.now(), device=device))

    # -- the one task

    async def _run_machine(self) -> None:
        try:
            while True:
                await self._wait_for_work()
                entries = self._inbox.take()
                now = self._clock.now()
                inputs: list[Input] = [
                    Received(now=now, messages=each) if isinstance(each, tuple) else each for each in entries
                ]
                inputs.extend(self._reads.next_slice())
                self._perform(inputs)
                self._turns.renew()
                self._room.settle()
        finally:
            self._store(())

    async def _wait_for_work(self) -> None:
        if self._reads.can_go_on:
            await trio.lowlevel.checkpoint()  # others have their turn between two slices of reads
        elif self._reads:
            with trio.move_on_after(TICK_S):
                await self._inbox.wait()
        else:
            await self._inbox.wait()

    async def _run_timers(self) -> None:
        """A coarse tick: cheaper than a deadline around every wait of the machine's task."""
        while True:
            await trio.sleep(TICK_S)
            self._strangers.admit()
            now = self._clock.now()
            for timer, at in list(self._timers.items()):
                if at <= now.steady:
                    del self._timers[timer]
                    self._inbox.post(TimerExpired(now=now, timer=timer))
            # Executed batches are committed here, out of the way of replies; checkpoints are at once.
            self._executor.settle()
            self._scrub(now)
            if self._archive and now.steady - self._stored_at >= ARCHIVE_FLUSH_MS:
                self._store(())

    def _scrub(self, now: Now) -> None:
        """Look for rows that rotted. The state is fetched then, and execution waits for it."""
        for table, page in self._executor.scrub(SCRUB_PAGES_PER_TICK):
            what = f"page {page.hex()} of table {table} is damaged on this replica's disk: its rows have changed"
            self._inbox.post(StateDamaged(now=now, what=what))

    def _alarm(self, text: str) -> None:
        self._alarms.append(text)
        log.error("alarm", text=text)

    def _recovered(self) -> Input:
        last, position = self._executor.checkpoint, self._executor.position
        stands_at = position.last_executed if position.is_whole else None
        return Recovered(
            now=self._clock.now(),
            records=self._ledger.records_to_resume(stands_at, self._config.group.parameters.window),
            last_executed=position.last_executed,
            checkpoint=Checkpoint(sequence=last.sequence, state_root=last.state_root) if last else None,
            is_whole=position.is_whole,
            evidence=self._evidence.to_share(),
        )

    def _perform(self, inputs: Sequence[Input]) -> None:
        """Step, store, send, execute; what execution gives is the next step's input. No await in here."""
        while inputs:
            effects = merge_effects([self._machine.step(given) for given in inputs])
            inputs = self._carry_out(effects)

    def _carry_out(self, effects: Effects) -> list[Input]:
        self._archive.extend(effects.archive)
        if effects.persist:
            self._store(effects.persist)
        for evidence in effects.evidence:
            self._evidence.add(evidence)
        for send in effects.send:
            data = framed(wire_of(self._epoch, send.message))
            for peer in send.to:
                self._links[peer].send_nowait(data)
        for reply in effects.reply:
            self._clients.send_nowait(reply.device, framed(reply.message.wire))
        results: list[Input] = [*self._install(effects.install)]
        results += [self._execute(execute) for execute in effects.execute]
        self._reads.add(effects.read)
        self._serve_peers(effects)
        for timer in effects.timers:
            self._timers[timer.timer] = timer.at
        for alarm in effects.alarms:
            self._alarm(alarm.text)
        for ignored in effects.ignored:
            self._ignored[ignored.reason.name] += 1
            if not isinstance(ignored.source, int):
                self._clients.on_ignored(ignored)
            elif ignored.link is not None and ignored.message_type != REQUEST:
                self._peers.on_ignored(ignored.link)
        return results

    def _serve_peers(self, effects: Effects) -> None:
        if effects.serve and self._archive:
            self._store(())  # what is asked for may be among it
        for serve in effects.serve:
            for frame in archived_frames(self._ledger, self._opener, serve):
                self._links[serve.to].send_nowait(framed(frame))
        for serve_state in effects.serve_state:
            answer = self._executor.serve_state(serve_state.fetch)
            self._links[serve_state.to].send_nowait(framed(wire_of(self._epoch, answer)))

    def _store(self, records: Sequence[Record]) -> None:
        waiting, self._archive = self._archive, []
        self._ledger.append([*waiting, *records])
        self._stored_at = self._clock.now().steady

    def _install(self, installs: Sequence[InstallPages | InstallState]) -> Iterator[StateInstalled]:
        """Fetched pages take the place of the rows that are here; whoever reads them must ask again."""
        for install in installs:
            self._root = (-1, "")  # rows change under the same sequence number
            self._reads.clear()
            match install:
                case InstallPages():
                    self._executor.install_pages(install)
                case InstallState():
                    yield self._executor.install_state(install, self._clock.now())

    def _execute(self, execute: Execute) -> BatchExecuted:
        if self._archive and self._config.group.is_checkpoint(execute.sequence):
            self._store(())
        return self._executor.execute(execute, self._clock.now())

    # -- for operators

    def _report(self) -> bytes:
        """JSON for INSPECT. What one replica says of itself: for operating it, never proof of anything."""
        position = self._executor.position
        if self._root[0] != position.last_executed:
            self._root = (position.last_executed, self._executor.state_root().hex() if position.is_whole else "")
        peers = {
            str(peer): {
                "up": link.is_up,
                "failure": link.last_failure,
                "dials": link.dials,
                "dropped_frames": link.dropped,
            }
            for peer, link in self._links.items()
        }
        report = self._machine.describe() | {
            "replica": self._config.me,
            "state_root": self._root[1],
            "agreed_time_ms": position.agreed_time,
            "peers": peers,
            "clients": self._clients.connected,
            "ledger_commits": self._ledger.commits,
            "ignored": dict(sorted(self._ignored.items())),
            "dropped_messages": self._intake.dropped,
            "shed": {
                "no room for requests": self._room.shed,
                "too much of strangers": self._strangers.shed,
                "connections that hold most memory": self._clients.closed_for_memory,
                "newcomers that made room": sum(doors.doorway.newcomers.displaced for doors in self._doors),
                "connections that made room": sum(doors.doorway.members.displaced for doors in self._doors),
                "too many requests of a replica": self._peers.dropped_requests,
            },
            "slowed_links": self._peers.slowed + self._clients.slowed,
            "closed_connections": dict(sorted(self._refused.items())),
            "evidence": len(self._evidence),
            "evidence_dropped": self._evidence.dropped,
            "proven": self._evidence.proven(),
            "alarms": list(self._alarms),
            "uptime_s": round(time.monotonic() - self._started, 3),
            "cpu_s": round(time.process_time(), 4),
        }
        return json.dumps(report).encode()
