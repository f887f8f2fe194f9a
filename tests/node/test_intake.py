"""From frames to inputs: what came before the first bad frame counts, and order is kept."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import MockClock, Sequencer, wait_all_tasks_blocked

from crypto.canonical import encode
from crypto.merkle import leaf_digest
from crypto.signing import Domain, PublicKey, Signature, Verifier
from pbft.core.bodies import VIEW_CHANGE
from pbft.core.codec import Opener
from pbft.core.effects import ClientGone, Evidence, FromClient, FromPeer, LinkUp
from pbft.core.errors import InvalidMessageSignature, MalformedMessage
from pbft.core.evidence import verify_evidence
from pbft.core.frames import batch_digest, encode_proposal, make_prepared_certificate
from pbft.core.messages import Prepare, Query, Signed
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.node.intake import SLICE_CLAIMS, Inbox, Intake
from pbft.node.turns import CLAIM_UNITS, Share, Turns
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


# -- frames that do not open


class Counting:
    """Checks signatures as another does, and counts."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.checked = 0

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        self.checked += 1
        self._verifier.verify(public_key, domain, body, signature)


CERTIFICATES = 60


def change_with_a_forgery() -> bytes:
    """A VIEW-CHANGE of replica 3, in which all signatures hold but the last."""
    held = [CRAFT.prepared(number, digest("x"), (1, 2)) for number in range(1, CERTIFICATES + 1)]
    (first, (who, _)), (_, (_, signature)) = held[-1].prepares, held[-2].prepares
    forged = make_prepared_certificate(MEMBERS.group, held[-1].pre_prepare, (first, (who, signature)))
    return CRAFT.view_change(3, 1, *held[:-1], forged).wire


class Judged:
    """What is told of one frame to whom brings it, and what that costs."""

    def __init__(self, frame: bytes, *, may_prove: bool = True, threads: int = 0, in_full: bool = True) -> None:
        self.counting = Counting(MEMBERS.verifier)
        self.turns = Turns()
        self.intake = Intake(Opener(MEMBERS.group, self.counting), threads=threads, turns=self.turns)
        self.frame, self.may_prove, self.in_full = frame, may_prove, in_full
        self.spent = 0
        self.asked: list[tuple[str, int]] = []

    def _may_prove(self, code: str, culprit: ReplicaId) -> bool:
        self.asked.append((code, culprit))
        return self.may_prove

    def _spend(self, units: int) -> None:
        self.spent += units

    async def proof(self) -> Evidence | None:
        """Of who brought it, replica 3."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.turns.run)
            party = (Share.PEERS, 3, None)
            evidence = await self.intake.proof_in(
                self.frame, party=party, may_prove=self._may_prove, spend=self._spend, in_full=self.in_full
            )
            nursery.cancel_scope.cancel()
        return evidence


@pytest.mark.parametrize("threads", [0, 2], ids=["on the loop", "in threads"])
async def test_a_frame_that_does_not_open_proves_what_its_signer_signed(threads: int) -> None:
    judged = Judged(change_with_a_forgery(), threads=threads)
    evidence = await judged.proof()
    assert evidence is not None
    assert (evidence.code, evidence.culprit) == ("E7", 3)
    verify_evidence(Opener(MEMBERS.group, MEMBERS.verifier), evidence)
    assert judged.spent >= CLAIM_UNITS * judged.counting.checked


async def test_garbage_is_looked_at_at_no_cost_to_what_comes_after_it() -> None:
    judged = Judged(bytes(1_000_000))
    assert await judged.proof() is None
    assert judged.spent == 0


async def test_who_is_in_debt_is_convicted_of_what_is_malformed_and_not_of_what_takes_many_checks() -> None:
    malformed = CRAFT.sign(3, VIEW_CHANGE, b"\xff", bytes).wire
    judged = Judged(malformed, in_full=False)
    evidence = await judged.proof()
    assert evidence is not None
    assert (evidence.code, evidence.culprit) == ("E7", 3)
    verify_evidence(Opener(MEMBERS.group, MEMBERS.verifier), evidence)
    long = Judged(change_with_a_forgery(), in_full=False)
    assert await long.proof() is None
    assert (judged.counting.checked, long.counting.checked) == (1, 1)


async def test_what_it_takes_to_judge_a_frame_is_done_in_turns_with_others() -> None:
    judged = Judged(change_with_a_forgery())
    passes: list[int] = []

    async def another() -> None:
        while True:
            passes.append(judged.counting.checked)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        assert await judged.proof() is not None
        nursery.cancel_scope.cancel()
    steps = [later - sooner for sooner, later in itertools.pairwise([0, *passes, judged.counting.checked])]
    assert max(steps) <= 2 * SLICE_CLAIMS + 1, "trio does not say which of two tasks comes first"
    assert judged.counting.checked > 3 * CERTIFICATES > 4 * SLICE_CLAIMS


async def test_a_frame_is_not_looked_into_if_enough_of_its_kind_is_proven() -> None:
    judged = Judged(change_with_a_forgery(), may_prove=False)
    assert await judged.proof() is None
    assert judged.asked == [("E7", 3)]
    assert judged.counting.checked == 0


async def test_a_frame_that_its_signer_did_not_sign_accuses_nobody_and_costs_one_check() -> None:
    frame = change_with_a_forgery()
    judged = Judged(frame[:-64] + bytes(64))
    assert await judged.proof() is None
    assert judged.counting.checked == 1
    assert judged.spent < CLAIM_UNITS * CERTIFICATES


async def test_a_proposal_with_what_is_no_request_is_proven_without_a_look_at_the_others() -> None:
    """Its batch is signed for as a whole."""
    wires = [*(CRAFT.request(f"device {number}").wire for number in range(20)), b"\x00"]
    batch = encode([1, wires])
    named = batch_digest(Milliseconds(1), (leaf_digest(wire) for wire in wires))
    header = CRAFT.pre_prepare(0, 1, named).wire
    judged = Judged(encode_proposal(header, batch))
    evidence = await judged.proof()
    assert evidence is not None
    assert (evidence.code, evidence.culprit) == ("E8", 0)
    verify_evidence(Opener(MEMBERS.group, MEMBERS.verifier), evidence)
    assert judged.counting.checked == 1


async def test_a_proposal_of_another_batch_than_it_names_proves_nothing() -> None:
    judged = Judged(encode_proposal(CRAFT.pre_prepare(0, 1, digest("x")).wire, encode([1, [b"\x00"]])))
    assert await judged.proof() is None
