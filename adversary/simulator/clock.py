"""Clocks of one host: they drift, the wall clock may be stepped, and the steady one begins anew at every start."""

from __future__ import annotations

from adversary.craft import WALL_START_MS
from pbft.core.types import Milliseconds, Now

BOOT_MS = 1_000
"""What the steady clock shows at the first start; later starts show something unrelated."""
PPM = 1_000_000


class HostClock:
    """Virtual time in, readings out. `drift_ppm`: how much too fast it runs, in millionths."""

    def __init__(self, drift_ppm: int = 0) -> None:
        self.step_ms = 0
        self._rate = PPM + drift_ppm
        self._booted_us = 0
        self._shown_ms = BOOT_MS

    def boot(self, now_us: int, incarnation: int) -> None:
        self._booted_us = now_us
        self._shown_ms = BOOT_MS * incarnation * incarnation

    def read(self, now_us: int) -> Now:
        steady = self._shown_ms + (now_us - self._booted_us) * self._rate // (1000 * PPM)
        wall = WALL_START_MS + now_us * self._rate // (1000 * PPM) + self.step_ms
        return Now(steady=Milliseconds(steady), wall=Milliseconds(max(0, wall)))

    def when(self, at: Milliseconds) -> int:
        """Virtual microseconds at which the steady clock shows `at`, rounded up."""
        passed = max(0, at - self._shown_ms) * 1000 * PPM
        return self._booted_us - (-passed // self._rate)
