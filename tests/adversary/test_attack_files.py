"""Attacks out of files: what makes no sense is refused, in one sentence that begins with the place."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adversary.attack_commands import replay, show
from adversary.attack_commands import run as run_command
from adversary.attacks import AboveF, Attack, AttackError, Expect, Liar, Pause, all_attacks, attack_named, run
from adversary.attacks.fitting import MESSAGE_TYPES
from adversary.attacks.reading import FILE_BYTES_MAX, attack_from_json, read_attack
from adversary.attacks.running import scenario_of
from adversary.simulator import drawing


def own(**fields: Any) -> bytes:
    return json.dumps({"name": "mine", **fields}).encode()


def cast(strategy: str, replica: int = 0, **options: Any) -> dict[str, Any]:
    return {"replica": replica, "strategy": strategy, "options": options}


def happens(kind: str, **fields: Any) -> bytes:
    return own(happens=[{"kind": kind, "at_ms": 1, "for_ms": 1, **fields}])


def client(name: str = "mallory", *actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "actions": list(actions), **fields}


def breaks(text: str) -> bytes:
    return own(above_f={"cast": [cast("silent")], "expect": {"breaks": [text]}})


POST = {"at_ms": 900, "kind": "post", "room": "main", "text": "hello"}

NO_ATTACK: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "Input data was truncated"),
    "no text": (b"\xff\xfe", "JSON is malformed"),
    "no object": (b"[]", "Expected `object`, got `array`"),
    "lists without end": (b'{"name":' + b"[" * 100_000, "lists in lists without end"),
    "too long": (b" " * (FILE_BYTES_MAX + 1), "longer than 1048576 bytes"),
    "no name": (b"{}", "Object missing required field `name`"),
    "a name that is a path": (own(name="../mine"), "name: up to 60 letters, digits and underscores, not '../mine'"),
    "unknown field": (own(colour="red"), "Object contains unknown field `colour`"),
    "another format": (own(format=2), "format: 2, and this version reads 1"),
    "no such family": (own(family="weather"), "family: no 'weather'; there are primary, votes"),
    "too few replicas": (own(replicas=3), "replicas: at least 4 and at most 13, not 3"),
    "no seeds": (own(seeds=0), "seeds: from 1 to 1000, not 0"),
    "no such parameter": (own(parameters={"mood": 1}), "parameters: no 'mood'; there are checkpoint_interval"),
    "a parameter that no group bears": (own(parameters={"pipeline_depth": 9}), "parameters: pipeline_depth (9) must"),
    "a clock that stands still": (own(drift_ppm=[0, -(10**6)]), "drift_ppm[1]: from -100000 to 100000, not -1000000"),
    "more loss than there is": (own(network={"loss": 5000}), "network.loss: from 0 to 1000, not 5000"),
    "time that runs backwards": (own(until_ms=-1), "until_ms: from 1 to 600000, not -1"),
    # who talks
    "more people than have names": (own(talk={"people": 20}), "talk.people: at most 8 talk, not 20"),
    "nobody": (own(talk={"people": 0}), "talk.people: nobody says anything"),
    "less than nothing to say": (own(talk={"messages": -1}), "talk.messages: from 0 to 1000, not -1"),
    "no time to talk": (own(talk={"for_ms": 0}), "talk.for_ms: from 1 to 600000, not 0"),
    "words for a time": (own(talk={"for_ms": "x"}), "talk.for_ms: expected `int`, got `str`"),
    "a client named as one who talks": (own(clients=[client("bob")]), "clients[0].name: 'bob' is one of those who"),
    "two of one name": (own(clients=[client(), client()]), "clients[1].name: 'mallory' is another one's"),
    "no such action": (
        own(clients=[client("mallory", POST, POST | {"kind": "dance"})]),
        "clients[0].actions[1].kind: no 'dance'; there are register, create",
    ),
    "an action before time began": (
        own(clients=[client("mallory", POST | {"at_ms": -5})]),
        "clients[0].actions[0].at_ms: from 0 to 600000, not -5",
    ),
    "no such client": (own(clients=[client(behaviour="sulk")]), "clients[0].behaviour: no 'sulk'; there are equi"),
    "an option of somebody else": (
        own(clients=[client(behaviour="flood", options={"each": 1})]),
        "clients[0].options.each: flood has no such option",
    ),
    "a word for a number": (
        own(clients=[client(behaviour="flood", options={"times": "x"})]),
        "clients[0].options.times: expected `int`, got 'x'",
    ),
    # who is played
    "no such replica": (own(cast=[cast("silent", 9)]), "cast[0].replica: no replica 9, there are 0 to 3"),
    "no such behaviour": (own(cast=[cast("sulk")]), "cast[0].strategy: no 'sulk'; there are accomplice"),
    "no such option": (own(cast=[cast("silent", why=1)]), "cast[0].options.why: silent has no such option"),
    "an option of another type": (
        own(cast=[cast("slow_primary", hold="x")]),
        "cast[0].options.hold: expected `int | null`, got `str`",
    ),
    "an option without end": (own(cast=[cast("replay", times=10**9)]), "cast[0].options.times: from 0 to 1000, not"),
    "no such victim": (own(cast=[cast("false_accuser", 3, victim=7)]), "cast[0].options.victim: no replica 7"),
    "no such way": (own(cast=[cast("state_lie", how="nicely")]), "cast[0].options: behaviour 'state_lie' with"),
    "a twin with a number of sides": (
        own(cast=[cast("twin", sides=3)]),
        "cast[0].options.sides: expected `array`, got `int`",
    ),
    "a twin with a stranger": (
        own(cast=[cast("twin", sides=[[1], [9]])]),
        "cast[0].options.sides[1][0]: no replica 9, there are 0 to 3",
    ),
    "a twin with one side": (own(cast=[cast("twin", sides=[[1]])]), "cast[0].options.sides: one for each of the two"),
    "a twin twice": (own(cast=[cast("twin"), cast("twin")]), "cast[1]: replica 0 is a twin already"),
    "a lie that ends before it starts": (
        own(cast=[cast("silent", start_ms=500, until_ms=400)]),
        "cast[0].options.until_ms: it ends at 400, before it starts at 500",
    ),
    # what happens
    "no such fault": (
        happens("sneeze", replica=0),
        "happens[0].kind: invalid value 'sneeze'; there are crash, pause",
    ),
    "a fault of nobody": (happens("pause", replica=4), "happens[0].replica: no replica 4, there are 0 to 3"),
    "a word for a time": (happens("pause", replica=0, at_ms="x"), "happens[0].at_ms: expected `int`, got `str`"),
    "a fault before time began": (happens("pause", replica=0, at_ms=-1), "happens[0].at_ms: from 0 to 600000, not"),
    "a fault that never begins": (
        happens("pause", replica=0, at_ms=4000),
        "happens[0].at_ms: at 4000 ms faults are over, they end with until_ms, 4000",
    ),
    "a cut through strangers": (happens("partition", sides=[[9]]), "happens[0].sides[0][0]: no replica 9"),
    "a cut with one side": (happens("partition", sides=[[0]]), "happens[0].sides: from 2 to 4 sides, not 1"),
    "a route to oneself": (happens("route", source=1, to=1), "happens[0].to: replica 1 has no link to itself"),
    "a route for what is never sent": (
        happens("route", source=1, to=2, message_type="PRAYER"),
        "happens[0].message_type: no 'PRAYER'; there are Body, Checkpoint",
    ),
    "no such damage": (happens("damage", replica=0, what="coffee"), "happens[0].what: no 'coffee'; there are lost"),
    "an image of the future": (
        happens("damage", replica=0, what="stale", image_ms=5),
        "happens[0].image_ms: from 0 to 1, not 5",
    ),
    "a cascade without a pause": (
        happens("cascade", every_ms=0, down_ms=1),
        "happens[0].every_ms: from 1 to 600000, not 0",
    ),
    "restarts of nobody": (happens("restarts", replicas=[], down_ms=1), "happens[0].replicas: names nobody"),
    "one number for two": (
        own(happens=[{"kind": "pause", "at_ms": 1, "for_ms": 1, "replica": 0, "id": 1}] * 2),
        "happens[1].id: 1 is another one's",
    ),
    # what is expected
    "no such proof": (own(expect={"evidence": ["E99"]}), "expect.evidence[0]: no 'E99'; there are E1, E2"),
    "no such invariant": (own(expect={"breaks": ["peace"]}), "expect.breaks[0]: no invariant 'peace'; there are"),
    "no such stop": (breaks("progress: dance"), "above_f.expect.breaks[0]: a run stands still as halt"),
    "a floor without a height": (breaks("floor"), "above_f.expect.wait_ms: a floor can only break where"),
    "no such mark": (own(expect={"marks": ["sunrise"]}), "expect.marks[0]: no mark 'sunrise'"),
    "more culprits than replicas": (own(expect={"culprits": 5}), "expect.culprits: from 0 to 4, not 5"),
    "above f, a stranger": (
        own(above_f={"cast": [cast("silent"), cast("silent", 4)], "expect": {}}),
        "above_f.cast[1].replica: no replica 4, there are 0 to 3",
    ),
    "above f, a fault too late for what is as at f": (
        own(above_f={"happens": [{"kind": "pause", "at_ms": 9000, "for_ms": 1, "replica": 0}], "expect": {}}),
        "above_f.happens[0].at_ms: at 9000 ms faults are over",
    ),
}


@pytest.mark.parametrize("name", NO_ATTACK)
def test_what_makes_no_sense_is_refused_with_its_place(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, why = NO_ATTACK[name]
    path = tmp_path / "mine.json"
    path.write_bytes(data)
    assert run_command(str(path)) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"{path}: {why}")
    assert (said.err.count("\n"), said.out) == (1, "")


# -- whatever a file holds

CATALOGUE = [
    json.loads(file.read_bytes())
    for file in sorted(files("adversary.attacks.catalogue").iterdir(), key=lambda file: file.name)
    if file.name.endswith(".json")
]
ODD = st.one_of(
    st.sampled_from((-1, 0, 1, 3, 9, 999, 5_000, 10**6, 2**53 + 1, 2**63, 10**30, True, None, 0.5, 1e300)),
    st.sampled_from(("", "x", "E99", "twin", "peekaboo_twin", "cascade", "progress:", "flood", "alice", "\x00")),
    st.sampled_from(([], {}, [[9]], [[0], [1]], [0, 1], ["x"], [-1], {"x": 1}, {"sides": 3}, {"start_ms": 1})),
)
NAMES = st.sampled_from(("id", "kind", "options", "replica", "sides", "at_ms", "victim", "times", "until_ms", "loss"))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Everything that stands somewhere in a value, as container and key."""
    found: list[tuple[Any, Any]] = []
    for key in list(value) if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0):
        found += [(value, key), *places(value[key])]
    return found


