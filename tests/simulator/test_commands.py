"""`quorate simulate` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adversary.simulate_commands import replay, shrink, sweep
from adversary.simulator.mutants import MUTANTS
from adversary.simulator.scenario import read_scenario, to_json
from clients.main import make_app
from tests.simulator.scenarios import story


def run_sweep(seeds: str, output: Path, *, replicas: int | None = 4, until_failure: bool = False) -> int:
    return sweep(seeds, replicas=replicas, jobs=1, until_failure=until_failure, output=str(output), as_json=True)


def test_a_good_sweep_exits_with_0_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sweep("3..6", tmp_path) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["seeds"] == 3
    assert summary["failures"] == []
    assert len(summary["digest"]) == 64
    assert not list(tmp_path.iterdir())


def test_a_failure_can_be_replayed_and_shrunk_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with MUTANTS["votes_not_stored"].planted():
        assert run_sweep("3..6", tmp_path, until_failure=True) == 1
        said = capsys.readouterr()
        assert json.loads(said.out)["failures"][0]["seed"] == 3
        file = tmp_path / "seed-3.json"
        assert f"quorate simulate replay {file}" in said.err.replace("\n", "")
        assert replay(file, as_json=True) == 1
        first = json.loads(capsys.readouterr().out)
        assert replay(file, as_json=True) == 1
        assert json.loads(capsys.readouterr().out) == first
        assert first["failure"]["invariant"] == "stored first"
        assert shrink(file, runs=40) == 0
        small = tmp_path / "seed-3.small.json"
        assert len(to_json(read_scenario(small))) < len(to_json(read_scenario(file)))
        assert replay(small) == 1
    assert replay(small) == 0


def test_the_trace_is_printed_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "story.json"
    file.write_bytes(to_json(story()))
    assert replay(file, trace=True) == 0
    out = capsys.readouterr().out
    assert "PRE-PREPARE v=0 n=1" in out
    assert "all held" in out
    assert replay(file, trace=True, as_json=True) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["failure"] is None
    assert "PRE-PREPARE v=0 n=1" in said.err


def test_what_does_not_fail_is_not_shrunk(tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    file.write_bytes(to_json(story()))
    assert shrink(file) == 1


@pytest.mark.parametrize("seeds", ["", "x", "5..5", "7..3", "1..x", "-3"])
def test_bad_ranges_are_usage_errors(seeds: str, tmp_path: Path) -> None:
    assert run_sweep(seeds, tmp_path) == 2


def test_other_usage_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_sweep("1", tmp_path, replicas=3) == 2
    assert run_sweep("1", tmp_path / "nowhere") == 2
    (tmp_path / "bad.json").write_text("{}")
    assert replay(tmp_path / "bad.json") == 2
    assert shrink(tmp_path / "nowhere.json") == 2
    assert "bad.json" in capsys.readouterr().err


def test_the_command_is_part_of_quorate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        make_app()(["simulate", "--seeds", "3", "--replicas", "4"])
    assert ended.value.code == 0
