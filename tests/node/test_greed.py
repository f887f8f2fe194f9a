"""Connections that say nothing, come in numbers, never read or ask for ever (protocol, pitfall 24; attack 26)."""

from __future__ import annotations

import resource

import pytest
import trio

from chatsvc.groupfile import GroupFile
from crypto.canonical import encode
from crypto.signing import Ed25519Signer
from pbft.core.errors import MalformedMessage
from pbft.core.frames import wire_of
from pbft.core.handshake import (
    NONCE_BYTES,
    Welcome,
    decode_welcome,
    encode_client_hello,
    encode_inspect,
    encode_welcome,
)
from pbft.core.types import ReplicaId
from pbft.node import clients, listening, peers, streams
from pbft.node.clients import CONNECTIONS_PER_DEVICE_MAX, INSPECTIONS_BEFORE_HELLO_MAX
from tests.node.attacks import QUERY, STATUS
from tests.node.logs import Logs, closed, expect
from tests.node.network import Customer, client, dial_as_replica, link, running, welcomed

HONEST = range(3)
"""Replica 3 does not run: the attacker has its keys."""


# -- silence, numbers and greed


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of handshakes so short that a test can wait for them."""
    for module in (streams, clients, peers):
        monkeypatch.setattr(module, "HANDSHAKE_SECONDS_MAX", 0.2)


async def test_connections_that_send_nothing_are_closed(hasty: None, group_file: GroupFile, logs: Logs) -> None:
    member = group_file.members[0]
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        await customer.say("before")
        logs.clear()
        for kind, port in (("replica", member.replica_endpoint.port), ("client", member.client_endpoint.port)):
            raw = await trio.open_tcp_stream("127.0.0.1", port)
            async with raw:
                with trio.fail_after(5):
                    assert await raw.receive_some() == b""
            await expect(logs, kind, "too slow")
        async with await dial_as_replica(group_file, 3, 0) as caller:
            assert await caller.rest() == []
        await expect(logs, "replica", "too slow")
        caller, _ = await welcomed(group_file, 0)
        async with caller:
            assert await caller.rest() == []
        await expect(logs, "client", "too slow")
        await customer.say("after: the customer's own idle connection has no deadline")


async def test_the_files_of_the_process_are_shared_between_the_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert 2 * listening.connections_max(4096) <= 1024 - listening.RESERVED_FILES
    monkeypatch.setattr(resource, "getrlimit", lambda _: (-1, -1))
    assert listening.connections_max(4096) == 4096


async def test_a_device_over_its_connections_loses_its_oldest(group_file: GroupFile, device: Ed25519Signer) -> None:
    """It may be dead without the node's knowing; other devices lose nothing."""
    async with running(group_file, [0]), await client(group_file, 0, Ed25519Signer.generate()) as another:
        held = [await client(group_file, 0, device) for _ in range(CONNECTIONS_PER_DEVICE_MAX)]
        for oldest in held[:2]:
            held.append(await client(group_file, 0, device))
            assert await oldest.rest() == []
        with trio.fail_after(5):
            while (await another.inspect())["clients"] != CONNECTIONS_PER_DEVICE_MAX + 1:
                pass
        for caller in held[2:]:
            await caller.inspect()
        for caller in held:
            await trio.aclose_forcefully(caller.stream)
        with trio.fail_after(5):
            while (await another.inspect())["clients"] != 1:
                pass


async def test_a_client_that_never_reads_is_closed_and_the_others_are_served(
    group_file: GroupFile, monkeypatch: pytest.MonkeyPatch, logs: Logs, device: Ed25519Signer
) -> None:
    monkeypatch.setattr(clients, "CLIENT_QUEUE_BYTES_MAX", 200_000)
    monkeypatch.setattr(streams, "SEND_SECONDS_MAX", 0.5)
    async with running(group_file, HONEST) as nodes, Customer.of(group_file, HONEST) as customer:
        for _ in range(30):
            await customer.say("x" * 900)
        logs.clear()
        async with await client(group_file, 0, device, receive_buffer=4096) as deaf:
            (connection,) = nodes[0]._clients._devices[device.public_key]
            with trio.fail_after(20):
                while not closed(logs, "client"):
                    await deaf.send(*[wire_of(group_file.group.epoch, QUERY)] * 8)
                    await customer.say("meanwhile")
                    assert connection.queue.waiting_bytes <= 200_000
            await customer.say("after")
        await expect(logs, "client", "too slow")


