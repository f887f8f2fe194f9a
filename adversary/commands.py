"""The commands of those who attack. Imported for every `quorate --help`: nothing heavy at the top."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App, Parameter

ATTACKING = "Attacking a group"


def add_commands(app: App, add: Callable[..., None]) -> None:
    """`add(app, path, name=, help=, group=)` registers a command by import path."""
    simulate = App(
        name="simulate",
        group=ATTACKING,
        help="Run the whole system in virtual time, with faults drawn from seeds.",
        default_parameter=Parameter(negative=""),
        help_epilogue="Example: quorate simulate --seeds 0..1000 --jobs 2",
    )

    @simulate.default
    def sweep(
        *,
        seeds: str = "0..100",
        replicas: int | None = None,
        jobs: int = 1,
        until_failure: bool = False,
        output: str = ".",
        json: bool = False,
    ) -> int:
        """Run the scenarios of many seeds, and check after every step what must hold.

        Exit codes: 0 all held, 1 an invariant broke, or a rare state was never reached, 2 usage.

        Parameters
        ----------
        seeds
            From A up to, but not including, B: `A..B`. One seed: `A`.
        replicas
            Size of all groups; otherwise drawn from 4, 7 and 10.
        jobs
            Processes. The results do not depend on it.
        until_failure
            Stop at the first seed that breaks an invariant.
        output
            Directory for the scenarios of failures, as JSON.
        json
            One JSON object on stdout.
        """
        from adversary.simulate_commands import sweep  # noqa: PLC0415 - not for every --help

        return sweep(seeds, replicas=replicas, jobs=jobs, until_failure=until_failure, output=output, as_json=json)

    app.command(simulate)
    add(
        simulate,
        "adversary.simulate_commands:replay",
        name="replay",
        help="Run one scenario out of its JSON file.",
    )
    add(
        simulate,
        "adversary.simulate_commands:shrink",
        name="shrink",
        help="Make a failing scenario as small as it gets.",
    )
    _add_attack(app, add)


def _add_attack(app: App, add: Callable[..., None]) -> None:
    attack = App(
        name="attack",
        group=ATTACKING,
        help="Attack a group in a way that has a name, and see whether it fares as it must.",
        help_epilogue="Example: quorate attack run split_primary",
    )
    app.command(attack)
    for function, name, text in (
        ("list_attacks", "list", "Name all attacks."),
        ("show", "show", "Tell what an attack does, and what is expected."),
        ("run", "run", "Run one attack, in virtual time or against real processes."),
        ("run_all", "all", "Run all attacks, at f and above."),
        ("replay", "replay", "Do an outcome, a scenario or an attack file again."),
    ):
        add(attack, f"adversary.attack_commands:{function}", name=name, help=text)
    add(
        attack, "adversary.live.commands:bench", name="bench", help="Measure what an attack leaves of the throughput."
    )
    add(attack, "adversary.fuzz.commands:fuzz", name="fuzz", help="Try lies that nobody named, drawn from seeds.")
