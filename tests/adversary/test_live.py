"""What live attacks are made of, without their processes: clocks that are wrong, bombs, seats and the bench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from adversary.live import bench, commands
from adversary.live.attackers import ATTACKERS
from adversary.live.attackers import main as attack
from adversary.live.bench import ATTACKS, STOP_MS_MAX, Kept, Round, Run, stop_bound_ms
from adversary.live.bombs import BOMBS, DEADLY
from adversary.live.group import LiveError, LiveGroup
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

    def own_load(self) -> tuple[int, int]:
        return 0, 0

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


DID = {"flood_operations": 9, "stranger_operations": 9, "forged_requests": 9, "babble_rounds": 1}


def run(accepted: int, *, gap_ms: float = 100.0, cpu_us: float | None = None, did: Mapping[str, int] = DID) -> Run:
    measured = Measured(accepted=accepted, failed=0, seconds=2.0, longest_gap_ms=gap_ms, p50_ms=1.0, p99_ms=2.0)
    return Run(measured=measured, cpu_us=cpu_us, did=did)


def kept_with(*attacked: Run) -> Kept:
    kept = Kept("flood", ATTACKS["flood"])
    for quiet, under_attack in zip((run(1000, cpu_us=200), run(2000), run(1000, cpu_us=100)), attacked, strict=True):
        kept.rounds.append(Round(quiet=quiet, attacked=under_attack))
    return kept


def test_what_is_kept_is_the_median_of_the_rounds() -> None:
    kept = kept_with(run(600), run(800), run(900))
    assert kept.share == 0.6
    assert (kept.why_not_enough, kept.why_no_attack) == ("", "")
    assert kept.record()["kept_shares"] == [0.6, 0.4, 0.9]
    too_little = kept_with(run(450), run(800), run(900))
    assert too_little.why_not_enough == "45% of the throughput was left, and 50% must be"


def test_cpu_excuses_nobody_and_is_told_where_it_is_known() -> None:
    kept = kept_with(run(100, cpu_us=200), run(0), run(100, cpu_us=100))
    assert kept.share_by_cpu == 1.0
    assert kept.why_not_enough == "nothing was accepted under attack"
    assert kept_with(run(450, cpu_us=1), run(800), run(900)).why_not_enough
    assert kept_with(run(600), run(800), run(900)).share_by_cpu is None
    json.dumps(kept.record())


def test_an_attack_may_not_stop_everything_for_longer_than_the_bound() -> None:
    assert STOP_MS_MAX == stop_bound_ms(1, 1000) == 2000
    assert stop_bound_ms(2, 1000) == 5000
    assert not kept_with(run(900), run(1900, gap_ms=2000.0), run(900)).why_not_enough
    kept = kept_with(run(900), run(1900, gap_ms=2001.0), run(900))
    assert kept.why_not_enough == "nothing was accepted for 2001 ms, and 2000 is the bound"


def test_attackers_that_did_nothing_in_one_round_measured_nothing() -> None:
    idle = {name: count for name, count in DID.items() if name != "forged_requests"} | {"forgers_rounds": 8}
    kept = kept_with(run(900), run(1900, did=idle), run(900))
    assert kept.why_no_attack == "in round 2 the attackers did nothing that counts as forged_requests"
    assert kept.did["forged_requests"] == 18


def bench_of(monkeypatch: pytest.MonkeyPatch, *all_kept: Kept, failing: str = "") -> int:
    """The command's exit code, if this is what is measured."""

    def measured(*_: Any, **__: Any) -> Iterator[Kept]:
        yield from all_kept
        if failing:
            raise LiveError(failing)

    monkeypatch.setattr(commands, "measure", measured)
    return commands.bench("flood")


def test_the_bench_says_what_is_wrong_and_shows_what_was_measured_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = kept_with(run(600), run(800), run(900))
    bad = kept_with(run(100), run(100), run(100))
    idle = kept_with(run(600, did={}), run(800), run(900))
    assert bench_of(monkeypatch, good) == 0
    assert "40% to 90%" in capsys.readouterr().out
    assert bench_of(monkeypatch, good, bad) == 1
    assert "flood: 10% of the throughput was left" in capsys.readouterr().err
    assert bench_of(monkeypatch, bad, idle) == 3
    assert "the attackers did nothing" in capsys.readouterr().err
    assert bench_of(monkeypatch, good, failing="flood, round 2 of 3, attacked: no answer") == 3
    said = capsys.readouterr()
    assert "40% to 90%" in said.out
    assert said.err.endswith("quorate: flood, round 2 of 3, attacked: no answer\n")


def test_what_fails_in_the_middle_of_a_round_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: Any, attacked: bool, **__: Any) -> Run:
        async with trio.open_nursery():
            if attacked:
                raise LiveError("the load is gone")
            return run(1000)

    monkeypatch.setattr(bench, "_run", fails)
    assert commands.bench("flood", keep=tmp_path) == 3
    assert capsys.readouterr().err.endswith("quorate: flood, round 1 of 3, attacked: the load is gone\n")


def test_nothing_is_a_share_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(*_: Any, **__: Any) -> Run:
        return run(0)

    monkeypatch.setattr(bench, "_run", idle)
    with pytest.raises(LiveError, match="nothing was accepted though nobody attacked"):
        list(bench.bench(tmp_path, ["flood"], rounds=1))
