"""Scenarios as JSON: the same again, and nothing else is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adversary.simulator.drawing import draw
from adversary.simulator.scenario import ScenarioError, from_json, read_scenario, to_json

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("seed", range(40))
def test_a_drawn_scenario_is_the_same_after_a_journey_through_json(seed: int) -> None:
    scenario = draw(seed)
    data = to_json(scenario)
    assert from_json(data) == scenario
    assert to_json(from_json(data)) == data
    assert draw(seed) == scenario


@pytest.mark.parametrize("seed", range(200))
def test_what_is_drawn_can_be_survived(seed: int) -> None:
    scenario = draw(seed)
    most = (scenario.replicas - 1) // 3
    assert len(scenario.faulty) <= most
    assert len(set(range(scenario.replicas)) - set(scenario.core)) <= most


def test_the_group_size_can_be_given() -> None:
    assert {draw(seed, 7).replicas for seed in range(5)} == {7}
    assert {draw(seed).replicas for seed in range(60)} == {4, 7, 10}


def with_damage(fields: dict[str, Any]) -> None:
    fields["faults"] = [{"kind": "damage", "id": 1, "at_ms": 1, "for_ms": 1, "replica": 0, "what": "sneezed at"}]


def with_crash_of(replica: int) -> Change:
    def change(fields: dict[str, Any]) -> None:
        fields["faults"] = [{"kind": "crash", "id": 1, "at_ms": 1, "for_ms": 1, "replica": replica}]

    return change


def twice(fields: dict[str, Any]) -> None:
    fields["clients"].append(fields["clients"][0])


BAD: dict[str, tuple[Change, str]] = {
    "unknown field": (lambda f: f.update(colour="red"), "colour"),
    "missing field": (lambda f: f.pop("seed"), "seed"),
    "wrong type": (lambda f: f.update(seed="1"), "seed"),
    "another format": (lambda f: f.update(format=2), "format 2"),
    "too few replicas": (lambda f: f.update(replicas=3), "replicas"),
    "too many replicas": (lambda f: f.update(replicas=99), "replicas"),
    "unknown parameter": (lambda f: f.update(parameters={"luck": 1}), "luck"),
    "bad parameter": (lambda f: f.update(parameters={"client_window": 0}), "client_window"),
    "stranger in the core": (lambda f: f.update(core=[0, 1, 77]), "replica 77"),
    "core twice": (lambda f: f.update(core=[0, 1, 1]), "twice"),
    "unknown strategy": (lambda f: f.update(liars=[{"replica": 1, "strategy": "bribe"}]), "bribe"),
    "unknown fault": (lambda f: f.update(faults=[{"kind": "plague"}]), "plague"),
    "unknown damage": (with_damage, "sneezed at"),
    "fault of a stranger": (with_crash_of(20), "replica 20"),
    "an id twice": (twice, "same id"),
    "endless": (lambda f: f.update(heal_ms=10**9), "heal_ms"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_files_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    change, reason = BAD[name]
    fields = json.loads(to_json(draw(0, 4)))
    change(fields)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(ScenarioError, match=reason) as caught:
        read_scenario(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff\xfe", b'{"seed": 1}'])
def test_what_is_no_scenario_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(ScenarioError):
        from_json(data)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.json"):
        read_scenario(tmp_path / "nowhere.json")


def test_a_scenario_is_frozen() -> None:
    scenario: Any = draw(0)
    with pytest.raises(AttributeError):
        scenario.seed = 2
