"""`quorate attack bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from adversary.live.bench import ATTACKS, ROUNDS, Kept
from adversary.live.bench import bench as measure
from adversary.live.group import LiveError

ENOUGH: Final = 0
TOO_LITTLE: Final = 1
USAGE: Final = 2
UNKNOWN: Final = 3
SECONDS_MAX: Final = 600.0


def bench(
    *names: Annotated[str, Parameter(name="NAME")],
    seconds: float = 5.0,
    rounds: int = ROUNDS,
    keep: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Measure how much of its throughput a group of real processes keeps under attack.

    Each round founds a group, measures it, and measures another one under attack, with the same load. What is kept
    is a ratio, and so little troubled by whatever else the machine does. Attackers run on the same machine, at a
    lower priority.

    Exit codes: 0 each attack left what it must, 1 one did not, 2 usage, 3 it could not be measured.

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
    problem = _problem(names, seconds, rounds)
    if problem is not None:
        sys.stderr.write(f"quorate: {problem}\n")
        return USAGE
    err = Console(stderr=True)
    try:
        with err.status("measuring") as status:
            all_kept = measure(keep, names, seconds=seconds, rounds=rounds, tell=status.update)
    except LiveError as error:
        sys.stderr.write(f"quorate: {error}\n")
        return UNKNOWN
    if as_json:
        for kept in all_kept:
            sys.stdout.write(json.dumps(kept.record()) + "\n")
    else:
        Console().print(_table(all_kept))
    return ENOUGH if all(kept.is_enough for kept in all_kept) else TOO_LITTLE


def _problem(names: Sequence[str], seconds: float, rounds: int) -> str | None:
    strange = [name for name in names if name not in ATTACKS]
    if strange:
        return f"NAME {strange[0]}: one of {', '.join(ATTACKS)}"
    if not 0 < seconds <= SECONDS_MAX:
        return f"--seconds {seconds:g}: above 0, and at most {SECONDS_MAX:g}"
    return None if rounds >= 1 else f"--rounds {rounds}: at least 1"


def _table(all_kept: Sequence[Kept]) -> Table:
    table = Table(box=None)
    for title in ("attack", "accepted/s", "under attack", "kept", "by CPU", "must keep", "longest gap ms", "p99 ms"):
        table.add_column(title, justify="left" if title == "attack" else "right")
    for kept in all_kept:
        record = kept.record()
        rates, gaps, waits = record["accepted_per_s"], record["longest_gap_ms"], record["p99_ms"]
        table.add_row(
            kept.name,
            " ".join(f"{rate:,.0f}" for rate in rates["fault_free"]),
            " ".join(f"{rate:,.0f}" for rate in rates["attacked"]),
            f"{kept.share:.0%}",
            f"{kept.share_by_cpu:.0%}",
            f"{kept.way.floor:.0%}" if kept.way.floor else "-",
            f"{gaps['fault_free']:.0f}, {gaps['attacked']:.0f}",
            f"{waits['fault_free']:.0f}, {waits['attacked']:.0f}",
        )
    return table
