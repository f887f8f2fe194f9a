"""A wall of connections before a node: those who come from elsewhere, and members, find the door open (attack 26)."""

from __future__ import annotations

import contextlib

import pytest
import trio
from trio.testing import MockClock

from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from pbft.core.bodies import VIEW_CHANGE
from pbft.core.effects import Evidence
from pbft.core.frames import encode_signed, wire_of
from pbft.core.handshake import encode_client_hello
from pbft.core.messages import Credit
from pbft.core.types import EventIndex, ReplicaId
from pbft.node import clients, peers
from pbft.node.limits import Limits
from pbft.node.listening import IDLE_SECONDS, Doorway, Place, network_of
from tests.node.network import PATIENCE_S, Customer, client, link, running, signer_of, welcomed


def displaced(*places: Place) -> list[bool]:
    return [place.scope.cancel_called for place in places]


async def test_a_member_gives_its_place_among_the_newcomers_up_once() -> None:
    doorway = Doorway(Limits(newcomers_max=1))
    with doorway.enter("a") as known:
        known.become_member()
        known.become_member()
        with doorway.enter("b") as oldest, doorway.enter("b") as other:
            assert displaced(known, oldest, other) == [False, True, False]
            oldest.become_member()
            assert len(doorway.members) == 1, "what had to make room is no member any more"
    assert (doorway.newcomers.displaced, doorway.members.displaced) == (1, 0)
    assert len(doorway.newcomers) == len(doorway.members) == 0


async def test_newcomers_take_no_place_of_a_member_and_members_make_room_for_members_only() -> None:
    doorway = Doorway(Limits(connections_max=4, newcomers_max=2))
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(doorway.enter(host)) for host in ("crowd", "crowd")]
        for place in members:
            place.become_member()
        wall = [stack.enter_context(doorway.enter(f"wall {number}")) for number in range(10)]
        assert displaced(*members) == [False, False]
        assert displaced(*wall) == [True] * 8 + [False] * 2
        person = stack.enter_context(doorway.enter("elsewhere"))
        person.become_member()
        assert displaced(*members, person) == [True, False, False], "of the address with most, the oldest"


async def test_an_address_over_its_bound_loses_its_own_oldest() -> None:
    doorway = Doorway(Limits(connections_per_address_max=2))
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(doorway.enter("crowd")) for _ in range(2)]
        other = stack.enter_context(doorway.enter("other"))
        crowd.append(stack.enter_context(doorway.enter("crowd")))
        assert displaced(*crowd, other) == [True, False, False, False]


async def test_a_member_too_many_of_an_address_is_refused_unless_another_is_idle(autojump_clock: MockClock) -> None:
    doorway = Doorway(Limits(connections_per_address_max=2))
    with contextlib.ExitStack() as stack:

        def come(host: str) -> Place:
            place = stack.enter_context(doorway.enter(host))
            place.become_member()
            return place

        first, second = come("office"), come("office")
        for _ in range(10):
            assert displaced(come("office"), first, second) == [True, False, False], "it does not go round"
        elsewhere = come("elsewhere")
        await trio.sleep(IDLE_SECONDS / 2)
        first.heard()
        await trio.sleep(IDLE_SECONDS / 2 + 1)
        third = come("office")
        assert displaced(first, second, third, elsewhere) == [False, True, False, False]
        assert len(doorway.members) == 3


async def test_one_connection_too_many_of_members_does_not_go_round(group_file: GroupFile) -> None:
    device = Ed25519Signer.generate()
    async with (
        running(group_file, [0], limits=Limits(connections_per_address_max=4)) as nodes,
        contextlib.AsyncExitStack() as stack,
    ):
        held = [await stack.enter_async_context(await client(group_file, 0, device)) for _ in range(4)]
        caller, welcome = await welcomed(group_file, 0)
        await caller.send(encode_client_hello(group_file.group, device, welcome))
        assert await caller.rest() == [], "the fifth is closed"
        await trio.aclose_forcefully(caller.stream)
        for each in held:
            await each.inspect()
        assert (len(nodes[0]._doors[1].doorway.members), nodes[0]._clients.connected) == (4, 4)


