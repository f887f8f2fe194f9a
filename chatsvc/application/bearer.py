"""Secrets that a person can read out: whoever has one may add a device, join a room or recover an account.

A code is the text of such a secret: groups of four characters of Crockford's base 32, the last character checking the
others. The secret is the seed of a key pair. The state holds the public key only, and whoever has the secret signs a
statement that names the device that is to profit: nobody who sees the operation can use it, and no replica can.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from chatsvc.application.results import ErrorCode
from chatsvc.application.state import Refusal
from crypto.digest import digest_of, digest_of_parts
from crypto.errors import InvalidSignature
from crypto.signing import Domain, Ed25519Signer, Ed25519Verifier, PublicKey, SecretSeed, Signature, Signer


class Purpose(Enum):
    """What a statement is good for."""

    DEVICE = "device"
    """Adding the named device to an account, by the secret of an invitation."""
    LINK = "link"
    """Letting the account of the named device join a room, by the secret of a link."""
    RECOVERY = "recovery"
    """Making the named device the only one of an account, by the account's recovery key."""
    ROTATION = "rotation"
    """Putting the named device in the place of the key that signs. There is no code for it."""


SECRET_BYTES: Final = {Purpose.DEVICE: 10, Purpose.LINK: 10, Purpose.RECOVERY: 16}
"""Length of the secrets that have codes: 80 bits where a code is short-lived or can be withdrawn, else 128."""

CODE_CHARACTERS_MAX = 64
"""Of a code as a person may have typed it, with whatever is between the characters."""

_TAG = b"quorate/bearer/1"
_VERIFIER: Final = Ed25519Verifier()
# Of no group: a secret is random, and so is a device's key; a statement about both means nothing anywhere else.
_DOMAINS: Final = {purpose: Domain(digest_of(_TAG), 0, f"bearer/{purpose.value}") for purpose in Purpose}

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_BETWEEN = " -\u00a0\u2010\u2011\u2012\u2013\u2014\t\r\n"
_GROUP = 4
_BITS = 5
_CHECK_OF: Final = {Purpose.DEVICE: 1, Purpose.LINK: 2, Purpose.RECOVERY: 4}
"""What the checking begins with, so that a code for one purpose does not pass for another."""
_NAMES: Final = {
    Purpose.DEVICE: "a device invitation",
    Purpose.LINK: "an invitation to a room",
    Purpose.RECOVERY: "a recovery key",
}


class BadCode(ValueError):  # noqa: N818 - what a person typed is no code
    """This text is no code for the purpose; it says why."""


def code_of(secret: bytes, purpose: Purpose) -> str:
    """Return the code of `secret`. Raises ValueError for a secret of another length than SECRET_BYTES."""
    length = SECRET_BYTES[purpose]
    if len(secret) != length:
        raise ValueError(f"the secret of {_NAMES[purpose]} is {length} bytes, not {len(secret)}")
    count = _characters(length)
    number = int.from_bytes(secret, "big") << (count * _BITS - length * 8)
    values = [number >> _BITS * position & 31 for position in reversed(range(count))]
    values.append(_check_value(purpose, values))
    text = "".join(_ALPHABET[value] for value in values)
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def secret_of(code: str, purpose: Purpose) -> bytes:
    """Return the secret that a person typed: in any case, O for 0, I and L for 1, and however grouped.

    Raises BadCode for anything else: one wrong character, or two exchanged, are always found.
    """
    name = _NAMES[purpose]
    if len(code) > CODE_CHARACTERS_MAX:
        raise BadCode(f"this is not the code of {name}: it is too long")
    values: list[int] = []
    for character in code:
        if character in _BETWEEN:
            continue
        value = _VALUES.get(character.upper())
        if value is None:
            raise BadCode(f"the code of {name} has letters and digits only, no U+{ord(character):04X}")
        values.append(value)
    length = SECRET_BYTES[purpose]
    count = _characters(length)
    if len(values) != count + 1:
        raise BadCode(f"the code of {name} has {count + 1} characters, not {len(values)}")
    number = 0
    for value in values[:-1]:
        number = number << _BITS | value
    spare = count * _BITS - length * 8
    if _check_value(purpose, values[:-1]) != values[-1] or number & ((1 << spare) - 1):
        raise BadCode(f"this is not the code of {name}: a character is mistyped, or the code is for something else")
    return (number >> spare).to_bytes(length, "big")


def key_of_code(code: str, purpose: Purpose) -> Ed25519Signer:
    """Return the key pair that a code stands for: its public key is what the state holds. Raises BadCode."""
    secret = secret_of(code, purpose)
    return Ed25519Signer(SecretSeed(digest_of_parts(_TAG, purpose.value.encode(), secret)))


def prove(signer: Signer, purpose: Purpose, device: PublicKey) -> Signature:
    """Return the proof with which `device`, and no other, may use the secret of `signer`."""
    return signer.sign(_DOMAINS[purpose], device)


def check(public_key: PublicKey, purpose: Purpose, device: PublicKey, proof: Signature) -> None:
    """Raise Refusal unless `proof` was made by `public_key` for this device and purpose."""
    try:
        _VERIFIER.verify(public_key, _DOMAINS[purpose], device, proof)
    except InvalidSignature as error:
        raise Refusal(
            ErrorCode.BAD_PROOF, "the proof was not made with the secret that is asked for, or for another device"
        ) from error


def _characters(secret_bytes: int) -> int:
    return -(-8 * secret_bytes // _BITS)


def _check_value(purpose: Purpose, values: list[int]) -> int:
    """Evaluate the values as a polynomial over GF(32) at a generator of its 31 units.

    Equal weights stand 31 places apart, further than a code is long: hence what `secret_of` finds.
    """
    check = _CHECK_OF[purpose]
    for value in values:
        check = _double(check) ^ value
    return _double(check)


def _double(value: int) -> int:
    """Multiply by x modulo x^5 + x^2 + 1."""
    value <<= 1
    return value ^ 0b100101 if value & 32 else value
