"""Votes that are withheld, doubled, or given to everybody."""

from __future__ import annotations

from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet
from crypto.digest import Digest
from pbft.core.effects import Effects, Input, Received, Send
from pbft.core.messages import Checkpoint, Commit, Prepare, Signed


class Silent(Behaviour):
    """Hears and says nothing."""

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=(), reply=())


class DoubleVotes(Behaviour):
    """Votes as it should, and for something else too, to a part of the others."""

    def __init__(self, means: Means) -> None:
        self._craft = means.craft
        self._me = means.me
        self._random = means.random
        self._digests: list[Digest] = []

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        send: list[Send] = []
        for item in effects.send:
            send.append(item)
            match item.message:
                case Signed(message=Checkpoint() as vouched, signer=self._me):
                    false = Digest(bytes(reversed(vouched.state_root)))
                    lie = self._craft.checkpoint(self._me, vouched.sequence, false)
                    send.append(Send(to=item.to, message=lie))
                case Signed(message=Prepare() | Commit() as vote, signer=self._me):
                    self._digests = [*self._digests[-7:], vote.batch_digest]
                    digest = self._random.choice(self._digests)
                    if digest == vote.batch_digest:
                        digest = Digest(bytes(reversed(digest)))
                    sign = self._craft.prepare if isinstance(vote, Prepare) else self._craft.commit
                    some = tuple(peer for peer in item.to if self._random.random() < 0.6)
                    if some:
                        message = sign(self._me, vote.sequence, digest, view=vote.view)
                        send.insert(len(send) - self._random.randint(0, 1), Send(to=some, message=message))
                case _:
                    pass
        return replace(effects, send=tuple(send))


class Accomplice(Behaviour):
    """Tells everybody what it wants to hear: votes for whatever others vote for, whom it tells nothing else."""

    def __init__(self, means: Means) -> None:
        self._craft = means.craft
        self._me = means.me

    def rewrite(self, _puppet: Puppet, given: Input, effects: Effects) -> Effects:
        send = [item for item in effects.send if not _is_vote(item)]
        for item in given.messages if isinstance(given, Received) else ():
            match item.message:
                case Signed(message=Prepare() | Commit() as vote, signer=other) if other != self._me:
                    primary = self._craft.group.primary(vote.view)
                    to = tuple(sorted({other, primary} - {self._me}))
                    for sign in (self._craft.prepare, self._craft.commit):
                        message = sign(self._me, vote.sequence, vote.batch_digest, view=vote.view)
                        send.append(Send(to=to, message=message))
                case _:
                    pass
        return replace(effects, send=tuple(send))


def _is_vote(item: Send) -> bool:
    return isinstance(item.message, Signed) and isinstance(item.message.message, Prepare | Commit)
