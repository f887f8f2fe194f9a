"""Votes that are withheld, doubled, false, or given to everybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet, Twist, parted
from crypto.digest import Digest, digest_of
from pbft.core.effects import Effects, FromClient, Input, Received, Send
from pbft.core.messages import Checkpoint, Commit, Prepare, Signed


class Silent(Behaviour):
    """Says nothing."""

    def __init__(self, _means: Means) -> None: ...

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=(), reply=())


class Deaf(Behaviour):
    """Hears nothing from its peers; it speaks as it should. Nobody may accuse it."""

    def __init__(self, _means: Means) -> None: ...

    def hear(self, _puppet: Puppet, given: Input) -> Input:
        if not isinstance(given, Received):
            return given
        return replace(given, messages=tuple(item for item in given.messages if isinstance(item, FromClient)))


def reversed_of(digest: Digest) -> Digest:
    """Another digest, the same each time."""
    return Digest(bytes(reversed(digest)))


class DoublePrepare(Twist):
    """Says PREPARE twice, for the batch proposed and for another one. `to`: who hears both; by default all."""

    kind: type[Prepare | Commit] = Prepare

    def __init__(self, means: Means, *, to: Sequence[int] = ()) -> None:
        super().__init__(means)
        self._to = frozenset(to or means.group.replicas)

    def twist(self, _puppet: Puppet, item: Send) -> Iterator[Send]:
        yield item
        message = item.message
        if isinstance(message, Signed) and message.signer == self._me and isinstance(message.message, self.kind):
            vote: Prepare | Commit = message.message
            sign = self._craft.prepare if isinstance(vote, Prepare) else self._craft.commit
            to, _ = parted(item, self._to)
            yield Send(to=to, message=sign(self._me, vote.sequence, reversed_of(vote.batch_digest), view=vote.view))


class DoubleCommit(DoublePrepare):
    """The same with COMMITs."""

    kind = Commit


class CheckpointLie(Twist):
    """Vouches for another state than it has. `both`: for its own, too. `to`: to whom; by default to all."""

    def __init__(self, means: Means, *, both: int = 0, to: Sequence[int] = ()) -> None:
        super().__init__(means)
        self._both = both
        self._to = frozenset(to or means.group.replicas)

    def twist(self, _puppet: Puppet, item: Send) -> Iterable[Send]:
        match item.message:
            case Signed(message=Checkpoint() as vouched, signer=self._me):
                deceived, others = parted(item, self._to)
                lie = self._craft.checkpoint(self._me, vouched.sequence, reversed_of(vouched.state_root))
                honest = item.to if self._both else others
                return (Send(to=honest, message=item.message), Send(to=deceived, message=lie))
            case _:
                return (item,)


class GhostVote(Twist):
    """Votes in slots that nobody proposed anything for, far ahead and in far views, and vouches for far states.

    `rate`: how often, in thousandths of its steps.
    """

    def __init__(self, means: Means, *, rate: int = 500, far: int = 2**40) -> None:
        super().__init__(means)
        self._rate = rate
        self._far = far

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        if self._random.random() * 1000 >= self._rate:
            return effects
        craft, random, log = self._craft, self._random, puppet.replica.log
        window, interval = craft.group.parameters.window, craft.group.parameters.checkpoint_interval
        near = log.last_executed + random.randint(1, 3 * window)
        sequence = random.choice((near, near, near + self._far, 2**63 - 1))
        view = random.choice((log.view, log.view, log.view + 1, log.view + self._far))
        ghost = digest_of(b"ghost %d" % random.randrange(2**32))
        sign = random.choice((craft.prepare, craft.commit))
        votes = (
            sign(self._me, sequence, ghost, view=min(view, 2**63 - 1)),
            craft.checkpoint(self._me, sequence - sequence % interval or interval, ghost),
        )
        to = craft.group.others(self._me)
        return replace(effects, send=(*effects.send, Send(to=to, message=random.choice(votes))))


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
    """Tells everybody what it wants to hear: votes for whatever others vote for, whom it tells nothing else.

    Not those whose keys it holds: two who agree with each other would never come to an end.
    """

    def __init__(self, means: Means) -> None:
        self._craft = means.craft
        self._me = means.me
        self._colluders = frozenset(means.colluders)

    def rewrite(self, _puppet: Puppet, given: Input, effects: Effects) -> Effects:
        send = [item for item in effects.send if not _is_vote(item)]
        for item in given.messages if isinstance(given, Received) else ():
            match item.message:
                case Signed(message=Prepare() | Commit() as vote, signer=other) if other not in self._colluders:
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
