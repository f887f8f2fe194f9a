"""Attacks against real processes. The short ones here, all of them with `-m slow`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adversary.attacks.catalogue import all_attacks, attack_named
from adversary.attacks.model import Attack, AttackError, Expect, Talk
from adversary.live.bench import bench
from adversary.live.commands import bench as bench_command
from adversary.live.running import attacked, run_live
from adversary.simulator.scenario import Crash, Damage

SHORT = Talk(people=2, messages=4, for_ms=1_000)


async def test_a_primary_that_tells_two_stories_is_proven_to_have_lied(tmp_path: Path) -> None:
    attack = replace(attack_named("split_primary"), talk=SHORT, until_ms=1_200)
    outcome = await attacked(attack, seed=7, directory=tmp_path, tell=lambda _text: None)
    assert outcome.as_expected, outcome.why_not
    assert (outcome.safe, outcome.live, outcome.culprits) == (True, True, (0,))
    assert any(holder.startswith("replica ") for proof in outcome.proofs for holder in proof.held_by)
    assert outcome.figures["lies_told"]
    # Two people and what each says in the end.
    assert outcome.figures["messages_read_back"] == 2 * (SHORT.messages + 1)
    assert {moment.what for moment in outcome.moments} >= {"accepted", "proves"}
    json.dumps(outcome.record())


async def test_a_crash_and_a_rotten_disk_are_survived_and_noticed(tmp_path: Path) -> None:
    attack = Attack(
        name="crash_and_rot",
        talk=SHORT,
        happens=(
            Crash(id=1, at_ms=200, for_ms=300, replica=2),
            Damage(id=2, at_ms=900, for_ms=100, replica=2, what="flipped_state"),
        ),
        until_ms=1_500,
    )
    outcome = await attacked(attack, seed=7, directory=tmp_path, tell=lambda _text: None)
    assert outcome.as_expected, outcome.why_not
    assert outcome.faulty == (2,)
    assert not outcome.proofs, "nobody lied"
    assert [moment.what for moment in outcome.moments if moment.source == "replica 2"][:2] == [
        "crashes",
        "starts",
    ]


async def test_an_attack_that_nobody_carries_out_is_not_as_expected(tmp_path: Path) -> None:
    """Also, what was expected and did not come is said."""
    attack = Attack(name="nothing", talk=SHORT, until_ms=300, expect=Expect(evidence=("E1",), live=False))
    outcome = await attacked(attack, seed=7, directory=tmp_path, tell=lambda _text: None)
    assert not outcome.as_expected
    assert (outcome.safe, outcome.live) == (True, True)
    assert "did not take place" in outcome.why_not
    assert "evidence E1 was expected" in outcome.why_not
    assert "which was not expected" in outcome.why_not


def test_what_is_kept_of_an_earlier_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "split_primary-live-7").mkdir()
    with pytest.raises(AttackError, match="exists already"):
        run_live(attack_named("split_primary"), seed=7, directory=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [attack.name for attack in all_attacks() if attack.live])
def test_every_live_attack_is_as_expected(name: str) -> None:
    outcome = run_live(attack_named(name), seed=7)
    assert outcome.as_expected, outcome.why_not


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reply_lie", "cbor_bombs"])
def test_what_an_attack_leaves_is_measured(name: str) -> None:
    (kept,) = bench(names=[name], seconds=2.0, rounds=1)
    assert kept.rounds[0].attacked.measured.accepted
    assert not kept.why_no_attack
    rates = kept.record()["accepted_per_s"]
    assert kept.share == pytest.approx(rates["attacked"][0] / rates["fault_free"][0], rel=0.01)


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        (["charm"], {}, "NAME charm: one of slow_primary, "),
        ([], {"seconds": 0.0}, "--seconds 0: above 0"),
        ([], {"rounds": 0}, "--rounds 0: from 1 to 100"),
        ([], {"keep": Path(__file__)}, "test_attacks.py: File exists; give a directory"),
    ],
)
def test_a_bench_that_cannot_be(
    names: list[str], options: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_command(*names, **options) == 2
    assert text in capsys.readouterr().err


def test_a_bench_does_not_touch_what_is_kept_of_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flood-1-attacked").mkdir()
    assert bench_command("flood", keep=tmp_path) == 2
    assert "flood-1-attacked exists already" in capsys.readouterr().err