@st.composite
def nearly_attacks(draw: st.DrawFn) -> bytes:
    """A file of the catalogue in which one to three things are others, missing, or too many."""
    fields = copy.deepcopy(draw(st.sampled_from(CATALOGUE)))
    for _ in range(draw(st.integers(1, 3))):
        where = places(fields)
        if not where:
            break
        container, key = where[draw(st.integers(0, len(where) - 1))]
        match draw(st.sampled_from(("other", "other", "missing", "more"))):
            case "other":
                container[key] = copy.deepcopy(draw(ODD))
            case "missing":
                del container[key]
            case _ if isinstance(container, dict):
                container[draw(NAMES)] = copy.deepcopy(draw(ODD))
            case _:
                container.append(copy.deepcopy(draw(ODD)))
    return json.dumps(fields).encode()


def tried(data: bytes) -> str:
    """Why it is refused. Whatever is raised beside AttackError fails the test."""
    try:
        attack = attack_from_json(data)
        for above_f in (False, True):
            if attack.above_f is not None or not above_f:
                scenario_of(attack, above_f=above_f)
    except AttackError as error:
        return str(error)
    return ""


@settings(max_examples=200)
@given(nearly_attacks())
def test_a_file_is_an_attack_that_can_be_played_or_is_refused(data: bytes) -> None:
    assert "\n" not in tried(data)


