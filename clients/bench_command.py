"""`quorate bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from chatsvc.application.bodies import BODY_BYTES_MAX
from chatsvc.groupfile import GroupFile, read_group_file
from clients.console import Output, fail, run
from clients.load import PERCENTILES, LoadPlan, LoadResult, run_load
from clients.processes import processes_of
from clients.sdk import ExitCode
from clients.takeover import run_takeover, start_all
from pbft.core.types import View

CLIENTS_MAX = 256


def bench(
    directory: Annotated[Path, Parameter(name="DIR")],
    *,
    clients: int = 8,
    window: int = 100,
    bundle: int = 1,
    seconds: float = 10.0,
    body_bytes: Annotated[int, Parameter(name="--bytes")] = 200,
    kill_primary: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure a running group: throughput, latency, CPU and fsyncs, beside this machine's Ed25519 rate.

    Clients run in this process, each with a key and connections of its own, in a room made for the run. All
    requests are signed, all replicas durable. Compare machines by accepted_per_verify, a ratio.

    With --kill-primary it measures what the loss of the primary costs: it starts the replicas itself, kills the
    primary in the middle of the run, and tells how long nothing was accepted, and whether anything that was accepted
    is lost or was executed twice. The replicas are stopped in the end.

    Example: quorate bench my-group --clients 8 --window 100 --seconds 10

    Parameters
    ----------
    directory
        The group's directory or group file.
    clients
        How many clients.
    window
        Operations that each has outstanding.
    bundle
        Most operations under one signature.
    seconds
        How long to measure, after a second of warming up.
    body_bytes
        Length of each message.
    kill_primary
        Start the replicas of a group that does not run, and kill the primary halfway.
    json
        One JSON object on stdout.
    """
    plan = LoadPlan(clients=clients, window=window, bundle=bundle, seconds=seconds, body_bytes=body_bytes)

    async def body() -> int:
        file = read_group_file(directory)
        problem = _problem(plan, file.group.parameters.client_window, file.group.parameters.request_operations_max)
        if problem is not None:
            return fail(problem, ExitCode.USAGE)
        output = Output(as_json=json)
        if kill_primary:
            return await _kill_primary(file, plan, output)
        with _progress(output, plan) as advance:
            result = await run_load(file.directory(), plan, advance)
        record = result.record(plan)
        if json:
            output.result({"replicas": file.group.size} | record, "")
        else:
            output.out.print(_table(result, plan))
        return ExitCode.ACCEPTED if result.accepted else ExitCode.UNKNOWN

    return run(body)


async def _kill_primary(file: GroupFile, plan: LoadPlan, output: Output) -> int:
    async with processes_of(file.path.parent) as processes:
        await start_all(file, processes)
        with _progress(output, plan) as advance:
            takeover = await run_takeover(file, processes, plan, advance)
    text = (
        f"replica {takeover.killed}, the primary of view {takeover.view_before}, was killed: nothing was accepted "
        f"for {takeover.gap_s:.2f} s\n"
        f"replica {file.group.primary(View(takeover.view_after))} took over as the primary of view "
        f"{takeover.view_after}\n"
        f"accepted {takeover.accepted_before} before and {takeover.accepted_after} after; rejected "
        f"{takeover.rejected}, without an outcome {takeover.unknown}\n"
        f"lost {takeover.lost}, executed twice {takeover.executed_twice}"
    )
    output.result({"replicas": file.group.size, "f": file.group.faulty_max} | takeover.record(), text)
    return ExitCode.DISAGREE if takeover.lost or takeover.executed_twice else ExitCode.ACCEPTED


@contextmanager
def _progress(output: Output, plan: LoadPlan) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal; it is told the seconds that have passed."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.err, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("measuring", total=plan.seconds)
        yield lambda passed: bar.update(task, completed=passed)
        bar.update(task, completed=plan.seconds)


def _problem(plan: LoadPlan, window_max: int, bundle_max: int) -> str | None:
    limits = (
        ("--clients", plan.clients, CLIENTS_MAX),
        ("--window", plan.window, window_max),
        ("--bundle", plan.bundle, bundle_max),
        ("--bytes", plan.body_bytes, BODY_BYTES_MAX),
    )
    for name, value, most in limits:
        if not 1 <= value <= most:
            return f"{name} {value}: from 1 to {most}"
    return None if plan.seconds > 0 else f"--seconds {plan.seconds}: must be above 0"


def _table(result: LoadResult, plan: LoadPlan) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    throughput = result.accepted / result.seconds
    table.add_row(
        "load", f"{plan.clients} clients x window {plan.window}, bundle {plan.bundle}, {plan.body_bytes} bytes"
    )
    table.add_row(
        "accepted", f"{result.accepted} in {result.seconds:.1f} s: {throughput:,.0f}/s ({result.failed} failed)"
    )
    table.add_row(
        "latency", "  ".join(f"{name} {result.percentile(share)} ms" for name, share in PERCENTILES.items())
    )
    costs = "  ".join("down" if cost is None else f"{cost:.0f}" for cost in result.replica_cpu_us)
    table.add_row("CPU us/operation", f"client {result.client_cpu_us:.0f}, replicas {costs}")
    rates = "  ".join("down" if rate is None else f"{rate:.0f}" for rate in result.commits_per_s)
    table.add_row("fsyncs/s", f"replicas {rates}")
    table.add_row(
        "Ed25519 verify/s", f"{result.verify_per_s:,.0f} on one core; ratio {throughput / result.verify_per_s:.3f}"
    )
    return table
