"""`quorate attack list`, `show`, `run`, `all` and `replay`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from adversary.attacks.catalogue import all_attacks, attack_named
from adversary.attacks.model import Attack, AttackError
from adversary.attacks.outcome import Outcome
from adversary.attacks.reading import kind_of, read_attack, read_told
from adversary.attacks.running import SEED
from adversary.attacks.running import run as simulated
from adversary.attacks.telling import attack_in_words, one_line, outcome_in_words
from adversary.simulate_commands import replay as replay_scenario
from adversary.simulator.scenario import REPLICAS_MAX
from pbft.core.group import REPLICAS_MIN

EXPECTED, OTHERWISE, USAGE = 0, 1, 2

Flag = Parameter(negative="")
Json = Annotated[bool, Parameter(name="--json", negative="")]
Task = tuple[Attack, bool]
"""An attack, and whether it is run above f."""


def list_attacks(*, as_json: Json = False) -> int:
    """Name all attacks.

    Example: quorate attack list

    Parameters
    ----------
    as_json
        One JSON object per attack on stdout.
    """
    for attack in all_attacks():
        if as_json:
            record = {
                "number": attack.number,
                "name": attack.name,
                "family": attack.family,
                "title": attack.title,
                "live": attack.live,
                "replicas": attack.replicas,
                "expect": attack.expect.record(),
                "above_f": attack.above_f is not None,
            }
            sys.stdout.write(json.dumps(record) + "\n")
        else:
            where = "L" if attack.live else " "
            above = "f+1" if attack.above_f else "   "
            line = f"{attack.number:2} {attack.name:19} {where} {above} {attack.family:12} {attack.title}"
            sys.stdout.write(line.rstrip() + "\n")
    return EXPECTED


def show(name: Annotated[str, Parameter(name="NAME")], *, as_json: Json = False) -> int:
    """Tell what an attack does, why it would hurt, and what is expected.

    Example: quorate attack show split_primary

    Parameters
    ----------
    name
        A name, a number, or a file of your own.
    as_json
        The attack as it can be edited and run as a file.
    """
    try:
        attack = attack_named(name)
    except AttackError as error:
        return _usage(str(error))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(attack), indent=1) + b"\n")
    else:
        sys.stdout.write(attack_in_words(attack))
    return EXPECTED


def run(
    name: Annotated[str, Parameter(name="NAME")],
    *,
    seed: int = SEED,
    live: Annotated[bool, Flag] = False,
    replicas: int | None = None,
    above_f: Annotated[bool, Flag] = False,
    as_json: Json = False,
    report: Path | None = None,
    keep: Path | None = None,
) -> int:
    """Attack a group, and see whether it fares as it must.

    Exit codes: 0 as expected, 1 not, 2 usage.

    Example: quorate attack run split_primary --above-f

    Parameters
    ----------
    name
        A name, a number, or a file of your own.
    seed
        Draws the chat and everything that happens by chance.
    live
        Against real processes instead of in virtual time.
    replicas
        Size of the group; otherwise what the attack says.
    above_f
        With more faulty replicas than the group can bear: the break that follows must be noticed.
    as_json
        One JSON object on stdout.
    report
        Directory for a page that shows what happened.
    keep
        Directory for what does it again: the scenario as JSON, or the files of the real group.
    """
    if replicas is not None and not REPLICAS_MIN <= replicas <= REPLICAS_MAX:
        return _usage(f"--replicas {replicas}: from {REPLICAS_MIN} to {REPLICAS_MAX}")
    problem = _why_not_writable("--report", report) or _why_not_writable("--keep", None if live else keep)
    if problem is not None:
        return _usage(problem)
    try:
        attack = attack_named(name)
        wanted = report is not None
        outcome = _run((attack, above_f), seed=seed, replicas=replicas, live=live, keep=keep, record=wanted)
        if attack not in all_attacks():
            start = f"quorate attack run {attack.name}"
            again = f"quorate attack run {shlex.quote(name)}{outcome.replay.removeprefix(start)}"
            outcome = replace(outcome, replay=again)
    except AttackError as error:
        return _usage(str(error))
    _tell(outcome, as_json=as_json, report=report)
    return EXPECTED if outcome.as_expected else OTHERWISE


def _why_not_writable(option: str, directory: Path | None) -> str | None:
    """Found out before the run, not after it."""
    if directory is None:
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{option} {directory}: {error.strerror}; give a directory that can be written to"
    if not os.access(directory, os.W_OK):
        return f"{option} {directory}: it cannot be written to"
    return None


def run_all(
    *,
    seed: int = SEED,
    live: Annotated[bool, Flag] = False,
    above_f: Annotated[bool, Flag] = False,
    jobs: int = 1,
    as_json: Json = False,
    report: Path | None = None,
) -> int:
    """Run all attacks, at f and, where that is to break something, above f.

    Exit codes: 0 all as expected, 1 not, 2 usage.

    Example: quorate attack all --jobs 2

    Parameters
    ----------
    seed
        Draws the chat and everything that happens by chance.
    live
        Against real processes: those attacks that are marked so, at f, one after another.
    above_f
        Only with more faulty replicas than the group can bear.
    jobs
        Processes. The outcomes do not depend on it.
    as_json
        One JSON object per run on stdout.
    report
        Directory for a page about each run, and one that lists them.
    """
    if jobs < 1:
        return _usage(f"--jobs {jobs}: at least 1")
    if live and above_f:
        return _usage("--live --above-f: above f attacks run in virtual time only")
    problem = _why_not_writable("--report", report)
    if problem is not None:
        return _usage(problem)
    tasks = list(_tasks(live=live, above_f=above_f))
    one = partial(_run, seed=seed, replicas=None, live=live, keep=None, record=report is not None)
    outcomes: list[Outcome] = []
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("attacking", total=len(tasks))
        for outcome in _each(one, tasks, 1 if live else jobs):
            outcomes.append(outcome)
            line = json.dumps(record_of(outcome)) if as_json else one_line(outcome)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            bar.update(task, advance=1, description=outcome.attack.name)
            _report(outcome, report)
    _index(outcomes, report)
    good = sum(outcome.as_expected for outcome in outcomes)
    if not as_json:
        sys.stdout.write(f"{good} of {len(outcomes)} as expected\n")
    return EXPECTED if good == len(outcomes) else OTHERWISE


def replay(
    file: Annotated[Path, Parameter(name="FILE")],
    *,
    seed: int = SEED,
    above_f: Annotated[bool, Flag] = False,
    as_json: Json = False,
) -> int:
    """Do it again: what `run --json` printed, a scenario that `run --keep` or `fuzz` left, or an attack of your own.

    Exit codes: 0 as expected, 1 not, 2 usage.

    Example: quorate attack replay outcome.json

    Parameters
    ----------
    file
        An outcome, a scenario or an attack, as JSON.
    seed
        For an attack: draws the chat and everything that happens by chance.
    above_f
        For an attack: with more faulty replicas than the group can bear.
    as_json
        One JSON object on stdout.
    """
    try:
        kind = kind_of(file)
        if kind == "scenario":
            return replay_scenario(file, as_json=as_json)
        if kind == "outcome":
            told = read_told(file)
            attack = attack_named(told.name) if told.attack is None else told.attack
            outcome = _run((attack, told.above_f), seed=told.seed, replicas=told.replicas, live=told.world == "live")
        else:
            outcome = _run((read_attack(file), above_f), seed=seed)
    except AttackError as error:
        text = str(error)
        return _usage(text if text.startswith(f"{file}: ") else f"{file}: {text}")
    _tell(outcome, as_json=as_json, report=None)
    return EXPECTED if outcome.as_expected else OTHERWISE


def _tasks(*, live: bool, above_f: bool) -> Iterator[Task]:
    for attack in all_attacks():
        if live and not attack.live:
            continue
        if not above_f:
            yield attack, False
        if attack.above_f is not None and not live:
            yield attack, True


def _each(one: Any, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(one, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, tasks)


def _run(
    task: Task,
    *,
    seed: int,
    replicas: int | None = None,
    live: bool = False,
    keep: Path | None = None,
    record: bool = False,
) -> Outcome:
    """Raises AttackError."""
    attack, above_f = task
    if not live:
        return simulated(attack, seed=seed, replicas=replicas, above_f=above_f, keep=keep, record=record)
    if above_f:
        raise AttackError("above f attacks run in virtual time only: leave --live out")
    from adversary.live.running import run_live  # noqa: PLC0415 - processes only where they are wanted

    return run_live(attack, seed=seed, replicas=replicas, directory=keep)


def record_of(outcome: Outcome) -> dict[str, Any]:
    """For JSON: with the attack itself where it is none of the catalogue, so that it can be replayed."""
    record = outcome.record()
    if outcome.attack not in all_attacks():
        record["attack"] = msgspec.to_builtins(outcome.attack)
    return record


def _tell(outcome: Outcome, *, as_json: bool, report: Path | None) -> None:
    page = _report(outcome, report)
    if as_json:
        sys.stdout.write(json.dumps(record_of(outcome)) + "\n")
    else:
        sys.stdout.write(outcome_in_words(outcome))
        if page is not None:
            sys.stdout.write(f"report: {page}\n")


def _report(outcome: Outcome, directory: Path | None) -> Path | None:
    if directory is None:
        return None
    from adversary.reports import write_report  # noqa: PLC0415 - pages only where they are wanted

    return write_report(outcome, directory)


def _index(outcomes: Sequence[Outcome], directory: Path | None) -> None:
    if directory is not None:
        from adversary.reports import write_index  # noqa: PLC0415 - pages only where they are wanted

        write_index(outcomes, directory)


def _usage(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return USAGE
