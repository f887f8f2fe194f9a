"""What live attacks are made of, without their processes: clocks that are wrong, bombs, seats and the bench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.live.attackers import ATTACKERS
from adversary.live.attackers import main as attack
from adversary.live.bench import ATTACKS, Kept
from adversary.live.bombs import BOMBS, DEADLY
from adversary.live.group import LiveGroup
from adversary.live.load import Measured
from adversary.live.node import LIES_TOLD, ClockedMachine, Forgetting
from chatsvc.application.operations import decode_operation
from chatsvc.groupfile import read_group_file
from crypto.errors import MalformedEncoding
from crypto.signing import Ed25519Verifier
from pbft.core.codec import Opener
from pbft.core.effects import Effects, Input, Timer, TimerExpired
from pbft.core.errors import ProtocolViolation
from pbft.core.types import Milliseconds, Now, ReplicaId
from tests.chatsvc_process.processes import make_group
from tests.harness.keys import make_group as make_members

# -- clocks and memories --------------------------------------------------------------------------------------------


class Machine:
    def __init__(self) -> None:
        self.told: list[Now] = []

    def step(self, given: Input) -> Effects:
        self.told.append(given.now)
        return Effects()

    def is_useless(self, _message: object) -> bool:
        return False

    def describe(self) -> dict[str, Any]:
        return {}


def test_a_wrong_clock_is_off_by_what_the_file_says_and_goes_wrong_further(tmp_path: Path) -> None:
    path, machine = tmp_path / "clock", Machine()
    clocked = ClockedMachine(machine, path)

    def wall_at(steady: int) -> int:
        now = Now(steady=Milliseconds(steady), wall=Milliseconds(1_000_000 + steady))
        clocked.step(TimerExpired(now=now, timer=Timer.STATUS))
        assert machine.told[-1].steady == steady, "pacing is not what goes wrong"
        return machine.told[-1].wall - 1_000_000 - steady

    path.write_text("0 0")
    assert wall_at(0) == 0
    path.write_text("-5000 2000")
    os.utime(path, ns=(1, 1))
    assert [wall_at(10), wall_at(1010), wall_at(10_010)] == [-5000, -4998, -4980]
    path.write_text("-99999999999")
    os.utime(path, ns=(2, 2))
    assert wall_at(20_000) == -1_020_000, "never before the beginning of time"


def test_a_node_may_remember_less(tmp_path: Path) -> None:
    file = make_group(tmp_path / "group")
    forgetting = Forgetting(path=file.path, group=file.group, members=file.members, retained_sequences=3)
    usual = file.node_config(ReplicaId(1))
    assert forgetting.node_config(ReplicaId(1)) == replace(usual, retained_sequences=3)


# -- bombs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_every_bomb_is_refused_by_every_decoder(bomb: bytes) -> None:
    opener = Opener(make_members(4).group, Ed25519Verifier())
    for parse in (opener.parse_peer, opener.parse_client, opener.parse_reply):
        with pytest.raises(ProtocolViolation):
            parse(bomb)


def test_nothing_but_a_refusal_comes_out_of_decoding_a_deadly_operation() -> None:
    refused = 0
    for operation in DEADLY.values():
        try:
            decode_operation(operation)
        except MalformedEncoding:
            refused += 1
    assert 10 <= refused < len(DEADLY), "some are well-formed, and deadly later if at all"


def test_attackers_end_with_their_input_and_say_what_they_did(tmp_path: Path) -> None:
    """Nobody is at home: they knock, are not let in, and come back."""
    path = make_group(tmp_path / "group").path.parent
    command = [sys.executable, "-m", "adversary.live.attackers", str(path), *ATTACKERS]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=True)
    assert isinstance(json.loads(done.stdout.removeprefix(b"begun\n")), dict)


def test_attackers_of_a_group_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        attack([str(tmp_path), "charm"])
    assert "invalid choice: 'charm'" in capsys.readouterr().err


# -- seats ----------------------------------------------------------------------------------------------------------


def test_twins_share_a_key_and_no_peer(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    twin = group.add_twin(0, seen_by_first=[2])
    first, second = (read_group_file(seat.view) for seat in group.seats_of(0))
    assert (twin.home / "signing.key").read_bytes() == (group.seats[0].home / "signing.key").read_bytes()
    assert first.members[0].replica_endpoint != second.members[0].replica_endpoint
    real = group.file.members
    reachable = [
        [peer for peer in (1, 2, 3) if view.members[peer].replica_endpoint == real[peer].replica_endpoint]
        for view in (first, second)
    ]
    assert reachable == [[2], [1, 3]]
    for seat in group.seats[1:4]:
        seen = read_group_file(seat.view).members[0].replica_endpoint
        assert seen == (first if seat.replica == 2 else second).members[0].replica_endpoint
    contacts = [group.directory_for(person).replicas[0].port for person in (0, 1)]
    assert contacts == [view.members[0].client_endpoint.port for view in (first, second)]
    assert first.group.group_id == second.group.group_id == group.file.group.group_id


def test_how_often_liars_lied_is_read_from_their_logs(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    assert group.lies() == 0
    group.log_of(group.seats[0]).write_text(f"up\n{LIES_TOLD}3\nup\n{LIES_TOLD}4\n")
    assert group.lies() == 7
    assert group.log_tail(group.seats[1]) == "it wrote nothing"


# -- the bench ------------------------------------------------------------------------------------------------------


def measured(accepted: int) -> Measured:
    return Measured(accepted=accepted, failed=0, seconds=2.0, longest_gap_ms=accepted, p50_ms=1.0, p99_ms=2.0)


def kept_with(*attacked: int) -> Kept:
    kept = Kept("flood", ATTACKS["flood"])
    kept.honest += [measured(1000), measured(2000), measured(1000)]
    kept.attacked += [measured(each) for each in attacked]
    return kept


def test_what_is_kept_is_the_median_of_the_rounds() -> None:
    kept = kept_with(600, 800, 900)
    assert kept.share == 0.6
    assert kept.is_enough
    assert kept.record()["longest_gap_ms"] == {"fault_free": 2000, "attacked": 900}
    assert not kept_with(450, 800, 900).is_enough


def test_where_others_have_the_machine_the_cpu_of_the_replicas_counts() -> None:
    kept = kept_with(100, 100, 100)
    kept.cpu_us["fault_free"] += [200, 300, 250]
    kept.cpu_us["attacked"] += [400, 500, 500]
    assert kept.share_by_cpu == 0.5
    assert kept.is_enough
