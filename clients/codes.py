"""New secrets, from the randomness of the operating system, in the form in which people pass them on."""

from __future__ import annotations

import secrets

from chatsvc.application.bearer import SECRET_BYTES, BadCode, Purpose, code_of, secret_of
from chatsvc.application.operations import NONCE_BYTES_MAX


def new_code(purpose: Purpose) -> str:
    """Return a code that nobody has had before. Raises KeyError for a purpose without codes."""
    return code_of(secrets.token_bytes(SECRET_BYTES[purpose]), purpose)


def new_nonce() -> bytes:
    """Return what keeps a deleted message from being guessed by its digest."""
    return secrets.token_bytes(NONCE_BYTES_MAX)


def is_code(text: str, purpose: Purpose) -> bool:
    """Whether a person may have meant a code for this purpose."""
    try:
        secret_of(text, purpose)
    except BadCode:
        return False
    return True
