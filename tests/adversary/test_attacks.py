"""Every named attack does what its file says: a group bears f, and what breaks above f is noticed and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from adversary.attacks import (
    AboveF,
    Action,
    Attack,
    AttackError,
    Client,
    Expect,
    Liar,
    Proof,
    Talk,
    all_attacks,
    attack_named,
    judging,
    run,
)
from adversary.attacks.model import FAMILIES
from adversary.attacks.reading import attack_from_json
from adversary.attacks.recording import RESERVED, Recorder
from adversary.attacks.running import scenario_of
from adversary.behaviours.base import Behaviour, Means, Puppet
from adversary.behaviours.catalogue import BEHAVIOURS
from adversary.simulator.broken import Broken
from adversary.simulator.host import Host
from adversary.simulator.invariants import Checker
from adversary.simulator.run import Simulation
from adversary.simulator.scenario import from_json, to_json
from pbft.core.effects import Effects, Evidence, Input
from pbft.core.types import ReplicaId

LIVE = {1, 3, 9, 12, 15, 17, 18, 23, 25, 26, 28, 29, 31, 33, 34, 35, 37, 38, 39, 40, 41, 42, 43, 44}
"""Those that run against real processes too."""
UNBROKEN = {14, 16, 24, 25, 28, 30, 31}
"""Those that break nothing however many there are, or are of one liar by nature."""
FORKS = ("agreement", "accepted kept", "exactly once", "one prepared")
COSTLY = {"vc_storm", "censor_vip", "torn_ledger", "total_disk_loss", "flood"}
"""Whose runs above f take seconds."""

QUIET = Talk(people=2, messages=2, for_ms=800)
JOINS = Action(id=1, at_ms=600, kind="join", room="main")


def by_name(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("attack", all_attacks(), ids=by_name)
def test_a_group_bears_what_f_of_its_replicas_do(attack: Attack) -> None:
    outcome = run(attack)
    assert outcome.as_expected, outcome.why_not
    assert outcome.safe
    assert outcome.live
    assert not outcome.breaks
    assert set(outcome.culprits) <= scenario_of(attack).untrusted


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(attack, marks=pytest.mark.slow) if attack.name in COSTLY else attack
        for attack in all_attacks()
        if attack.above_f
    ],
    ids=by_name,
)
def test_what_breaks_above_f_is_noticed(attack: Attack) -> None:
    outcome = run(attack, above_f=True)
    assert outcome.as_expected, outcome.why_not
    assert len(outcome.faulty) > (outcome.replicas - 1) // 3
    if outcome.breaks in FORKS:
        assert len(outcome.culprits) > (outcome.replicas - 1) // 3, outcome.proofs
    assert set(outcome.culprits) <= scenario_of(attack, above_f=True).untrusted


def test_there_is_a_file_for_every_attack() -> None:
    attacks = all_attacks()
    assert [attack.number for attack in attacks] == list(range(1, 45))
    assert len({attack.name for attack in attacks}) == 44
    assert {attack.number for attack in attacks if attack.live} == LIVE
    assert {attack.family for attack in attacks} == set(FAMILIES) - {"own"}
    assert all(attack.title and attack.story for attack in attacks)


def test_above_f_a_break_is_expected_or_it_is_said_that_none_follows() -> None:
    harmless = {
        attack.number for attack in all_attacks() if attack.above_f is None or not attack.above_f.expect.breaks
    }
    assert harmless - UNBROKEN == {19, 23, 38}


# -- a checker that cannot fail proves nothing


def test_a_run_without_an_attack_is_quiet() -> None:
    outcome = run(Attack(name="nobody", talk=QUIET))
    assert outcome.as_expected
    assert outcome.proofs == ()
    assert outcome.figures["lies"] == 0
    assert outcome.figures["operations_accepted"] == outcome.figures["operations_asked"]


SILENT = Attack(name="own", cast=(Liar(3, "silent"),), talk=QUIET)

WRONG: dict[str, tuple[Attack, str]] = {
    "a break that does not come": (
        replace(SILENT, expect=Expect(breaks=("agreement",))),
        "agreement should have broken, and nothing did",
    ),
    "a proof that nobody can have": (
        replace(SILENT, expect=Expect(evidence=("E1", "E3"))),
        "E1 or E3 should be proven, and found was none",
    ),
    "more culprits than there are": (
        replace(attack_named("double_prepare"), expect=Expect(culprits=2)),
        "2 culprits should be named, not 1",
    ),
    "a rare state that is not reached": (
        replace(SILENT, expect=Expect(marks=("view change",))),
        "it did not come to: view change",
    ),
    "a lie that is never told": (
        Attack(name="own", cast=(Liar(3, "false_new_view"),), talk=QUIET),
        "nobody lied",
    ),
    "a bad client that says nothing twice": (
        Attack(name="own", talk=QUIET, clients=(Client("mallory", (JOINS,), behaviour="flood"),)),
        "mallory did nothing of what was meant: flood",
    ),
    "a bad client that nobody knows": (
        Attack(name="own", talk=QUIET, clients=(Client("mallory", (JOINS,), behaviour="query_of_death"),)),
        "mallory did nothing of what was meant: query_of_death",
    ),
    "a bad client that has nothing to say again": (
        Attack(name="own", talk=Talk(people=0), expect=Expect(live=False),
               clients=(Client("mallory", (), behaviour="replay"), Client("nina", (), behaviour="equivocate"))),
        "mallory did nothing of what was meant: replay; nina did nothing of what was meant: equivocate",
    ),
    "nobody may wait so short a time": (
        replace(SILENT, cast=(Liar(0, "silent"),), expect=Expect(wait_ms=100)),
        "floor broke",
    ),
    "a group that cannot live": (
        replace(SILENT, cast=(Liar(2, "silent"), Liar(3, "silent")), bound_ms=3_000),
        "progress broke: halt",
    ),
    "another break than the one expected": (
        replace(attack_named("reply_lie"), above_f=AboveF(cast=(Liar(2, "reply_lie"), Liar(3, "reply_lie")),
                expect=Expect(breaks=("agreement",)))),
        "replies broke; expected was agreement",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_as_expected_is_said(name: str) -> None:
    attack, why = WRONG[name]
    outcome = run(attack, above_f=attack.above_f is not None and name.startswith("another"))
    assert not outcome.as_expected
    assert why in outcome.why_not


ACCUSED = {
    "deaf": ("deaf_node", 2),
    "dying again and again": ("crash_loop", 2),
    "with a full disk": ("disk_full", 0),
    "without its votes": ("torn_ledger", 3),
}
"""Replicas that are faulty, and lie to nobody."""


@pytest.mark.parametrize("how", ACCUSED)
def test_a_replica_that_only_fails_may_not_be_accused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, replica = ACCUSED[how]
    after_step = Checker.after_step

    def accuse(checker: Checker, host: Host) -> None:
        after_step(checker, host)
        if host.me == 1 and host.executed > 3:
            checker.on_evidence(host, Evidence(code="E3", culprit=ReplicaId(replica), statements=(b"", b"")))

    monkeypatch.setattr(Checker, "after_step", accuse)
    outcome = run(attack_named(name))
    assert (outcome.as_expected, outcome.breaks) == (False, "honest evidence")


def test_forensics_that_name_an_honest_replica_are_not_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replica 0 is only paused, and takes nobody's place among the culprits either."""
    named = tuple(Proof(code="E1", culprit=replica, held_by=("forensics",)) for replica in (0, 1))
    monkeypatch.setattr(judging, "proofs_of", lambda _run: ())
    monkeypatch.setattr(judging, "found_afterwards", lambda _run: named)
    outcome = run(attack_named("vc_equivocate"), above_f=True)
    assert outcome.culprits == (1,)
    assert "E1 accuses replica 0, which is honest; 2 culprits should be named, not 1" in outcome.why_not


