"""Scenarios in which a sweep once found the system itself at fault. They must hold, however the drawing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.simulator.run import simulate
from adversary.simulator.scenario import read_scenario

STORED = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_what_failed_once_holds(path: Path, memory: Path) -> None:
    result = simulate(read_scenario(path), memory)
    assert result.failure is None, f"quorate simulate replay {path} --trace: {result.failure}"


def test_there_is_one() -> None:
    assert STORED
