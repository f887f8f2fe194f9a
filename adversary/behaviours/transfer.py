"""Against state transfer, and against those who help the forgetful."""

from __future__ import annotations

from dataclasses import replace

from adversary.behaviours.base import Behaviour, Means, Puppet
from crypto.digest import Digest
from pbft.core.effects import Effects, Input
from pbft.core.messages import Rejoining, Status
from pbft.core.state_messages import BucketDigests, Listings, NotHeld, Pages, StateAnswer, StateContent, StateMeta
from pbft.core.types import SequenceNumber, View


class StateLie(Behaviour):
    """Serves a false state: other rows, fewer, none, of another checkpoint, or nothing at all."""

    def __init__(self, means: Means) -> None:
        self._random = means.random

    def answer(self, _puppet: Puppet, answer: StateAnswer) -> StateAnswer | None:
        match self._random.randrange(6):
            case 0:
                return None
            case 1:
                return replace(answer, content=NotHeld(held=SequenceNumber(self._random.choice((0, 4, 2**40)))))
            case 2:
                return replace(answer, sequence=SequenceNumber(answer.sequence + 4))
            case 3:
                return answer
            case _:
                return replace(answer, content=self._false(answer.content))

    def _false(self, content: StateContent) -> StateContent:
        flip, cut = self._random.random() < 0.6, self._random.random() < 0.5
        match content:
            case StateMeta():
                return replace(content, history_head=Digest(bytes(reversed(content.history_head))))
            case BucketDigests():
                swapped = (content.buckets[1], content.buckets[0], *content.buckets[2:])
                return replace(content, buckets=swapped)
            case Listings():
                return replace(content, buckets=content.buckets[:-1], more=cut)
            case Pages() if flip:
                pages = tuple(
                    (page, tuple((key, bytes(reversed(row))) for key, row in rows)) for page, rows in content.pages
                )
                return replace(content, pages=pages)
            case Pages():
                pages = tuple((page, rows[:-1]) for page, rows in content.pages)
                return replace(content, pages=pages, more=cut)
            case _:
                return content


class FalseAmnesia(Behaviour):
    """Claims to have forgotten everything, whatever it is given."""

    def __init__(self, means: Means) -> None:
        self._random = means.random

    def rewrite(self, puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        log = puppet.replica.log
        window = puppet.replica.group.parameters.window
        claims = (
            Rejoining(checkpoint=None, view=None),
            Rejoining(checkpoint=SequenceNumber(log.low_watermark + 2 * window), view=None),
            Rejoining(checkpoint=log.low_watermark, view=View(log.view + 2)),
        )
        send = tuple(
            replace(item, message=replace(item.message, rejoining=self._random.choice(claims)))
            if isinstance(item.message, Status)
            else item
            for item in effects.send
        )
        return replace(effects, send=send)
