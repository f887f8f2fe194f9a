"""Attacks of one's own: files that are refused and why, the commands that run them, what the documents show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adversary.attack_commands import list_attacks, record_of, replay, run_all, show
from adversary.attack_commands import run as run_command
from adversary.attacks import (
    AboveF,
    Attack,
    AttackError,
    Expect,
    Liar,
    Pause,
    all_attacks,
    attack_named,
    read_attack,
    run,
)
from adversary.attacks.model import attack_from_json
from adversary.attacks.running import scenario_of
from adversary.simulator.broken import INVARIANTS

# -- files of one's own


def own(**fields: Any) -> bytes:
    return json.dumps({"name": "mine", **fields}).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "truncated"),
    "no object": (b"[]", "object"),
    "no name": (b"{}", "name"),
    "a name that is a path": (own(name="../mine"), "letters"),
    "unknown field": (own(colour="red"), "colour"),
    "another format": (own(format=2), "format 2"),
    "no such family": (own(family="weather"), "weather"),
    "too few replicas": (own(replicas=3), "at least 4"),
    "no such invariant": (own(expect={"breaks": ["peace"]}), "peace"),
    "no such mark": (own(expect={"marks": ["sunrise"]}), "sunrise"),
    "no such fault": (own(happens=[{"kind": "sneeze", "at_ms": 1, "for_ms": 1, "replica": 0}]), "sneeze"),
    "no seeds": (own(seeds=0), "seeds"),
}

UNFIT: dict[str, tuple[bytes, str]] = {
    "no such behaviour": (own(cast=[{"replica": 0, "strategy": "sulk"}]), "sulk"),
    "no such option": (own(cast=[{"replica": 0, "strategy": "silent", "options": {"why": 1}}]), "why"),
    "no such replica": (own(cast=[{"replica": 9, "strategy": "silent"}]), "replica 9"),
    "no such parameter": (own(parameters={"mood": 1}), "mood"),
    "no such damage": (
        own(happens=[{"kind": "damage", "at_ms": 1, "for_ms": 1, "replica": 0, "what": "coffee"}]),
        "coffee",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_attack_is_refused(name: str, tmp_path: Path) -> None:
    data, why = BAD[name]
    path = tmp_path / "mine.json"
    path.write_bytes(data)
    with pytest.raises(AttackError, match=why) as refused:
        read_attack(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", UNFIT)
def test_an_attack_that_does_not_fit_its_group_is_refused(name: str) -> None:
    data, why = UNFIT[name]
    with pytest.raises(AttackError, match=why):
        scenario_of(attack_from_json(data))


def test_above_f_has_to_be_above_f() -> None:
    attack = Attack(name="own", above_f=AboveF(cast=(Liar(3, "silent"),), expect=Expect(breaks=("progress",))))
    with pytest.raises(AttackError, match="no more of them are"):
        run(attack, above_f=True)
    with pytest.raises(AttackError, match="says nothing of more than f"):
        run(attack_named("nv_bad_O"), above_f=True)


def test_a_larger_group_bears_the_same() -> None:
    outcome = run(attack_named("double_prepare"), replicas=7)
    assert outcome.as_expected, outcome.why_not
    assert outcome.replicas == 7


def test_what_happens_needs_no_numbers() -> None:
    attack = attack_from_json(own(happens=[{"kind": "pause", "at_ms": 900, "for_ms": 300, "replica": 1}] * 2))
    assert attack.happens == (Pause(1, 900, 300, 1), Pause(2, 900, 300, 1))


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