async def test_a_client_for_whom_more_waits_than_may_is_closed(
    group_file: GroupFile, monkeypatch: pytest.MonkeyPatch, logs: Logs, device: Ed25519Signer
) -> None:
    monkeypatch.setattr(clients, "CLIENT_QUEUE_BYTES_MAX", 1000)
    async with running(group_file, [0]) as nodes, await client(group_file, 0, device) as caller:
        nodes[0]._clients.send_nowait(device.public_key, b"x" * 800)
        nodes[0]._clients.send_nowait(device.public_key, b"y" * 800)
        assert [each["device"] for each in logs if each["event"] == "client too slow"] == [
            device.public_key.hex()[:16]
        ]
        await caller.rest()
        async with await client(group_file, 0, device):
            pass


async def test_a_second_link_of_a_peer_replaces_the_first(group_file: GroupFile, logs: Logs) -> None:
    async with (
        running(group_file, HONEST),
        Customer.of(group_file, HONEST) as customer,
        await link(group_file, 3, 0) as first,
        await link(group_file, 3, 0) as second,
    ):
        assert await first.rest() == []
        await second.send(wire_of(group_file.group.epoch, STATUS))
        await customer.say("goes on")
        logs.clear()
        await second.send(b"garbage")
        assert await second.rest() == []
        await expect(logs, "replica", "")


# -- asking a node about itself


async def test_a_node_tells_about_itself_before_and_after_hello(group_file: GroupFile, device: Ed25519Signer) -> None:
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        await customer.say("something")
        caller, welcome = await welcomed(group_file, 0)
        async with caller:
            before = await caller.inspect()
            await caller.send(encode_client_hello(group_file.group, device, welcome))
            after = await caller.inspect()
        assert before["replica"] == after["replica"] == 0
        assert before["last_executed"] == 1
        assert before["state_root"] == after["state_root"]
        assert before["clients"] + 1 == after["clients"]
        assert {"view", "primary", "peers", "evidence", "alarms", "ignored", "uptime_s"} <= set(before)


async def test_a_stranger_may_not_ask_for_ever(group_file: GroupFile, logs: Logs) -> None:
    async with running(group_file, [0]):
        caller, _ = await welcomed(group_file, 0)
        async with caller:
            for _ in range(INSPECTIONS_BEFORE_HELLO_MAX):
                await caller.inspect()
            await caller.send(encode_inspect(group_file.group.epoch))
            assert "expected HELLO" in (await caller.refusal() or "")


async def test_an_inspect_of_another_epoch_is_no_question(group_file: GroupFile) -> None:
    async with running(group_file, [0]):
        caller, _ = await welcomed(group_file, 0)
        async with caller:
            await caller.send(encode(["INSPECT", 1]))
            assert await caller.refusal() is not None


async def test_welcomes_differ_in_their_nonces(group_file: GroupFile) -> None:
    async with running(group_file, [0]):
        nonces = set()
        for _ in range(3):
            caller, welcome = await welcomed(group_file, 0)
            await trio.aclose_forcefully(caller.stream)
            nonces.add(welcome.nonce)
        assert len(nonces) == 3


def test_a_welcome_of_another_group_is_none(group_file: GroupFile, elsewhere: GroupFile) -> None:
    data = encode_welcome(elsewhere.group, Welcome(replica=ReplicaId(0), nonce=bytes(NONCE_BYTES)))
    with pytest.raises(MalformedMessage, match="another group"):
        decode_welcome(group_file.group, data)
