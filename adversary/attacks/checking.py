"""Whether an attack makes sense as a whole. Nothing of it is run before it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from adversary.attacks.fitting import (
    NUMBER_MAX,
    SECOND_US,
    not_too_many,
    of_cast,
    of_clients,
    of_faults,
    of_network,
    one_of,
    within,
)
from adversary.attacks.model import FAMILIES, FORMAT, Attack, Expect
from adversary.attacks.talking import PEOPLE
from adversary.simulator.broken import INVARIANTS
from adversary.simulator.marks import MARKS
from adversary.simulator.scenario import CLIENTS_MAX, DURATION_MS_MAX, REPLICAS_MAX
from pbft.core.evidence import CODES
from pbft.core.group import REPLICAS_MIN, Parameters

SEEDS_MAX: Final = 1_000
NAME_MAX: Final = 60
MESSAGES_MAX: Final = 1_000
PPM_MAX: Final = 100_000
STOPS: Final = ("halt", "livelock", "censored", "laggards stuck", "stall", "lost")
"""How a run stands still: see `adversary.simulator.health.kind_of_stop`."""


def why_not(attack: Attack) -> str | None:
    """What is wrong with an attack, in one sentence that begins with the place; None if nothing is."""
    return next(_problems(attack), None)


def _problems(attack: Attack) -> Iterator[str]:
    yield from _of_names(attack)
    yield from _of_run("", attack)
    if attack.above_f is not None:
        yield from _of_run("above_f.", attack.played_above_f())


def _of_names(attack: Attack) -> Iterator[str]:
    if attack.format != FORMAT:
        yield f"format: {attack.format}, and this version reads {FORMAT}"
    if not re.fullmatch(rf"[A-Za-z0-9_]{{1,{NAME_MAX}}}", attack.name):
        yield f"name: up to {NAME_MAX} letters, digits and underscores, not {attack.name[:NAME_MAX]!r}"
    yield from one_of("family", attack.family, FAMILIES)
    yield from within("number", attack.number, 0, NUMBER_MAX)


def _of_run(at: str, attack: Attack) -> Iterator[str]:
    """What one run is made of, at f or above; `at` is where it stands in the file."""
    size, talk = attack.replicas, attack.talk
    if not REPLICAS_MIN <= size <= REPLICAS_MAX:
        yield f"{at}replicas: at least {REPLICAS_MIN} and at most {REPLICAS_MAX}, not {size}"
        return
    yield from of_parameters(f"{at}parameters", attack.in_parameters)
    yield from within(f"{at}retained_sequences", attack.retained_sequences, 0, NUMBER_MAX)
    yield from within(f"{at}service_us", attack.service_us, 0, 60 * SECOND_US)
    yield from within(f"{at}message_us", attack.message_us, 0, 60 * SECOND_US)
    yield from not_too_many(f"{at}drift_ppm", attack.drift_ppm, 2 * size)
    for number, drift in enumerate(attack.drift_ppm):
        yield from within(f"{at}drift_ppm[{number}]", drift, -PPM_MAX, PPM_MAX)
    yield from within(f"{at}until_ms", attack.until_ms, 1, DURATION_MS_MAX)
    yield from within(f"{at}bound_ms", attack.bound_ms, 1, DURATION_MS_MAX)
    yield from within(f"{at}seeds", attack.seeds, 1, SEEDS_MAX)
    yield from of_network(f"{at}network", attack.network)
    if not 0 <= talk.people <= len(PEOPLE):
        yield f"{at}talk.people: at most {len(PEOPLE)} talk, not {talk.people}; others are written out as clients"
    if talk.people == 0 and not attack.clients:
        yield f"{at}talk.people: nobody says anything, and there are no clients either"
    yield from within(f"{at}talk.messages", talk.messages, 0, MESSAGES_MAX)
    yield from within(f"{at}talk.for_ms", talk.for_ms, 1, DURATION_MS_MAX)
    yield from not_too_many(f"{at}clients", attack.clients, CLIENTS_MAX - talk.people)
    yield from of_clients(f"{at}clients", attack.clients, PEOPLE[: talk.people])
    yield from of_cast(f"{at}cast", attack.cast, size)
    yield from of_faults(f"{at}happens", attack.happens, size, attack.until_ms)
    yield from _of_expect(f"{at}expect", attack.expect, attack)


def of_parameters(place: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the parameters of a group."""
    known = Parameters.__dataclass_fields__
    for name, value in parameters.items():
        yield from one_of(place, name, known)
        if not isinstance(value, int):  # of a test, whose types nobody has looked at
            yield f"{place}.{name}: a number, not {value!r}"
        yield from within(f"{place}.{name}", value, 1, 2**31)
    try:
        Parameters(**parameters)
    except (TypeError, ValueError) as error:
        yield f"{place}: {error}"


def _of_expect(place: str, expect: Expect, attack: Attack) -> Iterator[str]:
    for number, code in enumerate(expect.evidence):
        yield from one_of(f"{place}.evidence[{number}]", code, CODES)
    for number, text in enumerate(expect.breaks):
        here = f"{place}.breaks[{number}]"
        invariant, _, stop = text.partition(":")
        if invariant not in INVARIANTS:
            yield f"{here}: no invariant {text!r}; there are {', '.join(INVARIANTS)}"
        if invariant == "progress" and not any(each.startswith(stop.strip()) for each in STOPS):
            yield f"{here}: a run stands still as {', '.join(STOPS)}, and not as {stop.strip()!r}"
        if invariant == "floor" and not expect.wait_ms:
            yield f"{place}.wait_ms: a floor can only break where it says how long anybody may wait"
    yield from within(f"{place}.culprits", expect.culprits, 0, attack.replicas)
    for number, mark in enumerate(expect.marks):
        if mark not in MARKS:
            yield f"{place}.marks[{number}]: no mark {mark!r}; they are listed in adversary/simulator/marks.py"
    yield from within(f"{place}.wait_ms", expect.wait_ms, 0, DURATION_MS_MAX)
    yield from within(f"{place}.live_wait_ms", expect.live_wait_ms, 0, DURATION_MS_MAX)
