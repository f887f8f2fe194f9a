"""State transfer between real executors, in virtual time, over a network that a seed makes lossy.

Messages travel as bytes. What a source says may be changed on its way: so a liar is made.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.codec import Opener
from pbft.core.effects import InstallPages, InstallState, StateInstalled, Timer
from pbft.core.frames import wire_of
from pbft.core.group import Group
from pbft.core.messages import CheckpointCertificate, PeerMessage
from pbft.core.output import Output
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.state_serving import StateServing
from pbft.core.transfer import Transfer
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.state.executor import Executor, open_state
from pbft.state.scrub import DamagedPage
from tests.harness.craft import Craft
from tests.harness.keys import Members, make_group
from tests.state.toy import Toy, device, op, request, run

FETCHER = ReplicaId(0)
INTERVAL = 4

Said = Iterable[tuple[int, StateAnswer]]
"""Answers, each so many milliseconds late."""
Liar = Callable[[FetchState, StateAnswer], Said]
"""What a source says, given the question and the honest answer."""


def toy_members(n: int = 4) -> Members:
    return make_group(n, checkpoint_interval=INTERVAL, pipeline_depth=2, client_window=64)


MEMBERS = toy_members()


def new_state(group: Group = MEMBERS.group, path: object = ":memory:", application: Toy | None = None) -> Executor:
    return open_state(str(path), application or Toy(), group)


def talk(executor: Executor, batches: int, *, logs: int = 12, by: int = 1, size: int = 10) -> None:
    """Execute so many batches, in each of which somebody says something in some logs."""
    for _ in range(batches):
        number = executor.position.last_executed
        for_logs = [f"log {(number * 5 + offset) % logs}" for offset in range(3)]
        words = [op("say", log, f"{number} " + "x" * size) for log in for_logs]
        speaker: PublicKey = device(by + number % 3)
        run(executor, request(speaker, 0, op("add", 1), *words, session=number), timestamp=1000 + number)


def scrub_all(executor: Executor) -> list[DamagedPage]:
    """Look at every page once, wherever the round stands."""
    store = executor._store
    return executor.scrub(sum(len(store.digests.stored(table)) for table in store.rows_tables))


def certificate(executor: Executor, members: Members = MEMBERS) -> CheckpointCertificate:
    """A quorum vouches for the executor's last checkpoint."""
    assert executor.checkpoint is not None
    signers = range(1, 1 + members.group.quorum)
    return Craft(members).checkpoint_certificate(
        executor.checkpoint.sequence, executor.checkpoint.state_root, signers
    )


def sources(batches: int, members: Members = MEMBERS, **options: int) -> dict[int, Executor]:
    """All other replicas, in one state."""
    executors = {int(peer): new_state(members.group) for peer in members.group.others(FETCHER)}
    for executor in executors.values():
        talk(executor, batches, **options)
    return executors


@dataclass(order=True)
class _Flight:
    at: int
    number: int
    source: ReplicaId = field(compare=False)
    to: ReplicaId = field(compare=False)
    frame: bytes = field(compare=False, repr=False)