@settings(max_examples=50)
@given(st.recursive(ODD, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=6))
def test_any_json_is_an_attack_or_is_refused(value: Any) -> None:
    for data in (json.dumps(value).encode(), own(cast=value, happens=value, clients=value), own(above_f=value)):
        assert "\n" not in tried(data)


# -- what fits, and what does not


def test_an_attack_is_checked_against_the_group_that_it_is_run_in() -> None:
    large = attack_from_json(own(replicas=7, cast=[cast("silent", 6)]))
    assert scenario_of(large).replicas == 7
    with pytest.raises(AttackError, match=r"mine: cast\[0\].replica: no replica 6, there are 0 to 3"):
        scenario_of(large, replicas=4)
    with pytest.raises(AttackError, match=r"own: happens\[0\].replica: no replica 5"):
        scenario_of(Attack(name="own", happens=(Pause(1, 100, 100, 5),)))


def test_above_f_has_to_be_above_f() -> None:
    attack = Attack(name="own", above_f=AboveF(cast=(Liar(3, "silent"),), expect=Expect(breaks=("progress",))))
    with pytest.raises(AttackError, match="no more of them are"):
        run(attack, above_f=True)
    with pytest.raises(AttackError, match="says nothing of more than f"):
        run(attack_named("nv_bad_O"), above_f=True)


