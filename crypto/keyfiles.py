"""Ed25519 keys on disk: a small TOML file only its owner may read, in the clear or sealed with a passphrase.

Sealed means XSalsa20-Poly1305 under a key that Argon2id derives from the passphrase. All here blocks, and
unsealing is slow on purpose: call it from a thread.
"""

import json
import re
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import nacl.utils
from nacl.exceptions import CryptoError as SealBroken
from nacl.exceptions import RuntimeError as LibraryFailed
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto.errors import KeyFileError
from crypto.files import PRIVATE_MODE, atomic_write, read_private_file
from crypto.signing import PUBLIC_KEY_BYTES, SEED_BYTES, Ed25519Signer, PublicKey, SecretSeed

KeyKind: TypeAlias = Literal["replica", "identity"]
Passphrase: TypeAlias = Callable[[], str] | str | None

FORMAT_VERSION = 1
NAME_CHARACTERS_MAX = 64

OPSLIMIT = argon2id.OPSLIMIT_MODERATE
MEMLIMIT_BYTES = argon2id.MEMLIMIT_MODERATE
"""What sealing costs: about a second and 256 MiB."""

_OPSLIMIT_RANGE = range(argon2id.OPSLIMIT_MIN, 16 + 1)
_MEMLIMIT_RANGE = range(argon2id.MEMLIMIT_MIN, 2**30 + 1)
_SEALED_BYTES = SecretBox.NONCE_SIZE + SecretBox.MACBYTES + SEED_BYTES
_FILE_BYTES_MAX = 64 * 1024

_COMMON_FIELDS = frozenset({"version", "kind", "name", "public_key"})
_CLEAR_FIELDS = frozenset({"secret"})
_SEALED_FIELDS = frozenset({"salt", "opslimit", "memlimit", "sealed"})

_RESTORE = "restore the file from a copy, or make a new key"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """What a key file says in public. `sealed`: reading the key takes a passphrase."""

    path: Path
    kind: KeyKind
    name: str
    public_key: PublicKey
    sealed: bool


def write_key_file(
    path: Path,
    *,
    kind: KeyKind,
    name: str,
    signer_seed: SecretSeed,
    passphrase: str | None,
    overwrite: bool = False,
    opslimit: int = OPSLIMIT,
    memlimit_bytes: int = MEMLIMIT_BYTES,
) -> KeyFile:
    """Write the key to `path`, mode 0600, whole or not at all; in the clear when `passphrase` is None.

    Raises KeyFileError when the file exists (unless `overwrite`) or cannot be written; ValueError for an
    empty passphrase, for a name that is empty, unprintable or longer than 64 characters, and for limits
    Argon2id or `read_key_file` would refuse.
    """
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise ValueError(f"a key's name is 1 to {NAME_CHARACTERS_MAX} printable characters")
    public_key = Ed25519Signer(signer_seed).public_key
    lines = [
        f"version = {FORMAT_VERSION}",
        f'kind = "{kind}"',
        f"name = {json.dumps(name, ensure_ascii=False)}",  # for printable text, JSON's quoting is TOML's
        f'public_key = "{public_key.hex()}"',
    ]
    if passphrase is None:
        lines.append(f'secret = "{signer_seed.hex()}"')
    else:
        lines += _sealed_lines(path, signer_seed, passphrase, opslimit, memlimit_bytes)
    try:
        atomic_write(path, ("\n".join(lines) + "\n").encode(), PRIVATE_MODE, overwrite=overwrite)
    except FileExistsError as error:
        remedy = "choose another path, or remove the file if its key is no longer needed"
        raise KeyFileError(path, "file", "exists already", remedy=remedy) from error
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise KeyFileError(path, "file", problem, remedy="check the directory and the disk") from error
    return KeyFile(path=path, kind=kind, name=name, public_key=public_key, sealed=passphrase is not None)


