"""Lies told to clients. The replica orders honestly, so only its clients can notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adversary.behaviours.base import Behaviour, Means, Puppet
from crypto.digest import digest_of
from pbft.core.effects import Effects, Input, ReplyTo
from pbft.core.events import decode_item, encode_item
from pbft.core.messages import Answer, Events, OperationResult, Reply
from pbft.core.voting_rules import VotingRules

LIES: Final = ("results", "answers", "events")


def _among_lies(what: Sequence[str]) -> frozenset[str]:
    """Raises TypeError, as for an option that there is not."""
    unknown = sorted({*what} - {*LIES})
    if unknown:
        raise TypeError(f"what: of {', '.join(LIES)}, not {unknown[0]!r}")
    return frozenset(what or LIES)


def _kind_of(item: ReplyTo) -> str:
    match item.message.message:
        case Reply():
            return "results"
        case Answer():
            return "answers"
        case _:
            return "events"


class ReplyLie(Behaviour):
    """Signs false results, answers and events, each a valid statement of this replica. `what`: which of them."""

    def __init__(self, means: Means, *, what: Sequence[str] = ()) -> None:
        self._what = _among_lies(what)
        # Statements for clients are no votes: fresh rules sign any of them.
        self._rules = VotingRules(means.group, means.me, means.craft.members.signers[means.me])

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, reply=tuple(self._lie(item) for item in effects.reply))

    def _lie(self, item: ReplyTo) -> ReplyTo:
        if _kind_of(item) not in self._what:
            return item
        message = item.message.message
        match message:
            case Reply():
                results = tuple(_false_result(result) for result in message.results)
                return replace(item, message=self._rules.sign_reply(replace(message, results=results)))
            case Answer():
                return replace(
                    item, message=self._rules.sign_answer(replace(message, result=_garbled(message.result)))
                )
            case Events():
                items = tuple(_false_event(item) if message.bodies else digest_of(item) for item in message.items)
                return replace(item, message=self._rules.sign_events(replace(message, items=items)))


class ReplyWithhold(Behaviour):
    """Orders and executes, and does not tell its clients. `what`: results, answers, events; by default all."""

    def __init__(self, _means: Means, *, what: Sequence[str] = ()) -> None:
        self._what = _among_lies(what)

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return replace(effects, reply=tuple(item for item in effects.reply if _kind_of(item) not in self._what))


def _false_result(result: OperationResult) -> OperationResult:
    return replace(result, result=_garbled(result.result))


def _false_event(item: bytes) -> bytes:
    """Another head, with the content that belongs to the true one: in itself, nothing is wrong with it."""
    event = decode_item(item)
    return encode_item(replace(event, head=_garbled(event.head)))


def _garbled(data: bytes) -> bytes:
    """Other bytes of the same length: the last one flipped, so that a text stays a text where it can."""
    return data[:-1] + bytes([data[-1] ^ 1]) if data else b"\x00"
