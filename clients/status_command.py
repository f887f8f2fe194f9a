"""`quorate status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from chatsvc.expiry import expiry_warnings
from clients.console import COMMON, Common, Output, load_group, run
from clients.sdk import ExitCode
from crypto.tls import days_left
from pbft.client.inspection import Report, inspect_all
from pbft.core.group import Group

COLUMNS = ("replica", "role", "view", "executed", "stable", "root", "pending", "links")
NUMBERS = frozenset({"view", "executed", "stable", "pending"})
ROLE_STYLES = {"voting": "green", "transferring": "yellow", "mute": "yellow"}
"""Any other role is something that a person must look at."""
ROLE_CHARACTERS_MAX = 12
FAR_BATCHES_MIN = 16
"""Under load the replicas are asked at slightly different moments, and stand a few batches apart."""
Answers = Sequence[Report | str]


def status_table(answers: Answers) -> Table:
    """One row per replica."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in COLUMNS:
        # Columns that may wrap are the ones that shrink: a liar's numbers take no room from the rest.
        wide = ROLE_CHARACTERS_MAX if title == "role" else None
        table.add_column(title, no_wrap=title not in NUMBERS, overflow="ellipsis", max_width=wide)
    for number, answer in enumerate(answers):
        if isinstance(answer, str):
            table.add_row(str(number), Text("down", style="red"))
            continue
        peers = answer["peers"]
        up = sum(link["up"] for link in peers.values())
        table.add_row(
            f"{number} (primary)" if answer["primary"] == number else str(number),
            Text(answer["role"], style=ROLE_STYLES.get(answer["role"], "red")),
            str(answer["view"]) + ("..." if answer["in_view_change"] else ""),
            str(answer["last_executed"]),
            str(answer["stable_checkpoint"]),
            Text(answer["state_root"][:8]),
            str(answer["pending_requests"]),
            f"{up}/{len(peers)}",
        )
    return table


def remark_table(answers: Answers, group: Group) -> Table | None:
    """What is wrong with which replica, a line each; None if all are well."""
    table = Table.grid(padding=(0, 2, 0, 0))
    reports = [answer for answer in answers if isinstance(answer, dict)]
    for number, answer in enumerate(answers):
        found = [answer] if isinstance(answer, str) else remarks(answer, reports, group)
        if found:
            table.add_row(f"replica {number}", Text("\n".join(found)))
    return table if table.rows else None


def remarks(report: Report, reports: Sequence[Report], group: Group) -> list[str]:
    """What an operator must know of one replica, the worst first. `reports`: of all that answered."""
    found = list(report["alarms"])
    at_the_same_place = [other for other in reports if other["last_executed"] == report["last_executed"]]
    roots = Counter(other["state_root"] for other in at_the_same_place)
    if len(roots) > 1 and roots[report["state_root"]] * 2 <= len(at_the_same_place):
        found.append("its state differs from the others' at the same place")
    found.extend(_proven(report))
    if report["in_view_change"]:
        found.append(f"no primary: changing to view {report['view']}")
    waiting = report["waiting_for"]
    if waiting is not None:
        found.append(f"waits for {_names(waiting['replicas'])}: {waiting['what']}")
    transfer = report["transfer"]
    if transfer is not None:
        pages = f"{transfer['pages_fetched']} of {transfer['pages_wanted']} pages"
        megabytes = transfer["bytes_fetched"] / 1e6
        come = f"{pages}, {megabytes:.1f} MB" if megabytes else "nothing of it has come yet"
        found.append(f"fetches the state of checkpoint {transfer['checkpoint']}: {come}")
    found.extend(_distance(report, reports, group))
    down = [peer for peer, link in report["peers"].items() if not link["up"]]
    if down:
        found.append("no link to " + " ".join(down))
    return found


def _proven(report: Report) -> list[str]:
    """Whom it says that it has proofs against, unsigned; what is left are devices, which are nobody's to repair."""
    by_replica: dict[str, dict[str, int]] = report["proven"] or {}
    found = []
    for culprit, codes in by_replica.items():
        what = ", ".join(code if count == 1 else f"{code} x{count}" for code, count in sorted(codes.items()))
        found.append(f"says that it holds proofs against replica {culprit} ({what})")
    others = report["evidence"] - sum(sum(codes.values()) for codes in by_replica.values())
    if others > 0:
        found.append(f"{others} proof{'' if others == 1 else 's'} of misbehaviour by clients")
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
    voting = sum(report["role"] == "voting" for report in up)
    fetching = sum(report["role"] == "transferring" for report in up)
    if len(up) < group.quorum:
        return f"{len(up)} of {group.size} replicas answer; {group.quorum} are needed to order messages"
    if voting < group.quorum:
        # One that fetches its state votes on batches that are not too far above it: its report does not tell.
        perhaps = f" ({fetching} fetching state)" if fetching else ""
        return f"{voting} of {group.size} replicas vote{perhaps}; {group.quorum} are needed to order messages"
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
        now = datetime.now(UTC)
        left = [days_left(member.certificate_der, now) for member in file.members]
        output = Output(as_json=common.json)
        if common.json:
            for number, answer in enumerate(answers):
                record = {"replica": number, "reason": answer} if isinstance(answer, str) else answer
                more = {"up": isinstance(answer, dict), "certificate_days_left": left[number]}
                output.result(record | more, "")
        else:
            output.out.print(status_table(answers))
            below = remark_table(answers, file.group)
            if below is not None:
                output.out.print(below)
        for warning in expiry_warnings(file, now):
            output.remark(warning)
        problem = trouble(answers, file.group)
        if problem is not None:
            output.remark(problem)
            return ExitCode.UNKNOWN
        return ExitCode.ACCEPTED

    return run(body)
