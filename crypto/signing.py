"""Ed25519 signatures (RFC 8032) over statements that say which group, epoch and message type they are for.

libsodium is the only verifier anywhere: verifiers disagree on crafted signatures, and replicas that disagree
on a signature fork. It refuses small-order keys and R, non-canonical keys and S >= L, and compares R byte for
byte.
"""

from dataclasses import dataclass, field
from typing import NewType, Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError

from crypto.canonical import byte_string_head, encode, expect_int
from crypto.errors import InvalidSignature, MalformedEncoding

PublicKey = NewType("PublicKey", bytes)
Signature = NewType("Signature", bytes)
SecretSeed = NewType("SecretSeed", bytes)

PUBLIC_KEY_BYTES = bindings.crypto_sign_PUBLICKEYBYTES
SIGNATURE_BYTES = bindings.crypto_sign_BYTES
SEED_BYTES = bindings.crypto_sign_SEEDBYTES
GROUP_ID_BYTES = 32

PROTOCOL_NAME = "quorate/1"


@dataclass(frozen=True, slots=True)
class Domain:
    """What a signature is for; a signature made in one domain is invalid in every other.

    `group_id` is 32 bytes, `epoch` an integer from 0 to 2**63-1. Raises ValueError for anything else.
    """

    group_id: bytes
    epoch: int
    message_type: str
    _prefix: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.group_id) != GROUP_ID_BYTES:
            raise ValueError(f"a group id is {GROUP_ID_BYTES} bytes, not {len(self.group_id)}")
        try:
            expect_int(self.epoch)
            whole = encode([PROTOCOL_NAME, self.group_id, self.epoch, self.message_type, b""])
        except MalformedEncoding as error:
            raise ValueError(f"no domain: {error}") from error
        object.__setattr__(self, "_prefix", whole.removesuffix(byte_string_head(0)))

    def statement(self, body: bytes) -> bytes:
        """Return what is signed: the encoding of [PROTOCOL_NAME, group id, epoch, message type, body]."""
        return b"".join((self._prefix, byte_string_head(len(body)), body))


class Signer(Protocol):
    """Whoever can sign with one key."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, domain: Domain, body: bytes) -> Signature: ...


class Verifier(Protocol):
    """Whoever can check signatures. Raises InvalidSignature, and returns nothing that could be ignored."""

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None: ...


class Ed25519Signer:
    """Signs with the key made from a 32-byte seed. Raises ValueError for a seed of another length."""

    __slots__ = ("_public_key", "_secret_key")

    def __init__(self, seed: SecretSeed) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        public_key, self._secret_key = bindings.crypto_sign_seed_keypair(seed)
        self._public_key = PublicKey(public_key)

    @classmethod
    def generate(cls) -> "Ed25519Signer":
        """Make a new key from the operating system's randomness."""
        return cls(SecretSeed(bindings.randombytes(SEED_BYTES)))

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    def reveal_seed(self) -> SecretSeed:
        """Return the secret, for writing it to a key file and nothing else."""
        return SecretSeed(bindings.crypto_sign_ed25519_sk_to_seed(self._secret_key))

    def sign(self, domain: Domain, body: bytes) -> Signature:
        signed = bindings.crypto_sign(domain.statement(body), self._secret_key)
        return Signature(signed[:SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"Ed25519Signer(public_key={self._public_key.hex()})"


class Ed25519Verifier:
    """Verifies with libsodium. The call gives up the interpreter lock: threads verify in parallel."""

    __slots__ = ()

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        # libsodium reads fixed sizes from these pointers: a short key would be read beyond its end.
        if len(public_key) != PUBLIC_KEY_BYTES:
            raise InvalidSignature(f"a public key is {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
        if len(signature) != SIGNATURE_BYTES:
            raise InvalidSignature(f"a signature is {SIGNATURE_BYTES} bytes, not {len(signature)}")
        try:
            bindings.crypto_sign_open(signature + domain.statement(body), public_key)
        except BadSignatureError as error:
            raise InvalidSignature(
                f"no valid {domain.message_type} signature by {public_key.hex()} in epoch {domain.epoch}"
            ) from error
