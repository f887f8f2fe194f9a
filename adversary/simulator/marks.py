"""Rare states that a sweep must come by, or it has tested less than it seems. Each is registered here, once."""

from __future__ import annotations

from typing import Final

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
    "ledger begun again": True,
    "damaged state put aside": True,
    "rot found by scrubbing": True,
    "divergence noticed": True,
    "proposal from the future refused": True,
    "two proposals for one slot": True,
    "two proposals proven (E1)": True,
    "two PREPAREs proven (E2)": True,
    "two COMMITs proven (E3)": True,
    "two CHECKPOINTs proven (E4)": True,
    "a hidden COMMIT proven (E5)": True,
    "two VIEW-CHANGEs proven (E6)": True,
    "a false NEW-VIEW proven (E7)": True,
    "a forged request in a proposal proven (E8)": False,
    "a false REPLY proven (E9)": True,
    "proof told by a peer": True,
    "a false accusation refused": False,
    "client equivocation proven": True,
    "client caught a liar": True,
    "restart of one too many refused": False,
    "frames left waiting by a busy replica": False,
    "malformed frame refused": True,
    "real signatures": True,
    "null batch executed": True,
    "view change": True,
    "view timeout doubled": True,
    "view change after two failed ones": True,
    "same sequence prepared in two views": True,
    "new primary without a body": True,
    "joined a view change of others": True,
    "stale timer ignored": True,
    "primary dismissed as slow": True,
    "primary dismissed as unfair": False,
    "planned view change for a mute or stranded peer": True,
    "state transfer started": True,
    "state transfer finished": True,
    "state transfer interrupted by a crash": True,
    "view change during state transfer": True,
    "a liar blamed in state transfer": True,
    "a false page refused": False,
    "divergence repaired": True,
    "mute replica voted again": True,
}
"""Whether every sweep of some length comes by it."""

EXPECTED: Final = frozenset(name for name, common in MARKS.items() if common)


class Marks:
    """What one run came by."""

    def __init__(self) -> None:
        self.reached: set[str] = set()

    def reach(self, name: str) -> None:
        """Raises KeyError for a mark that is not registered."""
        if name not in self.reached:
            MARKS[name]
            self.reached.add(name)
