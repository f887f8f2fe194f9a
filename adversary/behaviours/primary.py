"""Primaries that are worse than dead."""

from __future__ import annotations

from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet
from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.effects import Effects, FromClient, FromPeer, Input, Received, Send
from pbft.core.frames import make_batch, wire_of
from pbft.core.messages import Proposal, SignedRequest
from pbft.core.types import Milliseconds, ReplicaId

HEARD_OUT = 3
"""Requests of a client that a censor still lets pass."""


class SplitPrimary(Behaviour):
    """As primary, proposes another batch to a part of the backups, and commits to both."""

    def __init__(self, means: Means) -> None:
        self._craft = means.craft
        self._me = means.me
        self._random = means.random

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        send: list[Send] = []
        for item in effects.send:
            message = item.message
            if isinstance(message, Proposal) and message.pre_prepare.signer == self._me and len(item.to) > 1:
                send.extend(self._split(message, item.to))
            else:
                send.append(item)
        return replace(effects, send=tuple(send))

    def _split(self, proposal: Proposal, to: tuple[ReplicaId, ...]) -> list[Send]:
        vote = proposal.pre_prepare.message
        other = make_batch(Milliseconds(proposal.batch.timestamp + 1), proposal.batch.requests)
        view, sequence = vote.view, vote.sequence
        second = self._craft.proposal(self._me, sequence, other, view=view)
        commit = self._craft.commit(self._me, sequence, other.digest, view=view)
        deceived = tuple(sorted(self._random.sample(to, self._random.randint(1, len(to) - 1))))
        others = tuple(replica for replica in to if replica not in deceived)
        return [
            Send(to=others, message=proposal),
            Send(to=deceived, message=second),
            Send(to=deceived, message=commit),
        ]


class SlowPrimary(Behaviour):
    """Proposes late, but before anybody's timeout ends."""

    def __init__(self, means: Means) -> None:
        self._hold_ms = means.group.parameters.view_change_timeout_ms * means.random.choice((3, 6, 8)) // 10

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        send: list[Send] = []
        for item in effects.send:
            if isinstance(item.message, Proposal):
                frame = wire_of(puppet.replica.group.epoch, item.message)
                puppet.say_later(self._hold_ms, item.to, frame)
            else:
                send.append(item)
        return replace(effects, send=tuple(send))


class Censor(Behaviour):
    """Stops to hear some clients, whoever speaks for them, once they have an account."""

    def __init__(self, means: Means) -> None:
        self._random = means.random
        self._victims: dict[PublicKey, bool] = {}
        self._heard: dict[PublicKey, set[Digest]] = {}

    def hear(self, _puppet: Puppet, given: Input) -> Input:
        if not isinstance(given, Received):
            return given
        kept: tuple[FromPeer | FromClient, ...] = tuple(
            item
            for item in given.messages
            if not (isinstance(item.message, SignedRequest) and self._is_ignored(item.message))
        )
        return replace(given, messages=kept)

    def _is_ignored(self, request: SignedRequest) -> bool:
        device = request.device
        heard = self._heard.setdefault(device, set())
        if request.digest in heard or len(heard) < HEARD_OUT:
            heard.add(request.digest)
            return False
        return self._victims.setdefault(device, self._random.random() < 0.5)
