"""Real nodes in one trio process, on loopback and over real TLS, and strangers who dial them."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import trio

from chatsvc.founding import SIGNING_KEY_NAME, ledger_identity
from chatsvc.groupfile import GroupFile
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Signer, Ed25519Verifier
from crypto.tls import client_dial_context, replica_dial_context
from pbft.core.codec import Opener
from pbft.core.frames import sign_request
from pbft.core.group import Group
from pbft.core.handshake import (
    FrameSplitter,
    ReplicaHello,
    Welcome,
    decode_inspection,
    decode_replica_hello,
    decode_welcome,
    encode_client_hello,
    encode_inspect,
    encode_replica_hello,
    framed,
    is_refused,
)
from pbft.core.messages import Reply, Request, Signed, ToClient
from pbft.core.replica import Replica
from pbft.core.types import ClientSequence, ReplicaId, SessionNumber
from pbft.core.voting_rules import VotingRules
from pbft.node.ledger import Ledger
from pbft.node.limits import Limits
from pbft.node.node import Machine, Node
from pbft.state.executor import open_state
from tests.state.toy import Toy, op

PATIENCE_S = 15.0
"""For what must happen; a test that fails takes so long, one that passes does not."""
Stream = trio.SSLStream[trio.SocketStream]
MakeMachine = Callable[[Replica, Ed25519Signer], Machine]
FRAME_BYTES_MAX = 4 * 1024 * 1024


def signer_of(file: GroupFile, replica: int) -> Ed25519Signer:
    path = file.replica_directory(ReplicaId(replica)) / SIGNING_KEY_NAME
    return read_key_file(path, kind="replica", passphrase=None)[0]


@contextmanager
def node_of(
    file: GroupFile, replica: int, make_machine: MakeMachine | None = None, limits: Limits | None = None
) -> Iterator[Node]:
    """A node with its stores; not running yet."""
    me, group = ReplicaId(replica), file.group
    config = replace(file.node_config(me), limits=limits or Limits())
    with contextlib.ExitStack() as stack:
        executor = open_state(config.directory / "state.sqlite", Toy(), group)
        stack.callback(executor.close)
        signer = signer_of(file, replica)
        ledger = Ledger(config.directory, ledger_identity(group, signer.public_key), retained_sequences=64)
        stack.callback(ledger.close)
        opener = Opener(group, Ed25519Verifier())
        rules = VotingRules(group, me, signer)
        honest = Replica(group=group, me=me, rules=rules, opener=opener, executed=executor)
        machine = make_machine(honest, signer) if make_machine else honest
        yield Node(config, machine=machine, opener=opener, executor=executor, ledger=ledger)


@asynccontextmanager
async def running(
    file: GroupFile,
    replicas: Iterable[int],
    machines: Mapping[int, MakeMachine] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[dict[int, Node]]:
    """Nodes that listen; all is shut down in the end. `machines`: what some run in the place of the replica."""
    with contextlib.ExitStack() as stack:
        make = machines or {}
        nodes = {number: stack.enter_context(node_of(file, number, make.get(number), limits)) for number in replicas}
        async with trio.open_nursery() as nursery:
            for node in nodes.values():
                await nursery.start(node.run)
            yield nodes
            nursery.cancel_scope.cancel()


# -- whoever dials


@dataclass
class Caller:
    """One connection to a node, and what arrived on it."""

    group: Group
    stream: Stream
    splitter: FrameSplitter = field(default_factory=lambda: FrameSplitter(FRAME_BYTES_MAX))
    waiting: list[bytes] = field(default_factory=list)

    async def send(self, *frames: bytes) -> None:
        await self.raw(b"".join(map(framed, frames)))

    async def raw(self, data: bytes) -> None:
        """As much of it as the node takes before it closes."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def frame(self) -> bytes | None:
        """The next frame; None at the end of the connection."""
        with trio.fail_after(PATIENCE_S):
            while not self.waiting:
                try:
                    data = await self.stream.receive_some()
                except trio.BrokenResourceError as error:
                    if isinstance(error.__cause__, ssl.SSLError):
                        raise
                    return None
                if not data:
                    return None
                self.waiting += self.splitter.feed(data)
        return self.waiting.pop(0)

    async def rest(self) -> list[bytes]:
        """All frames until the node closes the connection."""
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def refusal(self) -> str | None:
        """Why the node closes the connection; None if it just does."""
        frames = await self.rest()
        return is_refused(frames[-1]) if frames else None

    async def inspect(self) -> dict[str, Any]:
        await self.send(encode_inspect(self.group.epoch))
        frame = await self.frame()
        assert frame is not None
        report = decode_inspection(frame)
        assert report is not None
        found = json.loads(report)
        assert isinstance(found, dict)
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)


