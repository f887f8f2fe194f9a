"""Ending in order when somebody ends the program: what it has stopped would not notice that it is gone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


async def until_told_to_end(work: Callable[[], Awaitable[T]]) -> T:
    """What comes of `work`. At a signal that ends a program it is cancelled, and cleans up as it does then; after
    that SystemExit is raised, with the code that a shell would give. Signals reach the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        return await work()
    told: list[int] = []
    done: list[T] = []
    try:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    async for number in signals:
                        told.append(number)
                        nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                done.append(await work())
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) > 1:
            raise
        raise failed.exceptions[0] from None  # as it came out of the work
    if told:
        raise SystemExit(128 + told[0])
    return done[0]
