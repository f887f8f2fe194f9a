"""What a link withstands: real sockets, a replica that takes nothing, a certificate issued by the pinned one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from trio.testing import MockClock

from crypto.files import PRIVATE_MODE, atomic_write
from pbft.client.connection import SEND_QUEUE_BYTES_MAX
from pbft.client.directory import GroupDirectory, ReplicaContact
from pbft.client.driver import open_client
from pbft.client.quorums import Accepted, Settings
from tests.client.fake_replicas import World, signer_of

ALICE = signer_of(1)


async def test_over_real_sockets(world: World, nursery: trio.Nursery) -> None:
    contacts = []
    for replica in world.replicas:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, replica.serve, [listener], handler_nursery=nursery))
        port = listener.socket.getsockname()[1]
        certificate = replica.identity.certificate_der
        contacts.append(ReplicaContact(host="127.0.0.1", port=port, certificate_der=certificate))
    directory = GroupDirectory(group=world.group, replicas=tuple(contacts))
    async with open_client(directory, ALICE) as client:
        await client.wait_connected(4)
        outcome = await client.submit(b"x")
        assert isinstance(outcome, Accepted)
        await world.replicas[0].break_links()
        assert isinstance(await client.submit(b"y"), Accepted)


class Stuck(trio.abc.Stream):
    """A stream that can be made to take nothing any more."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.is_stuck = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_stuck:
            await trio.sleep_forever()
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_replica_that_takes_nothing_costs_bounded_memory_and_loses_its_link(
    world: World, autojump_clock: MockClock
) -> None:
    stuck: list[Stuck] = []

    async def dial(contact: ReplicaContact) -> trio.abc.Stream:
        stream = await world.dial(contact)
        if contact.port == 2:
            stuck.append(Stuck(stream))
            return stuck[-1]
        return stream

    settings = Settings(outcome_after_ms=120_000)
    async with open_client(world.directory, ALICE, dial=dial, settings=settings) as client:
        await client.wait_connected(4)
        stuck[0].is_stuck = True
        world.replicas[0].silent = world.replicas[1].silent = world.replicas[3].silent = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.submit_many, [b"x" * 16_000] * 256)
            await trio.sleep(29)
            link = client._connections[2]
            assert link.state.connected
            assert 0 < link._frame_bytes <= SEND_QUEUE_BYTES_MAX + 512 * 1024
            await trio.sleep(31)
            assert len(stuck) > 1, "it was dialled again"
            for replica in world.replicas:
                replica.silent = False


def issued_pair() -> tuple[bytes, bytes]:
    """A certificate that may issue others (DER), and as PEM a key with a certificate that it has issued."""
    now = datetime.now(UTC)
    issuer_key, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def certificate(subject: str, public: Ed25519PrivateKey, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("issuer"))
            .public_key(public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(issuer_key, algorithm=None)
        )

    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate("replica-2", key, ca=False).public_bytes(serialization.Encoding.PEM)
    return certificate("issuer", issuer_key, ca=True).public_bytes(serialization.Encoding.DER), pem


async def test_a_certificate_that_the_pinned_one_has_issued_is_not_the_pinned_one(
    world: World, autojump_clock: MockClock
) -> None:
    pinned, shown = issued_pair()
    atomic_write(world.replicas[2].tls_pem, shown, PRIVATE_MODE, overwrite=True)
    contacts = list(world.directory.replicas)
    contacts[2] = ReplicaContact(host="memory", port=2, certificate_der=pinned)
    directory = GroupDirectory(group=world.group, replicas=tuple(contacts))
    async with open_client(directory, ALICE, dial=world.dial) as client:
        await client.wait_connected(3)
        await trio.sleep(1)
        assert not client.links()[2].connected
        assert "the pinned one is" in str(client.links()[2])
