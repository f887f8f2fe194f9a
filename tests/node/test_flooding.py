"""What a node does about those who want more than their part (attack 26)."""

from __future__ import annotations

import contextlib

import pytest
import trio

from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from pbft.core.frames import wire_of
from pbft.core.messages import Credit, Query
from pbft.core.readers import QUERY_AHEAD_MAX
from pbft.core.replica import Replica
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from pbft.node.limits import Limits
from pbft.node.peers import QUESTION_UNITS
from pbft.node.turns import BURST_SECONDS
from tests.node.attacks import STATUS
from tests.node.logs import Logs
from tests.node.network import PATIENCE_S, Customer, client, link, running, say, welcomed

HONEST = range(3)
"""Replica 3 does not run: the attacker has its keys."""
EARLY = Query(query_id=1, minimum_sequence=SequenceNumber(QUERY_AHEAD_MAX), query=b"log")
"""Of a state that no replica reaches here."""


async def test_the_address_with_most_newcomers_makes_room_for_another(group_file: GroupFile) -> None:
    async with running(group_file, [0], limits=Limits(newcomers_max=6)):
        crowd = [(await welcomed(group_file, 0, source="127.0.0.2"))[0] for _ in range(6)]
        async with await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.3") as other:
            assert await crowd[0].rest() == [], "the oldest of the crowd is gone"
            assert (await other.inspect())["shed"]["newcomers that made room"] == 1
        for caller in crowd:
            await trio.aclose_forcefully(caller.stream)


async def test_all_connections_together_hold_no_more_than_they_may(group_file: GroupFile, logs: Logs) -> None:
    large, small = Ed25519Signer.generate(), Ed25519Signer.generate()
    async with (
        running(group_file, [0], limits=Limits(connection_bytes_max=100_000)) as nodes,
        await client(group_file, 0, large, receive_buffer=4096) as deaf,
        await client(group_file, 0, small) as modest,
    ):
        clients = nodes[0]._clients
        clients.send_nowait(small.public_key, b"x" * 1000)
        clients.send_nowait(large.public_key, b"x" * 90_000)
        clients.send_nowait(small.public_key, b"x" * 20_000)
        assert clients._held_bytes <= 100_000
        assert clients.closed_for_memory == 1
        assert [each["device"] for each in logs if each["event"] == "client holds most of the memory"] == [
            large.public_key.hex()[:16]
        ]
        await deaf.rest()
        async with await client(group_file, 0, Ed25519Signer.generate()):
            pass
        await trio.aclose_forcefully(modest.stream)


async def test_who_holds_too_much_is_closed_and_no_bystander(group_file: GroupFile) -> None:
    async with (
        contextlib.AsyncExitStack() as stack,
        running(group_file, [0], limits=Limits(connection_bytes_max=105_000)) as nodes,
    ):
        crowd = [Ed25519Signer.generate() for _ in range(3)]
        callers = [
            await stack.enter_async_context(await client(group_file, 0, each, source="127.0.0.2")) for each in crowd
        ]
        # One of another address holds more than any of the crowd, but not more than they hold together.
        modest = await stack.enter_async_context(
            await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.3")
        )
        quiet = await stack.enter_async_context(
            await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.4")
        )
        begun = (1_000_000).to_bytes(4, "big")
        await modest.raw(begun + bytes(40_000))
        for caller in callers:
            await caller.raw(begun + bytes(30_000))
        clients = nodes[0]._clients
        with trio.fail_after(PATIENCE_S):
            while clients.connected > 4 or clients._held_bytes < 100_000:
                await trio.lowlevel.checkpoint()
        assert (await quiet.inspect())["clients"] == 4
        assert clients.closed_for_memory == 1


async def test_unfinished_frames_count_as_memory_until_the_connection_ends(group_file: GroupFile) -> None:
    async with running(group_file, [0]) as nodes:
        clients = nodes[0]._clients
        async with await client(group_file, 0, Ed25519Signer.generate()) as caller:
            await caller.raw((1_000_000).to_bytes(4, "big") + bytes(50_000))
            with trio.fail_after(PATIENCE_S):
                while clients._held_bytes < 50_000:
                    await trio.lowlevel.checkpoint()
        with trio.fail_after(PATIENCE_S):
            while clients._held_bytes:
                await trio.lowlevel.checkpoint()


async def test_a_replica_that_asks_and_asks_is_read_slowly_and_the_others_are_heard(group_file: GroupFile) -> None:
    limits = Limits(peer_useless_per_s=50)
    async with (
        running(group_file, HONEST, limits=limits) as nodes,
        Customer.of(group_file, HONEST) as customer,
        await link(group_file, 3, 0) as flood,
    ):
        status = wire_of(group_file.group.epoch, STATUS)
        await flood.send(*[status] * int(50 * BURST_SECONDS / QUESTION_UNITS + 2))
        with trio.fail_after(PATIENCE_S):
            while not nodes[0]._peers.slowed:
                await trio.lowlevel.checkpoint()
        await customer.say("goes on")


async def test_a_liar_that_repeats_what_others_signed_slows_its_own_link_and_no_other(group_file: GroupFile) -> None:
    async with (
        running(group_file, HONEST, limits=Limits(peer_useless_per_s=50)) as nodes,
        Customer.of(group_file, HONEST) as customer,
        await link(group_file, 3, 0) as liar,
    ):
        await customer.say("something")
        machine = nodes[0]._machine
        assert isinstance(machine, Replica)
        slot = machine.log.get(machine.log.last_executed)
        assert slot is not None
        vote = slot.commits[ReplicaId(1)]
        await liar.send(*[vote.wire] * int(50 * BURST_SECONDS + 50))
        peers = nodes[0]._peers
        with trio.fail_after(PATIENCE_S):
            while not peers.slowed:
                await trio.lowlevel.checkpoint()
        assert peers._useless[ReplicaId(1)].seconds_overdrawn(trio.current_time()) == 0
        await customer.say("goes on")


async def test_requests_that_a_replica_passes_on_beyond_measure_are_dropped_unread(group_file: GroupFile) -> None:
    async with (
        running(group_file, HONEST, limits=Limits(peer_requests_per_s=2)) as nodes,
        Customer.of(group_file, HONEST) as customer,
        await link(group_file, 3, 0) as flood,
    ):
        device = Ed25519Signer.generate()
        await flood.send(*[say(group_file.group, device, number, "passed on") for number in range(50)])
        with trio.fail_after(PATIENCE_S):
            while nodes[0]._peers.dropped_requests < 50 - 2 * BURST_SECONDS:
                await trio.lowlevel.checkpoint()
        await customer.say("goes on")


@pytest.mark.parametrize(
    "vain",
    [
        pytest.param(Credit(subscription=1, taken=EventIndex(0)), id="credit of no subscription"),
        pytest.param(EARLY, id="more queries than a device may have open"),
    ],
)
async def test_what_clients_say_in_vain_makes_their_address_slow_and_no_other(
    group_file: GroupFile, vain: Credit | Query
) -> None:
    async with (
        running(group_file, HONEST, limits=Limits(address_useless_per_s=2)) as nodes,
        Customer.of(group_file, HONEST) as customer,
        await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.2") as flood,
    ):
        await customer.say("before")
        await flood.send(*[wire_of(group_file.group.epoch, vain)] * 300)
        with trio.fail_after(PATIENCE_S):
            while not nodes[0]._clients.slowed:
                await trio.lowlevel.checkpoint()
        for number in range(5):
            await customer.say(f"after {number}")
