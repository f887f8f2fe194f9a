"""What the protocol as built can do: what cannot be survived yet is not drawn."""

from __future__ import annotations

from typing import Final

from pbft.core.effects import EFFECT_FIELDS, Timer
from pbft.node.ledger import Ledger

CHANGES_VIEW: Final = "VIEW_CHANGE" in Timer.__members__
"""A primary that is silent, slow or lying is replaced."""
TRANSFERS_STATE: Final = "install" in EFFECT_FIELDS
"""A replica beyond its peers' memory, or with a damaged state, gets theirs."""
REJOINS: Final = hasattr(Ledger, "begin_again")
"""A replica without its votes comes back mute, and votes when it is safe."""

STRATEGIES: Final = ("silent", "split_primary", "accomplice", "double_votes", "reply_lie", "fuzz", "twin")
"""What `byzantine` knows how to do."""
