"""What a replica under the adversary's control may twist: what it hears, what it does, what it says of its state.

The same classes drive a host of the simulator and a live node: all they see of either is a `Puppet`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from adversary.craft import Craft
from pbft.core.effects import Effects, Input, Recovered, Send
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

    @property
    def colluders(self) -> tuple[ReplicaId, ...]:
        """Those whose keys it holds, in order, itself among them."""
        return tuple(ReplicaId(replica) for replica in sorted(self.craft.members.signers))

    def honest(self, replicas: Iterable[ReplicaId]) -> tuple[ReplicaId, ...]:
        """Those of them whose keys it lacks."""
        return tuple(replica for replica in replicas if replica not in self.craft.members.signers)


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

    def answer(self, puppet: Puppet, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:  # noqa: ARG002
        """What it says of its state to a peer that fetches it. None: nothing."""
        return answer


class Twist(Behaviour):
    """Twists what is sent, message by message."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._me = means.me
        self._craft = means.craft
        self._random = means.random

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=tuple(said for item in effects.send for said in self.twist(puppet, item)))

    def twist(self, puppet: Puppet, item: Send) -> Iterable[Send]:  # noqa: ARG002 - for those who override it
        """What is sent in the place of `item`."""
        return (item,)


def parted(item: Send, some: Collection[int]) -> tuple[tuple[ReplicaId, ...], tuple[ReplicaId, ...]]:
    """Whom of the receivers is among `some`, and who is not."""
    return tuple(peer for peer in item.to if peer in some), tuple(peer for peer in item.to if peer not in some)


class Timed(Behaviour):
    """Another behaviour from `start_ms` until `until_ms` after its process began; honest before and after.

    What it holds back, it holds on after its time. Time in which the process is down does not count.
    """

    def __init__(self, inner: Behaviour, start_ms: int, until_ms: int | None) -> None:
        self._inner = inner
        self._start_ms = start_ms
        self._until_ms = until_ms
        self._passed_ms = 0
        self._last_ms = 0

    def hear(self, puppet: Puppet, given: Input) -> Input:
        self._count(given)
        return self._inner.hear(puppet, given) if self._is_on else given

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:
        return self._inner.rewrite(puppet, given, effects) if self._is_on else effects

    def answer(self, puppet: Puppet, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        return self._inner.answer(puppet, to, answer) if self._is_on else answer

    def _count(self, given: Input) -> None:
        """The steady clock begins anew with every start of the process."""
        if not isinstance(given, Recovered):
            self._passed_ms += max(0, given.now.steady - self._last_ms)
        self._last_ms = given.now.steady

    @property
    def _is_on(self) -> bool:
        return self._start_ms <= self._passed_ms and (self._until_ms is None or self._passed_ms < self._until_ms)


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

    def answer(self, puppet: Puppet, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        said: StateAnswer | None = answer
        for part in self._parts:
            if said is None:
                return None
            said = part.answer(puppet, to, said)
        return said
