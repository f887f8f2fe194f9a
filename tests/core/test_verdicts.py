"""Crafted signatures get the same verdict from every part that verifies (attack 24): there is one verifier."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from hashlib import sha512
from pathlib import Path

import pytest
import trio
from nacl import bindings

from crypto.errors import InvalidSignature
from crypto.signing import Domain, Ed25519Signer, Ed25519Verifier, PublicKey, SecretSeed, Signature
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import verify_evidence
from pbft.core.frames import encode_proposal, make_batch, sign_request, wire_of
from pbft.core.group import Group
from pbft.core.handshake import Welcome, decode_client_hello, encode_client_hello
from pbft.core.messages import OperationResult, Reply, Request
from pbft.core.types import ClientSequence, Milliseconds, ReplicaId, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules
from pbft.node.intake import Intake
from pbft.node.turns import Turns
from tests.harness.craft import Craft, digest
from tests.harness.keys import Members, make_group

ROOT = Path(__file__).parents[2]
REAL = make_group(4, real=True)
ME = 1
"""Whose signatures are crafted."""
LIMIT = 2**252 + 27742317777372353535851937790883648493
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
IDENTITY = b"\x01" + bytes(31)
IDENTITY_NOT_CANONICAL = (2**255 - 19 + 1).to_bytes(32, "little")
SEED = bytes([77]) * 32


def scalar(value: int) -> bytes:
    return (value % LIMIT).to_bytes(32, "little")


class Forger:
    """A signer that knows its key, and signs with a twist. Remembers what it signed."""

    def __init__(self, twist: str) -> None:
        self._honest = Ed25519Signer(SecretSeed(SEED))
        low = bytearray(sha512(SEED).digest()[:32])
        low[0] &= 248
        low[31] = low[31] & 127 | 64
        self._secret = int.from_bytes(low, "little")
        self._twist = twist
        self.signed: list[tuple[Domain, bytes, Signature]] = []

    @property
    def public_key(self) -> PublicKey:
        plain = self._honest.public_key
        match self._twist:
            case "key of small order":
                return PublicKey(ORDER_8)
            case "key not canonical":
                return PublicKey(IDENTITY_NOT_CANONICAL)
            case "key with a small part":
                return PublicKey(bindings.crypto_core_ed25519_add(plain, ORDER_8))
            case _:
                return plain

    def sign(self, domain: Domain, body: bytes) -> Signature:
        signature = Signature(self._made(domain, body))
        self.signed.append((domain, body, signature))
        return signature

    def _made(self, domain: Domain, body: bytes) -> bytes:
        plain = self._honest.sign(domain, body)
        s = int.from_bytes(plain[32:], "little")
        match self._twist:
            case "good":
                return plain
            case "all zero" | "key of small order" | "key not canonical":
                return bytes(64) if self._twist == "all zero" else IDENTITY + bytes(32)
            case "S one order too large":
                return plain[:32] + (s + LIMIT).to_bytes(32, "little")
            case "S with its highest bit":
                return plain[:63] + bytes([plain[63] | 0x80])
            case "one bit of R":
                return bytes([plain[0] ^ 1]) + plain[1:]
            case "R of small order":
                return self._with_r(0, IDENTITY, domain, body)
            case "R not canonical":
                return self._with_r(0, IDENTITY_NOT_CANONICAL, domain, body)
            case "R with a small part":
                point = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar(12345))
                return self._with_r(12345, bindings.crypto_core_ed25519_add(point, ORDER_8), domain, body)
            case "key with a small part":
                point = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar(12345))
                return self._with_r(12345, point, domain, body)
            case _:
                raise AssertionError(self._twist)

    def _with_r(self, r: int, encoded: bytes, domain: Domain, body: bytes) -> bytes:
        """With the S that satisfies the equation, up to points of small order."""
        k = int.from_bytes(sha512(encoded + self.public_key + domain.statement(body)).digest(), "little")
        return encoded + scalar(r + k * self._secret)

    def verdict(self) -> bool:
        """What the one verifier says of everything that was signed."""
        try:
            for domain, body, signature in self.signed:
                Ed25519Verifier().verify(self.public_key, domain, body, signature)
        except InvalidSignature:
            return False
        return True


ALWAYS_REFUSED = (
    "all zero",
    "S one order too large",
    "S with its highest bit",
    "one bit of R",
    "R of small order",
    "R not canonical",
    "R with a small part",
    "key of small order",
    "key not canonical",
)
TWISTS = ("good", *ALWAYS_REFUSED, "key with a small part")
"""The last satisfies the verifier's equation for one statement in eight: what counts is that all agree."""


