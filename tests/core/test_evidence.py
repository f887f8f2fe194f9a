"""Evidence: one encoding, and verification that no trick turns against a correct replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha512

import pytest
from nacl import bindings

from crypto.canonical import encode
from crypto.signing import Ed25519Signer
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.evidence import (
    CODES,
    InvalidEvidence,
    decode_evidence,
    encode_evidence,
    evidence_bytes_max,
    verify_evidence,
)
from pbft.core.frames import encode_signed
from tests.core.proofs import CRAFT, GROUP, OTHER_EPOCH, OTHER_GROUP, PROVEN, A, opener, prepared, proof


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
