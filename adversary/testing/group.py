"""A whole group in virtual time, driven step by step by a test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from adversary.attacks.checking import of_parameters
from adversary.attacks.judging import proofs_of
from adversary.attacks.outcome import Proof
from adversary.simulator.broken import Broken
from adversary.simulator.health import Standing, final_checks, why_no_progress
from adversary.simulator.host import Host
from adversary.simulator.model import Model
from adversary.simulator.network import REPLICA_ADDRESSES
from adversary.simulator.run import Simulation
from adversary.simulator.scenario import CLIENTS_MAX, REPLICAS_MAX, Damage, Network, Partition, Scenario
from adversary.simulator.storage import workspace
from adversary.testing.behaviours import Cast, Wanted
from adversary.testing.people import TIMEOUT_S, Device, Person
from pbft.core.group import REPLICAS_MIN

PARAMETERS: Final = {"checkpoint_interval": 8, "pipeline_depth": 2, "view_change_timeout_ms": 400}
"""A group that has seen several checkpoints after a few messages. A test may say otherwise."""
TRACE_MAX: Final = 20_000
SHOWN: Final = 12
"""Lines of the trace that a failure shows."""
STEPS_BETWEEN_BREATHS: Final = 200
AGES_MS: Final = 10**9
DAMAGES: Final = ("lost_ledger", "torn_ledger", "flipped_ledger", "flipped_state", "lost_state", "lost_disk")
"""Those after which a replica knows, or finds out, that something is missing."""


class InvariantBroken(AssertionError):  # noqa: N818 - an invariant is
    """Something that must always hold did not. `invariant`: its name, as in docs/simulator.md."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(text)
        self.invariant = invariant


class NotInTime(AssertionError):  # noqa: N818 - what it is
    """What was waited for did not happen within its time, which is virtual."""


