"""Whole sessions of several people, step by step the same as in the plain chat."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from chatsvc.application.answers import decode_answer
from chatsvc.application.events import content_digest, decode_content, decode_head
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Operation, Read, encode_operation
from chatsvc.application.queries import encode_query
from chatsvc.application.results import Rejected, decode_result
from crypto.signing import PublicKey
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.chatsvc import plain_answers
from tests.chatsvc.drawing import Drawing, all_signers, opening, signer_of, somebody
from tests.chatsvc.fakes import NOON, Service
from tests.chatsvc.plain_chat import PlainChat
from tests.chatsvc.sessions import run_session

DEVICES = [signer_of("device", number) for number in range(7)]
STRANGER = signer_of("stranger", 0).public_key

GENEROUS = ChatLimits()
NARROW = ChatLimits(
    operations_per_minute=6,
    operations_burst=8,
    message_bytes_per_day=400,
    devices_per_account=2,
    device_keys_per_account=4,
    rooms_created_per_account=2,
    memberships_per_account=3,
    invitations_per_account=1,
    members_per_direct=2,
    bans_per_room=1,
    links_per_room=1,
    pins_per_room=1,
    edits_per_message=1,
    edit_minutes=1,
    reactions_per_message=2,
    mentions_per_message=1,
    threads_per_room=1,
    notices_per_account=2,
    invitation_days=1,
)

PAUSES_MS = (*[0] * 8, *[700] * 16, *[10_000] * 8, 60_000, 86_400_000)

dice = st.randoms(use_true_random=True)
devices = dice.map(lambda random: somebody(random, DEVICES))


class Sessions(RuleBasedStateMachine):
    """The chat and the plain chat, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service()
        self.plain = PlainChat(GENEROUS, all_signers(DEVICES))
        self.time, self.index = int(NOON), 0

    def teardown(self) -> None:
        self.service.close()

    @initialize(limits=st.sampled_from([GENEROUS, NARROW]), dice=dice)
    def begin(self, limits: ChatLimits, dice: Random) -> None:
        """Some are there already, in rooms of all kinds."""
        self.service.close()
        self.service, self.plain = Service(limits), PlainChat(limits, all_signers(DEVICES))
        for operation in opening():
            self.do(DEVICES[operation[0]].public_key, operation[1])
        self.act(dice, 100)

    @rule(dice=dice, count=st.integers(1, 10))
    def act(self, dice: Random, count: int) -> None:
        """People do something. Without a pause, in the batch of what was done before."""
        for _ in range(count):
            pause_ms = dice.choice(PAUSES_MS)
            if pause_ms:
                self.end_batch(pause_ms)
            device = somebody(dice, DEVICES)
            self.do(device, Drawing(dice, self.plain, DEVICES, device).operation())

    @rule(dice=dice, device=devices)
    def ask(self, dice: Random, device: PublicKey) -> None:
        self.end_batch(1)
        query = Drawing(dice, self.plain, DEVICES, device).query()
        encoded = encode_query(query)
        found = self.service.application.query(self.service.rows, device, encoded)
        told, expected = decode_answer(found), plain_answers.answer(self.plain, device, query)
        if isinstance(told, Rejected):
            told = Rejected(told.code, "")
        assert told == expected, query
        refused = self.plain.pay_read(device, self.time)
        ordered = self.service.execute(device, encode_operation(Read(encoded)), time=Milliseconds(self.time)).result
        if refused is None:
            assert ordered == found
        else:
            assert msgspec.structs.replace(decode_result(ordered), detail="") == refused

    @rule(device=devices | st.just(STRANGER), start=st.integers(0, 12))
    def follow(self, device: PublicKey, start: int) -> None:
        self.end_batch(1)
        for name, room in self.plain.rooms.items():
            who = self.plain.owner_of.get(device)
            revoked = who is not None and device not in self.plain.accounts[who].active()
            visible = not revoked and (not room.private or who in room.members)
            topic, first = name.encode(), EventIndex(start)
            items = self.service.application.events(self.service.rows, device, topic, first, 1000)
            if not visible or start < room.first_event:
                assert items is None
                continue
            assert items is not None
            heads = [decode_head(item.head) for item in items]
            contents = [None if item.content is None else decode_content(item.content) for item in items]
            assert [head.event for head in heads] == list(range(start, start + len(heads)))
            for head, content, item in zip(heads, contents, items, strict=True):
                assert head.digest == item.content_digest
                assert content is None or content_digest(content) == head.digest
            told = [
                (head.kind.value, head.actor, head.index, head.data, head.time, content)
                for head, content in zip(heads, contents, strict=True)
            ]
            assert told == plain_answers.room_events(room, start)

    @rule(pause_ms=st.sampled_from([1, 60_000]))
    def checkpoint(self, pause_ms: int) -> None:
        self.end_batch(pause_ms)
        time, sequence = Milliseconds(self.time), SequenceNumber(self.service.sequence)
        self.service.application.tidy(self.service.rows, sequence, time)
        self.service.commit()
        self.plain.prune(self.time, self.plain.rooms)

    def end_batch(self, pause_ms: int) -> None:
        self.service.commit()
        self.time, self.index = self.time + pause_ms, 0
        self.service.sequence += 1

    def do(self, device: PublicKey, operation: Operation) -> None:
        service, time = self.service, Milliseconds(self.time)
        writes = service.rows.writes
        outcome = service.execute_in_batch(device, encode_operation(operation), index=self.index, time=time)
        expected = self.plain.apply(device, operation, time, (service.sequence, self.index))
        self.index += 1
        result = decode_result(outcome.result)
        if isinstance(result, Rejected):
            result = Rejected(result.code, "", result.retry_ms)
            assert service.rows.writes == writes, operation
        assert result == expected, operation
        assert {topic.decode() for topic in outcome.topics} == self.plain.topics, operation


Sessions.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestSessions = Sessions.TestCase


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6, 7])
def test_a_group_some_of_it_faulty_gives_what_the_plain_chat_gives(seed: int) -> None:
    """More of them: `python -m tests.chatsvc.sessions`."""
    run_session(seed)
