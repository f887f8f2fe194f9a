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
from pbft.node.limits import Limits
from pbft.node.streams import FrameStream, SendQueue
from pbft.node.turns import BURST_SECONDS, BYTES_PER_PLACE, Party, Ration, Room, Share, Turn, Turns, places_of
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


async def admit(request: SignedRequest, *, room: Room, strangers: Ration, known: bool) -> None:
    connection = Connection(
        request.device,
        "10.0.0.1",
        room=room,
        strangers=strangers,
        stream=cast("FrameStream", None),  # nothing is read from it here
        queue=SendQueue(1),
    )
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
