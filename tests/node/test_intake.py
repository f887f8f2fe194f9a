"""From frames to inputs: what came before the first bad frame counts, and order is kept."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, Sequencer, wait_all_tasks_blocked

from pbft.core.codec import Opener
from pbft.core.effects import ClientGone, FromClient, FromPeer, LinkUp
from pbft.core.errors import InvalidMessageSignature, MalformedMessage
from pbft.core.messages import Prepare, Query, Signed
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.node.intake import SLICE_CLAIMS, Inbox, Intake
from pbft.node.turns import Turns
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

NOW = Now(steady=Milliseconds(1), wall=Milliseconds(1))
MEMBERS = make_group(4, real=True)
CRAFT = Craft(MEMBERS)
DEVICE = MEMBERS.device("alice").public_key


def vote(sequence: int) -> Signed[Prepare]:
    return CRAFT.prepare(1, sequence, digest("batch"))


def forged(sequence: int) -> bytes:
    """The vote of one replica with the signature of another over it."""
    honest, other = vote(sequence), CRAFT.prepare(2, sequence, digest("batch"))
    return honest.wire.replace(honest.signature, other.signature)


@pytest.fixture(params=[0, 2], ids=["on the loop", "in threads"])
def intake(request: pytest.FixtureRequest) -> Intake:
    return Intake(Opener(MEMBERS.group, MEMBERS.verifier), threads=request.param, turns=Turns())


def opener_of(intake: Intake) -> Opener:
    return intake._opener


async def test_good_frames_come_in_order(intake: Intake) -> None:
    votes = [vote(sequence) for sequence in range(1, 3 * SLICE_CLAIMS)]
    messages, violation = await intake.open([each.wire for each in votes], opener_of(intake).parse_peer)
    assert violation is None
    assert messages == votes


@pytest.mark.parametrize("bad_at", [0, 1, SLICE_CLAIMS - 1, SLICE_CLAIMS, SLICE_CLAIMS + 1, 70])
@pytest.mark.parametrize(
    ("bad", "kind"), [(b"\xff", MalformedMessage), (forged(99), InvalidMessageSignature)], ids=["garbage", "forged"]
)
async def test_what_came_before_the_first_bad_frame_is_delivered_and_nothing_behind(
    intake: Intake, bad: bytes, kind: type[Exception], bad_at: int
) -> None:
    votes = [vote(sequence) for sequence in range(1, bad_at + 1)]
    frames = [*(each.wire for each in votes), bad, vote(90).wire, b"worse"]
    messages, violation = await intake.open(frames, opener_of(intake).parse_peer)
    assert messages == votes
    assert type(violation) is kind


async def test_a_forged_frame_before_garbage_is_the_violation(intake: Intake) -> None:
    messages, violation = await intake.open([vote(1).wire, forged(2), b"\xff"], opener_of(intake).parse_peer)
    assert messages == [vote(1)]
    assert type(violation) is InvalidMessageSignature


async def test_many_claims_in_one_message_let_the_other_tasks_run() -> None:
    turns = Turns()
    intake = Intake(Opener(MEMBERS.group, MEMBERS.verifier), threads=0, turns=turns)
    frames = [vote(sequence).wire for sequence in range(1, 10 * SLICE_CLAIMS)]
    looks = 0
    done = trio.Event()

    async def other() -> None:
        nonlocal looks
        while not done.is_set():
            await trio.lowlevel.checkpoint()
            looks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        nursery.start_soon(turns.run)
        await intake.open(frames, opener_of(intake).parse_peer)
        done.set()
        nursery.cancel_scope.cancel()
    assert looks >= 8


async def test_what_is_useless_is_dropped_without_a_look_at_its_signature() -> None:
    intake = Intake(Opener(MEMBERS.group, MEMBERS.verifier), threads=0, turns=Turns())
    messages, violation = await intake.open(
        [vote(1).wire, forged(2), vote(3).wire],
        opener_of(intake).parse_peer,
        lambda message: isinstance(message, Signed) and message.wire == forged(2),
    )
    assert (messages, violation) == ([vote(1), vote(3)], None)


# -- the inbox


def from_peer(peer: int, sequence: int = 1) -> FromPeer:
    return FromPeer(peer=ReplicaId(peer), message=vote(sequence))


def from_client(number: int) -> FromClient:
    query = Query(query_id=number, minimum_sequence=SequenceNumber(0), query=b"")
    return FromClient(device=DEVICE, message=query)


async def test_everything_that_waits_is_taken_together() -> None:
    inbox = Inbox()
    await inbox.put("one", [from_peer(1, 1), from_peer(1, 2)])
    await inbox.put("two", [from_peer(2)])
    await inbox.wait()
    assert inbox.take() == [(from_peer(1, 1), from_peer(1, 2), from_peer(2))]
    assert inbox.take() == []


async def test_a_notice_keeps_its_place_among_the_messages() -> None:
    """A client that asks, goes and comes back: what it said first must not be taken for what it says now."""
    inbox = Inbox()
    gone = ClientGone(now=NOW, device=DEVICE)
    up = LinkUp(now=NOW, peer=ReplicaId(2))
    await inbox.put("first connection", [from_client(1)])
    inbox.post(gone)
    inbox.post(up)
    await inbox.put("second connection", [from_client(2)])
    assert inbox.take() == [(from_client(1),), gone, up, (from_client(2),)]


async def test_a_connection_has_one_chunk_in_the_inbox_and_waits_with_the_next(autojump_clock: MockClock) -> None:
    inbox = Inbox()
    sequencer = Sequencer()

    async def reader() -> None:
        await inbox.put("source", [from_peer(1, 1)])
        async with sequencer(0):
            pass
        await inbox.put("source", [from_peer(1, 2)])
        async with sequencer(2):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        async with sequencer(1):
            await wait_all_tasks_blocked()
            assert inbox.take() == [(from_peer(1, 1),)]
            await wait_all_tasks_blocked()
            assert inbox.take() == [(from_peer(1, 2),)]


async def test_a_connection_that_waits_does_not_hold_up_the_others() -> None:
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        await inbox.put("flood", [from_peer(1, 1)])
        nursery.start_soon(inbox.put, "flood", [from_peer(1, 2)])
        await wait_all_tasks_blocked()
        await inbox.put("other", [from_peer(2)])
        assert inbox.take() == [(from_peer(1, 1), from_peer(2))]
        await wait_all_tasks_blocked()
        assert inbox.take() == [(from_peer(1, 2),)]


async def test_wait_returns_when_something_is_there(autojump_clock: MockClock) -> None:
    inbox = Inbox()

    async def later() -> None:
        await trio.sleep(5)
        inbox.post(LinkUp(now=NOW, peer=ReplicaId(1)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        await inbox.wait()
        assert trio.current_time() == pytest.approx(5)
