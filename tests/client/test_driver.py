"""The client on trio, against replicas that speak the real protocol over real TLS in memory."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pbft.client.errors import (
    OutcomeUnknown,
    ReplicasDisagree,
    RequestRejected,
    TooBusy,
    TopicClosed,
)
from pbft.client.quorums import Contradiction, Outcome, Settings, Unknown, UnknownTicket
from pbft.client.sessions import SESSION_RANDOM_BITS, next_session
from pbft.core.effects import Evidence
from pbft.core.frames import encode_signed
from pbft.core.handshake import framed
from pbft.core.messages import Credit, Query, Reply, Signed, SignedRequest, Subscribe, ToClient, Unsubscribe
from pbft.core.types import EventIndex, SessionNumber
from tests.client.calling import accepted, client_of, said
from tests.client.fake_replicas import World

# -- operations


async def test_an_operation_is_accepted_with_its_vouchers(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        outcome = accepted(await client.submit(b"hello"))
        assert outcome.result == b"done:hello"
        assert outcome.sequence == 1
        assert len(outcome.vouchers) >= 1
        assert client.seen == 1


async def test_only_the_primary_is_asked_while_it_answers(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        before = trio.current_time()
        await client.submit(b"hello")
        assert trio.current_time() - before < 0.1
        assert [len(said(world, replica, SignedRequest)) for replica in range(4)] == [1, 0, 0, 0]


async def test_all_are_asked_when_the_primary_does_not_answer(world: World, autojump_clock: MockClock) -> None:
    world.replicas[0].silent = True
    async with client_of(world) as client:
        before = trio.current_time()
        await client.submit(b"hello")
        assert trio.current_time() - before == pytest.approx(0.6, abs=0.01)
        requests = [one for replica in range(4) for one in said(world, replica, SignedRequest)]
        assert len(requests) == 5
        assert len({request.wire for request in requests}) == 1


async def test_operations_waiting_together_share_a_signature(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        outcomes = await client.submit_many([b"%d" % i for i in range(100)])
        assert [accepted(outcome).result for outcome in outcomes] == [b"done:%d" % i for i in range(100)]
        assert [len(one.message.operations) for one in said(world, 0, SignedRequest)[:2]] == [64, 36]
        assert await client.submit_many([]) == []


async def test_callbacks_serve_many_operations_without_a_task_each(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        done = trio.Event()
        outcomes: list[Outcome] = []

        def on_outcome(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == 1000:
                done.set()

        for number in range(1000):
            client.submit_nowait(b"%d" % number, on_outcome)
        await done.wait()
        assert {accepted(outcome).result for outcome in outcomes} == {b"done:%d" % i for i in range(1000)}


async def test_too_many_and_too_large_operations_are_refused(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world, settings=Settings(outbox_max=10)) as client:
        with pytest.raises(ValueError, match="an operation has at most"):
            await client.submit(b"x" * 20_000)
        with pytest.raises(TooBusy):
            await client.submit_many([b"x"] * 11)
        assert len(await client.submit_many([b"x"] * 10)) == 10


async def test_an_unknown_outcome_is_retried_under_the_same_name(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        for replica in world.replicas:
            replica.silent = True
        unknown = await client.submit(b"x", within_s=3)
        assert isinstance(unknown, Unknown)
        for replica in world.replicas:
            replica.silent = False
        assert accepted(await client.retry(unknown)).result == b"done:x"
        assert len(world.executed) == 1
        with pytest.raises(UnknownTicket):
            await client.retry(unknown)


async def test_two_retries_at_once_do_no_harm(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        world.replicas[0].silent = world.replicas[1].silent = world.replicas[2].silent = True
        unknown = await client.submit(b"x", within_s=1)
        assert isinstance(unknown, Unknown)
        outcomes: list[Outcome] = []

        async def retry() -> None:
            outcomes.append(await client.retry(unknown, within_s=1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(retry)
            nursery.start_soon(retry)
        assert len(outcomes) == 2


async def test_a_caller_that_leaves_does_not_disturb_the_others(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        with trio.move_on_after(0.01):
            await client.submit(b"a")
        assert accepted(await client.submit(b"b")).result == b"done:b"


# -- liars


def lying(world: World, replica: int) -> None:
    saying(world, replica, result=b"lie")


def refusing(world: World, replica: int) -> None:
    saying(world, replica, result=b"", refused=True)


def saying(world: World, replica: int, **changes: Any) -> None:
    """Something else than the true result, properly signed."""
    rules = world.replicas[replica].rules

    def lie(signed: ToClient) -> ToClient:
        message = signed.message
        if not isinstance(message, Reply):
            return signed
        results = tuple(replace(one, **changes) for one in message.results)
        return rules.sign_reply(replace(message, results=results))

    world.replicas[replica].lie = lie


async def test_a_liar_is_not_believed_and_is_found_out(world: World, autojump_clock: MockClock) -> None:
    lying(world, 0)
    told: list[Contradiction] = []
    proven: list[Evidence] = []
    async with client_of(world, on_contradiction=told.append, on_evidence=proven.append) as client:
        assert accepted(await client.submit(b"x")).result == b"done:x"
        await client.submit(b"y")
        assert client.contradictions.counts == {0: 2}
        assert client.contradictions.kept == tuple(told)
        assert len(told[0].accepted) == 2
        assert [(evidence.code, evidence.culprit) for evidence in proven] == [("E9", 0), ("E9", 0)]
        assert client.evidence == tuple(proven)


GARBAGE = {
    "no frame": b"\xff" * 100,
    "no CBOR": framed(b"\xff\xff\xff"),
    "another type": framed(b"\x81\x65HELLO"),
    "an empty frame": bytes(4),
    "a forged signature": framed(encode_signed("REPLY", 0, 2, b"\x80", bytes(64))),  # type: ignore[arg-type]
    "a malformed inspection": framed(b"\x82\x6aINSPECTION\x00"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_closes_only_the_link_it_came_over(
    garbage: bytes, world: World, autojump_clock: MockClock
) -> None:
    world.replicas[2].garbage = garbage
    async with client_of(world) as client:
        assert accepted(await client.submit(b"x")).result == b"done:x"
        await trio.sleep(1)
        assert world.replicas[2].dials >= 2
        assert [world.replicas[i].dials for i in (0, 1, 3)] == [1, 1, 1]
        assert not len(client.contradictions)


async def test_a_statement_of_another_replica_closes_the_link(world: World, autojump_clock: MockClock) -> None:
    world.replicas[2].signs_as = world.replicas[3].rules
    async with client_of(world) as client:
        outcome = accepted(await client.submit(b"x"))
        assert 2 not in outcome.vouchers
        await trio.sleep(1)
        assert world.replicas[2].dials >= 2


async def test_a_signature_by_nobody_closes_the_link(world: World, autojump_clock: MockClock) -> None:
    def forge(signed: ToClient) -> ToClient:
        assert isinstance(signed.message, Reply)
        wire = signed.wire[:-1] + bytes([signed.wire[-1] ^ 1])
        return Signed(message=signed.message, signer=signed.signer, signature=signed.signature, wire=wire)

    world.replicas[0].lie = forge
    async with client_of(world) as client:
        assert 0 not in accepted(await client.submit(b"x")).vouchers
        await trio.sleep(1)
        assert world.replicas[0].dials >= 2


# -- reads


async def test_a_read_is_asked_of_all_and_is_no_older_than_what_was_written(
    world: World, autojump_clock: MockClock
) -> None:
    async with client_of(world) as client:
        await client.submit(b"x")
        answer = await client.query(b"?")
        assert (answer.result, answer.sequence, answer.ordered) == (b"answer:?", 1, False)
        assert [message.minimum_sequence for i in range(4) for message in said(world, i, Query)] == [1, 1, 1, 1]


async def test_where_answers_differ_the_read_is_ordered(world: World, autojump_clock: MockClock) -> None:
    for i, replica in enumerate(world.replicas):
        replica.answers = partial(operator.add, b"%d" % i)
    async with client_of(world, ordered_read=lambda query: b"read " + query) as client:
        answer = await client.query(b"?")
        assert (answer.result, answer.ordered) == (b"done:read ?", True)
    async with client_of(world) as client:
        with pytest.raises(ReplicasDisagree) as caught:
            await client.query(b"?")
        assert [one.result for one in caught.value.statements] == [b"0?", b"1?", b"2?", b"3?"]
        with pytest.raises(ValueError, match="no way to order reads"):
            await client.query(b"?", linearizable=True)


async def test_a_linearizable_read_is_ordered_at_once(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world, ordered_read=lambda query: b"read " + query) as client:
        assert (await client.query(b"?", linearizable=True)).ordered
        assert not said(world, 0, Query)


async def test_an_unanswered_read_is_unknown(world: World, autojump_clock: MockClock) -> None:
    for replica in world.replicas[1:]:
        replica.silent = True
    async with client_of(world) as client:
        with pytest.raises(OutcomeUnknown, match="1 replicas answered in time, 2 are needed"):
            await client.query(b"?", within_s=2)
        with pytest.raises(ValueError, match="a query has at most"):
            await client.query(b"x" * 100_000)


async def test_an_ordered_read_may_be_unknown_or_refused_too(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world, ordered_read=lambda query: b"read " + query) as client:
        for replica in world.replicas:
            replica.silent = True
        with pytest.raises(OutcomeUnknown, match="was not ordered in time"):
            await client.query(b"?", linearizable=True, within_s=1)
        for number, replica in enumerate(world.replicas):
            replica.silent = False
            refusing(world, number)
        with pytest.raises(RequestRejected):
            await client.query(b"?", linearizable=True)


async def test_many_reads_at_once_keep_within_what_a_replica_takes(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client, trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(client.query, b"%d" % number)


# -- subscriptions


async def test_events_come_once_and_in_order_and_go_on_after_the_links_broke(
    world: World, autojump_clock: MockClock
) -> None:
    async with client_of(world) as client, client.subscribe(b"room") as stream:
        got: list[bytes] = []
        for round_ in range(4):
            await client.submit_many([b"%d %d" % (round_, i) for i in range(10)])
            got += [(await anext(stream)).head for _ in range(10)]
            for replica in world.replicas:
                await replica.break_links()
            await client.wait_connected(4)
        assert got == [b"%d %d" % (round_, i) for round_ in range(4) for i in range(10)]


async def test_a_streamer_that_withholds_is_replaced(world: World, autojump_clock: MockClock) -> None:
    for replica in world.replicas:
        replica.withholds_bodies = True
    async with client_of(world) as client:
        await client.submit_many([b"a", b"b"])
        world.replicas[2].withholds_bodies = False
        async with client.subscribe(b"room", EventIndex(1)) as stream:
            event = await anext(stream)
            assert (event.index, event.head) == (1, b"b")


async def test_a_topic_that_cannot_be_read_raises(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client, client.subscribe(b"elsewhere") as stream:
        with pytest.raises(TopicClosed, match="elsewhere"):
            await anext(stream)


async def test_a_slow_reader_is_not_sent_more_than_it_takes(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        for _ in range(20):
            await client.submit_many([b"x"] * 256)
        async with client.subscribe(b"room") as stream:
            for index in range(20 * 256):
                assert (await anext(stream)).index == index
            await trio.sleep(1)
            assert said(world, 0, Credit)
        await trio.sleep(1)
        assert all(said(world, replica, Unsubscribe) for replica in range(4))
        assert all(said(world, replica, Subscribe)[0].start == 0 for replica in range(4))


async def test_subscriptions_are_bounded(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        for _ in range(100):
            async with client.subscribe(b"room"):
                pass
        streams = [client.subscribe(b"room") for _ in range(65)]
        for stream in streams[:64]:
            await stream.__aenter__()
        with pytest.raises(ValueError, match="at most 64 subscriptions"):
            await streams[64].__aenter__()
        with pytest.raises(ValueError, match="a topic has at most"):
            client.subscribe(b"x" * 2000)


# -- the whole


async def test_what_a_caller_raises_comes_out_as_it_is(world: World, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with client_of(world):
            raise KeyError


async def test_a_cancelled_caller_is_cancelled(world: World, autojump_clock: MockClock) -> None:
    with trio.move_on_after(3) as scope:
        async with client_of(world):
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_session_numbers_grow() -> None:
    first = next_session()
    later = SessionNumber(first + (1 << 40))
    assert next_session(later) == later + 1
    assert next_session(SessionNumber(5)) >> SESSION_RANDOM_BITS >= first >> SESSION_RANDOM_BITS


def test_two_programs_that_start_together_have_different_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same millisecond: what tells them apart is drawn, from all of the bits."""
    drawn: list[int] = []

    def draw(bits: int) -> int:
        drawn.append(bits)
        return len(drawn)

    monkeypatch.setattr("pbft.client.sessions.time.time_ns", lambda: 1_800_000_000_000_000_000)
    monkeypatch.setattr("pbft.client.sessions.secrets.randbits", draw)
    first, second = next_session(), next_session()
    assert second == first + 1
    assert drawn == [SESSION_RANDOM_BITS, SESSION_RANDOM_BITS]
