"""Against decoders: whatever comes to mind."""

from __future__ import annotations

from adversary.behaviours.base import Behaviour, Means, Puppet
from adversary.behaviours.fuzzer import Fuzzer
from pbft.core.effects import Effects, FromPeer, Input, Received
from pbft.core.frames import wire_of

FUZZ_PER_STEP = 0.3


class Fuzz(Behaviour):
    """Does its work, and between it says whatever comes to its mind."""

    def __init__(self, means: Means) -> None:
        self._fuzzer = Fuzzer(means.craft, means.me, means.random)
        self._random = means.random

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:
        if isinstance(given, Received):
            for item in given.messages:
                if isinstance(item, FromPeer):
                    self._fuzzer.overhear(wire_of(self._fuzzer.group.epoch, item.message))
        if self._random.random() < FUZZ_PER_STEP:
            to = self._random.choice(self._fuzzer.group.others(puppet.me))
            puppet.say(to, self._fuzzer.frame(wall_ms=puppet.now().wall, top=puppet.replica.log.last_executed))
        return effects
