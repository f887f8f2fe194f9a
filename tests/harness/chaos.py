"""Random runs: a seed draws deliveries, losses, duplicates, reorderings, crashes and pauses; then all heals."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from pbft.core.effects import Timer
from pbft.core.messages import SignedRequest
from pbft.core.types import ReplicaId
from pbft.core.view_timer import LEVEL_MAX
from tests.harness.cluster import Cluster
from tests.harness.simnode import Flight
from tests.harness.votes import Votes


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Probabilities per action, but for `down_max`: how many replicas may be down at once."""

    lose: float = 0.1
    duplicate: float = 0.1
    pause: float = 0.05
    crash: float = 0.0
    power_loss: float = 0.3
    """Of the crashes: those that take the state back to its last checkpoint."""
    down_max: int = 0
    cut: float = 0.0
    """Of a partition: the primary or another alone, or halves; and of its end."""
    defer: bool = False
    """Whether the results of execution come later, between other messages."""


CALM = Faults(lose=0.0, duplicate=0.0, pause=0.02)
ROUGH = Faults(lose=0.2, duplicate=0.2, pause=0.05, defer=True)
CRASHING = Faults(lose=0.1, duplicate=0.1, pause=0.05, crash=0.02, down_max=1, defer=True)
PARTED = Faults(lose=0.05, duplicate=0.05, pause=0.15, crash=0.005, down_max=1, cut=0.03, defer=True)


@dataclass
class Chaos:
    """One run. To replay it: `run_chaos(n, seed, ...)` with what the failure names."""

    cluster: Cluster
    random: Random
    faults: Faults
    operations: int
    requests: list[SignedRequest] = field(default_factory=list)
    apart: frozenset[int] = frozenset()
    """Replicas that are cut off from the others, not from each other."""

    def __post_init__(self) -> None:
        self.votes = Votes(self.cluster)
        self.cluster.on_send = lambda flight: self.votes(flight) and self._connected(flight)

    def _connected(self, flight: Flight) -> bool:
        return (flight.source in self.apart) == (flight.to in self.apart)

    def run(self) -> None:
        while len(self.requests) < self.operations:
            self.act()
        for _ in range(40 * self.cluster.group.size):
            self.act()
        self.heal()

    def act(self) -> None:
        cluster, random, faults = self.cluster, self.random, self.faults
        if random.random() < 0.05 and len(self.requests) < self.operations:
            self._ask()
        if random.random() < faults.pause:
            cluster.advance(random.randrange(400))
        if random.random() < faults.crash:
            self._crash_or_restart()
        if random.random() < faults.cut:
            self._cut_or_mend()
        if faults.defer and random.random() < 0.5:
            cluster.pump(random.choice(list(cluster.nodes)))
        if not cluster.flying:
            return
        flight = cluster.flying.pop(random.randrange(len(cluster.flying)))
        if random.random() < faults.lose:
            return
        if random.random() < faults.duplicate:
            cluster.flying.append(flight)
        cluster.deliver(flight)
        check_alive(cluster)

    def heal(self) -> None:
        """Everybody runs, nothing is lost any more, and clients ask all replicas again, as often as needed."""
        cluster = self.cluster
        cluster.deferred, self.apart = False, frozenset()
        for me, node in cluster.nodes.items():
            cluster.pump(me)
            node.fuse = None
            if not node.alive:
                cluster.restart(me)
        done = cluster.executed_everywhere(self.operations)
        for _ in range(20):
            for request in self.requests:
                cluster.send_request(request, cluster.group.replicas)
            cluster.deliver_all()
            cluster.advance(500)
            cluster.deliver_all()
            if done():
                break
        cluster.settle(done, within_ms=HEALED_WITHIN_MS)
        cluster.assert_same_state()
        for request in self.requests:
            named = request.message
            answers = cluster.results[request.device, named.session, named.first_client_sequence]
            assert len(answers) >= cluster.group.honest_minimum, cluster.report("too few replies")
            assert len(set(answers.values())) == 1, cluster.report("replies differ")

    def _ask(self) -> None:
        number = len(self.requests)
        device, first = "abc"[number % 3], number // 3
        to = self.random.sample(self.cluster.group.replicas, self.random.randint(1, 2))
        self.requests.append(self.cluster.request(device, first=first, to=to))

    def _cut_or_mend(self) -> None:
        """Every second partition takes the primary of the highest view away."""
        if self.apart:
            self.apart = frozenset()
            return
        replicas = self.cluster.group.replicas
        view = max(replica.log.view for replica in self.cluster.replicas.values())
        size = self.random.choice((1, 1, self.cluster.group.faulty_max, len(replicas) // 2))
        apart = {self.cluster.group.primary(view)} if self.random.random() < 0.5 else set()
        self.apart = frozenset([*apart, *self.random.sample(replicas, size)][:size])

    def _crash_or_restart(self) -> None:
        cluster, random = self.cluster, self.random
        down = [me for me, node in cluster.nodes.items() if not node.alive or node.fuse is not None]
        if down and (len(down) >= self.faults.down_max or random.random() < 0.5):
            me = random.choice(down)
            if not cluster.nodes[me].alive:
                cluster.restart(me)
            return
        if len(down) < self.faults.down_max:
            me = ReplicaId(random.choice([me for me in cluster.nodes if me not in down]))
            if random.random() < 0.5:
                cluster.crash(me, power_loss=random.random() < self.faults.power_loss)
            else:
                cluster.nodes[me].fuse = random.randrange(6)


HEALED_WITHIN_MS = 2 * (1000 << LEVEL_MAX) + 10_000
"""Two timeouts at their cap: the primary of the first view may be the one that is down."""


def check_alive(cluster: Cluster) -> None:
    """Everybody who lives is woken again, and a new primary is timed once a quorum waits for it."""
    for me, node in cluster.nodes.items():
        if not node.alive or node.inputs:
            continue
        replica = cluster.replicas[me]
        assert Timer.STATUS in node.timers, cluster.report(f"{me} sleeps for ever")
        waited_for = replica.votes.wanted_by(cluster.group.quorum) >= replica.log.view
        if not replica.log.in_view and waited_for:
            timed = replica.views.timer.is_armed and Timer.VIEW_CHANGE in node.timers
            assert timed or replica.rules.is_mute, cluster.report(f"{me} waits for a NEW-VIEW without a timer")
        if replica.views.timer.is_armed:
            assert Timer.VIEW_CHANGE in node.timers, cluster.report(f"{me} waits for a timer that was not set")


def run_chaos(
    n: int,
    seed: int,
    faults: Faults,
    *,
    operations: int = 16,
    checkpoint_interval: int = 8,
    real: bool = False,
) -> Cluster:
    """Raise AssertionError, with what is needed to replay the run, if anything goes wrong."""
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    pipeline = random.randint(1, 4)
    try:
        cluster = Cluster(
            n, seed=seed, real=real, checkpoint_interval=checkpoint_interval, pipeline_depth=pipeline,
            batch_operations_max=4,
        )  # fmt: skip
        cluster.deferred = faults.defer
        cluster.drops_useless = random.random() < 0.5
        Chaos(cluster, random, faults, operations).run()
    except Exception as error:
        error.add_note(
            f"replay: run_chaos({n}, {seed}, {faults}, operations={operations}, "
            f"checkpoint_interval={checkpoint_interval}, real={real})"
        )
        raise
    return cluster
