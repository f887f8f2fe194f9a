"""Attackers on both ports of a node, over real TLS: each ends its own connection, with a reason, and nothing else
(protocol, pitfall 24; attacks 24, 26, 31)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from chatsvc.groupfile import GroupFile
from crypto.canonical import encode
from crypto.signing import Ed25519Signer, Ed25519Verifier
from crypto.tls import (
    client_dial_context,
    client_listener_context,
    make_tls_identity,
    replica_dial_context,
    replica_listener_context,
    write_tls_identity,
)
from pbft.core.codec import Opener
from pbft.core.frames import wire_of
from pbft.core.handshake import (
    HANDSHAKE_BYTES_MAX,
    NONCE_BYTES,
    ReplicaHello,
    Welcome,
    encode_client_hello,
    encode_replica_hello,
    is_refused,
)
from pbft.core.types import ReplicaId
from pbft.node.clients import CLIENT_FRAME_BYTES_MAX
from tests.node.attacks import QUERY, STATUS, as_raw, client_attacks, length_attacks, peer_attacks
from tests.node.logs import Logs, assert_sound, expect
from tests.node.network import Caller, Customer, client, dial, dial_as_replica, link, running, say, welcomed

HONEST = range(3)
"""Replica 3 does not run: the attacker has its keys."""

MORE = [b"and more that nobody reads" * 1000] * 40


# -- after the handshake


async def test_pitfall_24_a_peers_bad_frames_close_its_link_only(
    group_file: GroupFile, elsewhere: GroupFile, logs: Logs
) -> None:
    frame_bytes_max = Opener(group_file.group, Ed25519Verifier()).frame_bytes_max
    attacks = as_raw(peer_attacks(group_file, elsewhere)) | length_attacks(frame_bytes_max)
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        await customer.say("before")
        logs.clear()
        for raw, reason in attacks.values():
            async with await link(group_file, 3, 0) as caller:
                await caller.send(wire_of(group_file.group.epoch, STATUS))
                await caller.raw(raw)
                assert await caller.rest() == []
            await expect(logs, "replica", reason)
            assert_sound(logs)
        await customer.say("after")
        async with await client(group_file, 0, Ed25519Signer.generate()) as caller:
            report = await caller.inspect()
        assert sum(report["closed_connections"].values()) == len(attacks)
        assert all(report["peers"][peer]["up"] for peer in ("1", "2"))


async def test_pitfall_24_a_clients_bad_frames_close_its_connection_only(
    group_file: GroupFile, elsewhere: GroupFile, logs: Logs, device: Ed25519Signer
) -> None:
    attacks = as_raw(client_attacks(group_file, elsewhere, device)) | length_attacks(CLIENT_FRAME_BYTES_MAX)
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        for raw, reason in attacks.values():
            async with await client(group_file, 0, device) as caller:
                await caller.raw(raw)
                refusal = await caller.refusal()
                if raw not in {each for each, _ in length_attacks(CLIENT_FRAME_BYTES_MAX).values()}:
                    assert refusal
                    assert reason in refusal
            await expect(logs, "client", reason)
            assert_sound(logs)
        await customer.say("after")


async def test_a_refused_client_reads_why_even_with_much_of_its_own_on_the_way(
    group_file: GroupFile, device: Ed25519Signer
) -> None:
    """To close over unread data would reset the connection, and the reset would overtake the reason."""
    async with running(group_file, [0]):
        for _ in range(5):
            async with await client(group_file, 0, device) as caller:
                await caller.send(b"garbage", *[b"x" * 10_000] * 100)
                assert await caller.refusal() is not None


async def test_what_came_before_a_bad_frame_is_done(group_file: GroupFile, device: Ed25519Signer) -> None:
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        async with await client(group_file, 0, device) as caller:
            await caller.send(say(group_file.group, device, 0, "the last words"), b"garbage")
            await caller.refusal()
        assert await customer.say("after") == [b"2"] * 3


async def test_a_replica_that_is_answered_on_its_own_link_closes_it(group_file: GroupFile, logs: Logs) -> None:
    """Links have one direction. Replica 3's listener here is the attacker's."""
    home = group_file.replica_directory(ReplicaId(3))
    context = replica_listener_context(home / "tls.pem", [member.certificate_der for member in group_file.members])
    endpoint = group_file.members[3].replica_endpoint
    done = trio.Event()

    async def answer(raw: trio.SocketStream) -> None:
        async with Caller(
            group_file.group, trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        ) as caller:
            hello = await caller.frame()
            assert hello is not None
            await caller.send(
                encode_replica_hello(group_file.group, ReplicaHello(replica=ReplicaId(3), to=ReplicaId(0)))
            )
            await caller.raw(b"talk")
            await caller.rest()
            done.set()

    async with running(group_file, [0]), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        with trio.fail_after(10):
            await done.wait()
            while not [each for each in logs if each["event"] == "link down" and "only goes to it" in each["reason"]]:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# -- handshakes


def hellos(file: GroupFile, elsewhere: GroupFile) -> dict[str, tuple[bytes, str]]:
    """First frames of a replica link from replica 3 to replica 0, and why they are refused."""
    group = file.group
    right = ReplicaHello(replica=ReplicaId(3), to=ReplicaId(0))
    return {
        "garbage": (b"\xff\x00", ""),
        "another group": (encode_replica_hello(elsewhere.group, right), "another group"),
        "another epoch": (encode(["HELLO", 1, group.group_id, 1, 3, 0]), "epoch 1"),
        "another version": (encode(["HELLO", 2, group.group_id, 0, 3, 0]), "version '2'"),
        "version is a Boolean": (encode(["HELLO", True, group.group_id, 0, 3, 0]), "version"),
        "no member": (encode(["HELLO", 1, group.group_id, 0, 4, 0]), ""),
        "negative": (encode(["HELLO", 1, group.group_id, 0, 3, True]), ""),
        "another member": (
            encode_replica_hello(group, ReplicaHello(replica=ReplicaId(1), to=ReplicaId(0))),
            "HELLO from 1 to 0 over the link from 3 to 0",
        ),
        "for another": (
            encode_replica_hello(group, ReplicaHello(replica=ReplicaId(3), to=ReplicaId(1))),
            "HELLO from 3 to 1 over the link from 3 to 0",
        ),
        "a message": (wire_of(group.epoch, STATUS), "expected HELLO"),
        "a client's": (encode(["HELLO", 1, group.group_id, 0, bytes(32), bytes(64)]), ""),
    }


async def test_a_peers_wrong_hello_is_refused_with_a_reason(
    group_file: GroupFile, elsewhere: GroupFile, logs: Logs
) -> None:
    async with running(group_file, [0]):
        logs.clear()
        for name, (hello, reason) in hellos(group_file, elsewhere).items():
            async with await dial_as_replica(group_file, 3, 0) as caller:
                await caller.send(hello, *MORE)
                refusal = await caller.refusal()
                assert refusal is not None, name
                assert reason in refusal
            await expect(logs, "replica", reason)
            assert_sound(logs)


async def test_a_hello_over_the_handshakes_cap_closes_the_connection(group_file: GroupFile, logs: Logs) -> None:
    async with running(group_file, [0]):
        logs.clear()
        async with await dial_as_replica(group_file, 3, 0) as caller:
            await caller.send(bytes(HANDSHAKE_BYTES_MAX + 1))
            await caller.rest()
        await expect(logs, "replica", f"frame of {HANDSHAKE_BYTES_MAX + 1} bytes")
        caller, _ = await welcomed(group_file, 0)
        async with caller:
            await caller.send(bytes(HANDSHAKE_BYTES_MAX + 1))
            await caller.rest()
        await expect(logs, "client", f"frame of {HANDSHAKE_BYTES_MAX + 1} bytes")


async def test_a_clients_wrong_hello_is_refused_with_a_reason(
    group_file: GroupFile, elsewhere: GroupFile, logs: Logs, device: Ed25519Signer
) -> None:
    group = group_file.group
    other = Ed25519Signer.generate()

    def genuine(welcome: Welcome) -> bytes:
        return encode_client_hello(group, device, welcome)

    attacks: dict[str, tuple[Callable[[Welcome], bytes], str]] = {
        "garbage": (lambda _: b"\xff", ""),
        "another group": (lambda welcome: encode_client_hello(elsewhere.group, device, welcome), "another group"),
        "another epoch": (lambda _: encode(["HELLO", 1, group.group_id, 1, bytes(32), bytes(64)]), "epoch 1"),
        "another's key": (
            lambda welcome: genuine(welcome).replace(device.public_key, other.public_key),
            "does not verify",
        ),
        "for another replica": (
            lambda welcome: genuine(Welcome(replica=ReplicaId(1), nonce=welcome.nonce)),
            "does not verify",
        ),
        "for an older nonce": (
            lambda welcome: genuine(Welcome(replica=welcome.replica, nonce=bytes(NONCE_BYTES))),
            "does not verify",
        ),
        "short key": (lambda _: encode(["HELLO", 1, group.group_id, 0, bytes(31), bytes(64)]), ""),
        "small-order key": (
            lambda _: encode(["HELLO", 1, group.group_id, 0, bytes([1]) + bytes(31), bytes(64)]),
            "does not verify",
        ),
        "a query at once": (lambda _: wire_of(group.epoch, QUERY), "expected HELLO"),
    }
    async with running(group_file, [0]):
        logs.clear()
        for name, (hello, reason) in attacks.items():
            caller, welcome = await welcomed(group_file, 0)
            async with caller:
                await caller.send(hello(welcome), *MORE)
                refusal = await caller.refusal()
                assert refusal is not None, name
                assert reason in refusal
            await expect(logs, "client", reason)
            assert_sound(logs)


async def test_a_client_that_sends_its_first_request_with_its_hello_is_served(
    group_file: GroupFile, device: Ed25519Signer
) -> None:
    async with running(group_file, [0]):
        caller, welcome = await welcomed(group_file, 0)
        async with caller:
            request = wire_of(group_file.group.epoch, QUERY)
            hello = encode_client_hello(group_file.group, device, welcome)
            await caller.send(hello, *[request] * 50)
            assert await caller.frame() is not None
            assert is_refused(await caller.frame() or b"") is None


# -- TLS


async def refused_by_tls(dialling: Awaitable[Caller]) -> bool:
    """In TLS 1.3 the caller may learn of the refusal only when it reads."""
    try:
        async with await dialling as caller:
            return await caller.frame() is None
    except (trio.BrokenResourceError, ssl.SSLError):
        return True


async def test_tls_lets_in_members_certificates_only(group_file: GroupFile, logs: Logs, tmp_path: Any) -> None:
    port = group_file.members[0].replica_endpoint.port
    der = group_file.members[0].certificate_der
    foreign = write_tls_identity(tmp_path, make_tls_identity("replica-3.quorate"))
    old = client_dial_context(der)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    attempts = {
        "no certificate": (client_dial_context(der), "certificate"),
        "a foreign certificate under a member's name": (replica_dial_context(foreign, der), "certificate"),
        "TLS 1.2": (old, "protocol"),
    }
    async with running(group_file, HONEST), Customer.of(group_file, HONEST) as customer:
        await customer.say("before")
        logs.clear()
        for name, (context, reason) in attempts.items():
            assert await refused_by_tls(dial(group_file.group, port, context)), name
            await expect(logs, "replica", reason)
        raw = await trio.open_tcp_stream("127.0.0.1", port)
        async with raw:
            await raw.send_all(b"GET / HTTP/1.1\r\n\r\n")
            while await raw.receive_some():
                pass
        await expect(logs, "replica", "SSL")
        assert_sound(logs)
        await customer.say("after")


async def test_a_log_line_says_from_where_a_refused_connection_came(group_file: GroupFile, logs: Logs) -> None:
    async with running(group_file, [0]):
        async with await dial_as_replica(group_file, 3, 0) as caller:
            host, port = caller.stream.transport_stream.socket.getsockname()
            await caller.send(b"garbage")
            await caller.refusal()
        with trio.fail_after(5):
            while not (found := [each for each in logs if each["event"] == "connection closed"]):
                await trio.lowlevel.checkpoint()
        assert found[0]["address"] == f"{host}:{port}"


async def test_a_dialler_says_why_tls_failed(group_file: GroupFile, elsewhere: GroupFile, logs: Logs) -> None:
    """At replica 3's address somebody else answers."""
    context = client_listener_context(elsewhere.replica_directory(ReplicaId(0)) / "tls.pem")
    endpoint = group_file.members[3].replica_endpoint

    async def answer(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True)
        with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
            await stream.receive_some()
        await trio.aclose_forcefully(stream)

    async with running(group_file, [0]), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        with trio.fail_after(10):
            while not [each for each in logs if each["event"] == "link down" and "CERTIFICATE" in each["reason"]]:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
