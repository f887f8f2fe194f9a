"""The network between replicas does what it is told and nothing else. Real sockets; trio's clock stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
import trio
from trio.testing import MockClock

from adversary.network.pipe import BUFFER_BYTES_MAX
from adversary.network.proxy import Network, network_of
from adversary.network.route import CHUNK_BYTES_MAX, CLIENTS, Place, Route, Rule
from chatsvc.groupfile import GroupFile, read_group_file
from pbft.core.types import ReplicaId
from pbft.node.config import Endpoint
from tests.harness.waiting import until

MUCH = 20 * 1024 * 1024
"""More than the buffers of the network and of the sockets before and behind it."""


class World:
    """The network, and listeners where the replicas would listen."""

    def __init__(self, net: Network, listeners: dict[Endpoint, trio.SocketListener]) -> None:
        self.net = net
        self._listeners = listeners

    def address(self, dialler: Place, replica: int) -> Endpoint:
        """Where one finds the other, by its own group file."""
        member = read_group_file(self.net.view(dialler)).members[replica]
        return member.client_endpoint if dialler == CLIENTS else member.replica_endpoint

    async def dial(self, dialler: Place, replica: int) -> trio.SocketStream:
        endpoint = self.address(dialler, replica)
        return await trio.open_tcp_stream(endpoint.host, endpoint.port)

    @asynccontextmanager
    async def line(self, dialler: Place, replica: int) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
        """A connection: the dialler's end and the replica's."""
        member = self.net.file.members[replica]
        real = member.client_endpoint if dialler == CLIENTS else member.replica_endpoint
        async with await self.dial(dialler, replica) as near, await self._listeners[real].accept() as far:
            yield near, far


@pytest.fixture
async def world(group_file: GroupFile) -> AsyncIterator[World]:
    listeners = {}
    for member in group_file.members:
        for endpoint in (member.replica_endpoint, member.client_endpoint):
            (listeners[endpoint],) = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
    async with network_of(group_file, seed=1) as net:
        yield World(net, listeners)
    for listener in listeners.values():
        await listener.aclose()


async def is_reset(stream: trio.SocketStream) -> bool:
    """Whether it ends by a reset, after whatever came before."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        return True
    return False


async def exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        assert more, f"the end after {len(data)} bytes"
        data += more
    return data


async def settled(route: Route, waiting: int) -> None:
    """So many bytes wait in the network, and whoever could move them has had the chance."""
    await until(lambda: route.waiting_bytes == waiting)
    await trio.testing.wait_all_tasks_blocked()
    assert route.waiting_bytes == waiting


# -- views


async def test_a_view_is_the_same_group_with_other_addresses(world: World) -> None:
    real = world.net.file
    seen = set()
    for place in world.net.places:
        view = read_group_file(world.net.view(place))
        assert view.group == real.group
        assert view.replica_directory(ReplicaId(2)) == real.replica_directory(ReplicaId(2))
        for replica, (member, true) in enumerate(zip(view.members, real.members, strict=True)):
            if place == replica:
                assert member == true, "a replica listens where it always does"
                continue
            seen.add(member.client_endpoint if place == CLIENTS else member.replica_endpoint)
    assert len(seen) == 4 * 3 + 4
    assert not seen & {member.replica_endpoint for member in real.members}


async def test_the_views_are_gone_when_the_network_is(group_file: GroupFile) -> None:
    async with network_of(group_file) as net:
        views = [net.view(place) for place in net.places]
        assert all(view.exists() for view in views)
    assert not any(view.exists() for view in views)
    assert read_group_file(group_file.path).group == group_file.group


async def test_the_views_are_gone_after_a_failure_too(group_file: GroupFile) -> None:
    with pytest.raises(ExceptionGroup):
        async with network_of(group_file) as net:
            raise RuntimeError
    assert not any(net.view(place).exists() for place in net.places)


# -- a perfect network


