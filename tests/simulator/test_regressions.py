"""Scenarios that once broke an invariant, as they were drawn. Each shows nothing any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.simulator.run import simulate
from adversary.simulator.scenario import read_scenario

STORED = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_what_was_mended_stays_so(path: Path, memory: Path) -> None:
    assert simulate(read_scenario(path), memory).failure is None