def test_what_happens_needs_no_numbers() -> None:
    attack = attack_from_json(own(happens=[{"kind": "pause", "at_ms": 900, "for_ms": 300, "replica": 1}] * 2))
    assert attack.happens == (Pause(1, 900, 300, 1), Pause(2, 900, 300, 1))


def test_whatever_sweeps_lose_a_route_may_lose() -> None:
    assert set(drawing.MESSAGE_TYPES) <= set(MESSAGE_TYPES)


def test_a_file_of_any_name_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(own(title="Mine"))
    assert show(str(path)) == 0
    assert "mine: Mine" in capsys.readouterr().out
    path.write_text("name: mine\n")
    assert show(str(path)) == 2
    assert f"{path}: JSON is malformed" in capsys.readouterr().err
    assert show(str(tmp_path)) == 2
    assert f"{tmp_path}: Is a directory" in capsys.readouterr().err
    assert show(str(tmp_path / "none")) == 2
    assert "none: No such file or directory" in capsys.readouterr().err


# -- outcomes


OUTCOME = {"name": "double_commit", "world": "simulator", "seed": 7, "replicas": 4, "above_f": False, "verdict": {}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": "x"}, "seed: expected `int`, got `str`"),
        ({"name": None}, "name: expected `str`, got `null`"),
        ({"name": "nonsense"}, "no attack 'nonsense'"),
        ({"replicas": 3}, "replicas: from 4 to 13, not 3"),
        ({"world": "dream"}, "world: invalid enum value 'dream'"),
        ({"above_f": 1}, "above_f: expected `bool`, got `int`"),
        ({"attack": {"name": "mine", "seeds": 0}}, "attack.seeds: from 1 to 1000, not 0"),
        ({"attack": 3}, "attack: Expected `object`, got `int`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_outcome_that_was_spoilt_is_refused(
    change: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcome.json"
    path.write_text(json.dumps(OUTCOME | change))
    assert replay(path) == 2
    assert capsys.readouterr().err.startswith(f"{path}: {why}")


@pytest.mark.parametrize("field", sorted(OUTCOME.keys() - {"verdict"}))
def test_an_outcome_with_something_missing_is_refused(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcome.json"
    path.write_text(json.dumps({name: value for name, value in OUTCOME.items() if name != field}))
    assert replay(path) == 2
    assert capsys.readouterr().err == f"{path}: Object missing required field `{field}`\n"


def test_the_catalogue_is_read_as_any_file_is(tmp_path: Path) -> None:
    for fields, attack in zip(CATALOGUE, all_attacks(), strict=True):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(fields))
        assert read_attack(path) == attack
