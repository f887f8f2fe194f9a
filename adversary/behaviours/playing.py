"""A behaviour at work, wherever it runs: between what comes in and what goes out of an honest core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from adversary.behaviours.base import Behaviour, Puppet
from pbft.core.effects import Effects, Input
from pbft.core.frames import wire_of
from pbft.core.messages import PeerMessage, ToClient
from pbft.core.state_messages import StateAnswer
from pbft.core.types import Epoch, ReplicaId

FRAMES_MAX: Final = 50_000
"""Digests of frames that are remembered."""


class BehaviourFailed(Exception):  # noqa: N818 - what happened
    """A behaviour has a fault of its own: whatever the run comes to, it shows nothing about the group."""


class Played:
    """Counts what no honest replica would have done; and remembers it, once somebody asks for that."""

    def __init__(self, behaviour: Behaviour | None) -> None:
        self.behaviour = behaviour
        self.lies = 0
        """Steps and answers in which it did something else than an honest replica."""
        self._lies: dict[bytes, None] | None = None
        self._honest: dict[bytes, None] = {}
        """What the core wanted to be said, and was not: it may come later."""

    def step(self, puppet: Puppet, given: Input) -> Effects:
        if self.behaviour is None:
            return puppet.replica.step(given)
        with _blamed(self.behaviour, puppet):
            heard = self.behaviour.hear(puppet, given)
        honest = puppet.replica.step(heard)
        with _blamed(self.behaviour, puppet):
            twisted = self.behaviour.rewrite(puppet, heard, honest)
        differs = twisted.send != honest.send or twisted.reply != honest.reply
        self.lies += differs or (heard is not given and heard != given)
        if self._lies is not None and differs:
            self._compare(puppet.replica.group.epoch, honest, twisted)
        return twisted

    def answer(self, puppet: Puppet, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        if self.behaviour is None:
            return answer
        with _blamed(self.behaviour, puppet):
            said = self.behaviour.answer(puppet, to, answer)
        self.lies += said != answer
        if self._lies is not None and said != answer:
            epoch = puppet.replica.group.epoch
            self._note(self._honest, wire_of(epoch, answer))
            if said is not None:
                self._note(self._lies, wire_of(epoch, said))
        return said

    def on_said(self, frame: bytes) -> None:
        """It says something that its core knows nothing of, or says it late."""
        self.lies += 1
        if self._lies is not None:
            self._note(self._lies, frame)

    def watch(self) -> None:
        """From now on `lied` can be asked."""
        if self._lies is None:
            self._lies = {}

    def lied(self, frame: bytes) -> bool:
        """Whether a frame that it sent is none that its honest core made."""
        key = _key(frame)
        return self._lies is not None and key in self._lies and key not in self._honest

    def _compare(self, epoch: Epoch, honest: Effects, twisted: Effects) -> None:
        before, after = _messages(honest), _messages(twisted)
        for key in before.keys() - after.keys():
            self._note(self._honest, wire_of(epoch, before[key]))
        for key in after.keys() - before.keys():
            if self._lies is not None:
                self._note(self._lies, wire_of(epoch, after[key]))

    @staticmethod
    def _note(known: dict[bytes, None], frame: bytes) -> None:
        """The oldest goes when there are too many."""
        known[_key(frame)] = None
        if len(known) > FRAMES_MAX:
            del known[next(iter(known))]


@contextmanager
def _blamed(behaviour: Behaviour, puppet: Puppet) -> Iterator[None]:
    """Errors are those of the behaviour, wherever it had got to."""
    try:
        yield
    except Exception as error:
        msg = f"the behaviour of replica {puppet.me} ({type(behaviour).__name__}) fails: {error!r}"
        raise BehaviourFailed(msg) from error


def _messages(effects: Effects) -> dict[int, PeerMessage | ToClient]:
    """By identity: what is passed on as it was is the same object."""
    sent = {id(item.message): item.message for item in effects.send}
    return sent | {id(item.message): item.message for item in effects.reply}


def _key(frame: bytes) -> bytes:
    return blake2b(frame, digest_size=16).digest()
