"""Whoever wants to see a run as it happens, beside its trace."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Times are virtual microseconds, places addresses: of hosts, or of clients from REPLICA_ADDRESSES on."""

    def noted(self, at_us: int, what: str, source: int, to: int, frame: bytes) -> None:
        """What the trace notes: a frame arrives, or something happens to whoever is `source`."""

    def lost(self, at_us: int, what: str, source: int, to: int, frame: bytes) -> None:
        """A frame will not arrive."""

    def proven(self, at_us: int, source: int, code: str, culprit: int | bytes) -> None:
        """A replica found or was told proof against somebody."""

    def accepted(self, at_us: int, client: int, sequence: int, text: str) -> None:
        """A client saw its operation accepted."""
