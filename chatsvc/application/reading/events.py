"""Events as they go out to subscribers."""

from __future__ import annotations

from collections.abc import Sequence

from crypto.signing import PublicKey
from pbft.core.application import EventItem, Reader
from pbft.core.types import EventIndex


def events(
    reader: Reader,  # noqa: ARG001 - not told yet
    device: PublicKey,  # noqa: ARG001
    topic: bytes,  # noqa: ARG001
    start: EventIndex,  # noqa: ARG001
    limit: int,  # noqa: ARG001
) -> Sequence[EventItem] | None:
    return None
