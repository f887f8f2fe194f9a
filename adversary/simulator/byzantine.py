"""What replicas under the adversary's control do in the simulator. Each runs the honest core and twists what it does.

They hold their own key and no other. A new strategy is a class here and a name in `strategies.STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from adversary.behaviours.fuzzer import Fuzzer
from adversary.behaviours.replies import ReplyLie
from adversary.craft import Craft
from adversary.simulator.behaving import Strategy
from adversary.simulator.byzantine_states import FalseAmnesia, StateLie
from adversary.simulator.byzantine_views import Censor, NewViewLie, SlowPrimary, ViewChangeLie, ViewStorm
from adversary.simulator.dice import Streams
from crypto.digest import Digest
from pbft.core.effects import Effects, FromPeer, Input, Received, Send
from pbft.core.frames import make_batch, wire_of
from pbft.core.messages import Checkpoint, Commit, Prepare, Proposal, Signed
from pbft.core.types import Milliseconds, ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.host import Host

FUZZ_PER_STEP = 0.3


class Silent(Strategy):
    """Hears and says nothing."""

    def rewrite(self, _host: Host, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=(), reply=())


class SplitPrimary(Strategy):
    """As primary, proposes another batch to a part of the backups, and commits to both."""

    def __init__(self, craft: Craft, me: ReplicaId, random: Random) -> None:
        self._craft = craft
        self._me = me
        self._random = random

    def rewrite(self, _host: Host, _given: Input, effects: Effects) -> Effects:
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


class DoubleVotes(Strategy):
    """Votes as it should, and for something else too, to a part of the others."""

    def __init__(self, craft: Craft, me: ReplicaId, random: Random) -> None:
        self._craft = craft
        self._me = me
        self._random = random
        self._digests: list[Digest] = []

    def rewrite(self, _host: Host, _given: Input, effects: Effects) -> Effects:
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


class Accomplice(Strategy):
    """Tells everybody what it wants to hear: votes for whatever others vote for, whom it tells nothing else."""

    def __init__(self, craft: Craft, me: ReplicaId) -> None:
        self._craft = craft
        self._me = me

    def rewrite(self, _host: Host, given: Input, effects: Effects) -> Effects:
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


class Lies(Strategy):
    """Tells clients what is not so."""

    def __init__(self, craft: Craft, me: ReplicaId) -> None:
        self._lie = ReplyLie(craft.group, me, craft.members.signers[me])

    def rewrite(self, _host: Host, _given: Input, effects: Effects) -> Effects:
        return self._lie.rewrite(effects)


class Fuzz(Strategy):
    """Does its work, and between it says whatever comes to its mind."""

    def __init__(self, craft: Craft, me: ReplicaId, random: Random) -> None:
        self._fuzzer = Fuzzer(craft, me, random)
        self._random = random

    def rewrite(self, host: Host, given: Input, effects: Effects) -> Effects:
        if isinstance(given, Received):
            for item in given.messages:
                if isinstance(item, FromPeer):
                    self._fuzzer.overhear(wire_of(self._fuzzer.group.epoch, item.message))
        if self._random.random() < FUZZ_PER_STEP:
            to = self._random.choice(self._fuzzer.group.others(host.me))
            host.say(to, self._fuzzer.frame(wall_ms=host.now().wall, top=host.replica.log.last_executed))
        return effects


def _is_vote(item: Send) -> bool:
    return isinstance(item.message, Signed) and isinstance(item.message.message, Prepare | Commit)


def make_strategy(name: str, craft: Craft, me: ReplicaId, streams: Streams) -> Strategy | None:
    """None for twins, who are honest one by one."""
    random = streams.random("strategy", me)
    make: dict[str, Callable[[], Strategy]] = {
        "silent": Silent,
        "split_primary": lambda: SplitPrimary(craft, me, random),
        "accomplice": lambda: Accomplice(craft, me),
        "double_votes": lambda: DoubleVotes(craft, me, random),
        "reply_lie": lambda: Lies(craft, me),
        "fuzz": lambda: Fuzz(craft, me, random),
        "hide_prepared": lambda: ViewChangeLie(craft, me, random, name),
        "forged_view_change": lambda: ViewChangeLie(craft, me, random, name),
        "two_view_changes": lambda: ViewChangeLie(craft, me, random, name),
        "false_new_view": lambda: NewViewLie(craft, me, random, withhold=False),
        "withheld_new_view": lambda: NewViewLie(craft, me, random, withhold=True),
        "view_storm": lambda: ViewStorm(craft, me, random),
        "slow_primary": lambda: SlowPrimary(craft.group.parameters.view_change_timeout_ms, random),
        "censor": lambda: Censor(random),
        "state_lie": lambda: StateLie(random),
        "false_amnesia": lambda: FalseAmnesia(random),
    }
    return make[name]() if name in make else None