class SimulatedGroup:
    """Replicas 0 to n - 1, real but for time, network and disks. Use `simulated_group` to make one.

    The same calls in the same order do the same, always. Every invariant of the simulator is checked after every
    step: the first that does not hold is raised as InvariantBroken by the call that let time go by, and by all after.
    """

    def __init__(self, cast: Cast, scenario: Scenario, model: Model | None = None) -> None:
        self._workspace = workspace()
        self._cast = cast
        self._trace: deque[str] = deque(maxlen=TRACE_MAX)
        self._run = Simulation(scenario, Path(self._workspace.name), trace=self._trace.append, own=cast.own())
        if model is not None:
            self._run.checker.history.model = model
        self._broken: InvariantBroken | None = None
        self._people: dict[str, Person] = {}
        self._cut: Partition | None = None
        self._faults = 0
        self._closed = False
        try:
            self._do(self._run.begin)
        except BaseException:
            self.discard()
            raise
        self._run.at_heal = Standing.of(self._run)

    # -- what it is

    @property
    def replicas(self) -> int:
        return self._run.group.size

    @property
    def f(self) -> int:
        """How many faulty replicas the group bears."""
        return self._run.group.faulty_max

    @property
    def faulty(self) -> tuple[int, ...]:
        """Replicas with a behaviour."""
        return self._cast.replicas

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return self._run.now_us / 1e6

    @property
    def trace(self) -> tuple[str, ...]:
        """What happened last, one line each: virtual milliseconds, what, from where to where."""
        return tuple(self._trace)

    @property
    def evidence(self) -> tuple[Proof, ...]:
        """What correct replicas and people can prove: `code`, `culprit` and `held_by` of each."""
        return proofs_of(self._run)

    @property
    def culprits(self) -> frozenset[int]:
        """Replicas that evidence names."""
        return frozenset(proof.culprit for proof in self.evidence if isinstance(proof.culprit, int))

    @property
    def view(self) -> int:
        """The highest view that a correct replica is in."""
        return max((int(host.replica.log.view) for host in self._reliable()), default=0)

    @property
    def primary(self) -> int:
        return self.view % self.replicas

    def executed(self) -> dict[int, int]:
        """How far each running replica that can be relied on has executed."""
        return {int(host.me): host.executed for host in self._reliable()}

    def roots(self) -> dict[int, str]:
        """The state root of each running replica that can be relied on, in hexadecimal. Equal roots, equal states."""
        self._check_open()
        return {int(host.me): host.disk.executor.state_root().hex() for host in self._reliable()}

    # -- who talks, and what goes wrong

    async def client(self, name: str) -> Person:
        """Somebody with a device of their own; the same person for the same name."""
        await _breathe()
        self._check_open()
        if name not in self._people:
            number = len(self._people)
            if number >= CLIENTS_MAX:
                msg = f"{name}: a simulated group has room for {CLIENTS_MAX} people"
                raise ValueError(msg)
            signer = self._run.members.device(name)
            device = Device(self._run, address=REPLICA_ADDRESSES + number, name=name, signer=signer)
            self._do(lambda: self._run.join(device))
            self._people[name] = Person(device, self._until, self._check_open)
        return self._people[name]

    def crash(self, replica: int, *, power: bool = False) -> None:
        """End its process at once; with `power` the machine loses what was not synced."""
        for host in self._hosts(replica):
            if host.mode in {"up", "paused"}:
                self._do(lambda host=host: host.die(power=power))  # type: ignore[misc]

    def restart(self, replica: int) -> None:
        """Start its process again, from what is on its disk."""
        for host in self._hosts(replica):
            if host.mode in {"down", "stopped"}:
                self._do(lambda host=host: self._run.start(host))  # type: ignore[misc]

    def pause(self, replica: int) -> None:
        """As SIGSTOP: it does nothing, and what is sent to it piles up."""
        for host in self._hosts(replica):
            self._do(host.pause)

    def resume(self, replica: int) -> None:
        for host in self._hosts(replica):
            self._do(host.resume)

    def damage(self, replica: int, what: str = "lost_disk") -> None:
        """Crash it and spoil its files: `lost_ledger`, `torn_ledger`, `flipped_ledger`, `flipped_state`, `lost_state`
        or `lost_disk`. It has to be restarted. A test counts it among the faulty itself. Raises ValueError."""
        if what not in DAMAGES:
            msg = f"damage: no {what!r}; there are {', '.join(DAMAGES)}"
            raise ValueError(msg)
        fault = Damage(
            id=self._next_fault(), at_ms=0, for_ms=AGES_MS, replica=self._hosts(replica)[0].number, what=what
        )
        self._do(lambda: self._run.faults.inflict(fault))

    def partition(self, *sides: set[int]) -> None:
        """Cut the network between sides, until `heal` or the next partition. Who is on no side hears everybody."""
        for replica in {replica for side in sides for replica in side}:
            self._hosts(replica)
        self._mend()
        ordered = tuple(tuple(sorted(side)) for side in sides)
        self._cut = Partition(id=self._next_fault(), at_ms=0, for_ms=AGES_MS, sides=ordered)
        self._run.links.begin(self._cut)

    def isolate(self, replica: int) -> None:
        """From all other replicas; people still reach it."""
        self.partition({replica}, set(range(self.replicas)) - {replica})

    def heal(self) -> None:
        """Make the network whole again."""
        self._mend()
        self._do(self._run.faults.reconnect)

    # -- time

    async def advance(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        await self._run_to(self._run.now_us + ceil(seconds * 1e6), lambda: False)

    async def settled(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """Let time go by until everything that was asked for is accepted, and all running replicas that can be relied
        on stand at one place. Raises NotInTime."""
        await self._until(self._is_settled, timeout_s, "the group to settle")

    async def until(self, is_so: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
        """Let time go by until something is so: looked at after every step. Raises NotInTime."""
        await self._until(is_so, timeout_s, "a condition of the test")

    def close(self) -> None:
        """End it, and check once more that all agree. Raises InvariantBroken."""
        if self._closed:
            return
        try:
            if self._broken is None:
                self._do(lambda: final_checks(self._run))
        finally:
            self.discard()

    def discard(self) -> None:
        """End it without looking."""
        self._closed = True
        self._run.close()
        self._workspace.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(error)

    def leave(self, error: BaseException | None) -> None:
        """Close it; whatever failed before is told rather than what followed from it."""
        if error is None:
            self.close()
        else:
            self.discard()

    # -- inside

    def _check_open(self) -> None:
        if self._closed:
            msg = "this group is closed: ask for another one"
            raise RuntimeError(msg)

    def _hosts(self, replica: int) -> list[Host]:
        self._check_open()
        if not 0 <= replica < self.replicas:
            msg = f"replica {replica}: there are 0 to {self.replicas - 1}"
            raise ValueError(msg)
        return [host for host in self._run.hosts if host.me == replica]

    def _reliable(self) -> list[Host]:
        """Those that run, are played by nobody, and whose rows are what was written."""
        return [host for host in self._run.hosts if host.is_up and self._run.checker.is_correct(host)]

    def _next_fault(self) -> int:
        self._faults += 1
        return self._faults

    def _mend(self) -> None:
        if self._cut is not None:
            self._run.links.end(self._cut)
            self._cut = None

    def _do(self, what: Callable[[], object]) -> None:
        """Something that lets a replica act, under the eyes of the checker."""
        self._check_open()
        if self._broken is not None:
            raise self._broken
        try:
            what()
        except Broken as broken:
            self._broken = self._told(broken)
            raise self._broken from broken

    def _told(self, broken: Broken) -> InvariantBroken:
        seed, last = self._run.scenario.seed, "\n".join(f"  {line}" for line in list(self._trace)[-SHOWN:])
        text = (
            f"{broken.invariant}: {broken.text}\n"
            f"after {self.now_s:.3f} s of virtual time, seed {seed}, {self.replicas} replicas, "
            f"faulty: {', '.join(map(str, self.faulty)) or 'none'}\n"
            f"to replay: run the same test, with seed={seed}; it does the same step by step\n{last}"
        )
        return InvariantBroken(broken.invariant, text)

    async def _until(self, is_so: Callable[[], bool], timeout_s: float, waits_for: str) -> None:
        if not await self._run_to(self._run.now_us + ceil(timeout_s * 1e6), is_so):
            msg = f"{waits_for} took longer than {timeout_s:g} s of virtual time: {why_no_progress(self._run)}"
            raise NotInTime(msg)

    async def _run_to(self, end_us: int, is_so: Callable[[], bool]) -> bool:
        """Step by step to a time, or until something is so. Other tasks get their turn in between."""
        run, steps = self._run, 0
        await _breathe()
        self._check_open()
        while not is_so():
            if run.next_us is None or run.next_us > end_us:
                run.now_us = max(run.now_us, end_us)
                return is_so()
            self._do(run.step)
            steps += 1
            if steps % STEPS_BETWEEN_BREATHS == 0:
                await _breathe()
        return True

    def _is_settled(self) -> bool:
        run = self._run
        if not all(client.is_idle for client in run.clients):
            return False
        hosts = self._reliable()
        if any(len(host.replica.pool) or not host.replica.state_repair.is_whole for host in hosts):
            return False
        return len({host.executed for host in hosts}) <= 1


async def _breathe() -> None:
    """A checkpoint, where trio runs; elsewhere there is nobody else to wait for."""
    if trio.lowlevel.in_trio_task():
        await trio.lowlevel.checkpoint()


def make_group(
    *,
    f: int,
    replicas: int | None,
    behaviours: Mapping[int, Wanted],
    seed: int,
    network: Network,
    parameters: Mapping[str, int],
    real_signatures: bool,
    model: Model | None,
) -> SimulatedGroup:
    if f < 1:
        msg = f"f={f}: a simulated group bears at least one faulty replica"
        raise ValueError(msg)
    size = 3 * f + 1 if replicas is None else replicas
    if not REPLICAS_MIN <= size <= REPLICAS_MAX:
        msg = f"{size} replicas: a simulated group has {REPLICAS_MIN} to {REPLICAS_MAX}"
        raise ValueError(msg)
    wanted = PARAMETERS | dict(parameters)
    for problem in of_parameters("parameters", wanted):
        raise ValueError(problem)
    cast = Cast(behaviours)
    strangers = [replica for replica in cast.replicas if not 0 <= replica < size]
    if strangers:
        msg = f"behaviours: no replica {strangers[0]}: there are 0 to {size - 1}"
        raise ValueError(msg)
    return SimulatedGroup(
        cast,
        Scenario(
            seed=seed,
            replicas=size,
            real_signatures=real_signatures,
            parameters=wanted,
            network=network,
            calm=network,
            liars=cast.liars(),
            clients=(),
            heal_ms=AGES_MS,
            core=tuple(replica for replica in range(size) if replica not in cast.replicas),
        ),
        model,
    )
