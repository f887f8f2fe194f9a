"""`quorate simulate`, `quorate simulate replay` and `quorate simulate shrink`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adversary.simulator.drawing import draw
from adversary.simulator.marks import MARKS
from adversary.simulator.run import Failure, Result, simulate
from adversary.simulator.scenario import (
    REPLICAS_MAX,
    Scenario,
    ScenarioError,
    read_scenario,
    to_json,
)
from adversary.simulator.shrinking import shrunk
from adversary.simulator.storage import workspace
from adversary.simulator.sweep import SEEDS_FOR_ALL_MARKS, Draw, Summary
from adversary.simulator.sweep import sweep as run_seeds
from pbft.core.group import REPLICAS_MIN

HELD, BROKE, USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sweep: how a seed is drawn, how its failures are replayed, and whether it must come by every mark."""

    draw: Draw = draw
    replay: str = "quorate simulate replay {} --trace"
    demands_marks: bool = True


def sweep(
    seeds: str,
    *,
    replicas: int | None,
    jobs: int,
    until_failure: bool,
    output: str,
    as_json: bool,
    kind: Kind | None = None,
) -> int:
    """See `adversary.commands`."""
    kind = kind or Kind()
    numbers = _seeds(seeds)
    if numbers is None:
        return _usage(f"--seeds {seeds}: give a range like 0..1000, or one seed")
    if replicas is not None and not REPLICAS_MIN <= replicas <= REPLICAS_MAX:
        return _usage(f"--replicas {replicas}: from {REPLICAS_MIN} to {REPLICAS_MAX}")
    if jobs < 1:
        return _usage(f"--jobs {jobs}: at least 1")
    if not os.access(output, os.W_OK):
        return _usage(f"--output {output}: not a directory that can be written to")
    summary = Summary(demands_marks=kind.demands_marks)
    err = Console(stderr=True)
    interrupted = False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("simulating", total=len(numbers))
        results = run_seeds(numbers, replicas=replicas, jobs=jobs, draw=kind.draw)
        try:
            for seed, result in results:
                summary.add(seed, result)
                speed = summary.seeds / max(bar.tasks[0].elapsed or 0.0, 0.001)
                bar.update(task, completed=summary.seeds, description=f"{speed:.1f} seeds/s")
                if result.failure is not None:
                    path = Path(output) / f"seed-{seed}.json"
                    _report(err, kind.draw(seed, replicas), result.failure, path, kind.replay.format(path))
                    if until_failure:
                        break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            results.close()
    _show(summary, as_json=as_json)
    if interrupted:
        return INTERRUPTED
    return HELD if summary.is_good else BROKE


def _seeds(text: str) -> range | None:
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        return None
    numbers = range(int(first), int(last) if dots else int(first) + 1)
    return numbers or None


def _usage(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return USAGE


def _report(err: Console, scenario: Scenario, failure: Failure, path: Path, replay: str) -> None:
    path.write_bytes(to_json(scenario))
    can = "could" if failure.recoverable else "could not"
    err.print(
        f"seed {scenario.seed}, {scenario.replicas} replicas, after {failure.at_ms / 1000:.3f} s: "
        f"{failure.invariant}: {failure.text}\n"
        f"  (the group {can} be expected to recover: {len(scenario.faulty)} faulty)\n"
        f"  replay: {replay}\n"
        f"  make it smaller: quorate simulate shrink {path}",
        markup=False,
        highlight=False,
    )


def _show(summary: Summary, *, as_json: bool) -> None:
    record = summary.record()
    if as_json:
        sys.stdout.write(json.dumps(record) + "\n")
        return
    seconds = summary.virtual_ms / 1000
    sys.stdout.write(
        f"{summary.seeds} seeds, {len(summary.failures)} failures; {summary.steps} steps, "
        f"{summary.accepted} operations accepted, {summary.view_changes} view changes, "
        f"{summary.transfers} state transfers, {seconds:.0f} virtual seconds\n"
        f"{len(summary.marks)} of {sum(MARKS.values())} rare states reached; trace digest {record['digest']}\n"
    )
    if summary.never_reached and summary.demands_marks:
        grave = "" if summary.seeds >= SEEDS_FOR_ALL_MARKS else f" (an error from {SEEDS_FOR_ALL_MARKS} seeds on)"
        sys.stdout.write(f"never reached{grave}: {', '.join(summary.never_reached)}\n")


def replay(
    file: Annotated[Path, Parameter(name="FILE")],
    *,
    trace: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Run one scenario. It needs nothing but its file, and does the same every time.

    Exit codes: 0 all held, 1 an invariant broke, 2 usage.

    Example: quorate simulate replay seed-17.json --trace

    Parameters
    ----------
    file
        A scenario as JSON.
    trace
        Print what happens, one line each, with the virtual time in milliseconds.
    as_json
        One JSON object on stdout.
    """
    try:
        scenario = read_scenario(file)
    except ScenarioError as error:
        return _usage(str(error))
    stream = sys.stderr if as_json else sys.stdout

    def line(text: str) -> None:
        stream.write(f"{text}\n")

    with workspace() as directory:
        result = simulate(scenario, Path(directory), trace=line if trace else None)
    _show_result(result, as_json=as_json)
    return HELD if result.failure is None else BROKE


def _show_result(result: Result, *, as_json: bool) -> None:
    failure = result.failure
    if as_json:
        record = {
            "failure": None if failure is None else {"invariant": failure.invariant, "text": failure.text},
            "steps": result.steps,
            "deliveries": result.deliveries,
            "accepted": result.accepted,
            "virtual_ms": result.virtual_ms,
            "marks": sorted(result.marks),
            "digest": result.digest,
        }
        sys.stdout.write(json.dumps(record) + "\n")
        return
    said = "all held" if failure is None else f"{failure.invariant}: {failure.text}"
    sys.stdout.write(
        f"{said}\n{result.steps} steps, {result.accepted} operations accepted, "
        f"{result.virtual_ms / 1000:.3f} virtual seconds; trace digest {result.digest}\n"
    )


def shrink(
    file: Annotated[Path, Parameter(name="FILE")],
    *,
    output: Annotated[Path | None, Parameter(name="--output")] = None,
    runs: int = 400,
) -> int:
    """Take out of a failing scenario whatever the failure does not need.

    It goes on as long as the same invariant breaks. Exit codes: 0 made smaller, 1 it does not fail, 2 usage.

    Example: quorate simulate shrink seed-17.json

    Parameters
    ----------
    file
        A scenario as JSON.
    output
        Where the smaller one goes; otherwise beside it, as FILE.small.json.
    runs
        How many scenarios are tried at most.
    """
    try:
        scenario = read_scenario(file)
    except ScenarioError as error:
        return _usage(str(error))
    target = output or file.with_suffix(".small.json")
    err = Console(stderr=True)
    with workspace() as directory, Progress(console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("shrinking", total=runs)
        small = shrunk(scenario, directory, runs_max=runs, tell=lambda done: bar.update(task, completed=done))
    if small is None:
        sys.stderr.write(f"{file}: nothing breaks in this scenario\n")
        return BROKE
    target.write_bytes(to_json(small))
    sys.stdout.write(
        f"{target}: {len(small.faults)} of {len(scenario.faults)} faults, {_actions(small)} of {_actions(scenario)} "
        f"operations\nreplay: quorate simulate replay {target} --trace\n"
    )
    return HELD


def _actions(scenario: Scenario) -> int:
    return sum(len(client.actions) for client in scenario.clients)
