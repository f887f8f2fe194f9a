"""Against the change of views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet, Twist
from crypto.digest import Digest, digest_of
from pbft.core import bodies
from pbft.core.effects import Effects, Input, Send
from pbft.core.frames import NULL_BATCH, encode_signed, make_prepared_certificate
from pbft.core.messages import NewView, PreparedCertificate, Proposal, Signed, ViewChange
from pbft.core.types import View

STORM_RATE = 200


class ViewChangeLie(Behaviour):
    """Sends other VIEW-CHANGEs than it should. `how`: with nothing prepared, with false proofs, or two of them."""

    def __init__(self, means: Means, how: str) -> None:
        self._craft = means.craft
        self._me = means.me
        self._random = means.random
        self._how = how

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=tuple(self._twisted(effects)))

    def _twisted(self, effects: Effects) -> Iterator[Send]:
        for item in effects.send:
            message = item.message
            if not (isinstance(message, Signed) and isinstance(message.message, ViewChange) and item.to):
                yield item
                continue
            change = message.message
            lie = self._lie(change)
            if self._how == "two_view_changes":
                cut = self._random.randint(0, len(item.to) - 1)
                yield Send(to=item.to[:cut], message=message)
                yield Send(to=item.to[cut:], message=lie)
                if self._random.random() < 0.5:
                    yield Send(to=item.to[:1], message=lie)
            else:
                yield Send(to=item.to, message=lie)

    def _lie(self, change: ViewChange) -> Signed[ViewChange]:
        craft, me = self._craft, self._me
        if self._how != "forged_view_change":
            return craft.view_change(me, change.view, checkpoint=change.checkpoint)
        if self._random.random() < 0.5:
            stable = change.stable_checkpoint + craft.group.parameters.checkpoint_interval
            return craft.view_change(me, change.view, *change.prepared, checkpoint=change.checkpoint, stable=stable)
        return craft.view_change(me, change.view, self._forged(change), checkpoint=change.checkpoint)

    def _forged(self, change: ViewChange) -> PreparedCertificate:
        """Its own signature stands in everybody's place."""
        group, view = self._craft.group, View(change.view - 1)
        primary = group.primary(view)
        mine = self._craft.pre_prepare(self._me, change.stable_checkpoint + 1, digest_of(b"forged"), view=view)
        body = bodies.encode_vote(mine.message)
        wire = encode_signed(bodies.PRE_PREPARE, group.epoch, primary, body, mine.signature)
        backups = [peer for peer in group.replicas if peer != primary][: group.quorum - 1]
        return make_prepared_certificate(
            group, replace(mine, signer=primary, wire=wire), tuple((peer, mine.signature) for peer in backups)
        )


class ViewStorm(Behaviour):
    """Asks for ever higher views, and for far ones. `rate`: how often, in thousandths of its steps."""

    def __init__(self, means: Means, *, rate: int = STORM_RATE) -> None:
        self._rate = rate
        self._craft = means.craft
        self._me = means.me
        self._random = means.random
        self._top = 0

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        if self._random.random() * 1000 >= self._rate:
            return effects
        self._top = max(self._top, puppet.replica.log.view) + self._random.choice((1, 1, 1, 3, 1000))
        stable = puppet.replica.checkpoints.stable
        change = self._craft.view_change(self._me, self._top, checkpoint=stable)
        to = tuple(peer for peer in puppet.replica.group.others(self._me) if self._random.random() < 0.8)
        return replace(effects, send=(*effects.send, Send(to=to, message=change)))


class NewViewLie(Behaviour):
    """As new primary, proposes again what it should not; says nothing; or says it to one backup too few."""

    def __init__(self, means: Means, *, withhold: bool) -> None:
        self._craft = means.craft
        self._me = means.me
        self._random = means.random
        self._withhold = withhold

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, send=tuple(self._twisted(effects)))

    def _twisted(self, effects: Effects) -> Iterator[Send]:
        for item in effects.send:
            message = item.message
            if isinstance(message, Signed) and isinstance(message.message, NewView) and message.signer == self._me:
                yield from self._false(item, message.message)
            elif self._withhold and isinstance(message, Proposal):
                continue
            else:
                yield item

    def _false(self, item: Send, new_view: NewView) -> Iterator[Send]:
        if self._withhold:
            few = item.to[: self._random.choice((0, 0, 1, self._craft.group.quorum - 2))]
            if few:
                yield Send(to=few, message=item.message)
            return
        again = [(each.message.sequence, each.message.batch_digest) for each in new_view.pre_prepares]
        lies: list[list[tuple[int, Digest]]] = [
            [(sequence, NULL_BATCH.digest) for sequence, _ in again],
            [*again, (again[-1][0] + 1 if again else 1, digest_of(b"invented"))],
            [(sequence, digest_of(b"another")) for sequence, _ in again],
            list(again[:-1]),
        ]
        lie = self._random.choice(lies)
        message = self._craft.new_view(new_view.view, new_view.view_changes, lie, signer=self._me)
        deceived = item.to if self._random.random() < 0.5 else item.to[:1]
        yield Send(to=deceived, message=message)
        rest = tuple(peer for peer in item.to if peer not in deceived)
        if rest:
            yield Send(to=rest, message=item.message)


class TwoNewViews(Twist):
    """As new primary, begins the view twice, each time with another quorum of VIEW-CHANGEs.

    `both`: all hear both; else each half hears one.
    """

    def __init__(self, means: Means, *, both: int = 0) -> None:
        super().__init__(means)
        self._both = both

    def twist(self, puppet: Puppet, item: Send) -> Iterator[Send]:
        message = item.message
        if not (isinstance(message, Signed) and isinstance(message.message, NewView) and message.signer == self._me):
            yield item
            return
        second = self._craft.new_view(message.message.view, self._others(puppet, message.message), signer=self._me)
        cut = len(item.to) if self._both else (len(item.to) + 1) // 2
        yield Send(to=item.to[:cut], message=message)
        yield Send(to=item.to if self._both else item.to[cut:], message=second)

    def _others(self, puppet: Puppet, new_view: NewView) -> list[Signed[ViewChange]]:
        """Another quorum if it has one; else it shows nothing of what it had prepared itself."""
        used = {change.signer: change for change in new_view.view_changes}
        spare = [change for change in puppet.replica.votes.to(new_view.view) if change.signer not in used]
        if spare:
            del used[max(used)]
            used[spare[0].signer] = spare[0]
        elif self._me in used:
            stable = used[self._me].message.checkpoint
            used[self._me] = self._craft.view_change(self._me, new_view.view, checkpoint=stable)
        return [change for _, change in sorted(used.items())]
