"""Every behaviour, in a simulated group that it does not harm as long as there are no more than f of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adversary.behaviours.catalogue import BEHAVIOURS, LAYOUTS
from adversary.simulator.drawing import STRATEGIES
from adversary.simulator.run import Result, simulate
from adversary.simulator.scenario import Crash, Fault, Liar, Pause, Scenario
from adversary.simulator.storage import workspace
from tests.simulator.scenarios import story

OPTIONS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "split_primary": ({"halves": "even"},),
    "victim_primary": ({}, {"mode": "skip", "victim": 2}, {"both": 1}),
    "slow_primary": ({"hold": 900},),
    "censor": ({"victim": 0}, {"victim": "all_but_first"}),
    "bad_signature_proposal": ({}, {"to": (2,)}),
    "partial_cast": ({}, {"only": (1, 2)}),
    "checkpoint_lie": ({}, {"both": 1}),
    "reply_lie": ({"what": ("results",)},),
    "state_lie": tuple({"how": how} for how in ("corrupt", "truncate", "slow", "stale", "silent")),
    "dual_encoding": ({}, {"also": 0}),
    "silent": ({"start_ms": 800, "until_ms": 1_000},),
    "mutate": (
        {"message_type": "COMMIT", "field": "batch_digest", "change": "digest", "to": (2,)},
        {"message_type": "PRE-PREPARE", "field": "sequence", "change": "+1", "rounds": (2, 3)},
        {"message_type": "PRE-PREPARE", "field": "requests", "change": "empty", "to": (1,)},
        {"message_type": "VIEW-CHANGE", "field": "prepared", "change": "empty"},
    ),
}
"""Options to try; a behaviour that is not named here is tried without any."""
OF_VIEWS = {
    "hide_prepared",
    "forged_view_change",
    "two_view_changes",
    "false_new_view",
    "withheld_new_view",
    "two_new_views",
}
OF_TRANSFER = {"state_lie"}

CASES = [
    (name, options, liar)
    for name in (*BEHAVIOURS, *LAYOUTS)
    for options in OPTIONS.get(name, () if name in STRATEGIES else ({},))
    for liar in (0, 1)
]


def a_liar(liar: int, name: str, options: Mapping[str, Any]) -> Scenario:
    """Everybody else is correct; what the behaviour needs takes place."""
    faults: list[Fault] = []
    if name in OF_VIEWS or name == "mutate":
        faults.append(Pause(id=1, at_ms=700, for_ms=1_200, replica=1 - liar))
    if name in OF_TRANSFER:
        faults.append(Crash(id=1, at_ms=500, for_ms=1_500, replica=3))
    return story(
        *faults,
        posts=range(600, 1_800, 100),
        heal_ms=2_200,
        without=(liar,),
        liars=[(liar, name)],
        options={liar: dict(options)},
        retained_sequences=0 if name in OF_TRANSFER else 1024,
    )


def outcome(scenario: Scenario) -> Result:
    with workspace() as directory:
        return simulate(scenario, Path(directory))


@pytest.mark.parametrize(("name", "options", "liar"), CASES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CASES)])
def test_one_of_four_harms_nobody(name: str, options: Mapping[str, Any], liar: int) -> None:
    """No fork, everything accepted within the bound, nobody accused that is honest."""
    result = outcome(a_liar(liar, name, options))
    assert result.failure is None, result.failure
    assert result.accepted == 14
