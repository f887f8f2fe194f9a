"""An attack and a seed make a scenario; the simulator runs it; what came of it is held against what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as replaced
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from adversary.attacks.checking import why_not
from adversary.attacks.judging import is_expected, judged
from adversary.attacks.model import PARAMETERS, Attack, AttackError
from adversary.attacks.outcome import Outcome
from adversary.attacks.recording import Recorder
from adversary.attacks.talking import people
from adversary.behaviours.playing import BehaviourFailed
from adversary.simulator.dice import Streams
from adversary.simulator.run import Simulation
from adversary.simulator.scenario import (
    Cascade,
    Fault,
    Partition,
    Restarts,
    Route,
    Scenario,
    ScenarioError,
    from_json,
    to_json,
)
from adversary.simulator.storage import workspace

__all__ = ["PARAMETERS", "SEED", "faulty_of", "run", "scenario_of"]

SEED: Final = 7
"""Where nobody asks for another."""
REJOINS: Final = "mute replica voted again"
"""Whoever expects this mark, waits for it."""


def scenario_of(attack: Attack, *, seed: int = SEED, replicas: int | None = None, above_f: bool = False) -> Scenario:
    """All that a run depends on. Raises AttackError if the attack does not fit the group."""
    attack = attack.played_above_f() if above_f else attack
    size = replicas or attack.replicas
    problem = why_not(replace(attack, replicas=size))
    if problem is not None:
        raise AttackError(f"{attack.name}: {problem}")
    cast = {liar.replica for liar in attack.cast}
    scenario = Scenario(
        seed=seed,
        replicas=size,
        real_signatures=attack.real_signatures,
        parameters=attack.in_parameters,
        retained_sequences=attack.retained_sequences,
        service_us=attack.service_us,
        message_us=attack.message_us,
        network=attack.network,
        drift_ppm=attack.drift_ppm,
        liars=attack.cast,
        clients=(*people(attack.talk, Streams(seed).random("talk")), *attack.clients),
        faults=attack.happens,
        heal_ms=attack.until_ms,
        core=tuple(replica for replica in range(size) if replica not in cast),
        rejoins=REJOINS in attack.expect.marks,
        bound_ms=attack.bound_ms,
        wait_ms=attack.expect.wait_ms,
    )
    try:
        from_json(to_json(scenario))
    except ScenarioError as error:
        raise AttackError(f"{attack.name}: {error}") from error
    most = (size - 1) // 3
    if above_f and len(faulty_of(scenario)) <= most:
        raise AttackError(f"{attack.name}: of {size} replicas {most} may be faulty, and above f no more of them are")
    return scenario


def faulty_of(scenario: Scenario) -> tuple[int, ...]:
    """Liars, and those whose process, disk or clock fails."""
    failing = {replica for fault in scenario.faults for replica in _struck(fault, scenario.replicas)}
    return tuple(sorted(failing | scenario.faulty))


def _struck(fault: Fault, replicas: int) -> Iterable[int]:
    match fault:
        case Partition() | Route():
            return ()
        case Restarts():
            return () if fault.guarded else fault.replicas
        case Cascade():  # one after another, or more than f at once
            return range(fault.width) if fault.width > (replicas - 1) // 3 else ()
        case _:
            return (fault.replica,)


def run(
    attack: Attack,
    *,
    seed: int = SEED,
    replicas: int | None = None,
    above_f: bool = False,
    keep: Path | None = None,
    record: bool = False,
) -> Outcome:
    """Run an attack in the simulator. Raises AttackError.

    `keep`: a directory for the scenario as JSON. `record`: whether the outcome has its moments, for a report.

    The same seed gives the same outcome, always. An attack that takes several seeds ends with the first that shows
    what is expected, or breaks what must hold.
    """
    tries = (attack.played_above_f() if above_f else attack).seeds
    for number in range(seed, seed + tries):
        outcome = _run_once(attack, number, replicas=replicas, above_f=above_f, keep=keep, record=record)
        expected = attack.expected(above_f=above_f).breaks
        if outcome.as_expected or (outcome.breaks and not is_expected(expected, outcome.breaks, outcome.breaks_text)):
            break
    return outcome


def _run_once(
    attack: Attack,
    seed: int,
    *,
    replicas: int | None,
    above_f: bool,
    keep: Path | None,
    record: bool,
) -> Outcome:
    scenario = scenario_of(attack, seed=seed, replicas=replicas, above_f=above_f)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        where = "above-f" if above_f else "at-f"
        (keep / f"{attack.name}-{where}-{seed}.json").write_bytes(to_json(scenario))
    with workspace() as directory:
        recorder = Recorder(scenario) if record else None
        simulation = Simulation(scenario, Path(directory), watch=recorder, autopsy=above_f)
        if recorder is not None:
            recorder.attach(simulation)
        try:
            result = simulation.run()
        except BehaviourFailed as failed:
            raise AttackError(f"{attack.name}: {failed}") from failed
    outcome = judged(attack, simulation, result, above_f=above_f, faulty=faulty_of(scenario))
    return outcome if recorder is None else replaced(outcome, moments=recorder.moments)
