"""What a replica under the adversary's control may twist: what it hears, what it does, what it says of its state.

The same classes drive a host of the simulator and a live node: all they see of either is a `Puppet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from adversary.craft import Craft
from pbft.core.effects import Effects, Input
from pbft.core.group import Group
from pbft.core.replica import Replica
from pbft.core.state_messages import StateAnswer
from pbft.core.types import Now, ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a behaviour is made of: whom it plays, the keys it holds, and dice of its own.

    `craft` signs for `me` and for those who collude with it, and for nobody else.
    """

    me: ReplicaId
    craft: Craft
    random: Random

    @property
    def group(self) -> Group:
        return self.craft.group


class Puppet(Protocol):
    """The replica that is played, wherever it runs."""

    me: ReplicaId
    replica: Replica
    """The honest core inside: it is told what `hear` lets through, and what it wants done comes to `rewrite`."""

    def now(self) -> Now: ...

    def say(self, to: ReplicaId, frame: bytes) -> None:
        """Send bytes that the core knows nothing of; they need not be a message."""
        ...

    def say_later(self, delay_ms: int, to: Sequence[ReplicaId], frame: bytes) -> None:
        """The same, after a while, unless the process has ended by then."""
        ...


class Behaviour:
    """Honest, as long as nothing is overridden. Several of them one after another are a behaviour too."""

    def hear(self, puppet: Puppet, given: Input) -> Input:  # noqa: ARG002 - for those who override it
        return given

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:  # noqa: ARG002
        """Turns what an honest replica would do into what this one does. `given`: as `hear` left it."""
        return effects

    def answer(self, puppet: Puppet, answer: StateAnswer) -> StateAnswer | None:  # noqa: ARG002
        """What it says of its state to a peer that fetches it. None: nothing."""
        return answer


class Chain(Behaviour):
    """Several behaviours of one replica: each twists what the one before it left."""

    def __init__(self, parts: Sequence[Behaviour]) -> None:
        self._parts = tuple(parts)

    def hear(self, puppet: Puppet, given: Input) -> Input:
        for part in self._parts:
            given = part.hear(puppet, given)
        return given

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:
        for part in self._parts:
            effects = part.rewrite(puppet, given, effects)
        return effects

    def answer(self, puppet: Puppet, answer: StateAnswer) -> StateAnswer | None:
        said: StateAnswer | None = answer
        for part in self._parts:
            if said is None:
                return None
            said = part.answer(puppet, said)
        return said
