"""Small-scope mutation: one message, or a few, with one field changed, and signed again with its own key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from adversary.behaviours.base import Means, Puppet, Twist, parted
from adversary.craft import Craft
from crypto.digest import Digest
from pbft.core import bodies
from pbft.core.effects import Send
from pbft.core.frames import make_batch
from pbft.core.messages import (
    Body,
    Checkpoint,
    Commit,
    Fetch,
    NewView,
    PeerMessage,
    Prepare,
    Proposal,
    Signed,
    Status,
    ViewChange,
)
from pbft.core.state_messages import FetchState
from pbft.core.types import Milliseconds

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "PRE-PREPARE": ("view", "sequence", "timestamp", "requests"),
    "PREPARE": ("view", "sequence", "batch_digest"),
    "COMMIT": ("view", "sequence", "batch_digest"),
    "CHECKPOINT": ("sequence", "state_root"),
    "VIEW-CHANGE": ("view", "stable_checkpoint", "checkpoint", "prepared"),
    "NEW-VIEW": ("view", "view_changes", "pre_prepares"),
    "STATUS": ("view", "stable_checkpoint", "last_executed", "slots", "view_changes"),
    "FETCH": ("wanted",),
    "FETCH-STATE": ("number", "sequence", "state_root"),
    "BODY": ("sequence", "timestamp", "requests"),
}
"""What can be changed, by type of message."""
CHANGES: Final = ("+1", "-1", "digest", "empty", "drop")
NUMBERS: Final = frozenset(
    {"view", "sequence", "stable_checkpoint", "last_executed", "number", "timestamp"},
)
DIGESTS: Final = frozenset({"batch_digest", "state_root"})

_TYPES: Final[dict[type, str]] = {
    Prepare: "PREPARE",
    Commit: "COMMIT",
    Checkpoint: "CHECKPOINT",
    ViewChange: "VIEW-CHANGE",
    NewView: "NEW-VIEW",
    Status: "STATUS",
    Fetch: "FETCH",
    FetchState: "FETCH-STATE",
    Body: "BODY",
    Proposal: "PRE-PREPARE",
}
_ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "PREPARE": bodies.encode_vote,
    "COMMIT": bodies.encode_vote,
    "CHECKPOINT": bodies.encode_checkpoint,
    "VIEW-CHANGE": bodies.encode_view_change,
    "NEW-VIEW": bodies.encode_new_view,
}


def changes_of(field: str) -> tuple[str, ...]:
    """The changes that make sense for a field."""
    if field in NUMBERS:
        return ("+1", "-1", "drop")
    return ("digest", "drop") if field in DIGESTS else ("empty", "drop")


class Mutate(Twist):
    """Changes `field` of its messages of one type. `to`: for whom; by default for all. The others hear the truth.

    `change`: +1, -1, digest (another one), empty, or drop, the message as a whole. `rounds`: only these messages of
    the type, from the first to the last, counted from 1; by default all.
    """

    def __init__(
        self,
        means: Means,
        *,
        message_type: str,
        field: str,
        change: str,
        to: Sequence[int] = (),
        rounds: Sequence[int] = (),
    ) -> None:
        if field not in FIELDS.get(message_type, ()) or change not in changes_of(field):
            raise TypeError(f"mutate: no change {change!r} of {field!r} in {message_type!r}")
        super().__init__(means)
        self._type, self._field, self._change = message_type, field, change
        self._to = frozenset(to or means.group.replicas)
        self._rounds = tuple(rounds) or (1, 2**63)
        self._count = 0

    def twist(self, _puppet: Puppet, item: Send) -> Iterable[Send]:
        message = item.message
        if not self._is_meant(message):
            return (item,)
        self._count += 1
        if not self._rounds[0] <= self._count <= self._rounds[-1]:
            return (item,)
        deceived, others = parted(item, self._to)
        said = [Send(to=others, message=message)] if others else []
        lie = None if self._change == "drop" else self._mutated(message)
        if lie is not None and deceived:
            said.append(Send(to=deceived, message=lie))
        return said

    def _is_meant(self, message: PeerMessage) -> bool:
        """Its own only: of what others signed, no key of it signs another version."""
        if isinstance(message, Proposal):
            mine = message.pre_prepare.signer == self._me
        else:
            mine = not isinstance(message, Signed) or message.signer == self._me
        kind = type(message.message if isinstance(message, Signed) else message)
        return mine and _TYPES.get(kind) == self._type

    def _mutated(self, message: PeerMessage) -> PeerMessage | None:
        """None where there is no such message: no number is below 0."""
        match message:
            case Proposal():
                return self._proposal(message)
            case Body():
                batch = message.batch
                if self._field != "sequence":
                    return replace(message, batch=self._batch(batch.timestamp, batch.requests))
            case Signed():
                changed = self._changed(message.message)
                return None if changed is None else _sign(self._craft, self._me, self._type, changed)
            case _:
                pass
        return self._changed(message)  # type: ignore[no-any-return]

    def _changed(self, value: Any) -> Any:
        old = getattr(value, self._field)
        match self._change:
            case "+1" | "-1":
                new: object = old + int(self._change)
                return None if old + int(self._change) < 0 else replace(value, **{self._field: new})
            case "digest":
                return replace(value, **{self._field: Digest(bytes(reversed(old)))})
            case _:
                return replace(value, **{self._field: None if self._field == "checkpoint" else ()})

    def _batch(self, timestamp: Milliseconds, requests: tuple[Any, ...]) -> Any:
        if self._field == "requests":
            return make_batch(Milliseconds(0), ())
        return make_batch(Milliseconds(max(0, timestamp + int(self._change))), requests)

    def _proposal(self, proposal: Proposal) -> Proposal | None:
        batch, vote = proposal.batch, proposal.pre_prepare.message
        if self._field in {"timestamp", "requests"}:
            batch = self._batch(batch.timestamp, batch.requests)
            return self._craft.proposal(self._me, vote.sequence, batch, view=vote.view)
        changed = self._changed(vote)
        if changed is None:
            return None
        return self._craft.proposal(self._me, changed.sequence, batch, view=changed.view)


def _sign(craft: Craft, me: int, message_type: str, message: Any) -> Any:
    return craft.sign(me, message_type, message, _ENCODERS[message_type])
