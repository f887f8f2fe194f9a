"""Ed25519 with domains: published vectors, crafted signatures, and every replay across domains."""

from hashlib import sha512
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.canonical import encode
from crypto.errors import InvalidSignature
from crypto.signing import (
    Domain,
    Ed25519Signer,
    Ed25519Verifier,
    PublicKey,
    SecretSeed,
    Signature,
    Signer,
    Verifier,
)

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD_PRIME = 2**255 - 19

DOMAIN = Domain(bytes(32), 0, "PREPARE")


class Bare(Domain):
    """A domain that adds nothing, for vectors over bare messages."""

    __slots__ = ()

    def statement(self, body: bytes) -> bytes:
        return body


BARE = Bare(bytes(32), 0, "bare")


def signer_of(byte: int) -> Ed25519Signer:
    return Ed25519Signer(SecretSeed(bytes([byte]) * 32))


def refuses(public_key: bytes, signature: bytes, body: bytes = b"body", domain: Domain = BARE) -> None:
    with pytest.raises(InvalidSignature):
        Ed25519Verifier().verify(PublicKey(public_key), domain, body, Signature(signature))


# RFC 8032 section 7.1: seed, public key, message, signature of TEST 1, 2, 3 and SHA(abc).
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


@pytest.mark.parametrize(("seed", "public_key", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors(seed: str, public_key: str, message: str, signature: str) -> None:
    signer = Ed25519Signer(SecretSeed(bytes.fromhex(seed)))
    body = bytes.fromhex(message)
    assert signer.public_key.hex() == public_key
    assert signer.sign(BARE, body).hex() == signature
    Ed25519Verifier().verify(signer.public_key, BARE, body, Signature(bytes.fromhex(signature)))


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63 - 1),
    st.text(max_size=30),
    st.binary(max_size=300),
)
def test_statement_is_the_canonical_encoding(group_id: bytes, epoch: int, message_type: str, body: bytes) -> None:
    statement = Domain(group_id, epoch, message_type).statement(body)
    assert statement == encode(["quorate/1", group_id, epoch, message_type, body])


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536, 2**17])
def test_statement_of_every_head_size(size: int) -> None:
    assert DOMAIN.statement(bytes(size)) == encode(["quorate/1", bytes(32), 0, "PREPARE", bytes(size)])


@pytest.mark.parametrize(
    ("group_id", "epoch", "message_type"),
    [
        (bytes(31), 0, "X"),
        (bytes(33), 0, "X"),
        (bytes(32), -1, "X"),
        (bytes(32), 2**63, "X"),
        (bytes(32), True, "X"),
        (bytes(32), 0, "\ud800"),
    ],
)
def test_domains_that_cannot_be(group_id: bytes, epoch: int, message_type: str) -> None:
    with pytest.raises(ValueError, match=r"group id|no domain"):
        Domain(group_id, epoch, message_type)


def test_equal_domains_are_equal() -> None:
    assert Domain(bytes(32), 0, "PREPARE") == DOMAIN
    assert hash(Domain(bytes(32), 0, "PREPARE")) == hash(DOMAIN)
    assert "_prefix" not in repr(DOMAIN)


def test_a_signature_is_valid_in_its_own_domain_only() -> None:
    domains = [
        Domain(group_id, epoch, message_type)
        for group_id, epoch, message_type in product((bytes(32), b"\x01" * 32), (0, 1), ("PREPARE", "COMMIT"))
    ]
    signer, verifier = signer_of(1), Ed25519Verifier()
    for signed_in, checked_in in product(domains, domains):
        signature = signer.sign(signed_in, b"body")
        if signed_in == checked_in:
            verifier.verify(signer.public_key, checked_in, b"body", signature)
        else:
            refuses(signer.public_key, signature, domain=checked_in)


