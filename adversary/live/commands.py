"""`quorate attack bench`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from adversary.live.bench import ATTACKS, ROUNDS, STOP_MS_MAX, Kept, home_of
from adversary.live.bench import bench as measure
from adversary.live.group import LiveError

ENOUGH: Final = 0
TOO_LITTLE: Final = 1
USAGE: Final = 2
UNKNOWN: Final = 3
SECONDS_MAX: Final = 600.0
ROUNDS_MAX: Final = 100
LEGEND: Final = (
    "Accepted operations a second, medians of the rounds. Gap: the longest time in which nothing was accepted, "
    f"undisturbed and attacked, which may be {STOP_MS_MAX} ms. CPU, for information: what would be left if only the "
    "replicas' CPU counted."
)


def bench(
    *names: Annotated[str, Parameter(name="NAME")],
    seconds: float = 5.0,
    rounds: int = ROUNDS,
    keep: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Measure how much of its throughput a group of real processes keeps under attack.

    Each round founds a group, measures it, and measures another one under attack, with the same load. What is kept
    is a ratio, and so little troubled by whatever else the machine does; the median of the rounds counts, and how far
    they lie apart is told. Attackers run on the same machine, at a lower priority. An attack must leave its share of
    the throughput, and may never stop everything for longer than the bound.

    Exit codes: 0 each attack left what it must, 1 one did not, 2 usage, 3 it could not be measured, or the attackers
    did nothing.

    Example: quorate attack bench flood cbor_bombs --seconds 10

    Parameters
    ----------
    names
        slow_primary, flood, everything, cbor_bombs, vc_storm, reply_lie; without a name all of them.
    seconds
        How long each measurement takes, after a second of warming up.
    rounds
        How often each attack is measured; the median counts.
    keep
        Directory for the files of the groups; otherwise they are removed.
    as_json
        One JSON object for each attack on stdout.
    """
    problem = _problem(names, seconds, rounds, keep)
    if problem is not None:
        sys.stderr.write(f"quorate: {problem}\n")
        return USAGE
    all_kept: list[Kept] = []
    failure = ""
    try:
        with Console(stderr=True).status("measuring") as status:
            for kept in measure(keep, names, seconds=seconds, rounds=rounds, tell=status.update):
                all_kept.append(kept)
                if as_json:
                    sys.stdout.write(json.dumps(kept.record()) + "\n")
                    sys.stdout.flush()
    except LiveError as error:
        failure = str(error)
    if all_kept and not as_json:
        Console().print(_table(all_kept))
    return _verdict(all_kept, failure)


def _verdict(all_kept: Sequence[Kept], failure: str) -> int:
    """Says what is wrong, and gives the exit code."""
    idle = [f"{kept.name}: {kept.why_no_attack}" for kept in all_kept if kept.why_no_attack]
    too_little = [f"{kept.name}: {kept.why_not_enough}" for kept in all_kept if kept.why_not_enough]
    for text in (*too_little, *idle, *([failure] if failure else [])):
        sys.stderr.write(f"quorate: {text}\n")
    if failure or idle:
        return UNKNOWN
    return TOO_LITTLE if too_little else ENOUGH


def _problem(names: Sequence[str], seconds: float, rounds: int, keep: Path | None) -> str | None:
    strange = [name for name in names if name not in ATTACKS]
    if strange:
        return f"NAME {strange[0]}: one of {', '.join(ATTACKS)}"
    if not 0 < seconds <= SECONDS_MAX:
        return f"--seconds {seconds:g}: above 0, and at most {SECONDS_MAX:g}"
    if not 1 <= rounds <= ROUNDS_MAX:
        return f"--rounds {rounds}: from 1 to {ROUNDS_MAX}"
    return None if keep is None else _why_not_kept(keep, names or [*ATTACKS], rounds)


def _why_not_kept(keep: Path, names: Sequence[str], rounds: int) -> str | None:
    """Found out before anything is measured."""
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"--keep {keep}: {error.strerror}; give a directory that can be written to"
    if not os.access(keep, os.W_OK):
        return f"--keep {keep}: it cannot be written to"
    homes = [
        home_of(keep, name, number, attacked=each)
        for name in names
        for number in range(rounds)
        for each in (False, True)
    ]
    there = [home for home in homes if home.exists()]
    return f"--keep {keep}: {there[0].name} exists already; give another directory" if there else None


def _table(all_kept: Sequence[Kept]) -> Table:
    """Of 80 columns; `--json` has each round, and more of it."""
    table = Table(box=None, caption_justify="left", caption=LEGEND)
    for title in ("attack", "quiet", "attacked", "kept", "of rounds", "must", "CPU", "gap ms"):
        table.add_column(title, justify="left" if title == "attack" else "right", no_wrap=True)
    for kept in all_kept:
        shares = [each.share for each in kept.rounds]
        by_cpu = kept.share_by_cpu
        table.add_row(
            kept.name,
            f"{median(each.quiet.rate for each in kept.rounds):,.0f}",
            f"{median(each.attacked.rate for each in kept.rounds):,.0f}",
            f"{kept.share:.0%}",
            f"{min(shares):.0%} to {max(shares):.0%}",
            f"{kept.way.floor:.0%}" if kept.way.floor else "-",
            "-" if by_cpu is None else f"{by_cpu:.0%}",
            f"{max(each.quiet.measured.longest_gap_ms for each in kept.rounds):.0f}, {kept.longest_gap_ms:.0f}",
        )
    return table
