"""Commands about the file that keeps your key."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from clients.console import (
    COMMON,
    PASSPHRASE_VARIABLE,
    Common,
    Flag,
    Output,
    ask_passphrase,
    load_identity,
    run,
)
from clients.identity import default_identity_path, open_identity, write_identity
from clients.sdk import ClientFailure, ExitCode
from crypto.signing import Ed25519Signer

NEW_PASSPHRASE_VARIABLE = "QUORATE_NEW_PASSPHRASE"  # noqa: S105 - where to look for one


def new(*, passphrase: Flag = False, common: Common = COMMON) -> int:
    """Make a new identity: a key in a file that only you can read.

    Example: quorate identity new --passphrase

    Parameters
    ----------
    passphrase
        Protect the file with a passphrase, typed twice, or taken from QUORATE_PASSPHRASE.
    """

    async def body() -> None:
        path = _path(common)
        phrase = new_passphrase("New passphrase", PASSPHRASE_VARIABLE) if passphrase else None
        signer = Ed25519Signer.generate()
        write_identity(path, signer, passphrase=phrase)
        _tell(
            common, path, signer, f"{path}: your new key is {signer.public_key.hex()}", passphrase=phrase is not None
        )

    return run(body)


def show(*, common: Common = COMMON) -> int:
    """Show where your identity is kept, and its public key.

    Example: quorate identity show
    """

    async def body() -> None:
        path = _path(common)
        signer = load_identity(common)
        _tell(common, path, signer, f"{path}: {signer.public_key.hex()}")

    return run(body)


def export(file: Path, *, plain: Flag = False, common: Common = COMMON) -> int:
    """Write a copy of your key to another file, protected with a passphrase: a
    backup, or for another machine.

    A second machine is better served by a device of its own: see `quorate device
    invite`.

    Example: quorate identity export /media/stick/alice.toml

    Parameters
    ----------
    file
        Where to; it must not exist.
    plain
        Without a passphrase: whoever reads the file is you.
    """

    async def body() -> None:
        signer = open_identity(_path(common), _ask).signer
        phrase = None if plain else new_passphrase("Passphrase of the copy", NEW_PASSPHRASE_VARIABLE)
        write_identity(file, signer, passphrase=phrase)
        _tell(common, file, signer, f"{file}: a copy of {signer.public_key.hex()}", passphrase=phrase is not None)

    return run(body)


def import_file(file: Path, *, common: Common = COMMON) -> int:
    """Make an identity file of a copy that `quorate identity export` wrote. It keeps
    the copy's passphrase.

    Example: quorate identity import /media/stick/alice.toml

    Parameters
    ----------
    file
        The copy. Your identity must not exist yet.
    """

    async def body() -> None:
        path = _path(common)
        copy = open_identity(file, _ask)
        write_identity(path, copy.signer, passphrase=copy.passphrase)
        key = copy.signer.public_key.hex()
        _tell(common, path, copy.signer, f"{path}: {key}", passphrase=copy.passphrase is not None)

    return run(body)


def passphrase(*, remove: Flag = False, common: Common = COMMON) -> int:
    """Protect your identity file with a new passphrase, typed twice, or taken from
    QUORATE_NEW_PASSPHRASE.

    Example: quorate identity passphrase

    Parameters
    ----------
    remove
        Have none instead: whoever reads the file is you.
    """

    async def body() -> None:
        path = _path(common)
        signer = open_identity(path, _ask).signer
        phrase = None if remove else new_passphrase("New passphrase", NEW_PASSPHRASE_VARIABLE)
        write_identity(path, signer, passphrase=phrase, overwrite=True)
        what = "without passphrase" if remove else "with the new passphrase"
        _tell(common, path, signer, f"{path}: written {what}", passphrase=phrase is not None)

    return run(body)


def new_passphrase(prompt: str, variable: str) -> str:
    """Return a passphrase that was typed twice, or that the environment gives. Raises ClientFailure."""
    phrase = os.environ.get(variable)
    if phrase is None:
        if not sys.stdin.isatty():
            msg = f"nobody is at a terminal to type a passphrase: set {variable}"
            raise ClientFailure(msg, exit_code=ExitCode.USAGE)
        phrase = getpass.getpass(f"{prompt}: ")
        if phrase != getpass.getpass("The same again: "):
            raise ClientFailure("the two passphrases differ; nothing was written", exit_code=ExitCode.USAGE)
    if not phrase:
        raise ClientFailure("an empty passphrase protects nothing; nothing was written", exit_code=ExitCode.USAGE)
    return phrase


def _path(common: Common) -> Path:
    return common.identity or default_identity_path()


def _ask() -> str:
    return ask_passphrase("Passphrase")


def _tell(common: Common, path: Path, signer: Ed25519Signer, text: str, **record: object) -> None:
    found = {"path": str(path), "public_key": signer.public_key.hex(), **record}
    Output(as_json=common.json).result(found, text)
