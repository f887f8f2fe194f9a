"""Every behaviour, in a simulated group that it does not harm as long as there are no more than f of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from adversary.behaviours.base import Means
from adversary.behaviours.catalogue import BEHAVIOURS, LAYOUTS, TWIN, UnknownBehaviour, make_behaviour
from adversary.craft import Craft
from adversary.simulator.drawing import STRATEGIES
from adversary.simulator.run import Result, Simulation
from adversary.simulator.scenario import Action, Client, Crash, Damage, Fault, Pause, Scenario
from adversary.simulator.storage import workspace
from pbft.core.types import ReplicaId
from tests.harness.keys import make_group
from tests.simulator.scenarios import story

OPTIONS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "split_primary": ({"halves": "even"},),
    "victim_primary": ({}, {"mode": "skip", "victim": 2}, {"both": 1}),
    "slow_primary": ({"hold": 900},),
    "censor": ({"victim": 0},),
    "bad_signature_proposal": ({}, {"to": (2,)}),
    "partial_cast": ({}, {"only": (1, 2)}),
    "checkpoint_lie": ({}, {"both": 1}),
    "reply_lie": ({"what": ("results",)},),
    "state_lie": tuple({"how": how} for how in ("corrupt", "truncate", "slow", "stale", "silent")),
    "dual_encoding": ({}, {"also": 0}),
    "silent": ({"start_ms": 800, "until_ms": 1_000},),
    "replay": ({"rate": 1_000, "times": 10},),
    "mutate": (
        {"message_type": "COMMIT", "field": "batch_digest", "change": "digest", "to": (2,)},
        {"message_type": "PRE-PREPARE", "field": "sequence", "change": "+1", "rounds": (2, 3)},
        {"message_type": "PRE-PREPARE", "field": "requests", "change": "empty", "to": (1,)},
        {"message_type": "VIEW-CHANGE", "field": "prepared", "change": "empty"},
    ),
}
"""Options to try; a behaviour that is not named here is tried without any."""
OF_VIEWS = {
    "hide_prepared",
    "forged_view_change",
    "two_view_changes",
    "false_new_view",
    "withheld_new_view",
    "two_new_views",
}
OF_TRANSFER = {"state_lie"}

CASES = [
    (name, options)
    for name in (*BEHAVIOURS, *LAYOUTS)
    for options in OPTIONS.get(name, () if name in STRATEGIES else ({},))
]
"""What sweeps draw is tried without options there, and in `tests/simulator/test_runs.py`."""


OF_PRIMARIES = {
    "split_primary",
    "victim_primary",
    "reorder_primary",
    "seq_jump",
    "slow_primary",
    "censor",
    "bad_signature_proposal",
    "two_generals",
    "partial_cast",
    "dual_encoding",
    "peekaboo",
    "peekaboo_twin",
    "twin",
}


def place_of(name: str, options: Mapping[str, Any]) -> int:
    """Replica 0 is the first primary, replica 1 the next one."""
    return 0 if name in OF_PRIMARIES or options.get("message_type") == "PRE-PREPARE" else 1


def a_liar(liar: int, name: str, options: Mapping[str, Any]) -> Scenario:
    """Everybody else is correct; what the behaviour needs takes place."""
    faults: list[Fault] = []
    if name in OF_VIEWS or options.get("message_type") == "VIEW-CHANGE":
        faults.append(Pause(id=1, at_ms=700, for_ms=1_000, replica=1 - liar))
    if name in OF_TRANSFER:
        faults.append(Crash(id=1, at_ms=500, for_ms=1_200, replica=3))
    scenario = story(
        *faults,
        posts=range(600, 1_600, 160),
        heal_ms=2_000,
        without=(liar,),
        liars=[(liar, name)],
        options={liar: dict(options)},
        retained_sequences=0 if name in OF_TRANSFER else 1024,
    )
    parameters = scenario.parameters | {"view_change_timeout_ms": 300}
    return msgspec.structs.replace(scenario, parameters=parameters)


def played(scenario: Scenario) -> tuple[Result, bool]:
    """What came of it, and whether anybody did what an honest replica would not."""
    with workspace() as directory:
        simulation = Simulation(scenario, Path(directory))
        result = simulation.run()
    return result, any(host.lies for host in simulation.hosts)


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_one_of_four_harms_nobody(name: str, options: Mapping[str, Any]) -> None:
    """No fork, everything accepted within the bound, nobody accused that is honest; and it does lie."""
    result, lied = played(a_liar(place_of(name, options), name, options))
    assert result.failure is None, result.failure
    assert result.accepted == 9
    assert lied or name == TWIN


def test_a_behaviour_has_its_time() -> None:
    """Half a second of silence, in which the others go on; before and after it speaks."""
    silent = a_liar(1, "silent", {"start_ms": 700, "until_ms": 1_200})
    said: list[int] = []
    with workspace() as directory:
        simulation = Simulation(silent, Path(directory), trace=lambda line: said.extend(_sent_by(1, line)))
        assert simulation.run().failure is None
    assert any(at < 700 for at in said)
    assert any(at > 1_250 for at in said)
    assert not [at for at in said if 710 < at < 1_200]


def _sent_by(replica: int, line: str) -> list[int]:
    """When a line of the trace tells of the arrival of a frame of the replica."""
    at, _, way, *_ = (*line.split(maxsplit=3), "")
    return [int(float(at))] if way.startswith(f"{replica}->") else []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("honesty", {}),
        ("silent", {"loud": 1}),
        ("split_primary", {"halves": "odd"}),
        ("state_lie", {"how": "well"}),
        ("reply_lie", {"what": ("votes",)}),
        ("mutate", {"message_type": "COMMIT", "field": "requests", "change": "empty"}),
        ("mutate", {"message_type": "COMMIT"}),
        ("twin", {"period_ms": 3}),
    ],
)
def test_what_nobody_does_is_refused_by_name(name: str, options: Mapping[str, Any]) -> None:
    members = make_group(4)
    means = Means(me=ReplicaId(0), craft=Craft(members.held_by([0])), random=Random(1))  # noqa: S311 - no secret
    with pytest.raises(UnknownBehaviour, match=name):
        make_behaviour([(name, options)], means)


def test_two_generals_fork_a_group_that_has_one_too_many() -> None:
    """With f + 1 of them the checkers must see it: a checker that cannot fail proves nothing."""
    liars = [(0, "two_generals"), (1, "accomplice")]
    result, _ = played(story(liars=liars, without=(0, 1), progress=False))
    assert result.failure is not None
    assert result.failure.invariant == "agreement"
    beside = [(0, "two_generals"), (3, "accomplice")]
    assert played(story(replicas=7, liars=beside, without=(0, 3)))[0].failure is None


# -- people, and processes


def mallory(behaviour: str, **options: Any) -> Client:
    posts = [(500 + 80 * number, "post", f"m {number}") for number in range(12)]
    actions = [(200, "register", "mallory"), (400, "join", ""), *posts]
    return Client(
        name="mallory",
        behaviour=behaviour,
        options=options,
        actions=tuple(
            Action(id=100 + number, at_ms=at, kind=kind, room="main", text=text)
            for number, (at, kind, text) in enumerate(actions)
        ),
    )


@pytest.mark.parametrize(
    "client",
    [
        mallory("query_of_death", each=4),
        mallory("flood", times=10),
        mallory("replay", times=8),
        mallory("equivocate"),
    ],
    ids=lambda client: client.behaviour,
)
def test_a_bad_client_harms_nobody_else(client: Client) -> None:
    scenario = story(posts=range(600, 1_600, 160))
    result, _ = played(msgspec.structs.replace(scenario, clients=(*scenario.clients, client)))
    assert result.failure is None, result.failure
    assert result.accepted >= 9


def test_what_could_kill_an_executor_is_an_error_everywhere() -> None:
    """Every one of them, each in its place in the order; and none is left out."""
    everything = msgspec.structs.replace(mallory("query_of_death", each=12), name="mallory")
    scenario = story(posts=())
    result, _ = played(msgspec.structs.replace(scenario, clients=(*scenario.clients, everything)))
    assert result.failure is None, result.failure
    assert result.accepted > 2 + 12 * 12


@pytest.mark.parametrize("what", ["forgetful", "forgetful_disk"])
def test_one_that_forgot_its_votes_and_does_not_know_harms_nobody(what: str) -> None:
    forgets = Damage(id=1, at_ms=1_000, for_ms=100, replica=2, what=what)
    result, _ = played(story(forgets, posts=range(600, 1_600, 80)))
    assert result.failure is None, result.failure


def test_twins_with_sides_of_their_own() -> None:
    sides = {0: {"sides": ((1, 2), (3,))}}
    result, _ = played(story(posts=range(600, 1_600, 160), liars=[(0, "twin")], options=sides, without=(0,)))
    assert result.failure is None, result.failure
