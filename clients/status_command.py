"""`quorate status`."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from clients.console import COMMON, Common, Output, load_group, run
from clients.sdk import ExitCode
from pbft.client.inspection import Report, inspect_all


def status_table(answers: list[Report | str]) -> Table:
    """One row per replica."""
    table = Table(box=None, header_style="bold")
    for title in ("replica", "role", "view", "executed", "stable", "state root", "waiting", "links", "remark"):
        table.add_column(title)
    for number, answer in enumerate(answers):
        if isinstance(answer, str):
            table.add_row(str(number), Text("down", style="red"), *[""] * 6, Text(answer))
            continue
        peers: dict[str, Any] = answer["peers"]
        down = [peer for peer, link in peers.items() if not link["up"]]
        remarks = list(answer["alarms"])
        if answer["evidence"]:
            remarks.append(f"{answer['evidence']} proofs of misbehaviour")
        if down:
            remarks.append("no link to " + " ".join(down))
        table.add_row(
            str(number),
            Text(answer["role"] + (" (primary)" if answer["primary"] == number else "")),
            str(answer["view"]),
            str(answer["last_executed"]),
            str(answer["stable_checkpoint"]),
            Text(answer["state_root"][:8]),
            str(answer["pending_requests"]),
            f"{len(peers) - len(down)}/{len(peers)}",
            Text("; ".join(remarks)),
        )
    return table


def status(*, common: Common = COMMON) -> int:
    """Show how each replica is doing, as it says itself. Needs no identity.

    Exit code 0 if a quorum answers, 3 if too few do to order anything.

    Example: quorate status --json
    """

    async def body() -> int:
        file = load_group(common)
        answers = await inspect_all(file.directory(), timeout_s=min(common.timeout, 5.0))
        output = Output(as_json=common.json)
        if common.json:
            for number, answer in enumerate(answers):
                record = {"replica": number, "reason": answer} if isinstance(answer, str) else answer
                output.result(record | {"up": isinstance(answer, dict)}, "")
        else:
            output.out.print(status_table(answers))
        up = sum(isinstance(answer, dict) for answer in answers)
        if up < file.group.quorum:
            output.remark(
                f"{up} of {file.group.size} replicas answer; {file.group.quorum} are needed to order messages"
            )
            return ExitCode.UNKNOWN
        return ExitCode.ACCEPTED

    return run(body)
