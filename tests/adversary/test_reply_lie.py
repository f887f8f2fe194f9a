"""reply_lie: every statement it makes is its own and validly signed, and false; nothing else about it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
import trio

from adversary.behaviours.base import Means
from adversary.behaviours.replies import ReplyLie
from adversary.craft import Craft
from adversary.node import played
from chatsvc.groupfile import GroupFile
from crypto.digest import digest_of
from crypto.signing import Ed25519Signer
from pbft.core.application import EventItem
from pbft.core.codec import Opener
from pbft.core.effects import EFFECT_FIELDS, Effects, Record, RecordKind, ReplyTo, Send, Timer, TimerExpired
from pbft.core.events import decode_item, encode_item, item_digest
from pbft.core.frames import wire_of
from pbft.core.messages import Answer, Events, OperationResult, Query, Reply, Status, ToClient
from pbft.core.replica import Replica
from pbft.core.types import (
    ClientSequence,
    EventIndex,
    Milliseconds,
    Now,
    ReplicaId,
    SequenceNumber,
    SessionNumber,
    View,
)
from pbft.core.voting_rules import VotingRules
from tests.harness.keys import make_group
from tests.node.network import Customer, client, running

LIAR = ReplicaId(3)
NOW = Now(steady=Milliseconds(0), wall=Milliseconds(0))
MEMBERS = make_group(4, real=True)
DEVICE = MEMBERS.device("alice").public_key
RULES = VotingRules(MEMBERS.group, LIAR, MEMBERS.signers[LIAR])
OPENER = Opener(MEMBERS.group, MEMBERS.verifier)


class Nobody:
    """The lies need nothing of the replica that tells them."""

    me = LIAR
    replica: Replica

    def now(self) -> Now:
        return NOW

    def say(self, to: ReplicaId, frame: bytes) -> None:
        raise NotImplementedError

    def say_later(self, delay_ms: int, to: Sequence[ReplicaId], frame: bytes) -> None:
        raise NotImplementedError


def rewritten(effects: Effects) -> Effects:
    means = Means(me=LIAR, craft=Craft(MEMBERS.held_by([LIAR])), random=Random(1))  # noqa: S311 - no secret
    return ReplyLie(means).rewrite(Nobody(), TimerExpired(now=NOW, timer=Timer.STATUS), effects)


def reply(*results: bytes) -> Reply:
    return Reply(
        device=DEVICE,
        session=SessionNumber(1),
        view=View(0),
        sequence=SequenceNumber(5),
        results=tuple(
            OperationResult(client_sequence=ClientSequence(number), index=number, refused=False, result=result)
            for number, result in enumerate(results)
        ),
    )


def events(*items: bytes, bodies: bool) -> Events:
    return Events(
        device=DEVICE,
        subscription=1,
        sequence=SequenceNumber(5),
        first=EventIndex(0),
        bodies=bodies,
        items=items,
    )


def answer(result: bytes) -> Answer:
    return Answer(device=DEVICE, query_id=1, sequence=SequenceNumber(5), result=result)


def said(effects: Effects) -> list[ReplyTo]:
    """What the liar makes of it, each statement opened as a client would: with its signature checked."""
    lied = rewritten(effects)
    return [replace(item, message=OPENER.open_reply(item.message.wire)) for item in lied.reply]


@pytest.mark.parametrize("result", [b"", b"\x00", b"text", bytes(range(256))])
def test_results_and_answers_are_false_and_validly_signed(result: bytes) -> None:
    statements: list[ToClient] = [RULES.sign_reply(reply(result, result)), RULES.sign_answer(answer(result))]
    first, second = said(Effects(reply=tuple(ReplyTo(device=DEVICE, message=each) for each in statements)))
    assert isinstance(first.message.message, Reply)
    assert isinstance(second.message.message, Answer)
    assert [each.result == result for each in first.message.message.results] == [False, False]
    assert second.message.message.result != result
    assert {first.message.signer, second.message.signer} == {LIAR}
    names = [replace(each, result=result) for each in first.message.message.results]
    assert replace(first.message.message, results=tuple(names)) == reply(result, result), "only the results are false"
    assert replace(second.message.message, result=result) == answer(result)


@pytest.mark.parametrize("bodies", [True, False], ids=["bodies", "digests"])
def test_events_are_false_and_validly_signed(bodies: bool) -> None:
    told = (EventItem(head=b"one"), EventItem(head=b"two", content_digest=digest_of(b"said"), content=b"said"))
    items = tuple(encode_item(item) if bodies else item_digest(item) for item in told)
    honest = events(*items, bodies=bodies)
    (lied,) = said(Effects(reply=(ReplyTo(device=DEVICE, message=RULES.sign_events(honest)),)))
    assert isinstance(lied.message.message, Events)
    assert not set(lied.message.message.items) & set(items)
    assert bodies or {len(item) for item in lied.message.message.items} == {32}
    if bodies:
        assert [decode_item(item).content for item in lied.message.message.items] == [None, b"said"]
    assert replace(lied.message.message, items=items) == honest


def test_everything_but_its_replies_stays_as_it_is() -> None:
    status = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())
    honest = Effects(
        persist=(Record(RecordKind.PREPARE, SequenceNumber(1), b"vote"),),
        send=(Send(to=(ReplicaId(1),), message=status),),
        reply=(ReplyTo(device=DEVICE, message=RULES.sign_answer(answer(b"x"))),),
    )
    lied = rewritten(honest)
    assert all(getattr(lied, name) == getattr(honest, name) for name in EFFECT_FIELDS if name != "reply")
    assert [item.device for item in lied.reply] == [DEVICE]


async def test_in_a_group_only_its_clients_can_tell(group_file: GroupFile) -> None:
    """The same order and the same state everywhere, no evidence and no alarm; false words to clients."""
    make = played(group_file, [("reply_lie", {})])

    query = Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"log")
    async with running(group_file, range(4), {LIAR: make}), Customer.of(group_file, range(4)) as customer:
        for number in range(1, 10):
            *honest, lie = await customer.say("hello")
            assert honest == [str(number).encode()] * 3
            assert lie not in honest
        opener = Opener(group_file.group, MEMBERS.verifier)
        reports, answers = [], []
        for replica in range(4):
            async with await client(group_file, replica, Ed25519Signer.generate()) as caller:
                with trio.fail_after(10):
                    while (report := await caller.inspect())["stable_checkpoint"] < 8:
                        pass
                reports.append(report)
                await caller.send(wire_of(group_file.group.epoch, query))
                message = opener.open_reply(await caller.frame() or b"").message
                assert isinstance(message, Answer)
                answers.append(message.result)
        assert len({report["state_root"] for report in reports}) == 1
        assert not any(report["alarms"] or report["evidence"] for report in reports)
        assert len(set(answers[:3])) == 1
        assert answers[3] not in answers[:3]
