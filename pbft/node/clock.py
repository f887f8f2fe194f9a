"""The only place where a node reads a clock."""

from __future__ import annotations

import time

from pbft.core.types import Milliseconds, Now


class Clock:
    """Steady time for pacing, wall time for the timestamps of batches."""

    def now(self) -> Now:
        return Now(
            steady=Milliseconds(time.monotonic_ns() // 1_000_000), wall=Milliseconds(time.time_ns() // 1_000_000)
        )
