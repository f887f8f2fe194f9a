"""Waiting for what other tasks and sockets do, where trio's clock stands still."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

PATIENCE_S = 15.0


async def until(holds: Callable[[], object]) -> None:
    """Until it holds. The deadline is in real seconds; only a test that fails meets it."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        await trio.lowlevel.checkpoint()
