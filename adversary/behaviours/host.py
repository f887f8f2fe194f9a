"""What is done to a whole process rather than to its messages."""

from __future__ import annotations

from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet
from pbft.core.effects import Effects, Input, Received
from pbft.core.state_messages import StateAnswer
from pbft.core.types import ReplicaId


class Peekaboo(Behaviour):
    """Unmodified, but online in every other period only. Of two copies with opposite phases one always is.

    `period_ms`: by the wall clock, which the copies share. `phase`: 0 or 1.
    """

    def __init__(self, _means: Means, *, period_ms: int = 700, phase: int = 0) -> None:
        self._period_ms = max(1, period_ms)
        self._phase = phase

    def _is_away(self, puppet: Puppet) -> bool:
        return puppet.now().wall // self._period_ms % 2 != self._phase

    def hear(self, puppet: Puppet, given: Input) -> Input:
        if isinstance(given, Received) and self._is_away(puppet):
            return replace(given, messages=())
        return given

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=(), reply=()) if self._is_away(puppet) else effects

    def answer(self, puppet: Puppet, _to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        return None if self._is_away(puppet) else answer
