"""Numbers of sessions."""

from __future__ import annotations

import secrets
import time

from pbft.core.types import SessionNumber

SESSION_RANDOM_BITS = 20


def next_session(last: SessionNumber | None = None) -> SessionNumber:
    """Return a number for a new session, above `last`: the time in milliseconds and 20 random bits.

    Random, because two programs of one user may start in the same millisecond, and must not share names.
    """
    now = (time.time_ns() // 1_000_000 << SESSION_RANDOM_BITS) | secrets.randbits(SESSION_RANDOM_BITS)
    return SessionNumber(now if last is None else max(now, last + 1))
