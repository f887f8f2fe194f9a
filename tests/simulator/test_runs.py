"""Runs as stories: what is done to a group, and how it ends."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from adversary.simulator.drawing import STRATEGIES
from adversary.simulator.hands import CARRIED
from adversary.simulator.run import Result, Simulation, simulate
from adversary.simulator.scenario import (
    DAMAGES,
    Action,
    Client,
    ClockStep,
    Crash,
    Damage,
    DiskFull,
    Fault,
    Network,
    Partition,
    Pause,
    Route,
    Scenario,
    Slow,
    SyncFails,
)
from pbft.core.effects import EFFECT_FIELDS
from tests.simulator.scenarios import story

DAY_MS = 24 * 3600 * 1000


def test_hosts_carry_out_every_effect_that_there_is() -> None:
    assert CARRIED == EFFECT_FIELDS


def survives(memory: Path, *faults: Fault, **others: object) -> Result:
    result = simulate(story(*faults, **others), memory)  # type: ignore[arg-type]
    assert result.failure is None, result.failure
    assert result.accepted >= 6
    return result


def survives_with(memory: Path, *faults: Fault, **others: object) -> Result:
    """With more to say, so that there is something left behind."""
    result = simulate(story(*faults, posts=range(600, 3_000, 100), **others), memory)  # type: ignore[arg-type]
    assert result.failure is None, result.failure
    return result


def test_without_faults_everything_is_accepted_at_once(memory: Path) -> None:
    result = survives(memory)
    assert result.virtual_ms < 4_000


def test_a_backup_dies_between_any_two_effects(memory: Path) -> None:
    for fuse in range(1, 12):
        (memory / str(fuse)).mkdir()
        crash = Crash(id=1, at_ms=550, for_ms=800, replica=1, fuse=fuse)
        assert "crash between two effects" in survives(memory / str(fuse), crash).marks


def test_everybody_loses_power_at_once(memory: Path) -> None:
    faults = [Crash(id=me, at_ms=850, for_ms=500, replica=me, power=True) for me in range(4)]
    assert "power loss undid executed batches" in survives(memory, *faults).marks


def test_a_replica_crashes_in_a_loop(memory: Path) -> None:
    survives(memory, Crash(id=1, at_ms=400, for_ms=200, replica=2, fuse=2, again=5))


def test_a_paused_replica_goes_on_where_it_stood(memory: Path) -> None:
    survives(memory, Pause(id=1, at_ms=500, for_ms=2_000, replica=3), posts=range(600, 1_000, 100))


def test_halves_meet_again(memory: Path) -> None:
    cut = Partition(id=1, at_ms=500, for_ms=2_000, sides=((0, 1), (2, 3)))
    assert "partition healed" in survives(memory, cut).marks


def test_one_route_loses_all_commits(memory: Path) -> None:
    survives(memory, Route(id=1, at_ms=0, for_ms=3_000, source=1, to=2, message_type="Commit"))


def test_a_clock_is_years_off(memory: Path) -> None:
    step = ClockStep(id=1, at_ms=200, for_ms=2_000, replica=2, step_ms=-365 * DAY_MS)
    assert "proposal from the future refused" in survives(memory, step).marks


def test_a_slow_replica_holds_up_nobody(memory: Path) -> None:
    survives(memory, Slow(id=1, at_ms=0, for_ms=3_000, replica=3, service_us=500_000))


def test_a_full_disk_stops_its_node_only(memory: Path) -> None:
    full = DiskFull(id=1, at_ms=500, for_ms=1_500, replica=1)
    assert "full disk stopped a node" in survives(memory, full, posts=range(600, 1_000, 100)).marks


@pytest.mark.parametrize("kept", [True, False])
def test_a_failing_fsync_stops_its_node_only(memory: Path, kept: bool) -> None:
    fails = SyncFails(id=1, at_ms=500, for_ms=1_000, replica=1, kept=kept)
    assert "failed fsync stopped a node" in survives(memory, fails).marks


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_to_one_replica_is_made_good(memory: Path, what: str) -> None:
    damage = Damage(id=1, at_ms=1_000, for_ms=300, replica=2, what=what, amount=777, image_ms=500)
    survives(memory, damage)


def test_a_network_at_its_worst(memory: Path) -> None:
    worst = Network(
        delay_us=5_000, jitter_us=20_000, loss=250, duplicate=100, reorder=500, spike=30, spike_us=500_000
    )
    survives(memory, network=worst)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("liar", [0, 3])
def test_one_liar_among_four(memory: Path, strategy: str, liar: int) -> None:
    survives(memory, liars=[(liar, strategy)], without=(liar,))


def test_two_liars_among_seven(memory: Path) -> None:
    survives(memory, replicas=7, liars=[(3, "fuzz"), (5, "double_votes")], without=(3, 5))


def test_a_double_voter_is_proven_and_a_liar_caught(memory: Path) -> None:
    (memory / "a").mkdir()
    marks = survives(memory / "a", liars=[(3, "double_votes")], without=(3,)).marks
    assert {"two PREPAREs proven (E2)", "two COMMITs proven (E3)"} <= marks
    (memory / "b").mkdir()
    assert "client caught a liar" in survives(memory / "b", liars=[(3, "reply_lie")], without=(3,)).marks


def test_a_split_primary_forks_nobody(memory: Path) -> None:
    result = survives(memory, liars=[(0, "split_primary")], without=(0,))
    assert "two proposals for one slot" in result.marks or "two COMMITs proven (E3)" in result.marks


def test_a_new_primary_that_proposes_what_it_should_not_is_proven_and_replaced(memory: Path) -> None:
    gone = Pause(id=1, at_ms=700, for_ms=3_000, replica=0)
    marks = survives_with(memory, gone, liars=[(1, "false_new_view")], without=(1,)).marks
    assert "a false NEW-VIEW proven (E7)" in marks


def test_a_primary_that_passes_a_client_by_is_replaced(memory: Path) -> None:
    """Alice is served a hundred times a second, Bob never again once he has said something."""
    alice = [
        Action(id=0, at_ms=100, kind="register", text="alice"),
        Action(id=1, at_ms=300, kind="create", room="main"),
        *(Action(id=2 + i, at_ms=600 + 8 * i, kind="post", room="main", text=f"alice {i}") for i in range(400)),
    ]
    bob = [
        Action(id=1000, at_ms=150, kind="register", text="bob"),
        Action(id=1001, at_ms=500, kind="join", room="main"),
        *(Action(id=1002 + i, at_ms=600 + 300 * i, kind="post", room="main", text=f"bob {i}") for i in range(8)),
    ]
    scenario = msgspec.structs.replace(
        story(liars=[(0, "censor")], without=(0,), heal_ms=6_000),
        parameters={
            "checkpoint_interval": 8,
            "pipeline_depth": 3,
            "client_window": 64,
            "view_change_timeout_ms": 200,
        },
        clients=(Client(name="alice", actions=tuple(alice)), Client(name="bob", actions=tuple(bob))),
        seed=11,
    )
    result = simulate(scenario, memory)
    assert result.failure is None
    assert "primary dismissed as unfair" in result.marks


def test_a_liar_that_serves_false_states_is_blamed_and_the_state_fetched_all_the_same(memory: Path) -> None:
    behind = Crash(id=1, at_ms=700, for_ms=3_000, replica=0)
    result = survives_with(memory, behind, liars=[(1, "state_lie")], without=(1,), retained_sequences=0, seed=2)
    assert result.transfers >= 1
    assert "a liar blamed in state transfer" in result.marks


def test_a_replica_without_its_ledger_gets_its_voice_back(memory: Path) -> None:
    lost = Damage(id=1, at_ms=900, for_ms=300, replica=2, what="lost_ledger")
    assert "mute replica voted again" in survives(memory, lost, rejoins=True).marks


def test_a_dead_primary_is_replaced_by_one_that_is_dead_too(memory: Path) -> None:
    result = survives(memory, replicas=7, without=(0, 1), heal_ms=500)
    assert {"view change", "view timeout doubled"} <= result.marks


def two_generals(replicas: int) -> Scenario:
    """The primary and a backup collude."""
    return story(replicas=replicas, liars=[(0, "split_primary"), (1, "accomplice")], without=(0, 1), progress=False)


def test_two_generals_fork_a_group_of_four_and_it_is_noticed(memory: Path) -> None:
    """One more than it can bear: a checker that is silent here would prove nothing elsewhere."""
    failure = simulate(two_generals(4), memory).failure
    assert failure is not None
    assert failure.invariant == "agreement"
    assert not failure.recoverable


def test_two_generals_fork_no_group_of_seven(memory: Path) -> None:
    result = simulate(two_generals(7), memory)
    assert result.failure is None
    assert "late commit certificate executed" in result.marks


def test_a_client_that_asks_for_two_things_under_one_name_gets_one(memory: Path) -> None:
    actions = [
        Action(id=50, at_ms=250, kind="register", text="mallory"),
        Action(id=51, at_ms=500, kind="join", room="main"),
        *(Action(id=52 + i, at_ms=700 + 200 * i, kind="post", room="main", text=f"fork {i}") for i in range(4)),
    ]
    honest = story()
    mallory = Client(name="mallory", actions=tuple(actions), equivocates=True)
    result = simulate(msgspec.structs.replace(honest, clients=(*honest.clients, mallory)), memory)
    assert result.failure is None
    assert "client equivocation proven" in result.marks


def test_real_signatures_make_the_same_story(memory: Path) -> None:
    assert "real signatures" in survives(memory, real_signatures=True).marks


def test_the_trace_tells_what_happened(memory: Path) -> None:
    lines: list[str] = []
    Simulation(story(Crash(id=1, at_ms=700, for_ms=100, replica=2)), memory, trace=lines.append).run()
    text = "\n".join(lines)
    for part in (
        "client client 0->0: REQUEST alice",
        "PRE-PREPARE v=0 n=1",
        "execute 1: ",
        "begin 1 Crash",
        "dies 2",
    ):
        assert part in text