class World:
    """A group in which one member, and one device, is a forger."""

    def __init__(self, twist: str) -> None:
        self.forger = Forger(twist)
        members = list(REAL.group.members)
        members[ME] = self.forger.public_key
        self.group = Group(name="verdicts", nonce=b"n", members=tuple(members), parameters=REAL.group.parameters)
        signers = {**REAL.signers, ME: self.forger}
        self.craft = Craft(Members(group=self.group, signers=signers, verifier=Ed25519Verifier()))
        self.opener = Opener(self.group, Ed25519Verifier())

    def request(self, number: int = 0, operation: bytes = b"op") -> bytes:
        request = Request(
            session=SessionNumber(1),
            first_client_sequence=ClientSequence(number),
            ack_below=ClientSequence(0),
            operations=(operation,),
        )
        return sign_request(self.group, self.forger, request).wire

    def reply(self) -> bytes:
        result = OperationResult(client_sequence=ClientSequence(1), index=0, refused=False, result=b"ok")
        reply = Reply(
            device=self.forger.public_key,
            session=SessionNumber(1),
            view=View(0),
            sequence=SequenceNumber(9),
            results=(result,),
        )
        return wire_of(self.group.epoch, VotingRules(self.group, ReplicaId(ME), self.forger).sign_reply(reply))

    def verify(self, code: str, culprit: ReplicaId | PublicKey, *statements: bytes) -> None:
        verify_evidence(self.opener, Evidence(code=code, culprit=culprit, statements=statements))

    def proposal_of_request(self) -> bytes:
        request = Request(
            session=SessionNumber(1),
            first_client_sequence=ClientSequence(0),
            ack_below=ClientSequence(0),
            operations=(b"op",),
        )
        batch = make_batch(Milliseconds(5), (sign_request(self.group, self.forger, request),))
        return encode_proposal(self.craft.pre_prepare(0, 1, batch.digest).wire, batch.wire)


def by_intake(world: World, frame: bytes) -> None:
    """As a node opens it."""

    async def opened() -> None:
        intake = Intake(world.opener, threads=0, turns=Turns())
        _, violation = await intake.open([frame], world.opener.parse_peer)
        if violation is not None:
            raise violation

    trio.run(opened)


def hello(world: World) -> None:
    welcome = Welcome(replica=ReplicaId(0), nonce=bytes(32))
    frame = encode_client_hello(world.group, world.forger, welcome)
    decode_client_hello(world.group, Ed25519Verifier(), welcome, frame)


def prepared(world: World) -> None:
    wire = world.craft.prepared(1, digest("x"), (ME, 2)).wire
    world.opener.open(world.opener.parse_prepared_certificate(wire))


def known_before(world: World) -> None:
    """What is remembered as checked is never what was not."""
    frame = world.request()
    for _ in range(2):
        try:
            world.opener.open_peer(frame)
        except ProtocolViolation:
            continue
    world.opener.open_client(frame)


