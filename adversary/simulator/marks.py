"""Rare states that a sweep must come by, or it has tested less than it seems. Each is registered here, once."""

from __future__ import annotations

from typing import Final

from adversary.simulator.capabilities import CHANGES_VIEW, REJOINS, TRANSFERS_STATE

MARKS: Final[dict[str, bool]] = {
    "batch of several requests": True,
    "crash between two effects": True,
    "crash right after storing a vote": True,
    "crash during recovery": True,
    "power loss undid executed batches": True,
    "restart with votes to send again": True,
    "state behind its ledger executed again": True,
    "late commit certificate executed": True,
    "body fetched by digest": True,
    "archive served": True,
    "checkpoint certificate of others adopted": True,
    "duplicate request answered from the cache": True,
    "client asked all replicas": True,
    "query answered": True,
    "partition healed": True,
    "queue overflow while paused": True,
    "frame lost to congestion": True,
    "full disk stopped a node": True,
    "failed fsync stopped a node": True,
    "damaged ledger refused": True,
    "divergence noticed": True,
    "proposal from the future refused": True,
    "two proposals for one slot": True,
    "two proposals proven (E1)": True,
    "two PREPAREs proven (E2)": True,
    "two COMMITs proven (E3)": True,
    "two CHECKPOINTs proven (E4)": True,
    "client equivocation proven": True,
    "client caught a liar": True,
    "malformed frame refused": True,
    "real signatures": True,
    "null batch executed": CHANGES_VIEW,
    "view change": CHANGES_VIEW,
    "view change after two failed ones": CHANGES_VIEW,
    "same sequence prepared in two views": CHANGES_VIEW,
    "new primary without a body": CHANGES_VIEW,
    "joined a view change of others": CHANGES_VIEW,
    "stale timer ignored": CHANGES_VIEW,
    "state transfer started": TRANSFERS_STATE,
    "state transfer finished": TRANSFERS_STATE,
    "state transfer interrupted by a crash": TRANSFERS_STATE,
    "view change during state transfer": CHANGES_VIEW and TRANSFERS_STATE,
    "divergence repaired": TRANSFERS_STATE,
    "mute replica voted again": REJOINS,
}
"""Whether the protocol as built can get there."""

EXPECTED: Final = frozenset(name for name, possible in MARKS.items() if possible)


class Marks:
    """What one run came by."""

    def __init__(self) -> None:
        self.reached: set[str] = set()

    def reach(self, name: str) -> None:
        """Raises KeyError for a mark that is not registered."""
        if name not in self.reached:
            MARKS[name]
            self.reached.add(name)