def read_key_file(path: Path, *, kind: KeyKind, passphrase: Passphrase) -> tuple[Ed25519Signer, KeyFile]:
    """Return the signer in the file and what the file says of it.

    A callable `passphrase` is called only if the file is sealed. Raises KeyFileError for whatever is wrong:
    the file, its permissions, its kind, any field, the passphrase, or a secret that does not belong to the
    public key.
    """
    table = _parse(path, read_private_file(path, bytes_max=_FILE_BYTES_MAX))
    version = _field(path, table, "version", int)
    if version != FORMAT_VERSION:
        remedy = "use the version of this program that wrote it"
        raise KeyFileError(path, "version", f"is {version}, not {FORMAT_VERSION}", remedy=remedy)
    found_kind = _field(path, table, "kind", str)
    if found_kind != kind:
        remedy = f"give the path of a key of kind {kind!r}"
        raise KeyFileError(path, "kind", f"is {found_kind!r}, not {kind!r}", remedy=remedy)
    sealed = "secret" not in table
    unknown = sorted(table.keys() - _COMMON_FIELDS - (_SEALED_FIELDS if sealed else _CLEAR_FIELDS))
    if unknown:
        raise KeyFileError(path, unknown[0], "does not belong here", remedy=_RESTORE)
    name = _field(path, table, "name", str)
    public_key = PublicKey(_hex_field(path, table, "public_key", PUBLIC_KEY_BYTES))
    seed = _unseal(path, table, passphrase) if sealed else _hex_field(path, table, "secret", SEED_BYTES)
    signer = Ed25519Signer(SecretSeed(seed))
    if signer.public_key != public_key:
        raise KeyFileError(path, "public_key", "is not the key of the secret", remedy=_RESTORE)
    return signer, KeyFile(path=path, kind=kind, name=name, public_key=public_key, sealed=sealed)


def _sealed_lines(path: Path, seed: SecretSeed, passphrase: str, opslimit: int, memlimit_bytes: int) -> list[str]:
    if not passphrase:
        raise ValueError("an empty passphrase seals nothing; give None to write the key in the clear")
    if opslimit not in _OPSLIMIT_RANGE or memlimit_bytes not in _MEMLIMIT_RANGE:
        raise ValueError(f"opslimit {opslimit} or memlimit {memlimit_bytes} is out of range")
    salt = nacl.utils.random(argon2id.SALTBYTES)
    sealed = bytes(_seal_of(path, passphrase, salt, opslimit, memlimit_bytes).encrypt(seed))
    return [
        f'salt = "{salt.hex()}"',
        f"opslimit = {opslimit}",
        f"memlimit = {memlimit_bytes}",
        f'sealed = "{sealed.hex()}"',  # last: a file cut anywhere misses it
    ]


def _unseal(path: Path, table: dict[str, object], passphrase: Passphrase) -> bytes:
    salt = _hex_field(path, table, "salt", argon2id.SALTBYTES)
    opslimit = _limit_field(path, table, "opslimit", _OPSLIMIT_RANGE)
    memlimit_bytes = _limit_field(path, table, "memlimit", _MEMLIMIT_RANGE)
    sealed = _hex_field(path, table, "sealed", _SEALED_BYTES)
    given = passphrase() if callable(passphrase) else passphrase
    if given is None:
        raise KeyFileError(path, "sealed", "the key is sealed", remedy="give its passphrase")
    seal = _seal_of(path, given, salt, opslimit, memlimit_bytes)
    try:
        return seal.decrypt(sealed)
    except SealBroken as error:
        problem = "the passphrase is wrong, or the file is damaged"
        raise KeyFileError(path, "sealed", problem, remedy=f"try again, or {_RESTORE}") from error


def _seal_of(path: Path, passphrase: str, salt: bytes, opslimit: int, memlimit_bytes: int) -> SecretBox:
    # Keyboards differ in how they compose an accented letter; the passphrase is the same.
    typed = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    try:
        return SecretBox(argon2id.kdf(SecretBox.KEY_SIZE, typed, salt, opslimit, memlimit_bytes))
    except LibraryFailed as error:  # it could not allocate
        problem = f"{memlimit_bytes} bytes of memory are not to be had"
        raise KeyFileError(path, "memlimit", problem, remedy="free some memory and try again") from error


def _parse(path: Path, data: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise KeyFileError(path, "file", f"is not a key file ({error})", remedy=_RESTORE) from error


def _field(path: Path, table: dict[str, object], field: str, kind: type[_T]) -> _T:
    value = table.get(field)
    if value is None:
        raise KeyFileError(path, field, "is missing", remedy=_RESTORE)
    if type(value) is not kind:
        problem = f"is not of type {kind.__name__}"
        raise KeyFileError(path, field, problem, remedy=_RESTORE)
    return value


def _limit_field(path: Path, table: dict[str, object], field: str, allowed: range) -> int:
    value = _field(path, table, field, int)
    if value not in allowed:
        problem = f"{value} is not within {allowed[0]} and {allowed[-1]}"
        raise KeyFileError(path, field, problem, remedy=_RESTORE)
    return value


def _hex_field(path: Path, table: dict[str, object], field: str, length: int) -> bytes:
    text = _field(path, table, field, str)
    if not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", text):
        raise KeyFileError(path, field, f"is not {2 * length} hexadecimal digits", remedy=_RESTORE)
    return bytes.fromhex(text)
