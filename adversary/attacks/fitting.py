"""Whether what an attack casts, breaks and lets people do makes sense in its group: the parts of `checking`.

Each function yields what is wrong, in one sentence that begins with the place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from inspect import getattr_static
from random import Random
from typing import Any, Final, get_args, get_type_hints

import msgspec

from adversary.behaviours.base import Means
from adversary.behaviours.catalogue import (
    BEHAVIOURS,
    LAYOUTS,
    PEEKABOO_TWIN,
    TWIN,
    UnknownBehaviour,
    make_behaviour,
)
from adversary.craft import Craft
from adversary.keys import make_group
from adversary.simulator.scenario import (
    CLIENT_BEHAVIOURS,
    DAMAGES_KNOWN,
    DURATION_MS_MAX,
    Cascade,
    Client,
    ClockStep,
    Crash,
    Damage,
    Fault,
    Liar,
    Network,
    Partition,
    Restarts,
    Route,
    Slow,
)
from pbft.core.messages import PeerMessage
from pbft.core.types import ReplicaId

PARTS_MAX: Final = 200
"""Liars, faults, or people's actions, of one attack each."""
NUMBER_MAX: Final = 2**53
SECOND_US: Final = 1_000_000
CENTURY_MS: Final = 100 * 365 * 24 * 3600 * 1000
TIMES_MAX: Final = 1_000
ACTIONS: Final = ("register", "create", "join", "leave", "post", "read", "history", "search")
MESSAGE_TYPES: Final = tuple(
    sorted(
        {
            part.__name__.removeprefix("Signed")
            for kind in get_args(PeerMessage)
            for part in (get_args(kind) or (kind,))
        }
        | {"archive"}
    )
)
"""What a route may lose: see `adversary.simulator.frames.message_type`."""

_OF_LAYOUTS: Final[dict[str, dict[str, Any]]] = {
    TWIN: {"sides": tuple[tuple[int, ...], ...]},
    PEEKABOO_TWIN: {"period_ms": int},
}
_TIMES: Final = {"start_ms": int, "until_ms": int}
_MOST: Final = {
    "rate": 1_000,
    "times": TIMES_MAX,
    "size": 2**20,
    "hold": 100_000,
    "depth": TIMES_MAX,
    **dict.fromkeys(("hold_ms", "period_ms", "start_ms", "until_ms"), DURATION_MS_MAX),
}
"""Of options that say how much; of the others any number that JSON carries exactly."""
_LEAST: Final = {"period_ms": 1}
_OF_REPLICAS: Final = frozenset({"to", "only", "sides"})
"""Options that name replicas; a `victim` does too, but for whoever censors people."""


def within(place: str, value: int, least: int, most: int) -> Iterator[str]:
    if not least <= value <= most:
        yield f"{place}: from {least} to {most}, not {value}"


def no_strangers(place: str, replicas: Iterable[int], size: int) -> Iterator[str]:
    """`place` of a list, whose items are numbered."""
    for number, replica in enumerate(replicas):
        yield from is_replica(f"{place}[{number}]", replica, size)


def is_replica(place: str, replica: int, size: int) -> Iterator[str]:
    if not 0 <= replica < size:
        yield f"{place}: no replica {replica}, there are 0 to {size - 1}"


def one_of(place: str, word: str, known: Iterable[str]) -> Iterator[str]:
    if word not in known:
        yield f"{place}: no {word!r}; there are {', '.join(filter(None, known))}"


def not_too_many(place: str, items: Sequence[object], most: int = PARTS_MAX) -> Iterator[str]:
    if len(items) > most:
        yield f"{place}: at most {most}, not {len(items)}"


# -- who is played


def of_cast(place: str, cast: Sequence[Liar], size: int) -> Iterator[str]:
    yield from not_too_many(place, cast)
    twins: set[int] = set()
    for number, liar in enumerate(cast):
        here = f"{place}[{number}]"
        yield from is_replica(f"{here}.replica", liar.replica, size)
        yield from one_of(f"{here}.strategy", liar.strategy, sorted((*BEHAVIOURS, *LAYOUTS)))
        yield from _of_options(f"{here}.options", liar, size)
        if liar.strategy in LAYOUTS:
            if liar.replica in twins:
                yield f"{here}: replica {liar.replica} is a twin already"
            twins.add(liar.replica)


