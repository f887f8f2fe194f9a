"""What cannot be carried out on real processes is refused in a sentence, before any of them is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from adversary import attack_commands
from adversary.attacks.catalogue import all_attacks, attack_named
from adversary.attacks.model import AttackError, Expect
from adversary.attacks.reading import attack_from_json
from adversary.attacks.telling import expected_in_words
from adversary.live.checking import check

CRASH = {"kind": "crash", "at_ms": 500, "for_ms": 1000, "replica": 2}
PAUSE = {"kind": "pause", "at_ms": 1600, "for_ms": 9, "replica": 2}
FULL = {"kind": "disk_full", "at_ms": 600, "for_ms": 1000, "replica": 2}
DAMAGE = {"kind": "damage", "for_ms": 50, "replica": 1, "what": "lost_disk"}
RESTARTS = {"kind": "restarts", "at_ms": 1, "for_ms": 1, "replicas": [0], "down_ms": 1}


@pytest.mark.parametrize("name", [attack.name for attack in all_attacks() if attack.live])
def test_every_attack_that_is_marked_so_can_be_carried_out(name: str) -> None:
    check(attack_named(name), seed=7)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"cast": [{"replica": 9, "strategy": "reply_lie"}]}, "cast[0].replica: no replica 9, there are 0 to 3"),
        ({"happens": [CRASH | {"replica": -1}]}, "happens[0].replica: no replica -1, there are 0 to 3"),
        ({"cast": [{"replica": 3, "strategy": "charm"}]}, "charm"),
        ({"talk": {"people": 0}}, "talk.people: nobody says anything"),
        ({"talk": {"for_ms": 0}}, "talk.for_ms: from 1 to 600000, not 0"),
        ({"until_ms": 60_001}, "until_ms 60001: above 0, and with real processes at most 60000"),
        ({"clients": [{"name": "eve", "actions": [], "behaviour": "equivocate"}]}, "people who equivocate"),
        (
            {"happens": [RESTARTS | {"guarded": False}]},
            "restarts that are not guarded",
        ),
        (
            {"happens": [CRASH, FULL | {"at_ms": 1499}]},
            "crash at 500 ms and disk_full at 1499 ms overlap for replica 2",
        ),
        (
            {"happens": [DAMAGE | {"at_ms": at} for at in (5, 9)]},
            "damage at 5 ms and damage at 9 ms overlap for replica 1",
        ),
        (
            {"happens": [CRASH, {"kind": "cascade", "at_ms": 900, "for_ms": 900, "every_ms": 300, "down_ms": 9}]},
            "overlap for whoever it meets",
        ),
        (
            {"happens": [CRASH | {"again": 3}, FULL | {"at_ms": 3000}]},
            "crash at 500 ms and disk_full at 3000 ms overlap",
        ),
        (
            {"happens": [PAUSE | {"at_ms": 900}, CRASH]},
            "crash at 500 ms and pause at 900 ms overlap for replica 2",
        ),
    ],
)
def test_what_cannot_be_carried_out_is_refused(
    fields: dict[str, Any], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.json"
    file.write_bytes(msgspec.json.encode({"name": "own"} | fields))
    assert attack_commands.run(str(file), live=True, keep=tmp_path / "kept") == 2
    said = capsys.readouterr().err
    assert said.startswith(("own: ", f"{file}: "))
    assert said.count("\n") == 1
    assert text in said
    assert not (tmp_path / "kept").exists()


def test_what_follows_after_another_or_hits_somebody_else_is_fine() -> None:
    later = CRASH | {"at_ms": 1500}
    happens = [CRASH, later, FULL | {"replica": 1}, PAUSE | {"at_ms": 450, "for_ms": 400}, PAUSE | {"at_ms": 2600}]
    check(attack_from_json(msgspec.json.encode({"name": "own", "happens": happens})), seed=7)


def test_rows_of_the_simulator_and_smaller_groups_than_a_row_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert attack_commands.run("victim_primary", live=True) == 2
    assert "victim_primary: this row runs only in the simulator" in capsys.readouterr().err
    assert attack_commands.run("police_raid", live=True, replicas=4) == 2
    assert "police_raid: cast: replica 5: a group of 4 has 0 to 3" in capsys.readouterr().err


def test_a_file_is_no_place_to_keep_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    assert attack_commands.run("reply_lie", live=True, keep=file) == 2
    assert f"--keep {file}: File exists; give a directory" in capsys.readouterr().err
    with pytest.raises(AttackError, match="Not a directory"):
        check(replace(attack_named("reply_lie"), until_ms=500), seed=7, directory=file / "below")


def test_what_is_told_is_the_wait_that_real_people_may_have() -> None:
    expect = Expect(wait_ms=900, live_wait_ms=2500)
    assert expected_in_words(expect, "live") == "safe, live, nobody waits longer than 2.5 s"
    assert expected_in_words(expect) == "safe, live, nobody waits longer than 0.9 s"