@pytest.mark.parametrize(("dialler", "replica"), [(0, 3), (3, 0), (CLIENTS, 1)])
async def test_all_bytes_arrive_both_ways_and_so_does_the_end(world: World, dialler: Place, replica: int) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(750_000))
    async with world.line(dialler, replica) as (near, far):
        for one, other in ((near, far), (far, near)):
            got = sha256()

            async def send(stream: trio.SocketStream) -> None:
                await stream.send_all(data)
                await stream.send_eof()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, one)
                async for chunk in other:
                    got.update(chunk)
            assert got.digest() == sha256(data).digest()
    await until(lambda: world.net.open_connections(dialler, replica) == 0)
    assert world.net.route(dialler, replica).carried_bytes == world.net.route(replica, dialler).carried_bytes
    assert world.net.route(dialler, replica).waiting_bytes == 0


async def test_a_reset_at_one_end_is_a_reset_at_the_other(world: World) -> None:
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"not read")
        await until(lambda: world.net.route(0, 1).carried_bytes == 8)
        await far.aclose()  # over unread bytes: the system resets
        assert await is_reset(near)


async def test_one_who_is_not_there_refuses(world: World) -> None:
    listener = world._listeners[world.net.file.members[1].replica_endpoint]
    await listener.aclose()
    async with await world.dial(0, 1) as near:
        assert await is_reset(near)


# -- partitions and cuts


async def test_a_partition_cuts_and_refuses_between_its_parts_only(world: World) -> None:
    net = world.net
    async with (
        world.line(0, 1) as (there, _),
        world.line(1, 0) as (back, _),
        world.line(1, 2) as (near, far),
        world.line(CLIENTS, 0) as (client, at_0),
    ):
        net.partition({0}, {1, 2, 3})
        assert await is_reset(there)
        assert await is_reset(back)
        async with await world.dial(2, 0) as refused:
            assert await is_reset(refused)
        await near.send_all(b"within a part")
        assert await exactly(far, 13) == b"within a part"
        await client.send_all(b"of no part")
        assert await exactly(at_0, 10) == b"of no part"
    net.heal()
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"again")
        assert await exactly(far, 5) == b"again"


async def test_an_isolated_replica_reaches_nobody(world: World) -> None:
    world.net.isolate(3)
    cases: list[tuple[Place, int]] = [(3, 0), (0, 3), (CLIENTS, 3)]
    for dialler, replica in cases:
        async with await world.dial(dialler, replica) as refused:
            assert await is_reset(refused)
    async with world.line(CLIENTS, 0) as (near, far):
        await near.send_all(b"x")
        assert await exactly(far, 1) == b"x"


async def test_a_cut_ends_what_is_open_and_refuses_nothing(world: World) -> None:
    async with world.line(0, 1) as (near, far), world.line(1, 0) as (other, at_0):
        world.net.cut(0, 1)
        assert await is_reset(near)
        assert await is_reset(far)
        await other.send_all(b"x")
        assert await exactly(at_0, 1) == b"x"
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"x")
        assert await exactly(far, 1) == b"x"


async def test_a_connection_is_cut_by_chance_once_the_chance_is_certain(world: World) -> None:
    world.net.change([(0, 1)], cut_chance=1.0)
    async with world.line(0, 1) as (near, far):
        await far.send_all(b"the other way")
        assert await exactly(near, 13) == b"the other way"
        await near.send_all(b"lost")
        assert await is_reset(far)
        assert await is_reset(near)
    assert world.net.route(0, 1).carried_bytes == 0


# -- one way


async def test_what_is_held_in_one_direction_arrives_when_it_is_released(world: World) -> None:
    net = world.net
    async with world.line(0, 1) as (near, far), world.line(1, 0) as (other, at_0):
        net.hold(0, 1)
        await near.send_all(b"by its own connection")
        await at_0.send_all(b"by an answer")
        await settled(net.route(0, 1), 33)
        await far.send_all(b"back")
        await other.send_all(b"and forth")
        assert await exactly(near, 4) == b"back"
        assert await exactly(at_0, 9) == b"and forth"
        assert net.route(0, 1).carried_bytes == 0
        net.heal()
        assert await exactly(far, 21) == b"by its own connection"
        assert await exactly(other, 12) == b"by an answer"


async def test_a_held_sender_fills_a_bounded_buffer_and_nothing_of_it_is_lost(world: World) -> None:
    net = world.net
    net.hold(0, 1)
    route = net.route(0, 1)
    async with world.line(0, 1) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(MUCH))
        await until(lambda: route.waiting_bytes >= BUFFER_BYTES_MAX)
        await trio.testing.wait_all_tasks_blocked()
        assert route.waiting_bytes < BUFFER_BYTES_MAX + CHUNK_BYTES_MAX
        net.heal()
        assert len(await exactly(far, MUCH)) == MUCH
    await until(lambda: route.waiting_bytes == 0)


