"""`quorate identity new` and `quorate identity show`."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

from cyclopts import Parameter

from clients.console import COMMON, Common, Output, fail, load_identity, run
from clients.identity import default_identity_path, write_identity
from clients.sdk import ExitCode
from crypto.signing import Ed25519Signer


def new(
    *,
    passphrase: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Make a new identity: a key in a file that only you can read.

    Example: quorate identity new --passphrase

    Parameters
    ----------
    passphrase
        Protect the file with a passphrase, typed twice, or taken from QUORATE_PASSPHRASE.
    """

    async def body() -> int:
        path = common.identity or default_identity_path()
        phrase: str | None = None
        if passphrase:
            phrase = os.environ.get("QUORATE_PASSPHRASE")
            if phrase is None:
                if not sys.stdin.isatty():
                    return fail(
                        "nobody is at a terminal to type a passphrase: set QUORATE_PASSPHRASE", ExitCode.USAGE
                    )
                phrase = getpass.getpass("New passphrase: ")
                if not phrase:
                    return fail("an empty passphrase protects nothing; nothing was written", ExitCode.USAGE)
                if phrase != getpass.getpass("The same again: "):
                    return fail("the two passphrases differ; nothing was written", ExitCode.USAGE)
        signer = Ed25519Signer.generate()
        write_identity(path, signer, passphrase=phrase)
        record = {"path": str(path), "public_key": signer.public_key.hex(), "passphrase": phrase is not None}
        Output(as_json=common.json).result(record, f"{path}: your new key is {signer.public_key.hex()}")
        return 0

    return run(body)


def show(*, common: Common = COMMON) -> int:
    """Show where your identity is kept, and its public key.

    Example: quorate identity show
    """

    async def body() -> int:
        path = common.identity or default_identity_path()
        signer = load_identity(common)
        record = {"path": str(path), "public_key": signer.public_key.hex()}
        Output(as_json=common.json).result(record, f"{path}: {signer.public_key.hex()}")
        return 0

    return run(body)