async def dial(
    group: Group, port: int, context: ssl.SSLContext, *, source: str | None = None, receive_buffer: int | None = None
) -> Caller:
    """A TLS connection to a port, from the loopback address `source`."""
    raw = trio.socket.socket()
    if receive_buffer is not None:
        raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    if source is not None:
        await raw.bind((source, 0))
    await raw.connect(("127.0.0.1", port))
    stream: Stream = trio.SSLStream(trio.SocketStream(raw), context, https_compatible=True)
    try:
        with trio.fail_after(PATIENCE_S):
            await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return Caller(group, stream)


async def dial_as_replica(file: GroupFile, me: int, to: int, *, tls_of: int | None = None) -> Caller:
    """TLS with a member's certificate; no HELLO yet."""
    tls_pem = file.replica_directory(ReplicaId(me if tls_of is None else tls_of)) / "tls.pem"
    context = replica_dial_context(tls_pem, file.members[to].certificate_der)
    return await dial(file.group, file.members[to].replica_endpoint.port, context)


async def link(file: GroupFile, me: int, to: int) -> Caller:
    """A replica link, past its handshake."""
    caller = await dial_as_replica(file, me, to)
    await caller.send(encode_replica_hello(file.group, ReplicaHello(replica=ReplicaId(me), to=ReplicaId(to))))
    answer = await caller.frame()
    assert answer is not None
    assert decode_replica_hello(file.group, answer) == ReplicaHello(replica=ReplicaId(to), to=ReplicaId(me))
    return caller


async def welcomed(file: GroupFile, to: int, **options: Any) -> tuple[Caller, Welcome]:
    """A client connection up to the node's WELCOME."""
    context = client_dial_context(file.members[to].certificate_der)
    caller = await dial(file.group, file.members[to].client_endpoint.port, context, **options)
    frame = await caller.frame()
    assert frame is not None
    return caller, decode_welcome(file.group, frame)


async def client(file: GroupFile, to: int, signer: Ed25519Signer, **options: Any) -> Caller:
    """A client connection past its handshake: the node says nothing to a HELLO, so an INSPECT asks."""
    caller, welcome = await welcomed(file, to, **options)
    await caller.send(encode_client_hello(file.group, signer, welcome))
    await caller.inspect()
    return caller


def say(group: Group, signer: Ed25519Signer, number: int, text: str, log: str = "log") -> bytes:
    """A request to the toy application; its result is how many lines the log has."""
    return sign_operation(group, signer, number, op("say", log, text))


def sign_operation(group: Group, signer: Ed25519Signer, number: int, operation: bytes) -> bytes:
    """A request of the device's first session."""
    request = Request(
        session=SessionNumber(1),
        first_client_sequence=ClientSequence(number),
        ack_below=ClientSequence(number),
        operations=(operation,),
    )
    return sign_request(group, signer, request).wire


class Customer:
    """A well-behaved client of some nodes, by whom one sees that they go on."""

    def __init__(self, file: GroupFile, callers: list[Caller]) -> None:
        self._file = file
        self._signer = Ed25519Signer.generate()
        self._opener = Opener(file.group, Ed25519Verifier())
        self._callers = callers
        self._next = 0
        self._said: dict[tuple[int, int], bytes] = {}

    @classmethod
    @asynccontextmanager
    async def of(cls, file: GroupFile, replicas: Iterable[int]) -> AsyncIterator[Self]:
        customer = cls(file, [])
        async with contextlib.AsyncExitStack() as stack:
            for number in replicas:
                caller = await client(file, number, customer._signer)
                customer._callers.append(await stack.enter_async_context(caller))
            yield customer

    async def say(self, text: str, log: str = "log") -> list[bytes]:
        """Have a line ordered by nodes that run the toy application."""
        return await self.order(op("say", log, text))

    async def order(self, operation: bytes) -> list[bytes]:
        """Have an operation ordered: every node that this client talks to must answer. Returns their results."""
        number = self._next
        self._next += 1
        frame = sign_operation(self._file.group, self._signer, number, operation)
        for caller in self._callers:
            await caller.send(frame)
        return [await self._result(caller, number) for caller in self._callers]

    async def _result(self, caller: Caller, number: int) -> bytes:
        """What the node says of operation `number`. Of an earlier one it may say again what it said before."""
        while True:
            message = (await self._hear(caller)).message
            assert isinstance(message, Reply)
            for result in message.results:
                said = self._said.setdefault((id(caller), result.client_sequence), result.result)
                assert said == result.result, "a replica contradicts itself"
            if (id(caller), number) in self._said:
                return self._said[id(caller), number]

    async def _hear(self, caller: Caller) -> ToClient:
        frame = await caller.frame()
        assert frame is not None, "a node closed the connection of a client that did nothing wrong"
        message = self._opener.open_reply(frame)
        assert isinstance(message, Signed)
        return message
