"""Turns: who floods gets his part and no more, however many connections, devices or frames he has."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pbft.core.codec import Opener
from pbft.core.frames import sign_request
from pbft.core.messages import Request
from pbft.core.types import ClientSequence, SessionNumber
from pbft.node.connection import Connection
from pbft.node.intake import Intake
from pbft.node.streams import FrameStream, SendQueue
from pbft.node.turns import (
    ALLOWANCES_MAX,
    BURST_SECONDS,
    HOLD_SECONDS,
    IDLE_PARTIES_MAX,
    SLICE_UNITS,
    SLICES_AT_ONCE,
    Allowance,
    Allowances,
    Door,
    FairQueue,
    Party,
    Ration,
    Room,
    Share,
    Turn,
    Turns,
)
from tests.harness.keys import make_group

MEMBERS = make_group(4)


def person(address: str, device: str = "") -> Party:
    return Share.PEOPLE, address, device


async def served_in_turn(waiting: list[tuple[str, Party]], rounds: int) -> Counter[str]:
    """How often whom, if each comes again as soon as it was served."""
    queue = FairQueue()
    served: Counter[str] = Counter()

    async def customer(name: str, party: Party) -> None:
        while True:
            await queue.wait(party, SLICE_UNITS)
            served[name] += 1

    async with trio.open_nursery() as nursery:
        for name, party in waiting:
            nursery.start_soon(customer, name, party)
        for _ in range(rounds):
            await wait_all_tasks_blocked()
            queue.give()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(queue) == 0, "who was cancelled waits no more"
    return served


async def test_addresses_share_evenly_whatever_the_number_of_their_devices_and_connections() -> None:
    crowd = [("flood", person("10.0.0.1", f"device {number % 4}")) for number in range(40)]
    honest = [("a", person("10.0.0.2", "a")), ("b", person("10.0.0.3", "b"))]
    assert await served_in_turn([*crowd, *honest], 90) == {"flood": 30, "a": 30, "b": 30}


async def test_devices_of_one_address_share_evenly() -> None:
    greedy = [("greedy", person("10.0.0.1", "greedy"))] * 20
    assert await served_in_turn([*greedy, ("modest", person("10.0.0.1", "modest"))], 20) == {
        "greedy": 10,
        "modest": 10,
    }


async def test_replicas_come_first_and_newcomers_last() -> None:
    newcomers = [("new", (Share.NEWCOMERS, f"10.0.0.{each}", None)) for each in range(30)]
    others: list[tuple[str, Party]] = [("peer", (Share.PEERS, 1, None)), ("person", person("10.1.0.1"))]
    served = await served_in_turn([*newcomers, *others], 370)
    assert served == {"peer": 320, "person": 40, "new": 10}


async def test_who_was_away_is_not_paid_for_it_and_who_was_alone_does_not_pay() -> None:
    queue = FairQueue()
    for _ in range(1000):
        queue.charge(person("alone"), SLICE_UNITS)
    order: list[str] = []

    async def customer(name: str) -> None:
        await queue.wait(person(name), SLICE_UNITS)
        order.append(name)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(customer, "alone")
            nursery.start_soon(customer, "fresh")
        for _ in range(6):
            await wait_all_tasks_blocked()
            queue.give()
    assert 1 <= order[:4].count("alone") <= 2, "one slice ahead of the other at most"


def test_the_memory_of_parties_is_bounded() -> None:
    queue = FairQueue()
    for number in range(3 * IDLE_PARTIES_MAX):
        queue.charge(person(f"address {number}"), SLICE_UNITS)
    people = queue._root.below[Share.PEOPLE]
    assert len(people.below) <= IDLE_PARTIES_MAX


async def test_nobody_waits_while_there_is_time_and_then_all_get_on() -> None:
    turns = Turns()
    for _ in range(SLICES_AT_ONCE):
        await turns.next(person("a"))
    done: list[str] = []

    async def late(name: str) -> None:
        await turns.next(person(name))
        turns.spent(person(name), SLICE_UNITS)
        done.append(name)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(late, f"{number}")
        await wait_all_tasks_blocked()
        assert done == []
        nursery.start_soon(turns.run)
        await wait_all_tasks_blocked()
        assert len(done) == 10
        nursery.cancel_scope.cancel()


async def test_room_is_given_in_turn_as_it_comes(autojump_clock: MockClock) -> None:
    occupied = 0
    room = Room(100, lambda: occupied)
    assert room.enter_now(person("flood"), 100)
    assert not room.enter_now(person("honest"), 1), "what is reserved is taken"
    occupied = 100
    room.leave(100)
    let_in: list[str] = []

    async def enter(name: str) -> None:
        assert await room.enter(person(name), 10)
        let_in.append(name)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(enter, "flood")
        await wait_all_tasks_blocked()
        nursery.start_soon(enter, "honest")
        await wait_all_tasks_blocked()
        room.admit()
        await wait_all_tasks_blocked()
        assert let_in == []
        occupied = 80
        room.admit()
        await wait_all_tasks_blocked()
        assert sorted(let_in) == ["flood", "honest"], "not two of the one who asks most"
        occupied = 0
        room.leave(20)
        await wait_all_tasks_blocked()
    assert room.shed == 0


def test_what_was_handed_over_is_taken_until_the_replica_counts_it() -> None:
    occupied = 0
    room = Room(10, lambda: occupied)
    assert room.enter_now(person("a"), 10)
    room.hand_over(10)
    assert not room.has_room
    occupied = 10
    room.settle()
    assert not room.has_room
    occupied = 0
    assert room.has_room


async def test_who_is_gone_while_he_waits_for_his_turn_gives_back_the_room_he_had_got() -> None:
    occupied = 10
    room, turns = Room(10, lambda: occupied), Turns()
    request = sign_request(
        MEMBERS.group,
        MEMBERS.device("a"),
        Request(
            session=SessionNumber(1),
            first_client_sequence=ClientSequence(0),
            ack_below=ClientSequence(0),
            operations=(b"x",) * 10,
        ),
    )
    nothing = cast("FrameStream", None)  # nothing is read from it here
    parse = Opener(MEMBERS.group, MEMBERS.verifier).parse_client
    connection = Connection(
        request.device, "10.0.0.1", room=room, strangers=Ration(1), stream=nothing, queue=SendQueue(1)
    )
    connection.become(known=True)
    intake = Intake(Opener(MEMBERS.group, MEMBERS.verifier), threads=0, turns=turns)

    async def read() -> None:
        with connection.scope:
            try:
                await intake.open([request.wire], parse, party=connection.party, admit=connection.admit)
            finally:
                connection.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for _ in range(SLICES_AT_ONCE - 1):
            await turns.next(person("busy"))
        occupied = 0
        room.admit()
        await wait_all_tasks_blocked()
        assert room._reserved == 10, "it has its room, and waits for a slice"
        connection.scope.cancel()
    assert room._reserved == 0


async def test_who_finds_no_room_for_long_is_sent_away(autojump_clock: MockClock) -> None:
    room = Room(10, lambda: 10)
    began = trio.current_time()
    assert not await room.enter(person("a"), 7)
    assert trio.current_time() - began == pytest.approx(HOLD_SECONDS)
    assert room.shed == 7
    room.admit()


async def test_strangers_get_their_ration_and_no_more(autojump_clock: MockClock) -> None:
    ration = Ration(10)
    party: Party = (Share.NEWCOMERS, "10.0.0.1", None)
    taken = sum(ration.enter_now(party, 1) for _ in range(1000))
    assert taken == 10 * BURST_SECONDS
    await trio.sleep(3)
    assert sum(ration.enter_now(party, 1) for _ in range(1000)) == 30


def test_an_allowance_that_is_overdrawn_says_how_long_to_wait() -> None:
    allowance = Allowance(100)
    allowance.spend(0.0, 100 * BURST_SECONDS + 50)
    assert allowance.seconds_overdrawn(0.0) == pytest.approx(0.5)
    assert allowance.seconds_overdrawn(0.5) == 0
    assert allowance.left(1000.0) == 100 * BURST_SECONDS


def test_allowances_are_bounded() -> None:
    allowances = Allowances(10)
    for number in range(2 * ALLOWANCES_MAX):
        allowances.of(number)
    assert len(allowances._known) == ALLOWANCES_MAX


async def test_a_turn_is_paid_once() -> None:
    turns = Turns()
    turn = Turn(turns, person("a"))
    await turn.begin()
    turn.units = 1
    turn.end()
    paid = turns._queue._root.below[Share.PEOPLE].used
    turn.end()
    assert turns._queue._root.below[Share.PEOPLE].used == paid == 1 / Share.PEOPLE.weight


def test_a_door_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        Door().enter_now(person("a"), 1)
