"""For pytest: the fixture `simulated_group`. Loaded wherever Quorate is installed, so nothing heavy at the top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def simulated_group() -> Iterator[Any]:
    """Makes groups in virtual time, and closes them when the test is over.

    Takes what `adversary.testing.simulated_group` takes.
    """
    from adversary.testing import opening  # noqa: PLC0415 - only for tests that ask for it

    openings = opening.Openings()
    yield openings.make
    openings.close()
