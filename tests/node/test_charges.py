"""What clients pay for: all that they ask for, and nothing that is not their doing."""

from __future__ import annotations

from typing import cast

import trio
from trio.testing import MockClock

from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from pbft.core.bodies import CREDIT, QUERY, REQUEST
from pbft.core.codec import Opener
from pbft.core.effects import Ignored, IgnoreReason
from pbft.core.frames import sign_request
from pbft.core.messages import Request, SignedRequest
from pbft.core.types import ClientSequence, SessionNumber
from pbft.node.clients import NO_FAULT
from pbft.node.connection import Connection
from pbft.node.intake import SLICE_CLAIMS
from pbft.node.limits import Limits
from pbft.node.node import TICK_S
from pbft.node.streams import FrameStream, SendQueue
from pbft.node.turns import (
    BURST_SECONDS,
    BYTES_PER_PLACE,
    HOLD_SECONDS,
    Party,
    Ration,
    Room,
    Share,
    Turn,
    Turns,
    places_of,
)
from tests.harness.keys import make_group
from tests.node.network import client, running

MEMBERS = make_group(4)


def request_of(*operations: bytes) -> SignedRequest:
    request = Request(
        session=SessionNumber(1),
        first_client_sequence=ClientSequence(0),
        ack_below=ClientSequence(0),
        operations=operations,
    )
    return sign_request(MEMBERS.group, MEMBERS.device("a"), request)


def connection_of(request: SignedRequest, host: str, *, room: Room, strangers: Ration) -> Connection:
    nothing = cast("FrameStream", None)  # nothing is read from it here
    return Connection(request.device, host, room=room, strangers=strangers, stream=nothing, queue=SendQueue(1))


async def admit(request: SignedRequest, *, room: Room, strangers: Ration, known: bool) -> None:
    connection = connection_of(request, "10.0.0.1", room=room, strangers=strangers)
    connection.become(known=known)
    turn = Turn(Turns(), connection.party)
    await turn.begin()
    item = Opener(MEMBERS.group, MEMBERS.verifier).parse_client(request.wire)
    assert await connection.admit([item], turn) == [item]
    turn.end()


async def test_a_stranger_pays_for_each_operation_of_a_request(autojump_clock: MockClock) -> None:
    strangers = Ration(10)
    await admit(request_of(*[b"x"] * 30), room=Room(1000, lambda: 0), strangers=strangers, known=False)
    party: Party = (Share.NEWCOMERS, "10.0.0.1", None)
    left = sum(strangers.enter_now(party, 1) for _ in range(100))
    assert left == 10 * BURST_SECONDS - 30


async def test_the_largest_chunk_of_a_stranger_keeps_another_out_for_less_than_two_seconds(
    autojump_clock: MockClock,
) -> None:
    """Nobody has checked a signature yet: what is in the chunk costs its sender next to nothing."""
    ration, room = Ration(Limits().strangers_operations_per_s), Room(100_000, lambda: 0)
    request = request_of(*[b""] * MEMBERS.group.parameters.request_operations_max)
    let_in: list[tuple[str, int, float]] = []

    async def bring(host: str, count: int) -> None:
        connection = connection_of(request, host, room=room, strangers=ration)
        turn = Turn(Turns(), connection.party)
        await turn.begin()
        items = [Opener(MEMBERS.group, MEMBERS.verifier).parse_client(request.wire) for _ in range(count)]
        admitted = await connection.admit(items, turn)
        turn.end()
        let_in.append((host, len(admitted), trio.current_time() - began))

    async def tick() -> None:
        while True:
            await trio.sleep(TICK_S)
            ration.admit()

    began = trio.current_time()
    async with trio.open_nursery() as ticking:
        ticking.start_soon(tick)
        async with trio.open_nursery() as strangers:
            strangers.start_soon(bring, "10.0.0.1", SLICE_CLAIMS)
            await trio.lowlevel.checkpoint()
            strangers.start_soon(bring, "10.0.0.2", 1)
        ticking.cancel_scope.cancel()
    (other, one, waited), (flood, some, held) = let_in
    assert (other, one, flood) == ("10.0.0.2", 1, "10.0.0.1")
    assert waited < 2
    assert some < SLICE_CLAIMS
    assert held <= HOLD_SECONDS + TICK_S, "nor is the sender itself held for long"


async def test_large_requests_take_more_of_the_room(autojump_clock: MockClock) -> None:
    room = Room(1000, lambda: 0)
    large = request_of(bytes(3 * BYTES_PER_PLACE))
    await admit(large, room=room, strangers=Ration(1), known=True)
    assert room._reserved == 1 + 3
    await admit(request_of(b"small", b"small"), room=room, strangers=Ration(1), known=True)
    assert room._reserved == 4 + 2


def test_the_room_counts_the_bytes_of_what_waits_in_the_pool() -> None:
    room = Room(10, lambda: places_of(1, 9 * BYTES_PER_PLACE))
    assert not room.has_room
    assert Room(10, lambda: places_of(1, 8 * BYTES_PER_PLACE)).has_room


async def test_an_address_pays_once_for_a_device_and_not_for_what_others_did(
    group_file: GroupFile, device: Ed25519Signer
) -> None:
    units = int(2 * BURST_SECONDS)
    async with (
        running(group_file, [0], limits=Limits(address_useless_per_s=1)) as nodes,
        await client(group_file, 0, device, source="127.0.0.2"),
        await client(group_file, 0, device, source="127.0.0.2"),
        await client(group_file, 0, device, source="127.0.0.2"),
    ):
        clients = nodes[0]._clients
        allowance = clients._useless.of("127.0.0.2")
        for reason in NO_FAULT:
            for message_type in (REQUEST, QUERY):
                for _ in range(units):
                    clients.on_ignored(Ignored(reason=reason, source=device.public_key, message_type=message_type))
        assert allowance.seconds_overdrawn(trio.current_time()) == 0
        for _ in range(units):
            clients.on_ignored(
                Ignored(reason=IgnoreReason.NO_SUBSCRIPTION, source=device.public_key, message_type=CREDIT)
            )
        assert 0 < allowance.seconds_overdrawn(trio.current_time()) <= units - BURST_SECONDS
