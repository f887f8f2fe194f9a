"""A seed draws a short scenario: f replicas with one to three behaviours each, a network, some faults, a short chat.

What is drawn is meant to be cheap, so that there can be many: small groups, few operations, a second of virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from adversary.behaviours.catalogue import PEEKABOO_TWIN, TWIN
from adversary.behaviours.mutation import FIELDS, changes_of
from adversary.simulator.dice import Streams
from adversary.simulator.drawing import HEAL_BOUND_MS, MESSAGE_TYPES
from adversary.simulator.scenario import (
    Action,
    Client,
    Crash,
    Damage,
    Fault,
    Liar,
    Network,
    Option,
    Partition,
    Pause,
    Route,
    Scenario,
)

GROUP_SIZES: Final = (4,) * 15 + (7,)
HEAL_MS: Final = (500, 1_000)
PARTS: Final = (1, 1, 2, 2, 3)
"""How many behaviours a replica has at once."""
TIMED: Final = 0.25
"""How often a behaviour has a beginning and an end."""
Options = dict[str, Option]
Draw = Callable[[Random, int], Options]
"""Options of a behaviour, in a group of so many."""


def _some(random: Random, size: int) -> tuple[int, ...]:
    """Receivers: all, as nothing says, or a few."""
    return () if random.random() < 0.4 else tuple(sorted(random.sample(range(size), random.randint(1, size // 2))))


def _nothing(_random: Random, _size: int) -> Options:
    return {}


def _to(random: Random, size: int) -> Options:
    to = _some(random, size)
    return {"to": to} if to else {}


def _rate(random: Random, size: int) -> Options:
    return {"rate": random.choice((30, 100, 300)), **_to(random, size)}


def _rate_alone(random: Random, _size: int) -> Options:
    return {"rate": random.choice((30, 100, 300))}


def _lies(random: Random, _size: int) -> Options:
    return {"what": tuple(random.sample(("results", "answers", "events"), random.randint(1, 3)))}


def _mutation(random: Random, size: int) -> Options:
    message_type = random.choice((*FIELDS, "PRE-PREPARE", "PREPARE", "COMMIT", "VIEW-CHANGE", "NEW-VIEW"))
    field = random.choice(FIELDS[message_type])
    first = random.randint(1, 6)
    rounds = (first, first + random.choice((0, 0, 1, 3, 100)))
    return {
        "message_type": message_type,
        "field": field,
        "change": random.choice(changes_of(field)),
        "rounds": rounds,
        **_to(random, size),
    }


PLAYS: Final[dict[str, tuple[int, Draw]]] = {
    "mutate": (12, _mutation),
    "split_primary": (2, lambda random, _: {"halves": random.choice(("random", "even"))}),
    "two_generals": (2, _nothing),
    "victim_primary": (
        2,
        lambda random, size: {
            "victim": random.randrange(size),
            "mode": random.choice(("digest", "skip")),
            "both": random.randint(0, 1),
        },
    ),
    "reorder_primary": (
        1,
        lambda random, _: {"hold_ms": random.choice((5, 40, 150)), "depth": random.choice((2, 8))},
    ),
    "seq_jump": (1, _nothing),
    "partial_cast": (2, lambda random, size: {"only": _some(random, size)}),
    "slow_primary": (1, lambda random, _: {"hold": random.choice((300, 800, 1_500))}),
    "censor": (1, lambda random, _: {"victim": random.choice(("chance", "all_but_first", 0, 1)), "after": 1}),
    "bad_signature_proposal": (1, _to),
    "silent": (1, _nothing),
    "deaf": (1, _nothing),
    "accomplice": (2, _nothing),
    "double_prepare": (2, _to),
    "double_commit": (2, _to),
    "double_votes": (2, _nothing),
    "ghost_vote": (1, _rate_alone),
    "checkpoint_lie": (2, lambda random, size: {"both": random.randint(0, 1), **_to(random, size)}),
    "hide_prepared": (2, _nothing),
    "forged_view_change": (1, _nothing),
    "two_view_changes": (2, _nothing),
    "false_new_view": (2, _nothing),
    "withheld_new_view": (1, _nothing),
    "two_new_views": (2, lambda random, _: {"both": random.randint(0, 1)}),
    "view_storm": (2, _rate_alone),
    "reply_lie": (1, _lies),
    "reply_withhold": (1, _lies),
    "state_lie": (
        1,
        lambda random, _: {"how": random.choice(("random", "corrupt", "truncate", "slow", "stale", "silent"))},
    ),
    "false_amnesia": (1, _nothing),
    "fuzz": (2, _rate_alone),
    "cbor_bombs": (1, lambda random, size: _rate(random, size) | {"size": 64}),
    "dual_encoding": (1, lambda random, size: {"also": random.randint(0, 1), **_to(random, size)}),
    "replay": (2, _rate),
    "sig_edge": (1, _rate),
    "false_accuser": (1, _rate),
    "peekaboo": (1, lambda random, _: {"period_ms": random.choice((100, 300)), "phase": random.randint(0, 1)}),
    TWIN: (1, _nothing),
    PEEKABOO_TWIN: (1, lambda random, _: {"period_ms": random.choice((100, 300))}),
}
"""How often a behaviour is drawn, and with which options. Changing anything here changes what every seed means."""
NAMES: Final = tuple(PLAYS)
WEIGHTS: Final = tuple(weight for weight, _ in PLAYS.values())


def draw(seed: int, replicas: int | None = None) -> Scenario:
    """The scenario of a seed; its group size is drawn too, unless it is given."""
    streams = Streams(seed)
    random = streams.random("fuzz", "shape")
    size = random.choice(GROUP_SIZES) if replicas is None else replicas
    heal_ms = random.randint(*HEAL_MS)
    liars = tuple(_liars(streams.random("fuzz", "liars"), size, heal_ms))
    played = {liar.replica for liar in liars}
    faults = tuple(_faults(streams.random("fuzz", "faults"), size, heal_ms, played))
    forgets = any(isinstance(fault, Damage) for fault in faults)
    # One that forgets what it said takes the place of a liar.
    liars = () if forgets else liars
    outside = set() if forgets else played
    return Scenario(
        seed=seed,
        replicas=size,
        parameters={
            "checkpoint_interval": random.choice((3, 4, 8)),
            "pipeline_depth": random.choice((1, 2)),
            "batch_operations_max": random.choice((1, 4, 16)),
            "client_window": 32,
            "view_change_timeout_ms": random.choice((100, 200, 400)),
        },
        retained_sequences=random.choice((0, 4, 1024)),
        service_us=random.choice((200, 500, 2_000)),
        network=_network(streams.random("fuzz", "network")),
        liars=liars,
        clients=tuple(_clients(streams.random("fuzz", "clients"), heal_ms)),
        faults=faults,
        heal_ms=heal_ms,
        core=tuple(me for me in range(size) if me not in outside),
        bound_ms=HEAL_BOUND_MS,
    )


def _liars(random: Random, size: int, heal_ms: int) -> Iterator[Liar]:
    """F of them, the first primary among them more often than not."""
    chosen = random.sample(range(size), (size - 1) // 3)
    if 0 not in chosen and random.random() < 0.4:
        chosen[0] = 0
    for me in sorted(chosen):
        names: list[str] = []
        for name in random.choices(NAMES, WEIGHTS, k=random.choice(PARTS)):
            if name not in names or name == "mutate":
                names.append(name)
        if TWIN in names and PEEKABOO_TWIN in names:
            names.remove(TWIN)
        for name in names:
            options = PLAYS[name][1](random, size)
            if random.random() < TIMED and name not in {TWIN, PEEKABOO_TWIN}:
                start = random.randrange(heal_ms)
                options |= {"start_ms": start, "until_ms": start + random.randint(50, heal_ms)}
            yield Liar(replica=me, strategy=name, options=options)


def _network(random: Random) -> Network:
    """Mostly a good one; each trouble is there in a fifth of the runs."""

    def sometimes(*values: int) -> int:
        return random.choice(values) if random.random() < 0.2 else 0

    return Network(
        delay_us=random.choice((100, 300, 2_000, 10_000)),
        jitter_us=random.choice((100, 1_000, 10_000)),
        loss=sometimes(10, 50, 200),
        duplicate=sometimes(50),
        reorder=sometimes(100, 1_000),
        spike=sometimes(20),
        spike_us=200_000,
        frame_us=sometimes(500),
        queue_frames=32,
    )


def _faults(random: Random, size: int, heal_ms: int, liars: set[int]) -> Iterator[Fault]:
    """None in half of the runs; what ends views, and what makes somebody lag behind, more often than the rest."""
    kinds = (_pause, _pause, _crash, _partition, _route, _route)
    for number in range(random.choice((0, 0, 1, 1, 2))):
        yield random.choice(kinds)(random, number + 1, size, heal_ms)
    if random.random() < 0.05:
        what = random.choice(("forgetful", "forgetful_disk", "stale"))
        at_ms = random.randint(200, heal_ms - 100)
        who = min(liars)
        yield Damage(id=9, at_ms=at_ms, for_ms=50, replica=who, what=what, image_ms=random.randrange(at_ms))


def _times(random: Random, number: int, heal_ms: int) -> dict[str, int]:
    return {"id": number, "at_ms": random.randint(50, heal_ms - 50), "for_ms": random.randint(100, 700)}


def _pause(random: Random, number: int, size: int, heal_ms: int) -> Fault:
    """Of one of the first primaries: somebody else has to take over."""
    return Pause(**_times(random, number, heal_ms), replica=random.choice((0, 0, 1, size - 1)))


def _crash(random: Random, number: int, size: int, heal_ms: int) -> Fault:
    times, who = _times(random, number, heal_ms), random.randrange(size)
    return Crash(**times, replica=who, fuse=random.choice((0, random.randint(1, 12))), power=False)


def _partition(random: Random, number: int, size: int, heal_ms: int) -> Fault:
    replicas = random.sample(range(size), size)
    cut = random.choice((1, size // 2))
    sides = (tuple(sorted(replicas[:cut])), tuple(sorted(replicas[cut:])))
    return Partition(**_times(random, number, heal_ms), sides=sides, one_way=random.random() < 0.3)


def _route(random: Random, number: int, size: int, heal_ms: int) -> Fault:
    source, to = random.sample(range(size), 2)
    kind = random.choice(("", *MESSAGE_TYPES))
    return Route(**_times(random, number, heal_ms), source=source, to=to, message_type=kind)


BAD: Final[dict[str, Options]] = {
    "": {},
    "equivocate": {},
    "query_of_death": {"each": 1},
    "flood": {"times": 3},
    "replay": {"times": 2},
}


def _clients(random: Random, heal_ms: int) -> Iterator[Client]:
    """Two people who are done soon; now and then one of them is of a bad kind."""
    number = 0
    for index, name in enumerate(("ann", "bob")):
        kinds = ["register", "join" if index else "create", *random.choices(("post", "post", "post", "read"), k=2)]
        times = [20, 60, *sorted(random.randint(100, heal_ms) for _ in kinds[2:])]
        actions = tuple(
            Action(id=number + place, at_ms=at, kind=kind, room="main", text=_text(name, kind, number + place))
            for place, (kind, at) in enumerate(zip(kinds, times, strict=True))
        )
        number += len(actions)
        bad = index == 1 and random.random() < 0.15
        behaviour = random.choice(tuple(BAD)) if bad else ""
        yield Client(name=name, actions=actions, behaviour=behaviour, options=BAD[behaviour])


def _text(name: str, kind: str, number: int) -> str:
    return {"register": name, "create": "", "join": ""}.get(kind, f"{name} says {number}")
