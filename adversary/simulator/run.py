"""One run: a scenario in, what came of it out. Everything happens in one heap of events in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Final

from adversary.behaviours.base import Behaviour, Means
from adversary.keys import Members, make_group
from adversary.simulator.bad_clients import make_client
from adversary.simulator.broken import Broken
from adversary.simulator.clients import SimulatedClient
from adversary.simulator.delivery import Delivery
from adversary.simulator.dice import Streams, below
from adversary.simulator.faults import Faults
from adversary.simulator.frames import FrameCache
from adversary.simulator.health import (
    Standing,
    final_checks,
    is_recoverable,
    is_settled,
    rot_remains,
    why_no_progress,
)
from adversary.simulator.host import Host
from adversary.simulator.invariants import Checker
from adversary.simulator.kinds import ACT, CHECK, FAULT, LINK, TICK, TIMER, WAKE, WORK
from adversary.simulator.layout import Layout
from adversary.simulator.lines import Lines
from adversary.simulator.marks import Marks
from adversary.simulator.network import Links
from adversary.simulator.patience import Patience
from adversary.simulator.scenario import Action, Scenario
from adversary.simulator.watching import Watch
from pbft.core.codec import Opener
from pbft.core.effects import Record, Timer
from pbft.core.types import Milliseconds

GROUP_NAME: Final = "simulation"
SETTLED_CHECK_US = 200_000
STEPS_MAX = 400_000
"""Far above what any run needs: more are a livelock, and found as such."""
CONNECT_US = 5_000
RESTART_US = 50_000

Trace = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    invariant: str
    text: str
    at_ms: int
    recoverable: bool
    """Whether no more than f replicas had lost what they promised; else nothing could be expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`digest` covers the whole trace: equal digests, equal runs."""

    failure: Failure | None
    digest: str
    steps: int
    deliveries: int
    view_changes: int
    transfers: int
    virtual_ms: int
    accepted: int
    marks: frozenset[str]


@lru_cache(maxsize=256)
def _members(replicas: int, real: bool, parameters: tuple[tuple[str, int], ...]) -> Members:  # noqa: FBT001 - a key
    return make_group(replicas, real=real, name=GROUP_NAME, **dict(parameters))


class Simulation:
    """Hosts, links, clients and the heap. Its attributes are what those see of it."""

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        *,
        trace: Trace | None = None,
        watch: Watch | None = None,
        autopsy: bool = False,
        own: Mapping[int, Callable[[Means], Behaviour]] | None = None,
    ) -> None:
        """`own`: behaviours that the catalogue does not know, of replicas that the scenario calls liars."""
        self.own = own or {}
        self.autopsy = autopsy
        self.watch = watch
        self.scenario = scenario
        self._directory = f"{directory}/"
        parameters = tuple(sorted(scenario.parameters.items()))
        self.members = _members(scenario.replicas, scenario.real_signatures, parameters)
        self.group = self.members.group
        self.now_us = 0
        self.marks = Marks()
        self.patience = Patience()
        self.streams = Streams(scenario.seed)
        self.links = Links(scenario.network, self.streams, self.marks)
        self.frames = FrameCache(Opener(self.group, self.members.verifier))
        self.checker = Checker(
            self.group,
            scenario.unreliable,
            self.marks,
            more_than_f=len(scenario.faulty) > self.group.faulty_max,
            untrusted=scenario.untrusted,
        )
        self.steps = 0
        self.transfers = 0
        self.healed = False
        self.settled = False
        """Whether the run came to its good end."""
        self.ledgers: list[tuple[Record, ...]] = []
        """When it is over and correct replicas disagree: what their ledgers hold, for those who ask why."""
        self._extra = 0
        self._trace = trace
        self._digest = sha256()
        self._lines = Lines(self.members, self.frames)
        self._heap: list[tuple[int, int, int, int, Callable[[], None]]] = []
        self._count = 0
        self.layout = Layout(self, directory)
        self.hosts = self.layout.hosts
        self.of_replica = self.layout.of_replica
        self.links.copies = {host.number: host.me for host in self.hosts if host.number >= self.group.size}
        self.clients: list[SimulatedClient] = [
            make_client(
                self,
                client,
                number=number,
                signer=self.members.device(client.name),
                random=self.streams.random("client", client.name),
            )
            for number, client in enumerate(scenario.clients)
        ]
        self.delivery = Delivery(self)
        self.faults = Faults(self)

    # -- the heap

    def at(self, time_us: int, kind: int, ident: int, what: Callable[[], None]) -> None:
        """Let something happen at a time. Ties go by kind, by whom it concerns, then by who asked first."""
        self._count += 1
        heappush(self._heap, (max(time_us, self.now_us), kind, ident, self._count, what))

    @property
    def next_us(self) -> int | None:
        """When the next thing happens."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> int:
        """Let the next thing happen, and give its kind. Raises Broken."""
        time, kind, _, _, what = heappop(self._heap)
        self.now_us = time
        self.steps += 1
        what()
        return kind

    def begin(self) -> None:
        """Start all hosts. Whoever drives a run by hand begins with this, and ends with `close`."""
        if self.scenario.real_signatures:
            self.marks.reach("real signatures")
        for host in self.hosts:
            self.start(host)

    def close(self) -> None:
        """End all hosts."""
        for host in self.hosts:
            host.close()

    def run(self) -> Result:
        failure: Failure | None = None
        try:
            self._begin()
            self._loop()
        except Broken as broken:
            failure = Failure(
                invariant=broken.invariant,
                text=broken.text.replace(self._directory, ""),
                at_ms=self.now_us // 1000,
                recoverable=is_recoverable(self),
            )
            self.note(f"broken: {broken}".replace(self._directory, ""))
        finally:
            self.ledgers = [host.disk.ledger.records() for host in self.hosts if self._testifies(host)]
            self.close()
        return Result(
            failure=failure,
            digest=self._digest.hexdigest(),
            steps=self.steps,
            deliveries=self.delivery.count,
            view_changes=max((host.highest_view for host in self.hosts if self.checker.is_correct(host)), default=0),
            transfers=self.transfers,
            virtual_ms=self.now_us // 1000,
            accepted=sum(client.accepted for client in self.clients),
            marks=frozenset(self.marks.reached),
        )

    def _testifies(self, host: Host) -> bool:
        return self.autopsy and host.is_up and self.checker.is_correct(host)

    def _begin(self) -> None:
        scenario = self.scenario
        self.begin()
        for client, plan in zip(self.clients, scenario.clients, strict=True):
            for action in plan.actions:
                self.at(action.at_ms * 1000, ACT, action.id, lambda client=client, action=action: client.act(action))  # type: ignore[misc]
        self.faults.schedule()
        self.at_heal = Standing.of(self)
        self.at(scenario.heal_ms * 1000, FAULT, -1, self._heal)

    def _heal(self) -> None:
        self.note("healed")
        self.healed = True
        self.at_heal = Standing.of(self)
        self.links.calm(self.scenario.calm)
        self.faults.heal()
        self.at(self.now_us + SETTLED_CHECK_US, CHECK, 0, self._check)

    def _check(self) -> None:
        """Rot in rows that changed since the last checkpoint shows at the next: something is ordered till then."""
        self.at(self.now_us + SETTLED_CHECK_US, CHECK, 0, self._check)
        client = next((client for client in self.clients if client.is_honest), None)
        if client is not None and client.is_idle and rot_remains(self):
            self._extra -= 1
            client.act(Action(id=self._extra, at_ms=0, kind="post", room="main", text=f"still here {-self._extra}"))

    def _loop(self) -> None:
        scenario = self.scenario
        end = (scenario.heal_ms + scenario.bound_ms) * 1000
        if not scenario.progress:
            end = (scenario.heal_ms + min(scenario.bound_ms, 2_000)) * 1000
        last_action = max((a.at_ms for client in scenario.clients for a in client.actions), default=0) * 1000
        while self._heap:
            if self._heap[0][0] > end or self.steps > STEPS_MAX:
                if scenario.progress:
                    raise self.checker.beyond.later or Broken("progress", why_no_progress(self))
                break
            kind = self.step()
            if kind == CHECK and self.now_us > last_action and is_settled(self):
                self.settled = True
                break
        final_checks(self)

    # -- hosts and clients

    def start(self, host: Host) -> None:
        """Start or restart a host, and let its links come up."""
        self.note("start", host.number)
        host.start()
        if not host.is_up:
            return
        for other in self.hosts:
            if other.me != host.me:
                self.connect(host, other)
                self.connect(other, host)
        self.meet_again(host)

    def meet_again(self, host: Host) -> None:
        """Clients come back to a host that they could not reach."""
        for client in self.clients:
            self._connect_client(host, client)

    def _connect_client(self, host: Host, client: SimulatedClient) -> None:
        if self.layout.meets_client(host, client) and not self.links.is_shut(host.number, client.address):
            self.at(self.now_us + CONNECT_US, LINK, client.address, lambda: client.on_link(host.me, up=host.is_up))

    def join(self, client: SimulatedClient) -> None:
        """Somebody comes while the run is under way."""
        self.clients.append(client)
        self.delivery.join(client)
        for host in self.hosts:
            if host.is_up:
                self._connect_client(host, client)

    def connect(self, source: Host, to: Host) -> None:
        """The link from `source` comes up, if both live and nothing lies between them."""

        def up() -> None:
            if to.is_up and self.layout.meet(source, to) and not self.links.is_cut(source.me, to.me):
                source.link_up(to.me)

        delay = below(self.streams.roll("connect", source.number, to.number, source.incarnation)[0], CONNECT_US)
        self.at(self.now_us + CONNECT_US + delay, LINK, source.number, up)

    def stopped(self, host: Host, reason: str) -> None:
        self.note(f"stopped: {reason.replace(self._directory, '')}", host.number)

    def start_again(self, host: Host) -> None:
        """A node put its damaged state aside, and begins anew."""

        def again() -> None:
            if host.mode == "stopped":
                self.start(host)

        self.at(self.now_us + RESTART_US, FAULT, host.number, again)

    def lost(self, host: Host) -> None:
        """Clients notice that a host's connections are gone."""
        for client in self.clients:
            if self.layout.meets_client(host, client):
                client.on_link(host.me, up=False)

    def wake(self, host: Host, delay_us: int) -> None:
        self._for(host, self.now_us + delay_us, WORK, host.work)

    def wake_client(self, client: SimulatedClient, at_ms: int) -> None:
        self.at(at_ms * 1000, WAKE, client.address, client.wake)

    def later(self, host: Host, delay_us: int, what: Callable[[], None]) -> None:
        self._for(host, self.now_us + delay_us, TICK, what)

    def set_timer(self, host: Host, timer: Timer, at: Milliseconds) -> None:
        self._for(host, host.clock.when(at), TIMER, lambda: host.expire(timer, at))

    def _for(self, host: Host, time_us: int, kind: int, what: Callable[[], None]) -> None:
        """Only for this run of the host's process."""
        incarnation = host.incarnation

        def still() -> None:
            if host.incarnation == incarnation:
                what()

        self.at(time_us, kind, host.number, still)

    # -- the trace

    def note(self, what: str, source: int = -1, to: int = -1, frame: bytes = b"") -> None:
        """A line of the trace: part of the digest, and shown to whoever wants to see."""
        self._digest.update(b"%d %b %d %d " % (self.now_us, what.encode(), source, to))
        self._digest.update(frame)
        if self.watch is not None:
            self.watch.noted(self.now_us, what, source, to, frame)
        if self._trace is not None:
            self._trace(self._lines.line(self.now_us, what, source, to, frame))


def simulate(
    scenario: Scenario,
    directory: Path,
    *,
    trace: Trace | None = None,
) -> Result:
    """Run a scenario in an empty directory."""
    return Simulation(scenario, directory, trace=trace).run()