class Exchange:
    """A fetcher and its sources. Any exception but the test's own is a defect."""

    def __init__(
        self,
        holders: Mapping[int, Executor],
        fetcher: Executor,
        target: CheckpointCertificate | None,
        *,
        members: Members = MEMBERS,
        liars: Mapping[int, Liar] | None = None,
        seed: int = 0,
        loss: float = 0.0,
        now_ms: int = 1000,
    ) -> None:
        self.group = members.group
        self.fetcher = fetcher
        self.transfer = Transfer(self.group, FETCHER, fetcher, target)
        self.holders = {ReplicaId(replica): executor for replica, executor in holders.items()}
        self.serving = {peer: StateServing(self.group, peer) for peer in self.holders}
        self.now_ms = now_ms
        self.alarms: list[str] = []
        self.fetches: list[tuple[ReplicaId, FetchState]] = []
        self.bytes_by: dict[ReplicaId, int] = dict.fromkeys(self.holders, 0)
        self.installs = 0
        self.before_install: Callable[[InstallPages | InstallState], None] = lambda _: None
        self._opener = Opener(self.group, members.verifier)
        self._liars = {ReplicaId(replica): liar for replica, liar in (liars or {}).items()}
        self._dice = random.Random(seed)  # noqa: S311 - draws a network, no secret
        self._loss = loss
        self._flying: list[_Flight] = []
        self._timers: dict[tuple[ReplicaId, Timer], int] = {}
        self._flights = 0
        self._held_up: dict[int, list[tuple[int, StateAnswer]]] = {}

    def now(self) -> Now:
        return Now(steady=Milliseconds(self.now_ms), wall=Milliseconds(self.now_ms))

    # -- running

    def run(self, within_ms: int = 60_000) -> Exchange:
        """Until the transfer is finished; an assertion fails if that takes longer."""
        self.start()
        return self.finish(within_ms)

    def finish(self, within_ms: int = 60_000) -> Exchange:
        end = self.now_ms + within_ms
        while not self.transfer.is_finished:
            assert self.step(), f"nothing is under way: {self.transfer.progress}"
            assert self.now_ms <= end, f"not finished in time: {self.transfer.progress}"
        return self

    def start(self) -> None:
        self._fetcher_does(lambda out: self.transfer.start(out, self.now().steady))

    def step(self) -> bool:
        """Deliver the next message, or let the next timer expire; says whether there was one."""
        next_timer = min(self._timers.items(), key=lambda item: (item[1], item[0][0]), default=None)
        if self._flying and (next_timer is None or self._flying[0].at <= next_timer[1]):
            flight = heapq.heappop(self._flying)
            self.now_ms = max(self.now_ms, flight.at)
            self._deliver(flight.source, flight.to, self._opener.open_peer(flight.frame))
            return True
        if next_timer is None:
            return False
        (owner, timer), at = next_timer
        del self._timers[owner, timer]
        self.now_ms = max(self.now_ms, at)
        if timer is Timer.TRANSFER:
            self._fetcher_does(lambda out: self.transfer.on_timer(out, self.now().steady))
        else:
            self._source_does(owner, lambda out: self.serving[owner].on_timer(out, self.now().steady))
        return True

    def retarget(self, target: CheckpointCertificate) -> None:
        self._fetcher_does(lambda out: self.transfer.retarget(out, self.now().steady, target))

    def link_up(self, peer: int) -> None:
        self._fetcher_does(lambda out: self.transfer.on_link_up(out, self.now().steady, ReplicaId(peer)))

    # -- the two sides

    def _deliver(self, source: ReplicaId, to: ReplicaId, message: PeerMessage) -> None:
        match message:
            case FetchState() as fetch:
                self.fetches.append((to, fetch))
                self._source_does(to, lambda out: self.serving[to].on_fetch(out, self.now().steady, FETCHER, fetch))
            case StateAnswer() as answer:
                self._fetcher_does(lambda out: self.transfer.on_state(out, self.now().steady, source, answer))
            case other:
                raise AssertionError(f"{other} is no part of a transfer")

    def _fetcher_does(self, act: Callable[[Output], None]) -> None:
        """Effects in their order; what installing gives is the next input."""
        out = Output()
        act(out)
        for send in out.send:
            for to in send.to:
                self._send(FETCHER, to, wire_of(self.group.epoch, send.message), 0)
        for install in out.install:
            self.before_install(install)
            self.installs += 1
            if isinstance(install, InstallPages):
                self.fetcher.install_pages(install)
            else:
                done: StateInstalled = self.fetcher.install_state(install, self.now())
                self._fetcher_does(lambda out, done=done: self.transfer.on_installed(out, self.now().steady, done))  # type: ignore[misc]
        self.alarms += [alarm.text for alarm in out.alarms]
        for timer in out.timers:
            self._timers[FETCHER, timer.timer] = timer.at

    def _source_does(self, me: ReplicaId, act: Callable[[Output], None]) -> None:
        out = Output()
        act(out)
        for timer in out.timers:
            self._timers[me, timer.timer] = timer.at
        for serve in out.serve_state:
            honest = self.holders[me].serve_state(serve.fetch)
            said: Said = [(0, honest)]
            if me in self._liars:
                said = self._liars[me](serve.fetch, honest)
            for late_ms, answer in said:
                frame = wire_of(self.group.epoch, answer)
                self.bytes_by[me] += len(frame)
                self._send(me, serve.to, frame, late_ms)

    def _send(self, source: ReplicaId, to: ReplicaId, frame: bytes, late_ms: int) -> None:
        if self._dice.random() < self._loss or (to != FETCHER and to not in self.holders):
            return
        copies = 2 if self._loss and self._dice.random() < self._loss else 1
        for _ in range(copies):
            self._flights += 1
            at = self.now_ms + self._dice.randint(1, 20) + late_ms
            heapq.heappush(self._flying, _Flight(at, self._flights, source, to, frame))


def same(fetcher: Executor, source: Executor) -> None:
    """The fetched state is that of the source's last checkpoint: root, rows, position."""
    checkpoint = source.checkpoint
    assert checkpoint is not None
    assert fetcher.position.is_whole
    assert fetcher.position.last_executed == checkpoint.sequence
    assert fetcher.checkpoint == checkpoint
    root: Digest = fetcher.state_root()
    assert root == fetcher.recomputed_state_root() == checkpoint.state_root
