"""Forensics over what simulated nodes leave on their disks: liars may be named, and nobody else ever is."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.simulator.drawing import draw
from adversary.simulator.run import Simulation
from adversary.simulator.scenario import Scenario
from pbft.core.codec import Opener
from pbft.core.forensics import Findings, forensics_of
from pbft.node.post_mortem import LedgerCopy, ledgers_in
from tests.simulator.scenarios import story


def examined(scenario: Scenario, memory: Path) -> Findings:
    simulation = Simulation(scenario, memory)
    result = simulation.run()
    assert result.failure is None, result.failure
    opener = Opener(simulation.group, simulation.members.verifier)
    directories = [memory / str(host.number) for host in simulation.hosts]
    ledgers = [LedgerCopy(path, opener.frame_bytes_max) for where in directories for path in ledgers_in(where)]
    findings = forensics_of(opener, ledgers)
    assert not any(ledger.problem for ledger in ledgers)
    assert sum(ledger.records for ledger in ledgers) > 20
    return findings


def test_honest_nodes_leave_nothing_that_names_anybody(memory: Path) -> None:
    findings = examined(story(posts=range(600, 3_000, 100)), memory)
    assert (findings.culprits, findings.forks) == ((), ())
    assert findings.statements > 50


@pytest.mark.parametrize("seed", [1, 13, 85, 124, 200, 206])
def test_in_drawn_runs_only_liars_are_named(memory: Path, seed: int) -> None:
    scenario = draw(seed)
    assert scenario.unreliable
    findings = examined(scenario, memory)
    assert set(findings.culprits) <= scenario.untrusted
    assert not findings.forks


def test_some_liar_is_named_by_what_the_others_keep(memory: Path) -> None:
    scenario = draw(124)
    assert {(each.code, each.culprit) for each in examined(scenario, memory).evidence} >= {("E1", 0)}
