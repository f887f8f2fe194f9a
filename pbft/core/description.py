"""Where a replica stands, in words and numbers that JSON can hold: for operators, never for the protocol."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pbft.core.replica import Replica

OPEN_SLOTS_SHOWN = 8


def describe(replica: Replica) -> dict[str, object]:
    log = replica.log
    return {
        "view": log.view,
        "primary": replica.group.primary(log.view),
        "in_view_change": not log.in_view,
        "timeout_doublings": replica.views.timer.level,
        "last_executed": log.last_executed,
        "stable_checkpoint": log.low_watermark,
        "role": _role(replica),
        "transfer": replica.state_repair.progress(),
        "pending_requests": len(replica.pool),
        "waiting_for": _waiting_for(replica),
        "open_slots": [
            {
                "sequence": slot.sequence,
                "prepares": sorted(slot.prepares),
                "commits": sorted(slot.commits),
                "committed": slot.certificate is not None,
            }
            for slot in itertools.islice(log.unexecuted(), OPEN_SLOTS_SHOWN)
        ],
    }


def _role(replica: Replica) -> str:
    if replica.state_repair.is_transferring:
        return "transferring"
    if not replica.state_repair.is_whole:
        return "diverged"
    return "mute" if replica.rules.is_mute else "voting"


def _waiting_for(replica: Replica) -> dict[str, object] | None:
    """Who keeps this replica from going on, as far as it can tell; None if nothing waits."""
    log, group = replica.log, replica.group
    primary = group.primary(log.view)
    if not log.in_view:
        missing = replica.votes.missing()
        if group.size - len(missing) < group.quorum:
            return {"replicas": list(missing), "what": f"VIEW-CHANGE to view {log.view}"}
        return {"replicas": [primary], "what": f"NEW-VIEW of view {log.view}"}
    following = log.last_executed + 1
    slot = log.get(following)
    if slot is not None and slot.committed_batch is not None:
        return None  # nothing is missing but its own state, or the time to execute it
    if slot is not None and slot.missing_body is not None:
        return {"replicas": list(group.others(replica.me)), "what": f"the batch at {following}"}
    if slot is None or slot.pre_prepare is None:
        if not len(replica.pool) and not replica.ordering.has_open_proposal:
            return None
        return {"replicas": [primary], "what": f"a proposal at {following}"}
    if slot.prepared_view == log.view:
        silent = [peer for peer in group.replicas if peer not in slot.commits]
        return {"replicas": silent, "what": f"COMMIT at {following}"}
    silent = [peer for peer in group.replicas if peer not in slot.prepares and peer != primary]
    return {"replicas": silent, "what": f"PREPARE at {following}"}
