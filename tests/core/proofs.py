"""A proof of each kind of misbehaviour, and hands to make more with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crypto.canonical import decode, encode
from crypto.digest import Digest
from crypto.merkle import leaf_digest
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.frames import encode_certificate, encode_proposal
from pbft.core.messages import Batch, OperationResult, PreparedCertificate, Reply, SignedRequest
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber, View
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

PARAMETERS: dict[str, Any] = {"checkpoint_interval": 8, "pipeline_depth": 2}
CRAFT = Craft(make_group(4, real=True, **PARAMETERS))
GROUP = CRAFT.group
OTHER_GROUP = Craft(make_group(4, real=True, name="other", **PARAMETERS))
"""The same keys, another group."""
OTHER_EPOCH = Craft(make_group(4, real=True, epoch=1, **PARAMETERS))
A, B = digest("a"), digest("b")


def opener() -> Opener:
    return Opener(GROUP, CRAFT.members.verifier)


def proof(code: str, culprit: int | bytes, *statements: bytes) -> Evidence:
    return Evidence(code=code, culprit=culprit, statements=statements)  # type: ignore[arg-type]


def reply(
    signer: int,
    result: bytes = b"done",
    *,
    sequence: int = 5,
    session: int = 1,
    index: int = 0,
    name: int = 0,
    refused: bool = False,
    device: str = "alice",
    craft: Craft = CRAFT,
) -> bytes:
    statement = Reply(
        device=craft.members.device(device).public_key,
        session=SessionNumber(session),
        view=View(0),
        sequence=SequenceNumber(sequence),
        results=(OperationResult(client_sequence=ClientSequence(name), index=index, refused=refused, result=result),),
    )
    return craft.sign(signer, bodies.REPLY, statement, bodies.encode_reply).wire


def forged(request: SignedRequest) -> SignedRequest:
    fields = decode(request.wire, bytes_max=10_000)
    assert isinstance(fields, list)
    wire = encode([*fields[:4], bytes(64)])
    return replace(request, wire=wire, digest=leaf_digest(wire))


def broken(certificate: PreparedCertificate) -> PreparedCertificate:
    """The same certificate, with a signature that does not verify."""
    prepares = ((certificate.prepares[0][0], certificate.prepares[1][1]), *certificate.prepares[1:])
    wire = encode_certificate("PREPARED", GROUP.epoch, certificate.pre_prepare.wire, prepares)
    return replace(certificate, prepares=prepares, wire=wire)


def prepared(sequence: int = 3, what: Digest = A, view: int = 0) -> PreparedCertificate:
    primary = view % 4
    return CRAFT.prepared(sequence, what, [r for r in range(4) if r != primary][:2], view=view)


STABLE = CRAFT.checkpoint_certificate(8, digest("root"), [0, 1, 2])
CHANGES = [CRAFT.view_change(signer, 1) for signer in (0, 1, 2)]
CHANGES_WITH_3 = [CRAFT.view_change(0, 1, prepared()), *CHANGES[1:]]
GOOD_BATCH = CRAFT.batch(CRAFT.request("alice", 0, b"hello"))
BAD_BATCH = CRAFT.batch(CRAFT.request("alice", 0, b"hello"), forged(CRAFT.request("bob", 0, b"not by bob")))


def wire_proposal(signer: int, batch: Batch, *, named: Batch | None = None) -> bytes:
    header = CRAFT.pre_prepare(signer, 1, (named or batch).digest)
    return encode_proposal(header.wire, batch.wire)


PROVEN = {
    "E1": proof("E1", 0, CRAFT.pre_prepare(0, 1, A).wire, CRAFT.pre_prepare(0, 1, B).wire),
    "E2": proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, B).wire),
    "E3": proof("E3", 2, CRAFT.commit(2, 1, A, view=6).wire, CRAFT.commit(2, 1, B, view=6).wire),
    "E4": proof("E4", 3, CRAFT.checkpoint(3, 8, A).wire, CRAFT.checkpoint(3, 8, B).wire),
    "E5, omitted": proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 1).wire),
    "E5, an older view": proof(
        "E5", 2, CRAFT.commit(2, 3, B, view=2).wire, CRAFT.view_change(2, 3, prepared(3, A, 1)).wire
    ),
    "E5, another sequence shown": proof(
        "E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 1, prepared(4, B)).wire
    ),
    "E6": proof("E6", 2, CRAFT.view_change(2, 1).wire, CRAFT.view_change(2, 1, prepared()).wire),
    "E6, one invalid": proof("E6", 2, CRAFT.view_change(2, 1).wire, CRAFT.view_change(2, 1, broken(prepared())).wire),
    "E7, invalid certificate": proof("E7", 2, CRAFT.view_change(2, 1, broken(prepared())).wire),
    "E7, unproven checkpoint": proof("E7", 2, CRAFT.view_change(2, 1, stable=8).wire),
    "E7, certificate of a later view": proof("E7", 2, CRAFT.view_change(2, 1, prepared(3, A, 1)).wire),
    "E7, no body at all": proof("E7", 2, CRAFT.sign(2, bodies.VIEW_CHANGE, b"\xff", bytes).wire),
    "E7, NEW-VIEW proposes otherwise": proof("E7", 1, CRAFT.new_view(1, CHANGES_WITH_3, []).wire),
    "E7, NEW-VIEW with an invalid VIEW-CHANGE": proof(
        "E7", 1, CRAFT.new_view(1, [*CHANGES[:2], CRAFT.view_change(2, 1, broken(prepared()))], []).wire
    ),
    "E7, NEW-VIEW by another": proof("E7", 3, CRAFT.new_view(1, CHANGES, signer=3).wire),
    "E7, two NEW-VIEWs": proof("E7", 1, CRAFT.new_view(1, CHANGES).wire, CRAFT.new_view(1, CHANGES_WITH_3).wire),
    "E8": proof("E8", 0, wire_proposal(0, BAD_BATCH)),
    "E9": proof("E9", 3, reply(3, b"no"), reply(0), reply(1)),
    "CLIENT-EQUIVOCATION": proof(
        "CLIENT-EQUIVOCATION",
        CRAFT.members.device("alice").public_key,
        CRAFT.request("alice", 0, b"yes", b"and").wire,
        CRAFT.request("alice", 1, b"no").wire,
    ),
}
