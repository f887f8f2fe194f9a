"""Waiting where trio's clock is a mock that jumps."""

from __future__ import annotations

from collections.abc import Callable

import trio


async def in_time(holds: Callable[[], object]) -> None:
    """Let the mock clock run until it holds."""
    with trio.fail_after(300):
        while not holds():  # noqa: ASYNC110 - there is no event: the clock has to go on
            await trio.sleep(1)
