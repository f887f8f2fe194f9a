"""What may go wrong in a node: what ends one connection, and what ends the node."""

from __future__ import annotations

import ssl

import trio

from crypto.errors import CertificateError
from pbft.core.errors import InvariantViolation, ProtocolViolation
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StateError

FATAL = (InvariantViolation, StateError, LedgerDamaged)
"""What stops the node: our own bug, or a store that cannot be trusted."""

# What may go wrong on a connection without anybody but its two ends being concerned.
LINK_FAILURES = (
    ProtocolViolation,
    CertificateError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    ssl.SSLError,
    OSError,
)


def reason_of(error: BaseException) -> str:
    """What to tell an operator: trio's own exceptions often say nothing, but what caused them does."""
    if isinstance(error, trio.TooSlowError):
        return "too slow"
    return str(error) or str(error.__cause__ or "") or type(error).__name__
