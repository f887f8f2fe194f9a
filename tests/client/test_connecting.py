"""Links that break, are refused, or lead to somebody else, and what a caller is told."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from crypto.tls import make_tls_identity, write_tls_identity
from pbft.client.errors import (
    AuthenticationFailed,
    NotEnoughReplicas,
)
from pbft.core.types import ReplicaId
from tests.client.calling import accepted, client_of
from tests.client.fake_replicas import World


async def test_links_come_back_and_what_was_under_way_gets_done(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        for replica in world.replicas:
            replica.silent = True
        async with trio.open_nursery() as nursery:

            async def submit() -> None:
                accepted(await client.submit(b"x"))

            nursery.start_soon(submit)
            await trio.sleep(0.1)
            for replica in world.replicas:
                replica.down = True
                await replica.break_links()
            await trio.sleep(20)
            assert not any(link.connected for link in client.links())
            assert "nobody listens" in str(client.links()[0])
            for replica in world.replicas:
                replica.down = replica.silent = False
        dials = [replica.dials for replica in world.replicas]
        assert all(5 <= count <= 20 for count in dials), "more and more seldom, never giving up"
        await client.wait_connected(4)


async def test_a_replica_that_is_down_is_dialled_with_growing_pauses(world: World, autojump_clock: MockClock) -> None:
    world.replicas[3].down = True
    async with client_of(world, connected=3):
        await trio.sleep(60)
        assert 15 <= world.replicas[3].dials <= 35


async def test_too_few_replicas_is_told_with_what_happened_at_each(world: World, autojump_clock: MockClock) -> None:
    for replica in world.replicas[1:]:
        replica.down = True
    with pytest.raises(NotEnoughReplicas) as caught:
        async with client_of(world, connected=0) as client:
            await client.wait_connected(within_s=5)
    assert "1 of 4 replicas can be reached, 2 are needed" in str(caught.value)
    assert [link.connected for link in caught.value.links] == [True, False, False, False]


async def test_a_quorum_that_refuses_is_an_authentication_failure(world: World, autojump_clock: MockClock) -> None:
    for replica in world.replicas[1:]:
        replica.refuses = "no such device"
    async with client_of(world, connected=0) as client:
        with pytest.raises(AuthenticationFailed, match="no such device") as caught:
            await client.submit(b"x")
        assert caught.value.exit_code == 6
        with pytest.raises(AuthenticationFailed):
            await client.wait_connected()


async def test_f_refusals_are_none(world: World, autojump_clock: MockClock) -> None:
    world.replicas[1].refuses = "I do not like you"
    async with client_of(world, connected=3) as client:
        accepted(await client.submit(b"x"))
        await trio.sleep(0.1)
        assert client.links()[1].refused == "I do not like you"
        world.replicas[1].refuses = None
        await trio.sleep(10)
        assert client.links()[1].refused is None
        assert client.links()[1].connected


async def test_a_refusal_fails_what_is_waited_for(world: World, autojump_clock: MockClock) -> None:
    async with client_of(world) as client:
        for replica in world.replicas:
            replica.silent = True
            replica.refuses = "closed"
        failures: list[Exception] = []

        async def fail(query: bool) -> None:
            try:
                await (client.query(b"?") if query else client.submit(b"x"))
            except AuthenticationFailed as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, False)
            nursery.start_soon(fail, True)
            await trio.sleep(0.1)
            for replica in world.replicas:
                await replica.break_links()
        assert len(failures) == 2


async def test_another_certificate_than_the_pinned_one_is_refused(world: World, autojump_clock: MockClock) -> None:
    other = write_tls_identity(world.replicas[2].tls_pem.parent, make_tls_identity("replica-2"), overwrite=True)
    assert other == world.replicas[2].tls_pem
    async with client_of(world, connected=3) as client:
        accepted(await client.submit(b"x"))
        await trio.sleep(1)
        assert "certificate is not the pinned one" in str(client.links()[2])
        assert not client.links()[2].connected


async def test_a_quorum_of_other_certificates_is_an_authentication_failure(
    world: World, autojump_clock: MockClock
) -> None:
    for replica in world.replicas[:3]:
        write_tls_identity(replica.tls_pem.parent, make_tls_identity("x"), overwrite=True)
    with pytest.raises(AuthenticationFailed, match="not the pinned one"):
        async with client_of(world):
            pass


async def test_a_replica_that_calls_itself_another_is_no_link(world: World, autojump_clock: MockClock) -> None:
    world.replicas[2].calls_itself = 3
    async with client_of(world, connected=3) as client:
        await trio.sleep(1)
        assert "calls itself replica 3" in str(client.links()[2])


async def test_a_replica_that_never_says_welcome_is_given_up_in_time(world: World, autojump_clock: MockClock) -> None:
    async def mute(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    world.replicas[1].serve = mute  # type: ignore[method-assign,assignment]
    async with client_of(world, connected=3) as client:
        await trio.sleep(6)
        assert "no connection within 5 seconds" in str(client.links()[1])


async def test_inspecting(world: World, autojump_clock: MockClock) -> None:
    world.replicas[1].report = b"[1, 2]"
    world.replicas[2].report = b"[" * 100_000
    world.replicas[3].down = True
    async with client_of(world, connected=3) as client:
        assert await client.inspect(ReplicaId(0)) == {"replica": 0}
        assert [await client.inspect(ReplicaId(i)) for i in (1, 2, 3)] == [None, None, None]
        world.replicas[0].report = b"{}"
        assert await client.inspect(ReplicaId(0)) == {}
