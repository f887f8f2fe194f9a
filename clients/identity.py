"""The user's own key, in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from crypto.errors import KeyFileError
from crypto.keyfiles import Passphrase, read_key_file, write_key_file
from crypto.signing import Ed25519Signer

IDENTITY_VARIABLE = "QUORATE_IDENTITY"
DEFAULT_NAME = "identity"


def default_identity_path() -> Path:
    """Return where QUORATE_IDENTITY says, else `quorate/identity.toml` where this system keeps settings."""
    given = os.environ.get(IDENTITY_VARIABLE)
    return Path(given) if given else platformdirs.user_config_path("quorate") / "identity.toml"


def read_identity(path: Path, *, passphrase: Passphrase = None) -> Ed25519Signer:
    """Return the key in `path`; a callable `passphrase` is called only if needed. Raises KeyFileError. Blocks."""
    if not path.exists():
        remedy = f"make one with `quorate identity new`, or set {IDENTITY_VARIABLE} to where it is"
        raise KeyFileError(path, "file", "there is no identity here", remedy=remedy)
    signer, _ = read_key_file(path, kind="identity", passphrase=passphrase)
    return signer


@dataclass(frozen=True, slots=True)
class OpenIdentity:
    """A key and what its file is sealed with, None if it is not."""

    signer: Ed25519Signer
    passphrase: str | None


def open_identity(path: Path, ask: Callable[[], str]) -> OpenIdentity:
    """As `read_identity`, for writing the key again as it was."""
    typed: list[str] = []

    def remember() -> str:
        typed.append(ask())
        return typed[-1]

    signer = read_identity(path, passphrase=remember)
    return OpenIdentity(signer, typed[-1] if typed else None)


def write_identity(
    path: Path,
    signer: Ed25519Signer,
    *,
    passphrase: str | None = None,
    name: str = DEFAULT_NAME,
    overwrite: bool = False,
) -> None:
    """Write the key to `path`, for its owner's eyes only. Raises KeyFileError, also if the file exists and is not to
    be overwritten. Blocks."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"its directory cannot be made: {error.strerror or error}"
        raise KeyFileError(path, "file", problem, remedy="choose another path") from error
    seed = signer.reveal_seed()
    write_key_file(path, kind="identity", name=name, signer_seed=seed, passphrase=passphrase, overwrite=overwrite)
