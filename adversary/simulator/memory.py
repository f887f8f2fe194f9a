"""How much a replica's core holds, against the bounds that it states."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Final

from pbft.core.evidence import REPLICA_CODES
from pbft.core.exchange import SHARED_PER_CULPRIT_MAX
from pbft.core.replica import Replica
from pbft.core.witness import PLACES_PER_WINDOW, VIEWS_KEPT

PARTS: Final = (
    "log",
    "pool",
    "admission",
    "rejoin",
    "rejoin_help",
    "votes",
    "views",
    "supervision",
    "checkpoints",
    "repair",
    "ordering",
    "execution",
    "state_repair",
    "state_serving",
    "readers",
    "rules",
    "witness",
    "exchange",
)
BODIES_MAX = 4
"""Of one slot: what is accepted, prepared, committed, and one on its way."""
FLOOR = 4096
"""What any table may hold that is not named below: in runs of this size none comes near it by honest means."""


def why_too_large(replica: Replica) -> str | None:
    """The first table of the core that is over its bound, in words."""
    window = replica.group.parameters.window
    bounds = {
        "log._slots": 2 * window,
        "votes._changes": replica.group.size,
        "checkpoints._votes": window,
        "checkpoints._ahead": window,
        "checkpoints._own_roots": window,
        "rules._accepted": window,
        "rules._committed": window,
        "rules._roots": window,
        "witness._changes": replica.group.size,
        "witness._new_views": VIEWS_KEPT,
        "exchange._known": SHARED_PER_CULPRIT_MAX * len(REPLICA_CODES) * replica.group.size,
        "exchange._shared": SHARED_PER_CULPRIT_MAX * len(REPLICA_CODES) * replica.group.size,
    }
    if any(len(slot.bodies) > BODIES_MAX for slot in replica.log.slots()):
        return f"a slot holds more than {BODIES_MAX} bodies"
    if replica.witness.largest > PLACES_PER_WINDOW * window:
        return f"the witness holds {replica.witness.largest} statements of one kind and signer"
    if replica.log.highest > max(replica.log.low_watermark, replica.log.last_executed) + 2 * window:
        return f"there is a slot at {replica.log.highest}, far outside the window"
    for name, size in _sizes(replica):
        bound = bounds.get(name, FLOOR)
        if size > bound:
            return f"{name} holds {size}, over {bound}"
    return None


def _sizes(replica: Replica) -> Iterator[tuple[str, int]]:
    for part in PARTS:
        owner: Any = getattr(replica, part)
        for name, value in vars(owner).items():
            if isinstance(value, Sized) and not isinstance(value, bytes | str | tuple):
                yield f"{part}.{name}", len(value)