def _of_options(place: str, liar: Liar, size: int) -> Iterator[str]:
    hints = _hints(liar.strategy)
    for name, value in liar.options.items():
        here = f"{place}.{name}"
        if name not in hints:
            yield f"{here}: {liar.strategy} has no such option; there are {', '.join(sorted(hints))}"
            continue
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            yield f"{here}: {str(error)[:1].lower()}{str(error)[1:].partition(' - at ')[0]}"
            continue
        yield from _of_numbers(here, name, value)
        if name in _OF_REPLICAS or (name == "victim" and liar.strategy != "censor"):
            for at, replica in _numbered(value):
                yield from is_replica(f"{here}{at}", replica, size)
    sides = liar.options.get("sides", ())
    if liar.strategy == TWIN and len(sides) not in {0, 2}:  # type: ignore[arg-type]  # looked at above
        yield f"{place}.sides: one for each of the two twins, not {len(sides)}"  # type: ignore[arg-type]
    start_ms, until_ms = liar.options.get("start_ms", 0), liar.options.get("until_ms", NUMBER_MAX)
    if until_ms <= start_ms:  # type: ignore[operator]  # looked at above
        yield f"{place}.until_ms: it ends at {until_ms}, before it starts at {start_ms}"
    try:
        make_behaviour([(liar.strategy, liar.options)], _anybody(size))
    except (UnknownBehaviour, ValueError) as error:
        yield f"{place}: {error}"


def _of_numbers(place: str, name: str, value: Any) -> Iterator[str]:
    for at, each in _numbered(value):
        yield from within(f"{place}{at}", each, _LEAST.get(name, 0), _MOST.get(name, NUMBER_MAX))


def _numbered(value: Any, at: str = "") -> Iterator[tuple[str, int]]:
    """All numbers of an option, with their places in it."""
    if isinstance(value, int):
        yield at, value
    elif not isinstance(value, str):
        for number, each in enumerate(value or ()):
            yield from _numbered(each, f"{at}[{number}]")


@lru_cache
def _hints(strategy: str) -> Mapping[str, Any]:
    """Of each option its type."""
    if strategy in LAYOUTS:
        return _OF_LAYOUTS[strategy] | (_TIMES if strategy == PEEKABOO_TWIN else {})
    made: Any = BEHAVIOURS[strategy]
    fixed = made.keywords if isinstance(made, partial) else {}
    made = made.func if isinstance(made, partial) else made
    hints = get_type_hints(getattr_static(made, "__init__") if isinstance(made, type) else made)
    first = next(iter(hints), "")
    return {name: hint for name, hint in hints.items() if name not in {first, "return", *fixed}} | _TIMES


@lru_cache
def _anybody(size: int) -> Means:
    """Of nobody in particular: to try options out."""
    return Means(me=ReplicaId(0), craft=Craft(make_group(size).held_by([0])), random=Random(0))  # noqa: S311


# -- what happens


def of_faults(place: str, faults: Sequence[Fault], size: int, until_ms: int) -> Iterator[str]:
    yield from not_too_many(place, faults)
    numbers: set[int] = set()
    for number, fault in enumerate(faults):
        here = f"{place}[{number}]"
        yield from within(f"{here}.id", fault.id, 0, NUMBER_MAX)
        if fault.id in numbers:
            yield f"{here}.id: {fault.id} is another one's"
        numbers.add(fault.id)
        yield from within(f"{here}.at_ms", fault.at_ms, 0, DURATION_MS_MAX)
        if fault.at_ms >= until_ms:
            yield f"{here}.at_ms: at {fault.at_ms} ms faults are over, they end with until_ms, {until_ms}"
        yield from within(f"{here}.for_ms", fault.for_ms, 0, DURATION_MS_MAX)
        if hasattr(fault, "replica"):
            yield from is_replica(f"{here}.replica", fault.replica, size)
        yield from _of_fault(here, fault, size)