PATHS: dict[str, Callable[[World], object]] = {
    "PREPARE": lambda w: w.opener.open_peer(w.craft.prepare(ME, 1, digest("x")).wire),
    "COMMIT": lambda w: w.opener.open_peer(w.craft.commit(ME, 1, digest("x")).wire),
    "CHECKPOINT": lambda w: w.opener.open_peer(w.craft.checkpoint(ME, 128, digest("x")).wire),
    "COMMIT through the intake": lambda w: by_intake(w, w.craft.commit(ME, 1, digest("x")).wire),
    "commit certificate": lambda w: w.opener.open_peer(w.craft.commit_certificate(1, digest("x"), (0, ME, 2)).wire),
    "checkpoint certificate": lambda w: w.opener.open_peer(
        w.craft.checkpoint_certificate(128, digest("x"), (0, ME, 2)).wire
    ),
    "prepared certificate, as in the ledger": prepared,
    "proposal": lambda w: w.opener.open_peer(w.craft.proposal(ME, 1, w.craft.batch(timestamp=0), view=1).wire),
    "VIEW-CHANGE": lambda w: w.opener.open_peer(w.craft.view_change(ME, 1).wire),
    "REQUEST of a client": lambda w: w.opener.open_client(w.request()),
    "REQUEST passed on": lambda w: w.opener.open_peer(w.request()),
    "REQUEST in a proposal": lambda w: w.opener.open_peer(w.proposal_of_request()),
    "REQUEST seen before": known_before,
    "REPLY": lambda w: w.opener.open_reply(w.reply()),
    "HELLO of a client": hello,
    "evidence of two votes": lambda w: w.verify(
        "E2", ReplicaId(ME), *[w.craft.prepare(ME, 1, digest(each)).wire for each in "xy"]
    ),
    "evidence of two roots": lambda w: w.verify(
        "E4", ReplicaId(ME), *[w.craft.checkpoint(ME, 128, digest(each)).wire for each in "xy"]
    ),
    "evidence about a client": lambda w: w.verify(
        "CLIENT-EQUIVOCATION", w.forger.public_key, w.request(), w.request(operation=b"other")
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("twist", TWISTS)
def test_every_part_says_what_the_verifier_says(twist: str, path: str) -> None:
    world = World(twist)
    try:
        PATHS[path](world)
    except ProtocolViolation:
        accepted = False
    else:
        accepted = True
    assert world.forger.signed, "something was signed"
    assert accepted == world.forger.verdict()
    if twist in ALWAYS_REFUSED:
        assert not accepted
    if twist == "good":
        assert accepted


def test_a_key_with_a_small_part_signs_some_statements_and_not_others() -> None:
    """So the table has a case in which the verdict hangs on the verifier's equation."""
    verdicts = set()
    for number in range(40):
        world = World("key with a small part")
        world.request(number)
        verdicts.add(world.forger.verdict())
    assert verdicts == {True, False}


# -- and there is no other


@cache
def modules() -> list[tuple[str, ast.Module]]:
    packages = ("crypto", "pbft", "chatsvc", "clients", "adversary")
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]


def imports_of(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


ALLOWED = {
    "nacl": {"crypto/signing.py", "crypto/keyfiles.py"},
    "cryptography": {"crypto/tls.py"},
    # The second spells what a correct replica took in, independently of the first: it decides nothing.
    "cbor2": {"crypto/canonical.py", "adversary/simulator/spelling.py"},
    "hmac": {"adversary/keys.py"},
}


@pytest.mark.parametrize("library", ALLOWED)
def test_one_module_each_knows_the_libraries_that_verify_and_decode(library: str) -> None:
    users = {name for name, tree in modules() if any(each.split(".")[0] == library for each in imports_of(tree))}
    assert users <= ALLOWED[library]


def test_signatures_are_verified_in_one_module_and_claims_in_one_place() -> None:
    calling = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "verify"
    }
    calling -= {"pbft/core/portions.py"}  # counts what another checks
    calling -= {"clients/load.py"}  # a benchmark
    # The last is of the chat: proofs of secrets, which are no protocol messages, by the same verifier.
    assert calling == {"pbft/core/claims.py", "pbft/core/handshake.py", "chatsvc/application/bearer.py"}