@pytest.mark.parametrize(
    ("host", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("gone", "gone"),
    ],
)
def test_all_addresses_that_one_owner_has_count_as_one(host: str, counted_as: str) -> None:
    assert network_of(host) == counted_as


async def wall(port: int, count: int) -> list[trio.SocketStream]:
    """Connections from another address that never say a word."""
    streams = []
    for _ in range(count):
        raw = trio.socket.socket()
        await raw.bind(("127.0.0.2", 0))
        await raw.connect(("127.0.0.1", port))
        streams.append(trio.SocketStream(raw))
    return streams


async def test_a_wall_before_both_doors_keeps_neither_a_replica_nor_a_client_out(group_file: GroupFile) -> None:
    member = group_file.members[0]
    async with running(group_file, [0], limits=Limits(newcomers_max=4)) as nodes:
        walls = [await wall(port, 8) for port in (member.replica_endpoint.port, member.client_endpoint.port)]
        async with (
            await link(group_file, 3, 0) as peer,
            await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.3") as other,
        ):
            await peer.send()
            report = await other.inspect()
            assert report["shed"]["newcomers that made room"] >= 8
            assert all(len(doors.doorway.newcomers) <= 4 for doors in nodes[0]._doors)
        for stream in [*walls[0], *walls[1]]:
            await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("at_once", [50, 1])
async def test_a_connection_that_is_read_slowly_gives_its_place_up_when_its_client_leaves(
    group_file: GroupFile, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """`at_once`: how many times as much a client writes at once as is handed in at once."""
    monkeypatch.setattr(clients, "HOLD_SECONDS", 0.02)
    limits = Limits(address_useless_per_s=1, strangers_operations_per_s=100_000)
    vain = wire_of(group_file.group.epoch, Credit(subscription=9, taken=EventIndex(0)))
    chunks = 100
    async with running(group_file, range(3), limits=limits) as nodes, Customer.of(group_file, [0]):
        async with await client(group_file, 0, Ed25519Signer.generate(), source="127.0.0.2") as flood:
            for _ in range(chunks // at_once):
                await flood.send(*[vain] * (clients.FRAMES_AT_ONCE * at_once))
            with trio.fail_after(PATIENCE_S):
                while not nodes[0]._clients.slowed:
                    await trio.lowlevel.checkpoint()
        with trio.fail_after(PATIENCE_S):
            while nodes[0]._clients.connected > 1:
                await trio.lowlevel.checkpoint()
        assert nodes[0]._clients.slowed < chunks / 2, "most of it was for nobody"


async def test_who_brought_much_that_does_not_open_does_not_keep_its_link_for_it_and_is_convicted_still(
    group_file: GroupFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "HOLD_SECONDS", 0.01)
    async with running(group_file, [0]) as nodes, await link(group_file, 3, 0) as liar:
        listener = nodes[0]._peers
        listener._judged[ReplicaId(3)].spend(trio.current_time(), 10**9)
        proofs: list[Evidence] = []
        monkeypatch.setattr(listener, "_on_proof", proofs.append)
        signature = signer_of(group_file, 3).sign(group_file.group.domain(VIEW_CHANGE), b"\xff")
        await liar.send(encode_signed(VIEW_CHANGE, group_file.group.epoch, 3, b"\xff", signature))
        assert await liar.rest() == []
        assert listener.slowed == 1
        assert [(proof.code, proof.culprit) for proof in proofs] == [("E7", 3)]


async def test_an_address_over_its_bound_is_let_in_at_the_price_of_its_oldest(group_file: GroupFile) -> None:
    async with running(group_file, [0], limits=Limits(connections_per_address_max=2)):
        held = [(await welcomed(group_file, 0))[0] for _ in range(2)]
        other, _ = await welcomed(group_file, 0, source="127.0.0.2")
        newest, _ = await welcomed(group_file, 0)
        assert await held[0].rest() == []
        for caller in (held[1], other, newest):
            await caller.inspect()
        for caller in (*held, other, newest):
            await trio.aclose_forcefully(caller.stream)
