"""Groups with seeded keys. The fast signer is a keyed hash behind crypto.signing's own interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from typing import Any

from crypto.errors import InvalidSignature
from crypto.signing import (
    SIGNATURE_BYTES,
    Domain,
    Ed25519Signer,
    Ed25519Verifier,
    PublicKey,
    SecretSeed,
    Signature,
    Signer,
    Verifier,
)
from pbft.core.group import Group, Parameters
from pbft.core.types import Epoch


class FastSigner:
    """As hard to forge as a keyed hash, for whoever has no access to the verifier's table."""

    def __init__(self, seed: bytes) -> None:
        self._secret = sha256(b"secret" + seed).digest()
        self.public_key = PublicKey(sha256(b"public" + self._secret).digest())

    def sign(self, domain: Domain, body: bytes) -> Signature:
        statement = domain.statement(body)
        return Signature(blake2b(statement, key=self._secret, digest_size=SIGNATURE_BYTES).digest())


class FastVerifier:
    """Knows the secrets of the signers it made."""

    def __init__(self) -> None:
        self._signers: dict[PublicKey, FastSigner] = {}

    def signer(self, seed: bytes) -> FastSigner:
        signer = FastSigner(seed)
        self._signers[signer.public_key] = signer
        return signer

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        signer = self._signers.get(public_key)
        if signer is None or signer.sign(domain, body) != signature:
            raise InvalidSignature(f"no valid {domain.message_type} signature by {public_key.hex()[:16]}")


@dataclass
class Members:
    """A group, the keys of its replicas, and as many devices as a test names."""

    group: Group
    signers: Mapping[int, Signer]
    verifier: Verifier
    _devices: dict[str, Signer] = field(default_factory=dict)

    def device(self, name: str) -> Signer:
        if name not in self._devices:
            self._devices[name] = _signer(self.verifier, f"device {name}")
        return self._devices[name]

    def held_by(self, replicas: Iterable[int]) -> Members:
        """The same group in the eyes of those who hold the keys of these replicas, and no others."""
        return replace(self, signers={replica: self.signers[replica] for replica in sorted(set(replicas))})

    def device_name(self, key: PublicKey) -> str:
        return next((name for name, signer in self._devices.items() if signer.public_key == key), key.hex()[:4])


def _signer(verifier: Verifier, seed: str) -> Signer:
    if isinstance(verifier, FastVerifier):
        return verifier.signer(seed.encode())
    return Ed25519Signer(SecretSeed(sha256(seed.encode()).digest()))


def make_group(
    n: int, *, seed: int = 0, real: bool = False, epoch: int = 0, name: str = "test", **parameters: Any
) -> Members:
    """`n` replicas with keys drawn from `seed`; `real` keys are Ed25519. `parameters`: fields of Parameters."""
    verifier: Verifier = Ed25519Verifier() if real else FastVerifier()
    signers = {i: _signer(verifier, f"replica {seed} {i}") for i in range(n)}
    group = Group(
        name=name,
        nonce=seed.to_bytes(8, "big"),
        members=tuple(signer.public_key for signer in signers.values()),
        parameters=Parameters(**parameters),
        epoch=Epoch(epoch),
    )
    return Members(group=group, signers=signers, verifier=verifier)
