"""A seed draws a whole scenario, swarm style: how likely each kind of fault is, is itself drawn for each run."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from adversary.simulator.dice import Streams
from adversary.simulator.scenario import (
    DAMAGES,
    Action,
    Client,
    ClockStep,
    Crash,
    Damage,
    DiskFull,
    Fault,
    Liar,
    Network,
    Partition,
    Pause,
    Route,
    Scenario,
    Slow,
    SyncFails,
)

GROUP_SIZES = (4, 4, 4, 4, 4, 4, 7, 7, 10)
REAL_SIGNATURES_ONE_IN = 24
EQUIVOCATION = 0.15
BUSY_POSTS = 200
BUSY_PAUSE_MS = 10
FAULT_MS = (4_000, 12_000)
HEAL_BOUND_MS = 120_000
"""Of a good end. A timeout of a second doubles to half a minute in the worst of times, and a forgetful replica is
helped by views that change ten seconds after each other; most runs end within a second."""
WORDS = ("ubuntu", "boot", "kernel", "mount", "the", "disk", "wifi", "help")
MESSAGE_TYPES = (
    "Proposal",
    "Prepare",
    "Commit",
    "Checkpoint",
    "Status",
    "CommitCertificate",
    "CheckpointCertificate",
    "Body",
    "Fetch",
    "Request",
    "ViewChange",
    "NewView",
    "StateAnswer",
    "archive",
)
DAY_MS = 24 * 3600 * 1000

STRATEGIES: Final = (
    "silent",
    "split_primary",
    "accomplice",
    "double_votes",
    "reply_lie",
    "fuzz",
    "twin",
    "hide_prepared",
    "forged_view_change",
    "false_new_view",
    "withheld_new_view",
    "view_storm",
    "two_view_changes",
    "slow_primary",
    "censor",
    "state_lie",
    "false_amnesia",
)
"""Behaviours that are drawn. Adding one changes what every seed means."""
LEADERS: Final = ("silent", "split_primary", "slow_primary", "censor", "false_new_view", "withheld_new_view")
"""Those that need an office to be of use."""
OF_NEW_VIEWS: Final = frozenset(
    {
        "hide_prepared",
        "forged_view_change",
        "false_new_view",
        "withheld_new_view",
        "two_view_changes",
    }
)
"""Those that need views to change."""


def draw(seed: int, replicas: int | None = None) -> Scenario:
    """The scenario of a seed; its group size is drawn too, unless it is given."""
    streams = Streams(seed)
    random = streams.random("shape")
    size = random.choice(GROUP_SIZES) if replicas is None else replicas
    heal_ms = random.randint(*FAULT_MS)
    interval = random.choice((4, 4, 8, 16))
    parameters = {
        "checkpoint_interval": interval,
        "pipeline_depth": random.choice((1, 2, 3)),
        "batch_operations_max": random.choice((2, 4, 16, 64)),
        "client_window": random.choice((8, 32)),
        "view_change_timeout_ms": random.choice((200, 400, 1_000)),
    }
    parts = _Draw(streams, size, heal_ms)
    faults = tuple(parts.faults())
    lies = {liar.strategy for liar in parts.liars}
    # Who serves false states is asked where history is short; who passes clients by shows where others are served.
    retained = 0 if "state_lie" in lies else random.choice((0, interval, 1024))
    if "censor" in lies:
        parameters["view_change_timeout_ms"] = 200
    return Scenario(
        seed=seed,
        replicas=size,
        real_signatures=random.randrange(REAL_SIGNATURES_ONE_IN) == 0,
        parameters=parameters,
        retained_sequences=retained,
        service_us=random.choice((200, 500, 2_000, 5_000)),
        network=_network(streams.random("network")),
        calm=_calm(streams.random("calm")),
        drift_ppm=tuple(random.choice((0, 0, -200, 100, 5_000)) for _ in range(size)),
        liars=parts.liars,
        clients=tuple(_clients(streams, heal_ms, is_busy="censor" in lies)),
        faults=faults,
        heal_ms=heal_ms,
        core=parts.core,
        rejoins=interval == 4 and parts.rejoins,
        bound_ms=HEAL_BOUND_MS,
    )


def _network(random: Random) -> Network:
    """Each trouble is there in about half of the runs."""

    def sometimes(*values: int) -> int:
        return random.choice(values) if random.random() < 0.5 else 0

    return Network(
        delay_us=random.choice((100, 300, 2_000, 20_000)),
        jitter_us=random.choice((100, 1_000, 20_000)),
        loss=sometimes(10, 50, 150, 300),
        duplicate=sometimes(20, 100),
        reorder=sometimes(50, 300, 1000),
        spike=sometimes(5, 30),
        spike_us=random.choice((100_000, 1_000_000)),
        frame_us=sometimes(200, 2_000, 10_000),
        queue_frames=random.choice((8, 32, 256)),
    )


def _calm(random: Random) -> Network:
    """A good network, or one across the world, whose round takes longer than a short timeout."""
    return Network(delay_us=random.choice((50_000, 120_000))) if random.random() < 0.15 else Network()


def _clients(streams: Streams, heal_ms: int, *, is_busy: bool) -> Iterator[Client]:
    """`is_busy`: one of them says much for a while, so that a primary that serves it alone is not slow."""
    random = streams.random("clients")
    number = 0
    count = random.randint(2, 4)
    for index in range(count):
        name = f"user{index}"
        actions = [Action(id=number, at_ms=100 + 150 * index, kind="register", text=name)]
        first = "create" if index == 0 else "join"
        actions.append(Action(id=number + 1, at_ms=300 + 200 * index, kind=first, room="main"))
        number += 2
        for _ in range(random.randint(4, 12)):
            kind = random.choice(
                ("post", "post", "post", "post", "post", "read", "history", "search", "leave", "join")
            )
            text = f"{name} says {number} {random.choice(WORDS)}" if kind == "post" else random.choice(WORDS)
            at_ms = random.randint(600, heal_ms + 1_000)
            actions.append(Action(id=number, at_ms=at_ms, kind=kind, room="main", text=text))
            number += 1
        yield Client(name=name, actions=tuple(sorted(actions, key=lambda action: (action.at_ms, action.id))))
    if is_busy:
        yield _chatterbox(number)
        number += BUSY_POSTS + 2
    if random.random() < EQUIVOCATION:
        yield _equivocator(random, number, heal_ms)


def _chatterbox(number: int) -> Client:
    actions = [
        Action(id=number, at_ms=150, kind="register", text="chatterbox"),
        Action(id=number + 1, at_ms=400, kind="join", room="main"),
    ]
    for post in range(BUSY_POSTS):
        at_ms = 1_000 + post * BUSY_PAUSE_MS
        actions.append(Action(id=number + 2 + post, at_ms=at_ms, kind="post", room="main", text=f"and {post}"))
    return Client(name="chatterbox", actions=tuple(actions))


def _equivocator(random: Random, number: int, heal_ms: int) -> Client:
    actions = [Action(id=number, at_ms=200, kind="register", text="mallory")]
    for offset, kind in enumerate(("join", "post", "post", "leave", "post"), start=1):
        at_ms = random.randint(500, heal_ms)
        actions.append(Action(id=number + offset, at_ms=at_ms, kind=kind, room="main", text=f"mallory {offset}"))
    return Client(
        name="mallory", equivocates=True, actions=tuple(sorted(actions, key=lambda action: (action.at_ms, action.id)))
    )


class _Draw:
    """Who is faulty, and what happens to whom."""

    def __init__(self, streams: Streams, size: int, heal_ms: int) -> None:
        self._streams = streams
        self._size = size
        self._heal_ms = heal_ms
        self._number = 0
        random = streams.random("who")
        f = (size - 1) // 3
        replicas = list(range(size))
        chosen = sorted(random.sample(replicas, random.choice((0, f, f, f))))
        # Whoever is to misbehave as primary has a better chance if it is one at first.
        if chosen and chosen[0] > 0 and random.random() < 0.4:
            chosen = [0, *chosen[1:]]
        self.liars: tuple[Liar, ...] = tuple(
            Liar(replica=me, strategy=self._strategy(random, me)) for me in chosen if random.random() < 0.55
        )
        liars = {liar.replica for liar in self.liars}
        self._damaged = [me for me in chosen if me not in liars and random.random() < 0.8]
        outside = set(liars)
        idle = [me for me in chosen if me not in outside]
        outside |= {me for me in idle if random.random() < 0.3}
        self.core = tuple(me for me in replicas if me not in outside)
        self.rejoins = random.random() < 0.3 and any(me in self.core for me in self._damaged)

    @staticmethod
    def _strategy(random: Random, me: int) -> str:
        """The first primary does best with what needs an office."""
        return random.choice(LEADERS if me == 0 and random.random() < 0.6 else STRATEGIES)

    def faults(self) -> Iterator[Fault]:
        """In order of kind; each kind has dice of its own."""
        lies = {liar.strategy for liar in self.liars}
        kinds = (
            (self._crash, 0.5, 8),
            (self._pause, 0.3, 3),
            (self._partition, 0.4, 4),
            (self._route, 0.3, 4),
            (self._slow, 0.2, 2),
            (self._clock, 0.2, 2),
            (self._disk, 0.25, 2),
            (self._dethrone, 0.9 if lies & OF_NEW_VIEWS else 0.2, 3),
            (self._leave_behind, 0.9 if "state_lie" in lies else 0.0, 2),
        )
        for make, likely, most in kinds:
            random = self._streams.random("fault", make.__name__)
            if random.random() < likely:
                for _ in range(random.randint(1, most)):
                    yield make(random)
        random = self._streams.random("fault", "damage")
        for replica in self._damaged:
            yield self._damage(random, replica)

    def _common(self, random: Random, lasts: tuple[int, int]) -> dict[str, int]:
        self._number += 1
        return {
            "id": self._number,
            "at_ms": random.randint(300, max(301, self._heal_ms - 200)),
            "for_ms": random.randint(*lasts),
        }

    def _crash(self, random: Random) -> Fault:
        fuse = random.choice((0, random.randint(1, 4), random.randint(1, 24)))
        who = random.randrange(self._size)
        again, power = random.choice((0, 0, 0, 1, 3)), random.random() < 0.4
        return Crash(**self._common(random, (50, 3_000)), replica=who, fuse=fuse, power=power, again=again)

    def _pause(self, random: Random) -> Fault:
        return Pause(**self._common(random, (100, 4_000)), replica=random.randrange(self._size))

    def _partition(self, random: Random) -> Fault:
        size = self._size
        replicas = random.sample(range(size), size)
        cut = random.choice((1, 1, size // 2))
        halves = (tuple(sorted(replicas[:cut])), tuple(sorted(replicas[cut:])))
        ring = tuple(tuple(sorted(replicas[(i + j) % size] for j in range(3))) for i in range(size))
        sides = ring if random.random() < 0.2 else halves
        one_way = sides is halves and random.random() < 0.3
        return Partition(**self._common(random, (200, 4_000)), sides=sides, one_way=one_way)

    def _route(self, random: Random) -> Fault:
        source, to = random.sample(range(self._size), 2)
        kind = random.choice(("", *MESSAGE_TYPES))
        loss = random.choice((500, 1000))
        return Route(**self._common(random, (500, 6_000)), source=source, to=to, message_type=kind, loss=loss)

    def _slow(self, random: Random) -> Fault:
        who, service = random.randrange(self._size), random.choice((20_000, 100_000))
        return Slow(**self._common(random, (500, 5_000)), replica=who, service_us=service)

    def _clock(self, random: Random) -> Fault:
        step = random.choice((-40_000, 40_000, -DAY_MS, DAY_MS, 365 * DAY_MS))
        who = random.randrange(self._size)
        return ClockStep(**self._common(random, (500, 4_000)), replica=who, step_ms=step)

    def _dethrone(self, random: Random) -> Fault:
        """One of the first primaries is gone for longer than anybody waits for it."""
        who = random.choice((0, 0, 1, 2))
        common = self._common(random, (1_000, 3_000))
        return Pause(**common, replica=who) if random.random() < 0.5 else Crash(**common, replica=who, power=False)

    def _leave_behind(self, random: Random) -> Fault:
        """Somebody misses more than its peers remember."""
        liars = {liar.replica for liar in self.liars}
        who = random.choice([me for me in range(self._size) if me not in liars])
        common = self._common(random, (2_000, 5_000)) | {"at_ms": random.randint(500, 1_500)}
        return Crash(**common, replica=who, power=False)

    def _disk(self, random: Random) -> Fault:
        who = random.randrange(self._size)
        if random.random() < 0.5:
            return DiskFull(**self._common(random, (500, 3_000)), replica=who)
        return SyncFails(**self._common(random, (500, 3_000)), replica=who, kept=random.random() < 0.5)

    def _damage(self, random: Random, replica: int) -> Fault:
        common = self._common(random, (100, 2_000))
        image_ms = random.randint(0, common["at_ms"])
        amount = random.randrange(2**16)
        return Damage(**common, replica=replica, what=random.choice(DAMAGES), amount=amount, image_ms=image_ms)
