"""For pytest: the fixture `simulated_group`. Loaded wherever Quorate is installed, so nothing heavy at the top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from adversary.testing import Opening, SimulatedGroup


@pytest.fixture
def simulated_group() -> Iterator[Any]:
    """Makes groups in virtual time, and closes them when the test is over.

    Takes what `adversary.testing.simulated_group` takes.
    """
    from adversary.testing import opening  # noqa: PLC0415 - only for tests that ask for it

    groups: list[SimulatedGroup] = []

    def make(**wanted: Any) -> Opening:
        return opening.simulated_group(**wanted, on_open=groups.append)

    yield make
    problems = []
    for group in groups:
        try:
            group.close()
        except AssertionError as error:
            problems.append(error)
    if problems:
        raise problems[0]
