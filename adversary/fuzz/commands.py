"""`quorate attack fuzz`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from adversary.fuzz.drawing import draw
from adversary.simulate_commands import Kind, sweep

KIND = Kind(draw=draw, replay="quorate attack replay {}", demands_marks=False)


def fuzz(
    *,
    seeds: str = "0..1000",
    replicas: int | None = None,
    jobs: int = 1,
    until_failure: Annotated[bool, Parameter(negative="")] = False,
    output: str = ".",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Try lies that nobody named: each seed draws f replicas with some behaviours each, and a short run.

    Exit codes: 0 all held, 1 an invariant broke, 2 usage.

    Example: quorate attack fuzz --seeds 0..10000 --jobs 2

    Parameters
    ----------
    seeds
        From A up to, but not including, B: `A..B`. One seed: `A`.
    replicas
        Size of all groups; otherwise drawn, mostly 4.
    jobs
        Processes. The results do not depend on it.
    until_failure
        Stop at the first seed that breaks an invariant.
    output
        Directory for the scenarios of failures, as JSON.
    as_json
        One JSON object on stdout.
    """
    return sweep(
        seeds,
        replicas=replicas,
        jobs=jobs,
        until_failure=until_failure,
        output=output,
        as_json=as_json,
        kind=KIND,
    )