def _of_fault(here: str, fault: Fault, size: int) -> Iterator[str]:
    match fault:
        case Crash():
            yield from within(f"{here}.fuse", fault.fuse, 0, NUMBER_MAX)
            yield from within(f"{here}.again", fault.again, 0, TIMES_MAX)
        case Partition():
            yield from _of_sides(f"{here}.sides", fault.sides, size)
        case Route():
            yield from is_replica(f"{here}.source", fault.source, size)
            yield from is_replica(f"{here}.to", fault.to, size)
            if fault.source == fault.to:
                yield f"{here}.to: replica {fault.to} has no link to itself"
            yield from one_of(f"{here}.message_type", fault.message_type, ("", *MESSAGE_TYPES))
            yield from within(f"{here}.loss", fault.loss, 1, 1_000)
        case Slow():
            yield from within(f"{here}.service_us", fault.service_us, 0, 60 * SECOND_US)
        case ClockStep():
            yield from within(f"{here}.step_ms", fault.step_ms, -CENTURY_MS, CENTURY_MS)
        case Damage():
            yield from one_of(f"{here}.what", fault.what, DAMAGES_KNOWN)
            yield from within(f"{here}.amount", fault.amount, 0, NUMBER_MAX)
            yield from within(f"{here}.image_ms", fault.image_ms, 0, max(0, fault.at_ms))
        case Cascade():
            yield from within(f"{here}.every_ms", fault.every_ms, 1, DURATION_MS_MAX)
            yield from within(f"{here}.down_ms", fault.down_ms, 0, DURATION_MS_MAX)
            yield from within(f"{here}.width", fault.width, 1, size)
        case Restarts():
            if not fault.replicas:
                yield f"{here}.replicas: names nobody"
            yield from not_too_many(f"{here}.replicas", fault.replicas)
            yield from no_strangers(f"{here}.replicas", fault.replicas, size)
            yield from within(f"{here}.down_ms", fault.down_ms, 0, DURATION_MS_MAX)


def _of_sides(place: str, sides: Sequence[Sequence[int]], size: int) -> Iterator[str]:
    for number, side in enumerate(sides):
        here = f"{place}[{number}]"
        if not side:
            yield f"{here}: nobody is on it"
        yield from no_strangers(here, side, size)
        if len(set(side)) != len(side):
            yield f"{here}: names a replica twice"
    if not 2 <= len(sides) <= size:
        yield f"{place}: from 2 to {size} sides, not {len(sides)}"


# -- who talks


def of_clients(place: str, clients: Sequence[Client], talking: Sequence[str]) -> Iterator[str]:
    """`talking`: names that are taken."""
    names, numbers = set(talking), set[int]()
    for number, client in enumerate(clients):
        here = f"{place}[{number}]"
        if not client.name:
            yield f"{here}.name: is empty"
        if client.name in talking:
            yield f"{here}.name: {client.name!r} is one of those who talk; talk.people sets how many"
        elif client.name in names:
            yield f"{here}.name: {client.name!r} is another one's"
        names.add(client.name)
        if client.equivocates and client.behaviour:
            yield f"{here}.behaviour: it equivocates; `equivocates` and `behaviour` go not together"
        yield from one_of(f"{here}.behaviour", client.behaviour, CLIENT_BEHAVIOURS)
        for name, value in client.options.items():
            yield from _of_client_option(f"{here}.options.{name}", name, value, client.behaves)
        yield from not_too_many(f"{here}.actions", client.actions)
        for index, action in enumerate(client.actions):
            at = f"{here}.actions[{index}]"
            yield from within(f"{at}.id", action.id, 0, 999_999)
            if action.id in numbers:
                yield f"{at}.id: {action.id} is another one's"
            numbers.add(action.id)
            yield from within(f"{at}.at_ms", action.at_ms, 0, DURATION_MS_MAX)
            yield from one_of(f"{at}.kind", action.kind, ACTIONS)


def _of_client_option(here: str, name: str, value: object, behaves: str) -> Iterator[str]:
    if name not in CLIENT_BEHAVIOURS.get(behaves, ()):
        yield f"{here}: {behaves or 'who behaves well'} has no such option"
    elif not isinstance(value, int):
        yield f"{here}: expected `int`, got {value!r}"
    else:
        yield from within(here, value, 1, TIMES_MAX)


# -- the network


def of_network(place: str, network: Network) -> Iterator[str]:
    for name in ("delay_us", "jitter_us", "spike_us", "frame_us"):
        yield from within(f"{place}.{name}", getattr(network, name), 0, 60 * SECOND_US)
    for name in ("loss", "duplicate", "reorder", "spike"):
        yield from within(f"{place}.{name}", getattr(network, name), 0, 1_000)
    yield from within(f"{place}.queue_frames", network.queue_frames, 1, 2**20)