async def test_what_waits_for_a_connection_that_is_cut_is_gone(world: World) -> None:
    net = world.net
    net.hold(0, 1)
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"lost")
        await settled(net.route(0, 1), 4)
        net.cut(0, 1)
        assert await is_reset(far)
    assert net.route(0, 1).waiting_bytes == 0


# -- delay and bandwidth


async def test_a_delay(world: World, mock_clock: MockClock) -> None:
    net = world.net
    net.change([(0, 1)], delay_s=5.0)
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"first")
        await settled(net.route(0, 1), 5)
        mock_clock.jump(3)
        await near.send_all(b"second")
        await settled(net.route(0, 1), 11)
        mock_clock.jump(1.9)
        await settled(net.route(0, 1), 11)
        mock_clock.jump(0.2)
        assert await exactly(far, 5) == b"first"
        await settled(net.route(0, 1), 6)
        mock_clock.jump(3)
        assert await exactly(far, 6) == b"second"


async def test_a_shorter_delay_is_for_what_is_on_its_way_too(world: World, mock_clock: MockClock) -> None:
    net = world.net
    net.shape(delay_s=3600.0)
    async with world.line(0, 1) as (near, far):
        await near.send_all(b"x")
        await settled(net.route(0, 1), 1)
        net.heal()
        assert await exactly(far, 1) == b"x"


async def test_jitter_keeps_the_order(world: World, mock_clock: MockClock) -> None:
    net = world.net
    net.change([(0, 1)], delay_s=1.0, jitter_s=10.0)
    async with world.line(0, 1) as (near, far):
        for number in range(20):
            await near.send_all(bytes([number]))
            await settled(net.route(0, 1), number + 1)
        mock_clock.jump(0.9)
        await settled(net.route(0, 1), 20)
        mock_clock.jump(10.2)
        assert await exactly(far, 20) == bytes(range(20))


async def test_a_narrow_route_is_shared_by_its_connections(world: World, mock_clock: MockClock) -> None:
    net = world.net
    net.change([(0, 1)], bytes_per_s=10)
    async with world.line(0, 1) as (near, far), world.line(1, 0) as (other, at_0):
        await near.send_all(bytes(100))
        assert len(await exactly(far, 100)) == 100
        await at_0.send_all(b"x")
        await settled(net.route(0, 1), 1)
        await other.send_all(b"the other way is wide")
        await exactly(at_0, 21)
        mock_clock.jump(9.9)
        await settled(net.route(0, 1), 1)
        mock_clock.jump(0.2)
        assert await exactly(other, 1) == b"x"


# -- garbage


async def test_garbage_comes_before_the_next_bytes(world: World) -> None:
    async with world.line(0, 1) as (near, far):
        world.net.inject(0, 1, b"garbage ")
        await near.send_all(b"and more")
        assert await exactly(far, 16) == b"garbage and more"
        await near.send_all(b"clean")
        assert await exactly(far, 5) == b"clean"


async def test_garbage_that_has_not_arrived_is_gone_from_a_healed_network(world: World) -> None:
    async with world.line(0, 1) as (near, far):
        world.net.inject(0, 1, b"garbage ")
        world.net.heal()
        await near.send_all(b"clean")
        await near.send_eof()
        assert await far.receive_some() == b"clean"
        assert await far.receive_some() == b""


async def test_a_spoilt_chunk_differs_in_one_bit(world: World) -> None:
    world.net.change([(0, 1)], spoil_chance=1.0)
    async with world.line(0, 1) as (near, far):
        await near.send_all(bytes(1000))
        got = await exactly(far, 1000)
        assert sum(byte.bit_count() for byte in got) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_s": -1.0},
        {"jitter_s": -1.0},
        {"bytes_per_s": 0},
        {"cut_chance": 1.1},
        {"spoil_chance": -0.1},
    ],
)
def test_what_no_network_can_do(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"neither a delay|a chance"):
        Rule(**fields)  # type: ignore[arg-type]


async def test_a_place_that_there_is_not(world: World) -> None:
    with pytest.raises(KeyError):
        world.net.partition({0}, {4})
