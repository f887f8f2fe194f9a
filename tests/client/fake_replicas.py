"""Replicas that are only their client listeners: real TLS, real frames, real signatures, over streams in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio
from trio.testing import memory_stream_pair

from crypto.signing import Ed25519Signer, Ed25519Verifier, PublicKey, SecretSeed
from crypto.tls import TlsIdentity, client_listener_context, make_tls_identity, write_tls_identity
from pbft.client.directory import GroupDirectory, ReplicaContact
from pbft.core.application import EventItem
from pbft.core.codec import Opener
from pbft.core.errors import ProtocolViolation
from pbft.core.events import encode_item, item_digest
from pbft.core.frames import wire_of
from pbft.core.group import Group, Parameters
from pbft.core.handshake import (
    FrameSplitter,
    Welcome,
    decode_client_hello,
    encode_inspection,
    encode_refused,
    encode_welcome,
    framed,
    is_inspect,
)
from pbft.core.messages import (
    Answer,
    ClientMessage,
    Credit,
    Events,
    OperationResult,
    Query,
    Reply,
    SignedRequest,
    Subscribe,
    ToClient,
    Unsubscribe,
)
from pbft.core.types import ClientSequence, EventIndex, ReplicaId, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules

FAULTS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ProtocolViolation)
Name = tuple[PublicKey, SessionNumber, int]


def signer_of(byte: int) -> Ed25519Signer:
    return Ed25519Signer(SecretSeed(bytes([byte]) * 32))


class Backend(Protocol):
    """What all the replicas have executed."""

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes: ...

    def query(self, device: PublicKey, query: bytes) -> bytes: ...

    def events(self, topic: bytes) -> Sequence[EventItem] | None: ...


@dataclass
class Toy:
    """Operations are echoed, and said in the topic `room`."""

    said: list[bytes] = field(default_factory=list)

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:  # noqa: ARG002
        self.said.append(operation)
        return b"done:" + operation

    def query(self, device: PublicKey, query: bytes) -> bytes:  # noqa: ARG002
        return b"answer:" + query

    def events(self, topic: bytes) -> Sequence[EventItem] | None:
        return [EventItem(head=said) for said in self.said] if topic == b"room" else None


class Link:
    """One connected client: what is said to it waits in a queue, so that nobody waits for it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.device: PublicKey | None = None
        self._send, self._receive = trio.open_memory_channel[bytes](math.inf)

    def put(self, data: bytes) -> None:
        self._send.send_nowait(data)

    def finish(self) -> None:
        self._send.close()

    async def pump(self) -> None:
        async for data in self._receive:
            await self.stream.send_all(data)


@dataclass
class FakeReplica:
    """One replica, correct unless told otherwise."""

    world: World
    me: ReplicaId
    rules: VotingRules
    identity: TlsIdentity
    tls_pem: Path
    down: bool = False
    """Cannot be dialled."""
    silent: bool = False
    """Takes everything and answers nothing."""
    refuses: str | None = None
    calls_itself: int | None = None
    signs_as: VotingRules | None = None
    lie: Callable[[ToClient], ToClient] | None = None
    withholds_bodies: bool = False
    answers: Callable[[bytes], bytes] | None = None
    """Another answer to a query than the backend's."""
    report: bytes | None = None
    """What it says about itself, in place of JSON."""
    garbage: bytes | None = None
    """Sent instead of the first statement, framed or not."""
    heard: list[ClientMessage] = field(default_factory=list)
    dials: int = 0
    links: list[Link] = field(default_factory=list)
    streams: dict[tuple[PublicKey, int], tuple[Subscribe, int, Link]] = field(default_factory=dict)

    async def serve(self, raw: trio.abc.Stream) -> None:
        """One connection, from TLS to its end."""
        context = client_listener_context(self.tls_pem)
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        link = Link(stream)
        try:
            await self._serve(stream, link)
        except FAULTS:
            pass
        finally:
            link.finish()
            if link in self.links:
                self.links.remove(link)
            await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.SSLStream[trio.abc.Stream], link: Link) -> None:
        group = self.world.group
        await stream.do_handshake()
        me = self.me if self.calls_itself is None else ReplicaId(self.calls_itself)
        welcome = Welcome(replica=me, nonce=os.urandom(32))
        await stream.send_all(framed(encode_welcome(group, welcome)))
        splitter = FrameSplitter(4 * 1024 * 1024)
        frames: list[bytes] = []
        while not frames:
            frames = splitter.feed(await self._some(stream))
        device = decode_client_hello(group, Ed25519Verifier(), welcome, frames.pop(0)).device
        link.device = device
        if self.refuses is not None:
            await stream.send_all(framed(encode_refused(self.refuses)))
            return
        self.links.append(link)
        self.world.start(self._pump, link)
        opener = Opener(group, Ed25519Verifier())
        while True:
            for frame in frames:
                if is_inspect(group, frame):
                    report = b'{"replica": %d}' % self.me if self.report is None else self.report
                    link.put(framed(encode_inspection(group.epoch, report)))
                    continue
                message = opener.open_client(frame)
                self.heard.append(message)
                if not self.silent:
                    self._answer(link, device, message)
            frames = splitter.feed(await self._some(stream))

    @staticmethod
    async def _pump(link: Link) -> None:
        try:
            await link.pump()
        except FAULTS:
            await trio.aclose_forcefully(link.stream)

    @staticmethod
    async def _some(stream: trio.abc.Stream) -> bytes:
        data = bytes(await stream.receive_some(65536))
        if not data:
            raise OSError("the client left")
        return data

    def _answer(self, link: Link, device: PublicKey, message: ClientMessage) -> None:
        match message:
            case SignedRequest():
                fresh, again = self.world.execute(message)
                for replica in self.world.replicas:
                    for theirs in replica.links:
                        if theirs.device == device and not replica.silent:
                            for reply in fresh:
                                replica.say(theirs, reply)
                for reply in again:
                    self.say(link, reply)
                self.world.publish()
            case Query():
                sequence = SequenceNumber(max(self.world.sequence, message.minimum_sequence))
                make = self.answers or (lambda query: self.world.backend.query(device, query))
                result = make(message.query)
                answer = Answer(device=device, query_id=message.query_id, sequence=sequence, result=result)
                self.say(link, answer)
            case Subscribe():
                self.streams[device, message.subscription] = (message, message.start, link)
                self.stream_on(device, message.subscription)
            case Unsubscribe():
                self.streams.pop((device, message.subscription), None)
            case Credit():
                pass

    def stream_on(self, device: PublicKey, number: int) -> None:
        subscribe, first, link = self.streams[device, number]
        found = self.world.backend.events(subscribe.topic)
        items = () if found is None else tuple(found[first : first + 256])
        if found is not None and (not items or (subscribe.bodies and self.withholds_bodies)):
            return
        self.streams[device, number] = (subscribe, first + len(items), link)
        events = Events(
            device=device,
            subscription=number,
            sequence=self.world.sequence,
            first=EventIndex(first),
            bodies=subscribe.bodies,
            items=tuple(map(encode_item if subscribe.bodies else item_digest, items)),
            closed=found is None,
        )
        self.say(link, events)
        if len(items) == 256:
            self.stream_on(device, number)

    def say(self, link: Link, message: Reply | Answer | Events) -> None:
        if self.garbage is not None:
            link.put(self.garbage)
            return
        rules = self.signs_as or self.rules
        signed: ToClient
        match message:
            case Reply():
                signed = rules.sign_reply(message)
            case Answer():
                signed = rules.sign_answer(message)
            case Events():
                signed = rules.sign_events(message)
        if self.lie is not None:
            signed = self.lie(signed)
        link.put(framed(wire_of(self.world.group.epoch, signed)))

    async def break_links(self) -> None:
        for link in list(self.links):
            await trio.aclose_forcefully(link.stream)


