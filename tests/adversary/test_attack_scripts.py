"""Attacks of one's own: the commands that run them, what is expected of them, what the documents show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from adversary.attack_commands import list_attacks, record_of, replay, run_all, show
from adversary.attack_commands import run as run_command
from adversary.attacks import (
    Attack,
    Expect,
    all_attacks,
    attack_named,
    run,
)
from adversary.simulator.broken import INVARIANTS
from tests.adversary.test_attack_files import own


def test_a_larger_group_bears_the_same() -> None:
    outcome = run(attack_named("double_prepare"), replicas=7)
    assert outcome.as_expected, outcome.why_not
    assert outcome.replicas == 7


# -- commands


def test_attacks_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_attacks() == 0
    assert len(capsys.readouterr().out.splitlines()) == 44
    assert list_attacks(as_json=True) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["name"] == "split_primary"
    assert show("1") == 0
    assert "expected: safe, live, proven: E1" in capsys.readouterr().out
    assert show("split") == 2
    assert "did you mean split_primary?" in capsys.readouterr().err


def test_an_attack_is_run_by_command_and_replayed_from_what_it_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_command("double_prepare", as_json=True, keep=tmp_path) == 0
    said = capsys.readouterr().out
    (tmp_path / "outcome.json").write_text(said)
    assert replay(tmp_path / "outcome.json", as_json=True) == 0
    assert capsys.readouterr().out == said
    assert replay(tmp_path / "double_prepare-at-f-7.json", as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["failure"] is None


def test_an_attack_of_ones_own_is_run_and_replayed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(own(cast=[{"replica": 2, "strategy": "silent"}], expect={"evidence": ["E2"]}))
    assert run_command(str(path), as_json=True) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["as_expected"] is False
    assert record["why_not"] == "E2 should be proven, and found was none"
    (tmp_path / "outcome.json").write_text(json.dumps(record))
    assert replay(tmp_path / "outcome.json") == 1
    assert "NOT AS EXPECTED" in capsys.readouterr().out
    assert replay(path) == 1


def test_what_is_no_attack_is_a_matter_of_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_command("nonsense") == 2
    assert run_command("split_primary", replicas=3) == 2
    assert run_command("nv_bad_O", above_f=True) == 2
    assert run_all(jobs=0) == 2
    assert replay(tmp_path / "missing.json") == 2
    (tmp_path / "empty.json").write_text("{}")
    assert replay(tmp_path / "empty.json") == 2
    assert capsys.readouterr().out == ""


def test_the_record_of_an_outcome_has_its_fields() -> None:
    record = record_of(run(attack_named("double_commit")))
    assert record["verdict"]["evidence"][0]["code"] == "E3"
    assert record["verdict"] | {"evidence": []} == {"safe": True, "live": True, "evidence": []}
    assert record["faulty"] == [3]
    assert record["expected"]["evidence"] == ["E3"]
    assert "attack" not in record


EXPECTED: dict[str, tuple[bool, bool | None, bool, bool | None]] = {
    "split_primary": (True, True, False, None),
    "slow_primary": (True, True, True, True),
    "vc_storm": (True, True, True, False),
    "reply_lie": (True, True, False, None),
}
"""Whether it must be safe and live, at f and above."""


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_expected_is_all_that_a_run_is_held_against(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    attack = attack_named(name)
    assert attack.above_f is not None
    assert list_attacks(as_json=True) == 0
    listed = {record["name"]: record["expect"] for record in map(json.loads, capsys.readouterr().out.splitlines())}
    at_f, above_f = attack.expect.record(), attack.above_f.expect.record()
    assert listed[name] == at_f
    assert (at_f["safe"], at_f["live"], above_f["safe"], above_f["live"]) == EXPECTED[name]
    assert (at_f["marks"], at_f["wait_ms"]) == (list(attack.expect.marks), attack.expect.wait_ms)


def test_against_real_processes_other_times_are_expected() -> None:
    outcome = dataclasses.replace(run(attack_named("vc_storm")), world="live")
    assert (outcome.expect.wait_ms, outcome.record()["expected"]["wait_ms"]) == (250, 2_500)


def test_either_kind_of_break_promises_neither() -> None:
    either = Expect(breaks=("agreement", "progress: halt"))
    assert (either.must_be_safe, either.must_be_live) == (None, None)


def test_every_break_that_is_expected_has_a_name() -> None:
    texts = {text for attack in all_attacks() if attack.above_f for text in attack.above_f.expect.breaks}
    assert {text.partition(":")[0] for text in texts} <= set(INVARIANTS)
    assert {"progress: halt", "progress: livelock", "progress: censored", "progress: laggards stuck"} <= texts


# -- what the documents show

SCRIPTS = Path(__file__).parents[2] / "docs" / "attack-scripts.md"


def example(language: str) -> str:
    return SCRIPTS.read_text().split(f"```{language}\n")[1].split("```")[0]


def test_the_example_in_json_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lost_in_the_vote.json"
    path.write_text(example("json"))
    assert run_command(str(path)) == 0
    assert "E2 against replica 3" in capsys.readouterr().out


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example("python"), SCRIPTS.name, "exec"), {})  # noqa: S102 - our own document
    assert "code='E5', culprit=3" in capsys.readouterr().out


def test_the_document_names_every_field_of_an_attack() -> None:
    text = SCRIPTS.read_text()
    own_words = {"format", "number", "family", "title", "story", "live", "name"}
    fields = {*Attack.__struct_fields__, *Expect.__struct_fields__} - own_words
    assert {field for field in fields if f"`{field}`" not in text} == set()
