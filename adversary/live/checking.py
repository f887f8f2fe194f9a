"""Whether an attack can be carried out on real processes at all: asked before any is started."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

from adversary.attacks.model import Attack, AttackError
from adversary.attacks.running import scenario_of
from adversary.live.group import LiveError
from adversary.live.scripts import acts_of
from adversary.simulator.scenario import Cascade, Crash, Damage, DiskFull, Fault, Pause, Restarts

UNTIL_MS_MAX: Final = 60_000
Stop = tuple[int, int, str, int | None]
"""From when to when a process does not run, in milliseconds; why; and whose it is, None if that shows only then."""


def check(attack: Attack, *, seed: int, directory: Path | None = None) -> None:
    """Raises AttackError with what is wrong with the attack, or with `directory`, which is made if need be."""
    problem = _problem(attack)
    if problem is not None:
        raise AttackError(f"{attack.name}: {problem}")
    scenario_of(attack, seed=seed)
    try:
        acts_of(attack)
    except LiveError as error:
        raise AttackError(f"{attack.name}: {error}") from error
    if directory is not None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AttackError(
                f"--keep {directory}: {error.strerror}; give a directory that can be written to"
            ) from error


def _problem(attack: Attack) -> str | None:
    if attack.number and not attack.live:
        return "this row runs only in the simulator: leave --live out"
    for part, numbered in (("cast", attack.cast), ("happens", attack.happens)):
        for replica in (getattr(each, "replica", 0) for each in numbered):
            if not 0 <= replica < attack.replicas:
                return f"{part}: replica {replica}: a group of {attack.replicas} has 0 to {attack.replicas - 1}"
    talk = attack.talk
    if min(talk.people, talk.for_ms) < 1 or talk.messages < 0:
        return "talk: people and for_ms are at least 1, and messages 0"
    if not 0 < attack.until_ms <= UNTIL_MS_MAX:
        return f"until_ms {attack.until_ms}: above 0, and with real processes at most {UNTIL_MS_MAX}"
    if any(isinstance(fault, Restarts) and not fault.guarded for fault in attack.happens):
        return "happens: restarts that are not guarded are more than a group can bear, and run only in the simulator"
    return _overlap(attack)


def _overlap(attack: Attack) -> str | None:
    """One process cannot be stopped while it is stopped."""
    stops = [stop for fault in attack.happens for stop in _stops(fault, attack.until_ms)]
    for first, second in combinations(sorted(stops, key=lambda stop: (stop[0], stop[2] == "pause")), 2):
        (begin, end, one, replica), (other_begin, other_end, other, other_replica) = first, second
        same = replica == other_replica or replica is None or other_replica is None
        if "pause" in (one, other) and not _is_held_in_vain(first, second):
            continue
        if same and begin < other_end and other_begin < end:
            who = "whoever it meets" if None in (replica, other_replica) else f"replica {replica}"
            return (
                f"happens: {one} at {begin} ms and {other} at {other_begin} ms overlap for {who}: with real "
                "processes the one must be over before the other begins"
            )
    return None


def _is_held_in_vain(first: Stop, second: Stop) -> bool:
    """Of two stops, the first of which begins first, and one of which is a pause: who is held still can be killed, or
    held by two; but it writes nothing, so it does not notice its disk, and who is down cannot be held.
    """
    (_, _, one, replica), (_, _, other, other_replica) = first, second
    if "disk_full" in (one, other):
        return True
    return one != "pause" and replica is not None and other_replica is not None


def _stops(fault: Fault, until_ms: int) -> Iterator[Stop]:
    begin, end = fault.at_ms, fault.at_ms + fault.for_ms
    match fault:
        case Crash():
            yield begin, until_ms if fault.again else end, "crash", fault.replica
        case Damage():
            if fault.what == "stale":
                yield fault.image_ms, fault.image_ms + 1, "damage", fault.replica
            yield begin, end, "damage", fault.replica
        case DiskFull():
            yield begin, end, "disk_full", fault.replica
        case Pause():
            yield begin, end, "pause", fault.replica
        case Cascade():
            yield begin, end, "cascade", None
        case Restarts():
            yield begin, end, "restarts", None
        case _:
            return