def test_other_body_key_or_signature_is_refused() -> None:
    signer = signer_of(1)
    signature = signer.sign(DOMAIN, b"body")
    refuses(signer.public_key, signature, b"other", DOMAIN)
    refuses(signer_of(2).public_key, signature, b"body", DOMAIN)
    for bit in range(512):
        flipped = int.from_bytes(signature, "big") ^ 1 << bit
        refuses(signer.public_key, flipped.to_bytes(64, "big"), b"body", DOMAIN)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_key_of_another_length_is_refused(size: int) -> None:
    signer = signer_of(1)
    refuses((signer.public_key * 2)[:size], signer.sign(BARE, b"body"))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_signature_of_another_length_is_refused(size: int) -> None:
    signer = signer_of(1)
    refuses(signer.public_key, (signer.sign(BARE, b"body") * 2)[:size])


def test_a_signature_that_lends_bytes_to_the_body_is_refused() -> None:
    signer = signer_of(1)
    signature = signer.sign(BARE, b"body")
    refuses(signer.public_key, signature + b"b", b"ody")


def test_non_canonical_s_is_refused() -> None:
    signer = signer_of(1)
    signature = signer.sign(BARE, b"body")
    s = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 16):
        refuses(signer.public_key, signature[:32] + (s + multiple * GROUP_ORDER).to_bytes(32, "little"))


ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022

# The eight points of small order and their non-canonical encodings (y >= p, or a sign on x = 0).
SMALL_ORDER = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (
        0,
        1,
        ORDER_8_Y,
        FIELD_PRIME - ORDER_8_Y,
        FIELD_PRIME - 1,
        FIELD_PRIME,
        FIELD_PRIME + 1,
    )
    for sign in (0, 1)
]


def test_the_point_of_order_8_is_one() -> None:
    # Doubled twice it is (0, -1): on the curve with parameter d, d y**4 + 2 y**2 = 1.
    d = -121665 * pow(121666, -1, FIELD_PRIME)
    assert (d * ORDER_8_Y**4 + 2 * ORDER_8_Y**2 - 1) % FIELD_PRIME == 0


@pytest.mark.parametrize("public_key", SMALL_ORDER, ids=bytes.hex)
def test_small_order_keys_are_refused(public_key: bytes) -> None:
    # Under a key of order 1, R = identity and S = 0 would sign every body; of order 8, one body in eight.
    for r in SMALL_ORDER:
        for body in range(16):
            refuses(public_key, r + bytes(32), bytes([body]))


def secret_scalar(seed: bytes) -> int:
    low = bytearray(sha512(seed).digest()[:32])
    low[0] &= 248
    low[31] = low[31] & 127 | 64
    return int.from_bytes(low, "little")


@pytest.mark.parametrize("r", SMALL_ORDER, ids=bytes.hex)
def test_small_order_and_non_canonical_r_are_refused(r: bytes) -> None:
    # With r = 0, S = k a satisfies the equation for R = identity; encoded in any way it is refused.
    signer = signer_of(1)
    k = int.from_bytes(sha512(r + signer.public_key + b"body").digest(), "little")
    s = k * secret_scalar(signer.reveal_seed()) % GROUP_ORDER
    refuses(signer.public_key, r + s.to_bytes(32, "little"))


@pytest.mark.parametrize("y", range(FIELD_PRIME, 2**255))
def test_non_canonical_keys_are_refused(y: int) -> None:
    refuses(y.to_bytes(32, "little"), signer_of(1).sign(BARE, b"body"))


def test_generated_keys_differ_and_sign() -> None:
    first, second = Ed25519Signer.generate(), Ed25519Signer.generate()
    assert first.public_key != second.public_key
    Ed25519Verifier().verify(first.public_key, DOMAIN, b"body", first.sign(DOMAIN, b"body"))
    assert Ed25519Signer(first.reveal_seed()).public_key == first.public_key


def test_repr_keeps_the_secret() -> None:
    signer = signer_of(7)
    assert signer.public_key.hex() in repr(signer)
    assert signer.reveal_seed().hex() not in repr(signer)
    assert repr(signer.reveal_seed()) not in repr(signer)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_seed_of_another_length(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Ed25519Signer(SecretSeed(bytes(size)))


def test_both_fit_their_protocols() -> None:
    signer: Signer = signer_of(1)
    verifier: Verifier = Ed25519Verifier()
    verifier.verify(signer.public_key, DOMAIN, b"", signer.sign(DOMAIN, b""))
