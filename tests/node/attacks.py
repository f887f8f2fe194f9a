"""Frames that no correct peer sends, each with what the node says about it."""

from __future__ import annotations

from dataclasses import replace

from chatsvc.groupfile import GroupFile
from crypto.canonical import encode
from crypto.signing import Ed25519Signer, Ed25519Verifier, Signer
from pbft.core import bodies
from pbft.core.frames import sign_request, wire_of
from pbft.core.group import Group
from pbft.core.handshake import framed
from pbft.core.messages import Query, Request, Status
from pbft.core.types import ClientSequence, Epoch, SequenceNumber, SessionNumber, View
from tests.harness.craft import Craft, digest
from tests.harness.keys import Members
from tests.node.network import signer_of


def craft_of(file: GroupFile, group: Group | None = None) -> Craft:
    """Signs for everybody in the group, perhaps as if it were another group."""
    signers: dict[int, Signer] = {replica: signer_of(file, replica) for replica in file.group.replicas}
    return Craft(Members(group=group or file.group, signers=signers, verifier=Ed25519Verifier()))


NEXT = 5
"""A sequence number that is not executed yet: votes below are dropped without a look at their signatures."""
STATUS = Status(view=View(0), stable_checkpoint=SequenceNumber(0), last_executed=SequenceNumber(0), slots=())
QUERY = Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"log")

CBOR_BOMBS = {
    "garbage": (bytes(range(255, 0, -1)), ""),
    "empty list": (b"\x80", "no message of type"),
    "deep": (b"\x81" * 100_000, ""),
    "huge list": (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", ""),
    "huge string": (b"\x82\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", ""),
    "indefinite": (b"\x9f" + b"\x00" * 100 + b"\xff", ""),
    "tagged": (b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", ""),
    "map": (b"\xa1\x01\x02", ""),
    "float": (b"\x83\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00\x00\x40", ""),
    "no UTF-8": (b"\x81\x62\xff\xff", ""),
    "not minimal": (b"\x98\x01\x00", ""),
    "shared reference": (b"\xd8\x1c\x81\xd8\x1d\x00", ""),
}


def length_attacks(frame_bytes_max: int) -> dict[str, tuple[bytes, str]]:
    """Raw bytes: lengths beyond what is allowed. Nothing of that length is ever sent."""
    lengths = {"length 0": 0, "one too long": frame_bytes_max + 1, "longest": 2**32 - 1}
    return {name: (length.to_bytes(4, "big"), f"frame of {length} bytes") for name, length in lengths.items()}


def common(good: bytes, epoch: int) -> dict[str, tuple[bytes, str]]:
    """What can be done to any frame."""
    head, _, body = good.partition(encode(epoch))
    assert body
    return CBOR_BOMBS | {
        "trailing byte": (good + b"\x00", ""),
        "cut": (good[:-1], ""),
        "epoch not minimal": (head + b"\x18" + bytes([epoch]) + body, ""),
        "wrong epoch": (head + encode(epoch + 1) + body, "epoch"),
        "unknown type": (encode(["NONSENSE", epoch, b""]), "NONSENSE"),
        "type is bytes": (encode([b"STATUS", epoch, b""]), ""),
    }


def peer_attacks(file: GroupFile, elsewhere: GroupFile) -> dict[str, tuple[bytes, str]]:
    """Frames for a replica link."""
    craft, group = craft_of(file), file.group
    vote = craft.prepare(3, NEXT, digest("batch"))
    other = craft.prepare(2, NEXT, digest("batch"))
    foreign = craft_of(file, elsewhere.group).prepare(3, NEXT, digest("batch"))
    later = craft_of(file, replace(group, epoch=Epoch(1))).prepare(3, NEXT, digest("batch"))
    stranger = encode([bodies.PREPARE, 0, 4, bodies.encode_vote(vote.message), vote.signature])
    twice = craft.commit_certificate(NEXT, digest("batch"), [1, 1, 2])
    few = craft.commit_certificate(NEXT, digest("batch"), [1, 2])
    bad_request = craft.request("alice", 0).wire
    return common(wire_of(group.epoch, STATUS), 0) | {
        "mis-signed": (vote.wire.replace(vote.signature, other.signature), "does not verify"),
        "signature of another type": (vote.wire.replace(b"\x67PREPARE", b"\x66COMMIT"), "does not verify"),
        "signed for another group": (foreign.wire, "does not verify"),
        "signed for another epoch": (later.wire, "epoch 1"),
        "signer is no member": (stranger, "no member"),
        "signer twice": (twice.wire, "once each"),
        "too few signers": (few.wire, "3 are needed"),
        "request with a broken signature": (bad_request[:-1] + bytes([bad_request[-1] ^ 1]), "does not verify"),
        "query, which is for clients": (wire_of(group.epoch, QUERY), "QUERY"),
        "reply, which is for clients": (encode([bodies.REPLY, 0, 3, b"", bytes(64)]), "REPLY"),
    }


def client_attacks(file: GroupFile, elsewhere: GroupFile, device: Ed25519Signer) -> dict[str, tuple[bytes, str]]:
    """Frames for a client connection of `device`."""
    group = file.group
    request = Request(
        session=SessionNumber(1),
        first_client_sequence=ClientSequence(0),
        ack_below=ClientSequence(0),
        operations=(b"op",),
    )
    good = sign_request(group, device, request).wire
    foreign = sign_request(elsewhere.group, device, request).wire
    too_many = replace(request, operations=(b"",) * (group.parameters.request_operations_max + 1))
    too_long = replace(request, operations=(bytes(group.parameters.operation_bytes_max + 1),))
    return common(wire_of(group.epoch, QUERY), 0) | {
        "mis-signed": (good[:-1] + bytes([good[-1] ^ 1]), "does not verify"),
        "signed for another group": (foreign, "does not verify"),
        "too many operations": (sign_request(group, device, too_many).wire, ""),
        "operation too long": (sign_request(group, device, too_long).wire, ""),
        "status, which is for replicas": (wire_of(group.epoch, STATUS), "STATUS"),
        "a vote": (craft_of(file).prepare(3, 1, digest("batch")).wire, "PREPARE"),
    }


def as_raw(attacks: dict[str, tuple[bytes, str]]) -> dict[str, tuple[bytes, str]]:
    return {name: (framed(frame), reason) for name, (frame, reason) in attacks.items()}
