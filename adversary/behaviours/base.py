"""What every behaviour is: a rewriter of effects that holds the replica's own key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from crypto.signing import Signer
from pbft.core.effects import Effects
from pbft.core.group import Group
from pbft.core.types import ReplicaId


class Behaviour(Protocol):
    """Turns what an honest replica would do into what this one does."""

    def rewrite(self, effects: Effects) -> Effects: ...


MakeBehaviour = Callable[[Group, ReplicaId, Signer], Behaviour]
