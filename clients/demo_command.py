"""`quorate demo`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from clients.console import Output, fail, run
from clients.demo import Demo, sample_log
from clients.import_command import import_progress
from clients.sdk import ExitCode

MESSAGES_MIN = 30


def demo(
    *,
    messages: int | None = None,
    keep: Annotated[Path | None, Parameter(name="--keep")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """See four replicas agree on a chat while one lies, one is killed, and then the primary is.

    Starts four processes on this machine, imports a morning of the real #ubuntu channel of 2009 with one user and
    key per nick, and ends with a table that shows that all replicas hold the same.

    Example: quorate demo

    Parameters
    ----------
    messages
        Import only so many messages.
    keep
        Do it in this new directory and leave it there; otherwise a temporary one is used and removed.
    json
        One JSON object per step on stdout; the last is the summary.
    """
    if messages is not None and messages < MESSAGES_MIN:
        return fail(f"--messages {messages}: at least {MESSAGES_MIN}", ExitCode.USAGE)
    output = Output(as_json=json)
    count = min(messages or len(sample_log().lines), len(sample_log().lines))

    async def body() -> int:
        if keep is not None:
            return await _run(keep)
        with tempfile.TemporaryDirectory(prefix="quorate-demo-") as directory:
            return await _run(Path(directory) / "group")

    async def _run(directory: Path) -> int:
        with import_progress(output, transient=True) as bar:
            task = bar.add_task("importing", total=count)

            def tell(text: str, record: dict[str, Any]) -> None:
                if json:
                    output.result({"step": text} | record, "")
                elif bar.disable:
                    output.remark(text)
                else:
                    bar.console.print(text, markup=False)

            story = Demo(directory=directory, tell=tell, advance=lambda: bar.advance(task), messages=count)
            summary = await story.run()
        if json:
            output.result(summary, "")
        else:
            _print(output, summary)
        return ExitCode.ACCEPTED if summary["state_roots_equal"] and summary["lies_detected"] else ExitCode.DISAGREE

    return run(body)


def _print(output: Output, summary: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("replica", "last executed", "state root"):
        table.add_column(title)
    rows = zip(summary["last_executed"], summary["state_roots"], strict=True)
    for number, (executed, root) in enumerate(rows):
        table.add_row(str(number), str(executed), root[:32])
    output.out.print(table)
    verdict = "equal at all replicas" if summary["state_roots_equal"] else "DIFFERENT"
    changes = summary["view_changes"]
    output.out.print(
        f"{summary['messages_accepted']} messages accepted, {summary['messages_followed_in_order']} read in order, "
        f"{summary['lies_detected']} lies caught\n"
        f"{summary['replicas_restarted']} replicas restarted, {changes} view change{'' if changes == 1 else 's'}\n"
        f"state {verdict}, after {summary['seconds']} s",
        markup=False,
    )
