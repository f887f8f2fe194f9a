"""A peer that comes back is dialled at once, not when the back-off ends. Time stands still: nothing here waits."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from chatsvc.groupfile import GroupFile
from pbft.core.types import ReplicaId
from pbft.node import listening, peers
from pbft.node.node import Node
from pbft.node.peers import OutgoingLink
from tests.harness.waiting import until
from tests.node.network import link, running, welcomed


def link_of(node: Node, peer: int) -> OutgoingLink:
    return node._links[ReplicaId(peer)]


def losing(connections: int) -> Callable[[trio.SocketStream], None]:
    """A `keep_alive` that finds the first few connections gone already."""
    left = [connections]

    def keep_alive(_stream: trio.SocketStream) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    return keep_alive


async def test_a_link_that_backs_off_dials_when_its_peer_has_dialled(
    group_file: GroupFile, mock_clock: MockClock
) -> None:
    async with running(group_file, [0]) as first:
        to_1, to_2 = link_of(first[0], 1), link_of(first[0], 2)
        await until(lambda: to_1.last_failure is not None and to_2.last_failure is not None)
        assert (to_1.dials, to_2.dials) == (1, 1)
        async with running(group_file, [1]) as second:
            await until(lambda: to_1.is_up and link_of(second[1], 0).is_up)
            assert (to_1.dials, to_2.dials) == (2, 1), "and only that one"


async def test_it_dials_once_for_each_time_that_the_peer_has(group_file: GroupFile, mock_clock: MockClock) -> None:
    """A member that dials and does not listen makes no storm."""
    async with running(group_file, [0]) as nodes:
        to_3 = link_of(nodes[0], 3)
        await until(lambda: to_3.last_failure is not None)
        for dials in (2, 3, 4):
            async with await link(group_file, 3, 0):
                await until(lambda dials=dials: to_3.dials == dials)  # type: ignore[misc]
        assert to_3.dials == 4


async def test_a_dial_that_is_under_way_is_repeated_if_it_fails(group_file: GroupFile, mock_clock: MockClock) -> None:
    """The peer may have begun to listen after it was dialled, and before it dialled itself."""
    config = group_file.node_config(ReplicaId(0))
    contact = config.contacts[1].endpoint
    (listener,) = await trio.open_tcp_listeners(contact.port, host=contact.host)
    to_1 = OutgoingLink(config, ReplicaId(1), lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(to_1.run)
        first = await listener.accept()
        to_1.dial_now()
        await trio.aclose_forcefully(first)
        second = await listener.accept()
        await trio.aclose_forcefully(second)
        to_1.dial_now()
        third = await listener.accept()
        assert to_1.dials == 3, "once each time"
        nursery.cancel_scope.cancel()
    for each in (third, listener):
        await trio.aclose_forcefully(each)


async def test_a_link_that_came_up_meanwhile_has_no_need_to_dial_again(
    group_file: GroupFile, mock_clock: MockClock
) -> None:
    async with running(group_file, [0]) as first:
        async with running(group_file, [1]):
            await until(lambda: link_of(first[0], 1).is_up)
        await until(lambda: link_of(first[0], 1).last_failure is not None)
        assert link_of(first[0], 1).dials == 2


async def test_a_connection_that_is_lost_as_soon_as_it_is_made_is_closed_and_dialled_again(
    group_file: GroupFile, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a system says so at the first thing that is asked of the socket. On both sides, only that link ends."""
    with monkeypatch.context() as patch:
        patch.setattr(peers, "keep_alive", losing(2))
        config = group_file.node_config(ReplicaId(0))
        contact = config.contacts[1].endpoint
        (listener,) = await trio.open_tcp_listeners(contact.port, host=contact.host)
        to_1 = OutgoingLink(config, ReplicaId(1), lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_1.run)
            for dials in (1, 2):
                accepted = await listener.accept()
                assert await accepted.receive_some() == b""
                await trio.aclose_forcefully(accepted)
                await until(lambda dials=dials: to_1.dials == dials)  # type: ignore[misc]
                to_1.dial_now()
            third = await listener.accept()
            assert await third.receive_some(), "a TLS hello"
            nursery.cancel_scope.cancel()
        for each in (third, listener):
            await trio.aclose_forcefully(each)


async def test_a_connection_that_is_lost_as_soon_as_it_is_accepted_concerns_nobody_else(
    group_file: GroupFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "keep_alive", losing(1))
    async with running(group_file, [0]):
        with pytest.raises((trio.BrokenResourceError, OSError)):
            await welcomed(group_file, 0)
        async with (await welcomed(group_file, 0))[0] as caller:
            report = await caller.inspect()
        assert report["closed_connections"] == {"OSError": 1}