class World:
    """A group of fake replicas that agree by magic, and the way for clients to reach them."""

    def __init__(self, directory: Path, n: int = 4, backend: Backend | None = None) -> None:
        self.signers = [signer_of(200 + i) for i in range(n)]
        members = tuple(signer.public_key for signer in self.signers)
        self.group = Group(name="test", nonce=b"", members=members, parameters=Parameters())
        self.backend: Backend = backend or Toy()
        self.sequence = SequenceNumber(0)
        self.executed: dict[Name, tuple[SequenceNumber, bytes]] = {}
        self.replicas: list[FakeReplica] = []
        self.nursery: trio.Nursery | None = None
        for i in range(n):
            identity = make_tls_identity(f"replica-{i}")
            place = directory / f"replica-{i}"
            place.mkdir(exist_ok=True)
            rules = VotingRules(self.group, ReplicaId(i), self.signers[i])
            tls_pem = write_tls_identity(place, identity, overwrite=True)
            self.replicas.append(FakeReplica(self, ReplicaId(i), rules, identity, tls_pem))
        contacts = tuple(
            ReplicaContact(host="memory", port=i, certificate_der=replica.identity.certificate_der)
            for i, replica in enumerate(self.replicas)
        )
        self.directory = GroupDirectory(group=self.group, replicas=contacts)

    async def dial(self, contact: ReplicaContact) -> trio.abc.Stream:
        """In place of a TCP connection."""
        await trio.lowlevel.checkpoint()
        replica = self.replicas[contact.port]
        replica.dials += 1
        if replica.down or self.nursery is None:
            raise OSError(f"nobody listens at port {contact.port}")
        mine, theirs = memory_stream_pair()
        self.nursery.start_soon(replica.serve, theirs)
        return mine

    def execute(self, request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        """Execute what is new. Replies of all replicas about it; those of one about what had been executed."""
        named = request.message
        fresh: dict[SequenceNumber, list[OperationResult]] = {}
        again: dict[SequenceNumber, list[OperationResult]] = {}
        next_sequence = SequenceNumber(self.sequence + 1)
        for offset, operation in enumerate(named.operations):
            name = (request.device, named.session, named.first_client_sequence + offset)
            known = self.executed.get(name)
            if known is None:
                self.sequence = next_sequence
                known = (self.sequence, self.backend.execute(request.device, operation, self.sequence))
                self.executed[name] = known
                said = fresh
            else:
                said = again
            sequence, result = known
            said.setdefault(sequence, []).append(
                OperationResult(client_sequence=ClientSequence(name[2]), index=offset, refused=False, result=result)
            )
        replies = [
            [
                Reply(
                    device=request.device,
                    session=named.session,
                    view=View(0),
                    sequence=sequence,
                    results=tuple(results),
                )
                for sequence, results in said.items()
            ]
            for said in (fresh, again)
        ]
        return replies[0], replies[1]

    def publish(self) -> None:
        """Stream what happened to whoever has subscribed."""
        for replica in self.replicas:
            for key, (_, _, link) in list(replica.streams.items()):
                if link in replica.links:
                    replica.stream_on(*key)
                else:
                    del replica.streams[key]

    def start(self, task: Callable[[Link], Awaitable[None]], link: Link) -> None:
        if self.nursery is not None:
            self.nursery.start_soon(task, link)
