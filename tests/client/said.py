"""What replicas say, made up. The trackers are given verified statements, so nothing here is really signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from crypto.digest import digest_of
from crypto.signing import PublicKey, Signature
from pbft.client.quorums import ClientCore, Knowledge, Output, Send, Settings
from pbft.core import bodies
from pbft.core.application import EventItem
from pbft.core.codec import Opener
from pbft.core.events import encode_item, item_digest
from pbft.core.frames import encode_signed
from pbft.core.group import Group, Parameters
from pbft.core.messages import Answer, ClientMessage, Events, OperationResult, Reply, Signed, SignedRequest
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, ReplicaId, SequenceNumber, SessionNumber, View

SESSION = SessionNumber(1_000_000)
DEVICE = PublicKey(b"d" * 32)
OTHER_DEVICE = PublicKey(b"e" * 32)
SETTINGS = Settings()
SIGNATURE = Signature(b"s" * 64)

M = TypeVar("M", Reply, Answer, Events)


class PlainSigner:
    """Signs nothing: the trackers do not look at signatures."""

    public_key = DEVICE

    def sign(self, domain: object, body: bytes) -> Signature:  # noqa: ARG002 - the interface
        return SIGNATURE


class TrustingVerifier:
    def verify(self, public_key: PublicKey, domain: object, body: bytes, signature: Signature) -> None:
        pass


def group_of(n: int, **parameters: int) -> Group:
    members = tuple(PublicKey(digest_of(b"member %d" % i)) for i in range(n))
    return Group(name="test", nonce=b"", members=members, parameters=Parameters(**parameters))


def knowledge_of(n: int, **parameters: int) -> Knowledge:
    """With all replicas connected."""
    knowledge = Knowledge(group_of(n, **parameters))
    for replica in knowledge.group.replicas:
        knowledge.on_link(replica, up=True)
    return knowledge


def core_of(n: int, settings: Settings = SETTINGS, **parameters: int) -> ClientCore:
    """With all replicas connected."""
    core = ClientCore(group_of(n, **parameters), PlainSigner(), SESSION, settings)
    for replica in core.group.replicas:
        core.on_link(ms(0), replica, up=True)
    core.take()
    return core


def ms(value: int) -> Milliseconds:
    return Milliseconds(value)


def signed(replica: int, message: M) -> Signed[M]:
    match message:
        case Reply():
            kind, body = bodies.REPLY, bodies.encode_reply(message)
        case Answer():
            kind, body = bodies.ANSWER, bodies.encode_answer(message)
        case Events():
            kind, body = bodies.EVENTS, bodies.encode_events(message)
    wire = encode_signed(kind, group_of(4).epoch, replica, body, SIGNATURE)
    return Signed(message=message, signer=ReplicaId(replica), signature=SIGNATURE, wire=wire)


def result(client_sequence: int, value: bytes = b"ok", *, index: int = 0, refused: bool = False) -> OperationResult:
    return OperationResult(
        client_sequence=ClientSequence(client_sequence), index=index, refused=refused, result=value
    )


def reply(
    replica: int,
    *results: OperationResult,
    sequence: int = 1,
    view: int = 0,
    session: int = SESSION,
    device: PublicKey = DEVICE,
) -> Signed[Reply]:
    message = Reply(
        device=device,
        session=SessionNumber(session),
        view=View(view),
        sequence=SequenceNumber(sequence),
        results=results,
    )
    return signed(replica, message)


def answer(
    replica: int, query_id: int, value: bytes = b"yes", *, sequence: int = 1, device: PublicKey = DEVICE
) -> Signed[Answer]:
    message = Answer(device=device, query_id=query_id, sequence=SequenceNumber(sequence), result=value)
    return signed(replica, message)


def events(
    replica: int,
    subscription: int,
    first: int,
    items: Sequence[bytes | EventItem],
    *,
    bodies: bool = False,
    sequence: int = 1,
    closed: bool = False,
    device: PublicKey = DEVICE,
) -> Signed[Events]:
    """`items` are the events' heads, or whole events."""
    told = [item if isinstance(item, EventItem) else EventItem(head=item) for item in items]
    message = Events(
        device=device,
        subscription=subscription,
        sequence=SequenceNumber(sequence),
        first=EventIndex(first),
        bodies=bodies,
        items=tuple(map(encode_item if bodies else item_digest, told)),
        closed=closed,
    )
    return signed(replica, message)


# -- what the client sends


def opened(group: Group, send: Send) -> ClientMessage:
    return Opener(group, TrustingVerifier()).open_client(send.wire)


def requests_in(group: Group, out: Output) -> list[tuple[tuple[ReplicaId, ...], SignedRequest]]:
    found = []
    for send in out.send:
        message = opened(group, send)
        if isinstance(message, SignedRequest):
            found.append((send.to, message))
    return found
