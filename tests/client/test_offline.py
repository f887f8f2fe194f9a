"""What replicas signed to a client, shown to somebody who has the group alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from trio.testing import MockClock

from crypto.signing import Ed25519Verifier
from pbft.client.offline import UnprovenAnswer, Vouched, check_answer
from pbft.client.quorums import Accepted
from pbft.core.messages import Answer, Events, OperationResult, Reply, ToClient
from pbft.core.types import ClientSequence, EventIndex, ReplicaId, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules
from tests.client.calling import ALICE, client_of
from tests.client.fake_replicas import World
from tests.harness.keys import Members, make_group

MEMBERS = make_group(4, real=True)
DEVICE, OTHER = MEMBERS.device("alice").public_key, MEMBERS.device("bob").public_key


def rules(replica: int, members: Members = MEMBERS) -> VotingRules:
    return VotingRules(members.group, ReplicaId(replica), members.signers[replica])


def answer(
    replica: int,
    result: bytes = b"yes",
    *,
    sequence: int = 9,
    query: int = 1,
    device: bytes = DEVICE,
    members: Members = MEMBERS,
) -> bytes:
    said = Answer(device=device, query_id=query, sequence=SequenceNumber(sequence), result=result)  # type: ignore[arg-type]  # keys are bytes
    return rules(replica, members).sign_answer(said).wire


def reply(replica: int, *results: tuple[int, int, bytes | None], sequence: int = 9, session: int = 5) -> bytes:
    """`results`: (client sequence, index in the batch, result, None for a refusal)."""
    said = Reply(
        device=DEVICE,
        session=SessionNumber(session),
        view=View(replica),
        sequence=SequenceNumber(sequence),
        results=tuple(
            OperationResult(
                client_sequence=ClientSequence(name), index=index, refused=result is None, result=result or b""
            )
            for name, index, result in results
        ),
    )
    return rules(replica).sign_reply(said).wire


def check(*frames: bytes, operation: int | None = None, members: Members = MEMBERS) -> Vouched:
    meant = None if operation is None else ClientSequence(operation)
    return check_answer(members.group, Ed25519Verifier(), frames, operation=meant)


# -- what proves a result


def test_f_plus_1_answers_prove_a_result_out_of_the_older_state() -> None:
    assert check(answer(2, sequence=12), answer(0, sequence=9)) == Vouched(
        result=b"yes", sequence=SequenceNumber(9), ordered=False, device=DEVICE, replicas=(ReplicaId(0), ReplicaId(2))
    )


def test_with_more_answers_the_sequence_is_one_that_f_plus_1_have_reached() -> None:
    assert check(*(answer(replica, sequence=replica) for replica in range(4))).sequence == 2


def test_f_plus_1_replies_prove_a_result_in_its_place_in_the_order() -> None:
    assert check(reply(3, (4, 1, b"done")), reply(1, (4, 1, b"done"))) == Vouched(
        result=b"done", sequence=SequenceNumber(9), ordered=True, device=DEVICE, replicas=(ReplicaId(1), ReplicaId(3))
    )


def test_an_operation_is_found_among_others_under_the_same_signature() -> None:
    frames = [reply(0, (4, 1, b"a"), (5, 2, b"b"), (6, 3, b"c")), reply(1, (5, 2, b"b"), (6, 3, b"c"))]
    assert check(*frames, operation=5).result == b"b"
    assert check(*frames, operation=6).result == b"c"
    assert check(frames[0], reply(2, (4, 1, b"a"))).result == b"a", "the only one that both hold"


@pytest.mark.parametrize("n", [4, 7, 10])
def test_one_replica_fewer_than_f_plus_1_proves_nothing(n: int) -> None:
    members = make_group(n, real=True)
    enough = [answer(replica, members=members) for replica in range(members.group.honest_minimum)]
    assert check(*enough, members=members).result == b"yes"
    with pytest.raises(UnprovenAnswer, match=f"{len(enough) - 1} replicas signed, {len(enough)} are needed"):
        check(*enough[1:], members=members)


# -- what does not

ELSEWHERE = make_group(4, real=True, name="elsewhere")

Twist = tuple[Callable[[], Sequence[bytes]], int | None, str]

TWISTS: dict[str, Twist] = {
    "nothing": (list, None, "0 replicas signed, 2 are needed"),
    "one replica twice": (lambda: [answer(1), answer(1)], 1, "two of the statements are its own"),
    "one replica in two states": (lambda: [answer(1, sequence=3), answer(1)], 1, "two of the statements are its own"),
    "more than there are": (lambda: [answer(1)] * 5, None, "5 statements, while the group has 4 replicas"),
    "another group": (lambda: [answer(0), answer(2, members=ELSEWHERE)], 2, "changed, or is of another group"),
    "another result": (lambda: [answer(0), answer(2, b"no")], 2, "another result than replica 0"),
    "another device": (lambda: [answer(0), answer(2, device=OTHER)], 2, "another question than replica 0"),
    "another question": (lambda: [answer(0), answer(2, query=2)], 2, "another question than replica 0"),
    "an answer and a reply": (lambda: [answer(0), reply(2, (4, 1, b"yes"))], 0, "an ANSWER, others are REPLYs"),
    "another session": (lambda: [reply(0, (4, 1, b"a")), reply(2, (4, 1, b"a"), session=6)], 2, "another session"),
    "another batch": (lambda: [reply(0, (4, 1, b"a")), reply(2, (4, 1, b"a"), sequence=8)], 2, "another batch"),
    "another index": (lambda: [reply(0, (4, 1, b"a")), reply(2, (4, 2, b"a"))], 2, "no result of one operation"),
    "another reply": (lambda: [reply(0, (4, 1, b"a")), reply(2, (4, 1, b"b"))], 2, "another result than replica 0"),
    "a refusal": (lambda: [reply(0, (4, 1, b"a")), reply(2, (4, 1, None))], 2, "no result of one operation"),
    "refusals alone": (lambda: [reply(0, (4, 1, None)), reply(2, (4, 1, None))], 0, "no result of one operation"),
    "two operations": (lambda: [reply(r, (4, 1, b"a"), (5, 2, b"b")) for r in (0, 2)], None, "of 2 operations: say"),
    "no frame": (lambda: [answer(0), b"\xff\xff"], None, "statement 2 was changed"),
    "a cut frame": (lambda: [answer(0), answer(2)[:-1]], None, "statement 2 was changed"),
    "a frame and more": (lambda: [answer(0), answer(2) + b"\x00"], None, "statement 2 was changed"),
    "events": (lambda: [answer(0), events(2)], 2, "neither an ANSWER nor a REPLY"),
}


def events(replica: int) -> bytes:
    said = Events(
        device=DEVICE, subscription=1, sequence=SequenceNumber(9), first=EventIndex(0), bodies=True, items=(b"yes",)
    )
    return rules(replica).sign_events(said).wire


@pytest.mark.parametrize("twist", TWISTS.values(), ids=TWISTS.keys())
def test_statements_that_prove_nothing_are_refused_with_whose_they_are_and_why(twist: Twist) -> None:
    make, replica, problem = twist
    with pytest.raises(UnprovenAnswer, match=problem) as raised:
        check(*make())
    assert raised.value.replica == replica
    assert replica is None or str(raised.value).startswith(f"replica {replica}: ")


def test_an_operation_that_the_replies_are_not_about_has_no_result() -> None:
    with pytest.raises(UnprovenAnswer, match="no result of operation 5"):
        check(reply(0, (4, 1, b"a")), reply(1, (4, 1, b"a")), operation=5)


@pytest.mark.parametrize(
    "make", [answer, lambda replica: reply(replica, (4, 1, b"done"))], ids=["an answer", "a reply"]
)
def test_no_byte_of_a_statement_can_be_changed(make: Callable[[int], bytes]) -> None:
    first, second = make(0), make(3)
    for place in range(len(second)):
        for change in (0x01, 0x20, 0x80, 0xFF):
            changed = second[:place] + bytes([second[place] ^ change]) + second[place + 1 :]
            with pytest.raises(UnprovenAnswer):
                check(first, changed)


# -- what a client keeps


async def test_a_client_keeps_what_proves_an_answer_if_asked_to(world: World, autojump_clock: MockClock) -> None:
    group = world.directory.group
    async with client_of(world) as client:
        given = await client.query(b"?", keep_statements=True)
        shown = check_answer(group, Ed25519Verifier(), given.statements)
        assert (shown.result, shown.ordered, shown.device) == (given.result, False, ALICE.public_key)
        assert {*shown.replicas} <= {*given.vouchers}
        assert shown.sequence <= given.sequence
        assert (await client.query(b"?")).statements == ()


async def test_a_client_keeps_what_proves_an_ordered_read(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world, ordered_read=lambda query: b"read:" + query) as client:
        given = await client.query(b"?", linearizable=True, keep_statements=True)
        shown = check_answer(
            world.directory.group, Ed25519Verifier(), given.statements, operation=given.client_sequence
        )
        assert (shown.result, shown.sequence, shown.ordered) == (given.result, given.sequence, True)
        assert (await client.query(b"?", linearizable=True)).statements == ()


async def test_a_liars_reply_is_no_part_of_the_proof(world: World, autojump_clock: MockClock) -> None:
    liar = world.replicas[0]

    def lie(said: ToClient) -> ToClient:
        message = said.message
        assert isinstance(message, Reply)
        results = tuple(replace(one, result=b"lie") for one in message.results)
        return liar.rules.sign_reply(replace(message, results=results))

    liar.lie = lie
    async with client_of(world) as client:
        outcome = await client.submit(b"x", keep_statements=True)
    assert isinstance(outcome, Accepted)
    shown = check_answer(world.directory.group, Ed25519Verifier(), outcome.statements)
    assert (shown.result, 0 in shown.replicas) == (b"done:x", False)


async def test_each_of_many_operations_has_its_own_proof(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        outcomes = await client.submit_many([b"a", b"b", b"c"], keep_statements=True)
        plain = await client.submit(b"d")
    shown = []
    for outcome in outcomes:
        assert isinstance(outcome, Accepted)
        proven = check_answer(
            world.directory.group, Ed25519Verifier(), outcome.statements, operation=outcome.client_sequence
        )
        shown.append(proven.result)
    assert shown == [b"done:a", b"done:b", b"done:c"]
    assert isinstance(plain, Accepted)
    assert plain.statements == ()
