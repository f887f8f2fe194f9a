"""Whether a replica may be stopped for a moment: a pure decision, for whoever would do that by a program.

Automation that restarts what looks ill takes a group down that only had a bad minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pbft.core.group import Group

LEVEL_BATCHES = 16
"""Who is further behind than this does not make up for another that is missing."""
Standing = Mapping[str, Any] | str
"""What a replica says of itself (`role`, `in_view_change`, `last_executed`), or why it says nothing."""


def why_not_restart(standings: Sequence[Standing], replica: int, group: Group) -> str | None:
    """In words, if more than f replicas would be out of service while `replica` restarts. `standings`: of all, in
    order. They are each one's own word: f of them may say that they are well, and are not."""
    out = {each: why for each in range(group.size) if each != replica and (why := why_out(standings, each, group))}
    if 1 + len(out) <= group.faulty_max:
        return None
    found = "; ".join(f"replica {each} {why}" for each, why in out.items()) or "none"
    return (
        f"replica {replica} is not restarted: {1 + len(out)} of {group.size} replicas would be out of service, and "
        f"the group stands {group.faulty_max}. Out of service now: {found}"
    )


def why_out(standings: Sequence[Standing], replica: int, group: Group) -> str | None:
    """Why a replica is of no help to the others at the moment, in words; None if it is."""
    standing = standings[replica]
    if isinstance(standing, str):
        return f"does not answer ({standing})"
    if standing["role"] != "voting":
        return f"is {standing['role']}"
    if standing["in_view_change"]:
        return "is changing its view"
    behind = level_of(standings, group) - standing["last_executed"]
    return f"is {behind} batches behind" if behind >= LEVEL_BATCHES else None


def level_of(standings: Sequence[Standing], group: Group) -> int:
    """What f + 1 replicas say they have executed: one of them is correct."""
    executed = sorted((each["last_executed"] for each in standings if not isinstance(each, str)), reverse=True)
    return executed[group.honest_minimum - 1] if len(executed) >= group.honest_minimum else 0
