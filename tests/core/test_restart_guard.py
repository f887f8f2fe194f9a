"""Automation may not take down more than the group stands (attack 40)."""

from __future__ import annotations

from typing import Any

import pytest

from pbft.core.restart_guard import LEVEL_BATCHES, Standing, why_not_restart
from tests.harness.keys import make_group

DOWN = "connection refused"


def well(**changed: Any) -> dict[str, Any]:
    return {"role": "voting", "in_view_change": False, "last_executed": 100} | changed


OUT: list[tuple[Standing, str]] = [
    (DOWN, "connection refused"),
    (well(role="mute"), "is mute"),
    (well(role="transferring"), "is transferring"),
    (well(role="diverged"), "is diverged"),
    (well(in_view_change=True), "is changing its view"),
    (well(last_executed=100 - LEVEL_BATCHES), f"is {LEVEL_BATCHES} batches behind"),
]


@pytest.mark.parametrize("size", [4, 5, 7, 10, 13])
def test_as_many_as_the_group_stands_and_no_more(size: int) -> None:
    group = make_group(size).group
    for down in range(size):
        standings: list[Standing] = [DOWN if each > size - 1 - down else well() for each in range(size)]
        refused = why_not_restart(standings, 0, group)
        assert (refused is None) == (down + 1 <= group.faulty_max)


@pytest.mark.parametrize(("standing", "why"), OUT, ids=[why for _, why in OUT])
def test_whoever_is_no_help_counts_as_out_of_service(standing: Standing, why: str) -> None:
    group = make_group(4).group
    standings: list[Standing] = [well(), well(), standing, well()]
    refusal = why_not_restart(standings, 1, group)
    assert refusal is not None
    assert f"replica 2 {why}" in refusal or why in refusal
    assert why_not_restart(standings, 2, group) is None, "the one that is ill may be restarted"


def test_one_that_claims_to_be_far_ahead_does_not_put_the_others_behind() -> None:
    group = make_group(4).group
    standings: list[Standing] = [well(), well(), well(last_executed=10**9), well()]
    assert why_not_restart(standings, 0, group) is None


def test_a_little_behind_is_level() -> None:
    group = make_group(4).group
    standings: list[Standing] = [well(last_executed=100 - LEVEL_BATCHES + 1), well(), well(), well()]
    assert why_not_restart(standings, 3, group) is None
