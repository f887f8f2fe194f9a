"""`quorate status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from clients.console import COMMON, Common, Output, load_group, run
from clients.sdk import ExitCode
from pbft.client.inspection import Report, inspect_all
from pbft.core.group import Group

COLUMNS = ("replica", "role", "view", "executed", "stable", "state root", "pending", "links", "remark")
ROLE_STYLES = {"voting": "green", "transferring": "yellow", "mute": "yellow"}
"""Any other role is something that a person must look at."""
FAR_BATCHES_MIN = 16
"""Under load the replicas are asked at slightly different moments, and stand a few batches apart."""
Answers = Sequence[Report | str]


def status_table(answers: Answers, group: Group) -> Table:
    """One row per replica. The remark says what is wrong with it, if anything is."""
    table = Table(box=None, header_style="bold")
    for title in COLUMNS:
        table.add_column(title)
    reports = [answer for answer in answers if isinstance(answer, dict)]
    for number, answer in enumerate(answers):
        if isinstance(answer, str):
            table.add_row(str(number), Text("down", style="red"), *[""] * (len(COLUMNS) - 3), Text(answer))
            continue
        peers = answer["peers"]
        up = sum(link["up"] for link in peers.values())
        role = Text(answer["role"], style=ROLE_STYLES.get(answer["role"], "red"))
        if answer["primary"] == number:
            role.append(" (primary)", style="default")
        table.add_row(
            str(number),
            role,
            str(answer["view"]) + ("..." if answer["in_view_change"] else ""),
            str(answer["last_executed"]),
            str(answer["stable_checkpoint"]),
            Text(answer["state_root"][:8]),
            str(answer["pending_requests"]),
            f"{up}/{len(peers)}",
            Text("; ".join(remarks(answer, reports, group))),
        )
    return table


def remarks(report: Report, reports: Sequence[Report], group: Group) -> list[str]:
    """What an operator must know of one replica, the worst first. `reports`: of all that answered."""
    found = list(report["alarms"])
    at_the_same_place = [other for other in reports if other["last_executed"] == report["last_executed"]]
    roots = Counter(other["state_root"] for other in at_the_same_place)
    if len(roots) > 1 and roots[report["state_root"]] * 2 <= len(at_the_same_place):
        found.append("its state differs from the others' at the same place")
    if report["evidence"]:
        found.append(f"{report['evidence']} proofs of misbehaviour")
    if report["in_view_change"]:
        found.append(f"no primary: changing to view {report['view']}")
    waiting = report["waiting_for"]
    if waiting is not None:
        found.append(f"waits for {_names(waiting['replicas'])}: {waiting['what']}")
    transfer = report["transfer"]
    if transfer is not None:
        found.append(
            f"fetches the state of checkpoint {transfer['checkpoint']}: {transfer['pages_fetched']} of "
            f"{transfer['pages_wanted']} pages, {transfer['bytes_fetched'] / 1e6:.1f} MB"
        )
    found.extend(_distance(report, reports, group))
    down = [peer for peer, link in report["peers"].items() if not link["up"]]
    if down:
        found.append("no link to " + " ".join(down))
    return found


def _distance(report: Report, reports: Sequence[Report], group: Group) -> list[str]:
    """Whether it is far from what f + 1 replicas say they have executed: one of them is correct."""
    executed = sorted((other["last_executed"] for other in reports), reverse=True)
    if len(executed) < group.honest_minimum:
        return []
    behind = executed[group.honest_minimum - 1] - report["last_executed"]
    if behind >= FAR_BATCHES_MIN:
        return [f"{behind} batches behind"]
    if behind <= -FAR_BATCHES_MIN:
        return [f"says that it is {-behind} batches ahead, which too few others confirm"]
    return []


def trouble(answers: Answers, group: Group) -> str | None:
    """Why the group cannot order messages, as far as its replicas say; None if they give no reason."""
    up = [answer for answer in answers if isinstance(answer, dict)]
    voting = [report for report in up if report["role"] == "voting"]
    if len(up) < group.quorum:
        return f"{len(up)} of {group.size} replicas answer; {group.quorum} are needed to order messages"
    if len(voting) < group.quorum:
        return f"{len(voting)} of {group.size} replicas vote; {group.quorum} are needed to order messages"
    return None


def _names(replicas: Sequence[int]) -> str:
    if not replicas:
        return "the others"
    return ("replica " if len(replicas) == 1 else "replicas ") + " ".join(map(str, replicas))


def status(*, common: Common = COMMON) -> int:
    """Show how each replica is doing, as it says itself. Needs no identity.

    Exit code 0 if a quorum answers and votes, 3 if too few do to order anything.

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
            output.out.print(status_table(answers, file.group))
        problem = trouble(answers, file.group)
        if problem is not None:
            output.remark(problem)
            return ExitCode.UNKNOWN
        return ExitCode.ACCEPTED

    return run(body)