def test_a_client_that_accuses_an_honest_replica_breaks_an_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    on_proof = Checker.on_client_proof
    wrong = Evidence(code="E9", culprit=ReplicaId(1), statements=(b"",))
    monkeypatch.setattr(Checker, "on_client_proof", lambda self, client, _proof: on_proof(self, client, wrong))
    outcome = run(attack_named("reply_lie"))
    assert "E9 against replica 1" in outcome.breaks_text


def test_a_behaviour_with_a_fault_of_its_own_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of the replica that is played would look like an attack that the group bore."""

    class Clumsy(Behaviour):
        def __init__(self, _means: Means) -> None: ...

        def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
            return effects if not effects.send else 1 // 0  # type: ignore[return-value]

    monkeypatch.setitem(BEHAVIOURS, "clumsy", Clumsy)
    with pytest.raises(AttackError, match=r"replica 3 \(Clumsy\) fails: ZeroDivisionError"):
        run(Attack(name="own", cast=(Liar(3, "clumsy"),), talk=QUIET))


@pytest.mark.parametrize("above_f", [False, True])
def test_what_breaks_unexpectedly_is_told_whatever_other_seeds_show(
    above_f: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_step, seeds = Checker.after_step, set()

    def once(checker: Checker, host: Host) -> None:
        after_step(checker, host)
        seeds.add(id(checker))
        if len(seeds) == 1:
            raise Broken("one vote", "planted")

    monkeypatch.setattr(Checker, "after_step", once)
    attack = attack_named("split_primary")
    above = replace(attack.above_f, seeds=3) if attack.above_f else None
    outcome = run(replace(attack, above_f=above), above_f=above_f)
    assert (outcome.as_expected, outcome.breaks, outcome.seed) == (False, "one vote", 7)


@pytest.mark.parametrize("name", ["client_equivocate", "query_of_death", "replay"])
def test_what_bad_clients_do_is_counted(name: str) -> None:
    outcome = run(attack_named(name))
    assert outcome.as_expected, outcome.why_not
    assert int(outcome.figures["misdeeds_of_clients"]) > 4


# -- the same again


def test_a_seed_gives_the_same_outcome_every_time() -> None:
    attack = attack_named("double_commit")
    assert run(attack, seed=3).record() == run(attack, seed=3).record()
    assert run(attack, seed=3).figures != run(attack, seed=4).figures


def test_a_scenario_that_was_kept_is_complete(tmp_path: Path) -> None:
    run(attack_named("double_commit"), seed=5, keep=tmp_path)
    kept = from_json((tmp_path / "double_commit-at-f-5.json").read_bytes())
    assert kept == scenario_of(attack_named("double_commit"), seed=5)


@pytest.mark.parametrize("attack", all_attacks(), ids=by_name)
def test_an_attack_is_the_same_after_a_journey_through_json(attack: Attack) -> None:
    import msgspec  # noqa: PLC0415 - here alone

    assert attack_from_json(msgspec.json.encode(attack)) == attack
    scenario = scenario_of(attack)
    assert from_json(to_json(scenario)) == scenario


# -- moments


def test_moments_tell_who_lied_to_whom_and_what_came_of_it() -> None:
    outcome = run(attack_named("split_primary"), above_f=True, record=True)
    lies = [moment for moment in outcome.moments if moment.lie and moment.what == "PRE-PREPARE"]
    assert {lie.source for lie in lies} == {"replica 0"}
    assert all(lie.digest and lie.sequence and lie.view == 0 for lie in lies)
    assert any(moment.what == "proves" and moment.text == "E3 against replica 0" for moment in outcome.moments)
    assert outcome.moments[-1].what == "breaks"
    executed = [moment for moment in outcome.moments if moment.what == "executes"]
    assert len({moment.digest for moment in executed if moment.sequence == executed[-1].sequence}) == 2


def test_moments_name_false_proofs_and_who_found_true_ones() -> None:
    accused = run(attack_named("false_accuser"), record=True).moments
    assert {moment.source for moment in accused if moment.lie and moment.what == "EVIDENCE"} == {"replica 3"}
    lied_to = run(attack_named("reply_lie"), record=True).moments
    found = [moment for moment in lied_to if moment.what == "proves" and moment.text == "E9 against replica 3"]
    assert [moment.source for moment in found] == ["client alice", "client bob", "client carol"]


def test_recording_changes_nothing() -> None:
    attack = attack_named("double_prepare")
    recorded, plain = run(attack, record=True), run(attack)
    assert recorded.record() == plain.record()
    assert plain.moments == ()


def test_beyond_their_bound_moments_are_lies_and_what_becomes_of_people(tmp_path: Path) -> None:
    scenario = scenario_of(attack_named("double_prepare"))
    recorder = Recorder(scenario, moments_max=RESERVED + 50)
    simulation = Simulation(scenario, tmp_path, watch=recorder)
    recorder.attach(simulation)
    simulation.run()
    kept = recorder.moments
    assert 50 < len(kept) <= RESERVED + 50
    assert any(moment.what == "STATUS" for moment in kept[:50])
    assert {moment.lie for moment in kept[50:] if moment.to} == {True}
    assert kept[-1].what in {"accepted", "executes", "heals", "proves"}


def test_twins_are_two_places_that_lie_together() -> None:
    outcome = run(attack_named("twins_lead"), record=True)
    assert {"replica 0", "replica 0 (copy)"} <= {moment.source for moment in outcome.moments}
    assert any(moment.lie for moment in outcome.moments)
