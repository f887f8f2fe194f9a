"""Evidence: one encoding, and verification that no trick turns against a correct replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha512
from typing import Any

import pytest
from nacl import bindings

from crypto.canonical import decode, encode
from crypto.digest import Digest
from crypto.merkle import leaf_digest
from crypto.signing import Ed25519Signer
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import (
    CODES,
    InvalidEvidence,
    decode_evidence,
    encode_evidence,
    evidence_bytes_max,
    verify_evidence,
)
from pbft.core.frames import NULL_BATCH, encode_certificate, encode_proposal, encode_signed
from pbft.core.messages import (
    Batch,
    OperationResult,
    PreparedCertificate,
    Reply,
    SignedRequest,
)
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


@pytest.mark.parametrize("name", PROVEN)
def test_what_the_culprit_said_proves_it(name: str) -> None:
    verify_evidence(opener(), PROVEN[name])


def test_every_code_is_proven_by_something() -> None:
    assert {name.partition(",")[0] for name in PROVEN} == set(CODES)


@pytest.mark.parametrize("name", PROVEN)
def test_encoded_proof_comes_back_the_same(name: str) -> None:
    data = encode_evidence(GROUP, PROVEN[name])
    assert decode_evidence(GROUP, data) == PROVEN[name]
    assert encode_evidence(GROUP, decode_evidence(GROUP, data)) == data


@dataclass(frozen=True)
class NearMiss:
    """Looks like evidence and accuses somebody who did nothing wrong."""

    name: str
    evidence: Evidence
    reason: str


NEAR_MISSES = [
    NearMiss("same vote twice", proof("E2", 1, *[CRAFT.prepare(1, 1, A).wire] * 2), "say the same"),
    NearMiss(
        "two views",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, B, view=2).wire),
        "different places",
    ),
    NearMiss(
        "two sequence numbers",
        proof("E1", 0, CRAFT.pre_prepare(0, 1, A).wire, CRAFT.pre_prepare(0, 2, B).wire),
        "pla",
    ),
    NearMiss("two signers", proof("E3", 1, CRAFT.commit(1, 1, A).wire, CRAFT.commit(2, 1, B).wire), "by replica 2"),
    NearMiss("another culprit", proof("E3", 3, CRAFT.commit(1, 1, A).wire, CRAFT.commit(1, 1, B).wire), "not by 3"),
    NearMiss("two types", proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.commit(1, 1, B).wire), "expected"),
    NearMiss("swapped code", replace(PROVEN["E2"], code="E3"), "expected"),
    NearMiss("one statement", proof("E1", 0, CRAFT.pre_prepare(0, 1, A).wire), "takes 2"),
    NearMiss(
        "three statements", proof("E1", 0, *PROVEN["E1"].statements, CRAFT.pre_prepare(0, 1, A).wire), "takes 2"
    ),
    NearMiss("unknown code", replace(PROVEN["E1"], code="E10"), "no code"),
    NearMiss(
        "another group's vote",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, OTHER_GROUP.prepare(1, 1, B).wire),
        "does not verify",
    ),
    NearMiss(
        "another epoch's vote",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, OTHER_EPOCH.prepare(1, 1, B).wire),
        "epoch",
    ),
    NearMiss(
        "signed as another type",
        proof(
            "E2",
            1,
            CRAFT.prepare(1, 1, A).wire,
            encode_signed(
                bodies.PREPARE,
                GROUP.epoch,
                1,
                bodies.encode_vote(CRAFT.commit(1, 1, B).message),
                CRAFT.commit(1, 1, B).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "key swapped",
        proof(
            "E2",
            1,
            CRAFT.prepare(1, 1, A).wire,
            encode_signed(
                bodies.PREPARE,
                GROUP.epoch,
                1,
                bodies.encode_vote(CRAFT.prepare(3, 1, B).message),
                CRAFT.prepare(3, 1, B).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "re-encoded",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, A).wire.replace(b"\x85", b"\x98\x05", 1)),
        "canonical",
    ),
    NearMiss(
        "trailing byte", proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, B).wire + b"\0"), "CBOR"
    ),
    NearMiss(
        "checkpoints apart", proof("E4", 3, CRAFT.checkpoint(3, 8, A).wire, CRAFT.checkpoint(3, 16, B).wire), "p"
    ),
    NearMiss(
        "shown in the same view",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 1, prepared()).wire),
        "as prepared in view 0",
    ),
    NearMiss(
        "shown in a newer view",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 3, prepared(3, B, 2)).wire),
        "as prepared in view 2",
    ),
    NearMiss(
        "checkpoint covers it",
        proof("E5", 2, CRAFT.commit(2, 8, A).wire, CRAFT.view_change(2, 1, checkpoint=STABLE).wire),
        "covers 8",
    ),
    NearMiss(
        "committed in the new view itself",
        proof("E5", 2, CRAFT.commit(2, 3, A, view=1).wire, CRAFT.view_change(2, 1).wire),
        "not above",
    ),
    NearMiss(
        "committed later, in a view above",
        proof("E5", 2, CRAFT.commit(2, 3, A, view=4).wire, CRAFT.view_change(2, 1).wire),
        "not above",
    ),
    NearMiss(
        "another replica's VIEW-CHANGE",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(3, 1).wire),
        "by",
    ),
    NearMiss(
        "prepared, not committed", proof("E5", 2, CRAFT.prepare(2, 3, A).wire, CRAFT.view_change(2, 1).wire), "COMMIT"
    ),
    NearMiss(
        "VIEW-CHANGE with certificates cut out",
        proof(
            "E5",
            2,
            CRAFT.commit(2, 3, A).wire,
            encode_signed(
                bodies.VIEW_CHANGE,
                GROUP.epoch,
                2,
                bodies.encode_view_change(CRAFT.view_change(2, 1).message),
                CRAFT.view_change(2, 1, prepared()).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "VIEW-CHANGEs to two views",
        proof("E6", 2, CRAFT.view_change(2, 1).wire, CRAFT.view_change(2, 2).wire),
        "different places",
    ),
    NearMiss("the same VIEW-CHANGE again", proof("E6", 2, *[CRAFT.view_change(2, 1).wire] * 2), "say the same"),
    NearMiss("valid VIEW-CHANGE", proof("E7", 2, CRAFT.view_change(2, 1, prepared()).wire), "valid in itself"),
    NearMiss("valid NEW-VIEW", proof("E7", 1, CRAFT.new_view(1, CHANGES_WITH_3).wire), "valid in itself"),
    NearMiss(
        "invalid, but not signed",
        proof(
            "E7",
            2,
            encode_signed(
                bodies.VIEW_CHANGE,
                GROUP.epoch,
                2,
                bodies.encode_view_change(CRAFT.view_change(2, 1, broken(prepared())).message),
                CRAFT.view_change(2, 1).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss("its relay", proof("E7", 3, CRAFT.view_change(2, 1, broken(prepared())).wire), "not by 3"),
    NearMiss("another group's VIEW-CHANGE", proof("E7", 2, OTHER_GROUP.view_change(2, 1).wire), "does not verify"),
    NearMiss("another epoch's VIEW-CHANGE", proof("E7", 2, OTHER_EPOCH.view_change(2, 1).wire), "epoch"),
    NearMiss("a bad signature on a vote", proof("E7", 2, CRAFT.prepare(2, 1, A).wire), "takes a VIEW-CHANGE"),
    NearMiss(
        "NEW-VIEWs of two views",
        proof("E7", 1, CRAFT.new_view(1, CHANGES).wire, CRAFT.new_view(5, CHANGES).wire),
        "pla",
    ),
    NearMiss("all requests valid", proof("E8", 0, wire_proposal(0, GOOD_BATCH)), "are valid"),
    NearMiss(
        "another batch put under it", proof("E8", 0, wire_proposal(0, BAD_BATCH, named=GOOD_BATCH)), "not the one"
    ),
    NearMiss("a null batch", proof("E8", 0, wire_proposal(0, NULL_BATCH)), "are valid"),
    NearMiss("replies agree", proof("E9", 3, reply(3), reply(0), reply(1)), "do not contradict"),
    NearMiss("too few others", proof("E9", 3, reply(3, b"no"), reply(0)), "takes 3"),
    NearMiss(
        "the others disagree", proof("E9", 3, reply(3, b"no"), reply(0), reply(1, b"what")), "do not contradict"
    ),
    NearMiss("one of the others twice", proof("E9", 3, reply(3, b"no"), reply(0), reply(0)), "twice"),
    NearMiss("the culprit among the others", proof("E9", 3, reply(3, b"no"), reply(3), reply(1)), "twice"),
    NearMiss("ran twice", proof("E9", 3, reply(3, b"no", sequence=6), reply(0), reply(1)), "different sequence"),
    NearMiss(
        "ran twice in one batch", proof("E9", 3, reply(3, b"no", index=1), reply(0), reply(1)), "not contradict"
    ),
    NearMiss("an old session", proof("E9", 3, reply(3, b"no", session=0), reply(0), reply(1)), "different sessions"),
    NearMiss("another name", proof("E9", 3, reply(3, b"no", name=1), reply(0), reply(1)), "do not contradict"),
    NearMiss("another device", proof("E9", 3, reply(3, b"no", device="bob"), reply(0), reply(1)), "different"),
    NearMiss("forgot the name", proof("E9", 3, reply(3, b"", refused=True), reply(0), reply(1)), "do not contradict"),
    NearMiss(
        "names forgotten",
        proof("E9", 3, reply(3, b"no", sequence=0), *[reply(r, sequence=0) for r in (0, 1)]),
        "no se",
    ),
    NearMiss(
        "the others forgot",
        proof("E9", 3, reply(3), *[reply(r, b"", refused=True) for r in (0, 1)]),
        "not contradict",
    ),
    NearMiss(
        "another group's reply", proof("E9", 3, reply(3, b"no", craft=OTHER_GROUP), reply(0), reply(1)), "not verify"
    ),
    NearMiss(
        "bundled anew",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes", b"and").wire,
            CRAFT.request("alice", 1, b"and", b"more", ack=1).wire,
        ),
        "no name",
    ),
    NearMiss(
        "two sessions",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            CRAFT.request("alice", 0, b"no", session=2).wire,
        ),
        "no name",
    ),
    NearMiss(
        "another device's request",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            CRAFT.request("bob", 0, b"no").wire,
        ),
        "another device",
    ),
    NearMiss(
        "forged request",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            forged(CRAFT.request("alice", 0, b"no")).wire,
        ),
        "does not verify",
    ),
]


@pytest.mark.parametrize("case", NEAR_MISSES, ids=lambda case: case.name)
def test_near_miss_accuses_nobody(case: NearMiss) -> None:
    with pytest.raises(InvalidEvidence, match=case.reason):
        verify_evidence(opener(), case.evidence)


@pytest.mark.parametrize("name", PROVEN)
def test_a_proof_under_another_code_proves_nothing(name: str) -> None:
    for code in set(CODES) - {PROVEN[name].code}:
        with pytest.raises(InvalidEvidence):
            verify_evidence(opener(), replace(PROVEN[name], code=code))


@pytest.mark.parametrize("name", PROVEN)
def test_a_proof_blames_its_culprit_alone(name: str) -> None:
    evidence = PROVEN[name]
    for other in GROUP.replicas:
        if other != evidence.culprit:
            with pytest.raises(InvalidEvidence):
                verify_evidence(opener(), replace(evidence, culprit=other))


@pytest.mark.parametrize("name", PROVEN)
def test_a_proof_is_none_in_another_group_or_epoch(name: str) -> None:
    for craft in (OTHER_GROUP, OTHER_EPOCH):
        with pytest.raises(InvalidEvidence):
            verify_evidence(Opener(craft.group, craft.members.verifier), PROVEN[name])
    with pytest.raises(InvalidEvidence, match="another group"):
        decode_evidence(OTHER_GROUP.group, encode_evidence(GROUP, PROVEN[name]))


def mutated(data: bytes) -> list[bytes]:
    """Bytes flipped all over, cut off, and added."""
    step = max(1, len(data) // 60)
    flipped = [data[:i] + bytes([data[i] ^ 0x41]) + data[i + 1 :] for i in range(0, len(data), step)]
    return [*flipped, data[:-1], data + b"\0", b""]


@pytest.mark.parametrize("name", PROVEN)
def test_changed_bytes_never_accuse_anybody_else(name: str) -> None:
    evidence = PROVEN[name]
    for data in mutated(encode_evidence(GROUP, evidence)):
        try:
            other = decode_evidence(GROUP, data)
            verify_evidence(opener(), other)
        except InvalidEvidence:
            continue
        assert (other.code, other.culprit) == (evidence.code, evidence.culprit)


BAD_ENCODINGS: dict[str, Callable[[], bytes]] = {
    "another format": lambda: encode(["quorate-evidence/2", GROUP.group_id, "E1", 0, []]),
    "unknown code": lambda: encode(["quorate-evidence/1", GROUP.group_id, "E0", 0, []]),
    "no member": lambda: encode(["quorate-evidence/1", GROUP.group_id, "E1", 4, []]),
    "a device for a replica": lambda: encode(["quorate-evidence/1", GROUP.group_id, "E1", bytes(32), []]),
    "a replica for a device": lambda: encode(["quorate-evidence/1", GROUP.group_id, "CLIENT-EQUIVOCATION", 0, []]),
    "too many statements": lambda: encode(["quorate-evidence/1", GROUP.group_id, "E9", 0, [b""] * 4]),
    "statements of text": lambda: encode(["quorate-evidence/1", GROUP.group_id, "E1", 0, ["a", "b"]]),
    "too long": lambda: bytes(evidence_bytes_max(GROUP) + 1),
    "a list too short": lambda: encode(["quorate-evidence/1"]),
    "no list": lambda: encode(b"quorate-evidence/1"),
}


@pytest.mark.parametrize("name", BAD_ENCODINGS)
def test_bytes_that_are_no_evidence_are_refused(name: str) -> None:
    with pytest.raises(InvalidEvidence):
        decode_evidence(GROUP, BAD_ENCODINGS[name]())


def signed_anew(signer: Ed25519Signer, statement: bytes) -> bytes:
    """A second valid signature of the same key under the same statement: RFC 8032 with a nonce of one's own."""
    hashed = bytearray(sha512(signer.reveal_seed()).digest()[:32])
    hashed[0] &= 248
    hashed[31] = hashed[31] & 127 | 64
    secret = bindings.crypto_core_ed25519_scalar_reduce(bytes(hashed) + bytes(32))
    nonce = bindings.crypto_core_ed25519_scalar_reduce(bytes(range(64)))
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = bindings.crypto_core_ed25519_scalar_reduce(sha512(point + signer.public_key + statement).digest())
    product = bindings.crypto_core_ed25519_scalar_mul(challenge, secret)
    return point + bytes(bindings.crypto_core_ed25519_scalar_add(nonce, product))


@pytest.mark.parametrize("code", ["E2", "E6"])
def test_second_signature_under_the_same_words_is_no_contradiction(code: str) -> None:
    signer = CRAFT.members.signers[2]
    assert isinstance(signer, Ed25519Signer)
    kind = bodies.PREPARE if code == "E2" else bodies.VIEW_CHANGE
    first = CRAFT.prepare(2, 1, A).wire if code == "E2" else CRAFT.view_change(2, 1, prepared()).wire
    envelope = opener().parse_envelope(first, kind).value
    signature = signed_anew(signer, GROUP.domain(kind).statement(envelope.message))
    second = encode_signed(kind, GROUP.epoch, 2, envelope.message, signature)
    assert second != first
    opener().open_peer(second)
    with pytest.raises(InvalidEvidence, match="say the same"):
        verify_evidence(opener(), proof(code, 2, first, second))
