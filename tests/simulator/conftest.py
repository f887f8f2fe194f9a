"""What tests of the simulator share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adversary.simulator.storage import workspace


@pytest.fixture
def memory() -> Iterator[Path]:
    """An empty directory in memory."""
    with workspace() as directory:
        yield Path(directory)
