"""Against state transfer, and against those who help the forgetful."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adversary.behaviours.base import Behaviour, Means, Puppet
from crypto.digest import Digest
from pbft.core.effects import Effects, Input
from pbft.core.frames import wire_of
from pbft.core.messages import Rejoining, Status
from pbft.core.state_messages import BucketDigests, Listings, NotHeld, Pages, StateAnswer, StateContent, StateMeta
from pbft.core.types import ReplicaId, SequenceNumber, View

WAYS: Final = ("random", "corrupt", "truncate", "slow", "stale", "silent")
SPOILS: Final = ("all", "pages")
SLOW_MS: Final = 2_500
"""Longer than anybody waits for an answer."""


class StateLie(Behaviour):
    """Serves a false state: other rows, fewer, none, of another checkpoint, late, or nothing at all.

    `how`: which of these, or another each time. `hold_ms`: how late it is, if it is. `spoils`: every answer, or those
    with rows alone, after it was believed about what leads to them.
    """

    def __init__(self, means: Means, *, how: str = "random", hold_ms: int = SLOW_MS, spoils: str = "all") -> None:
        if how not in WAYS:
            raise TypeError(f"how is one of {', '.join(WAYS)}, not {how!r}")
        if spoils not in SPOILS:
            raise TypeError(f"spoils is one of {', '.join(SPOILS)}, not {spoils!r}")
        self._random = means.random
        self._how = how
        self._hold_ms = hold_ms
        self._pages_only = spoils == "pages"

    def answer(self, puppet: Puppet, to: ReplicaId, answer: StateAnswer) -> StateAnswer | None:
        if self._pages_only and not isinstance(answer.content, Pages):
            return answer
        match self._how:
            case "silent":
                return None
            case "slow":
                puppet.say_later(self._hold_ms, (to,), wire_of(puppet.replica.group.epoch, answer))
                return None
            case "stale":
                return replace(answer, content=NotHeld(held=SequenceNumber(0)))
            case "corrupt" | "truncate":
                return replace(answer, content=_spoilt(answer.content, flip=self._how == "corrupt", more=False))
            case _:
                return self._any_way(answer)

    def _any_way(self, answer: StateAnswer) -> StateAnswer | None:
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
                flip, cut = self._random.random() < 0.6, self._random.random() < 0.5
                return replace(answer, content=_spoilt(answer.content, flip=flip, more=cut))


def _spoilt(content: StateContent, *, flip: bool, more: bool) -> StateContent:
    """`flip`: other rows; else some of them are missing, and `more` says that they follow."""
    match content:
        case StateMeta():
            return replace(content, history_head=Digest(bytes(reversed(content.history_head))))
        case BucketDigests():
            swapped = (content.buckets[1], content.buckets[0], *content.buckets[2:])
            return replace(content, buckets=swapped)
        case Listings():
            return replace(content, buckets=content.buckets[:-1], more=more)
        case Pages() if flip:
            pages = tuple(
                (page, tuple((key, bytes(reversed(row))) for key, row in rows)) for page, rows in content.pages
            )
            return replace(content, pages=pages)
        case Pages():
            return replace(content, pages=tuple((page, rows[:-1]) for page, rows in content.pages), more=more)
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
