"""What a replica under the adversary's control may twist: what it hears, what it does, what it says of its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbft.core.effects import Effects, Input
from pbft.core.state_messages import StateAnswer

if TYPE_CHECKING:
    from adversary.simulator.host import Host


class Strategy:
    """Honest, as long as nothing is overridden. It may also `say` frames of its own."""

    def hear(self, _host: Host, given: Input) -> Input:
        return given

    def rewrite(self, _host: Host, _given: Input, effects: Effects) -> Effects:
        return effects

    def answer(self, _host: Host, answer: StateAnswer) -> StateAnswer | None:
        """None: it does not answer."""
        return answer
