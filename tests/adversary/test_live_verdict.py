"""The verdict on a live attack, without processes: what people know, what was seen, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adversary.attacks.catalogue import all_attacks, attack_named
from adversary.attacks.model import Attack, AttackError, Expect
from adversary.attacks.outcome import Outcome, Proof
from adversary.live.faults import stopped_for_its_disk
from adversary.live.group import LiveGroup
from adversary.live.judging import judge, note_floor
from adversary.live.node import BEGINS_TO_LIE, LIES_TOLD
from adversary.live.operators import note_restarts
from adversary.live.people import Journal, Said
from adversary.live.rooms import what_is_wrong
from adversary.live.running import run_live
from adversary.live.signs import UNDER_ATTACK, why_not_live
from adversary.live.stage import Stage
from adversary.simulator.scenario import Crash, Damage, Liar, Network, SyncFails
from chatsvc.application.answers import Message
from pbft.client.inspection import Report
from tests.chatsvc_process.processes import make_group

# -- what people know ---------------------------------------------------------------------------------------------


def said(nonce: bytes, asked_at: float, accepted_at: float | None, *, what: str = "post", **more: Any) -> Said:
    return Said(who="ann", what=what, nonce=nonce, asked_at=asked_at, accepted_at=accepted_at, body="hello", **more)


def message(index: int, nonce: bytes, *, author: str = "ann", body: str = "hello") -> Message:
    return cast("Message", SimpleNamespace(index=index, nonce=nonce, author=author, body=body))


def test_a_gap_is_a_time_in_which_somebody_waits_and_nothing_is_accepted() -> None:
    journal = Journal()
    for each in (said(b"1", 0.0, 1.0), said(b"2", 5.0, 5.5), said(b"3", 5.25, 8.0)):
        journal.add(each)
    assert journal.longest_gap_s() == 2.5, "from 1 to 5 nobody waited"
    assert journal.longest_wait_s() == 2.75
    assert Journal().longest_gap_s() == Journal().longest_wait_s() == 0


SAID = (said(b"1", 0, 1, index=0), said(b"2", 2, 3), said(b"3", 4, None), said(b"", 0, 1, what="join"))
"""One after the other; of the third nobody knows what became of it."""


def broken(*room: Message, by: tuple[Said, ...] = SAID) -> list[str]:
    return [invariant for invariant, _ in what_is_wrong(by, "main", room)]


def test_what_was_accepted_is_in_the_room_once_and_in_its_order() -> None:
    first, second = message(0, b"1"), message(1, b"2")
    assert not broken(first, second)
    assert not broken(first, second, message(2, b"3")), "nobody knows of it, and it was said"
    assert broken(first) == ["replies"], "the second was accepted"
    assert broken(first, second, message(2, b"1")) == ["exactly once", "replies", "order"]
    assert broken(first, message(2, b"2")) == ["order"], "a gap"


def test_nothing_is_in_the_room_that_was_not_said_so() -> None:
    first, second = message(0, b"1"), message(1, b"2")
    assert broken(first, second, message(2, b"9")) == ["replies"], "invented"
    assert broken(first, message(1, b"2", body="bye")) == ["replies"], "altered"
    assert broken(first, second, message(2, b"3", author="bob")) == ["replies"], "in another name"
    refused = said(b"4", 5, 6, refusal="NOT_A_MEMBER: join first")
    assert not broken(first, second, by=(*SAID, refused))
    assert broken(first, second, message(2, b"4"), by=(*SAID, refused)) == ["replies"], "refused, and there"


def test_nothing_stands_before_what_had_been_accepted_when_it_was_asked_for() -> None:
    late = (said(b"1", 0, 1), said(b"2", 2, 3))
    assert broken(message(0, b"2"), message(1, b"1"), by=late) == ["order"]
    together = (said(b"1", 0, 3), said(b"2", 2, 3))
    assert not broken(message(0, b"2"), message(1, b"1"), by=together), "either may be first"
    assert broken(message(0, b"3"), message(1, b"1"), message(2, b"2"))[-1] == "order", "whatever became of it"
    assert broken(message(0, b"2"), message(1, b"1"))[0] == "replies", "it was promised place 0"


def test_each_room_is_held_against_what_was_said_in_it() -> None:
    kitchen = said(b"5", 0, 1, room="kitchen")
    assert not broken(message(0, b"1"), message(1, b"2"), by=(*SAID, kitchen))
    assert [each for each, _ in what_is_wrong((*SAID, kitchen), "kitchen", [])] == ["replies"]


# -- the verdict ----------------------------------------------------------------------------------------------------


def stage_of(attack: Attack, tmp_path: Path) -> Stage:
    """Of an attack that took place as it says."""
    file = make_group(tmp_path / "group")
    stage = Stage(attack=attack, group=LiveGroup(file, None, seed=1), seed=1)
    for liar in attack.cast:
        log(stage, liar.replica, BEGINS_TO_LIE)
    stage.applied |= {fault.id for fault in attack.happens}
    stage.deeds["bombs"] += 1
    return stage


def log(stage: Stage, replica: int, *lines: str) -> None:
    with stage.group.log_of(stage.group.seats[replica]).open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def verdict(stage: Stage, *proofs: Proof, is_live: bool = True, why_dead: str = "") -> Outcome:
    return judge(stage, proofs, is_live=is_live, why_dead=why_dead, replay="")


def proof(culprit: int | str, code: str = "E1") -> Proof:
    return Proof(code=code, culprit=culprit, held_by=("replica 1",))


LIED = Attack(name="lied", cast=(Liar(0, "split_primary"),), expect=Expect(evidence=("E1", "E3"), culprits=1))


def test_a_liar_that_is_proven_to_be_one_is_as_expected(tmp_path: Path) -> None:
    outcome = verdict(stage_of(LIED, tmp_path), proof(0, "E3"))
    assert (outcome.as_expected, outcome.safe, outcome.culprits, outcome.faulty) == (True, True, (0,), (0,))


def test_a_liar_of_whom_nothing_is_proven_is_not(tmp_path: Path) -> None:
    assert "evidence E1 or E3 was expected, and none found" in verdict(stage_of(LIED, tmp_path)).why_not
    assert "and E4 found" in verdict(stage_of(LIED, tmp_path / "again"), proof(0, "E4")).why_not


def test_an_honest_replica_or_person_that_is_accused_breaks_an_invariant(tmp_path: Path) -> None:
    outcome = verdict(stage_of(LIED, tmp_path), proof(0), proof(2))
    assert (outcome.safe, outcome.breaks) == (False, "honest evidence")
    assert "accuses replica 2" in outcome.why_not
    stage = stage_of(LIED, tmp_path / "again")
    stage.devices["ab"] = "ann"
    assert "ann, who is honest" in verdict(stage, proof(0), proof("ab", "CLIENT-EQUIVOCATION")).why_not


def test_each_liar_must_lie_and_each_fault_come_about(tmp_path: Path) -> None:
    """None makes up for another."""
    two = (*LIED.cast, Liar(1, "double_prepare"))
    attack = Attack(name="two", cast=two, happens=(Crash(id=7, at_ms=100, for_ms=10, replica=2),))
    stage = stage_of(attack, tmp_path)
    assert verdict(stage).as_expected
    stage.group.log_of(stage.group.seats[1]).write_text(f"{LIES_TOLD}0\n")
    outcome = verdict(stage)
    assert (outcome.as_expected, outcome.is_worth_another_try) == (False, True)
    assert "replica 1 was to be double_prepare, and told no lie" in outcome.why_not
    log(stage, 1, BEGINS_TO_LIE)
    stage.applied.clear()
    assert "crash at 100 ms was not carried out" in verdict(stage).why_not
    idle = stage_of(Attack(name="idle"), tmp_path / "idle")
    idle.deeds.clear()
    assert "nothing was done that an honest group does not do" in verdict(idle).why_not
    for troubled in (Attack(name="slow", network=Network(delay_us=9)), Attack(name="late", drift_ppm=(0, 50))):
        stage = stage_of(troubled, tmp_path / troubled.name)
        stage.deeds.clear()
        assert verdict(stage).as_expected


def test_an_attack_under_which_nobody_got_anything_through_was_none(tmp_path: Path) -> None:
    stage = stage_of(Attack(name="cbor_bombs"), tmp_path)
    stage.journal.add(said(b"1", stage.began - 3, stage.began - 2))
    stage.moment("replica 0", "starts")
    stage.restart_clock()
    assert [moment.at_ms for moment in stage.moments] == [0.0], "what was before it stands at its beginning"
    stage.figures[UNDER_ATTACK] = stage.accepted_since_it_began()
    outcome = verdict(stage)
    assert "nothing was accepted from when the attackers began until they ended" in outcome.why_not
    assert outcome.is_worth_another_try
    stage.journal.add(said(b"2", stage.began, stage.began + 1))
    stage.figures[UNDER_ATTACK] = stage.accepted_since_it_began()
    assert verdict(stage).as_expected


def test_who_was_restarted_is_counted_and_not_assumed(tmp_path: Path) -> None:
    stage = stage_of(attack_named("runaway_automation"), tmp_path)
    up = "... [info     ] node up                        last_executed=9 replica=1"
    log(stage, 1, up)
    note_restarts(stage, {0: 0, 1: 1, 2: 0}, {0}, 0)
    assert stage.figures["restarted"] == 1
    assert stage.missed == [
        "replica 1 was not restarted",
        "replica 2 was not restarted",
        "nobody asked to restart one too many",
    ]
    stage.missed.clear()
    log(stage, 1, up)
    note_restarts(stage, {0: 0, 1: 1}, {0}, 3)
    assert (stage.figures["restarted"], stage.missed) == (2, [])


def test_what_broke_is_told_and_never_tried_again(tmp_path: Path) -> None:
    stage = stage_of(LIED, tmp_path)
    stage.breaks += [("agreement", "two histories"), ("replies", "one is lost")]
    outcome = verdict(stage)
    assert not outcome.is_worth_another_try, "though evidence is missing, too"
    assert outcome.why_not.startswith("agreement: two histories; replies: one is lost; evidence E1")
    late = stage_of(LIED, tmp_path / "late")
    late.late = "somebody waited"
    assert (verdict(late).breaks, verdict(late).is_worth_another_try) == ("floor", False)


def test_a_floor_that_is_to_break_is_looked_for(tmp_path: Path) -> None:
    stage = stage_of(Attack(name="slow", expect=Expect(wait_ms=100, breaks=("floor",))), tmp_path)
    stage.journal.add(said(b"1", 0, 0.25))
    note_floor(stage)
    assert "nothing broke, where floor should have" in verdict(stage).why_not
    stage.journal.add(said(b"2", 0, 0.35))
    note_floor(stage)
    outcome = verdict(stage)
    assert (outcome.as_expected, outcome.breaks, outcome.safe, outcome.live) == (True, "floor", True, True)


UNSYNCED = SyncFails(id=1, at_ms=0, for_ms=1, replica=0, kept=False)


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (Attack(name="a", expect=Expect(marks=("stale timer ignored",))), "seen in the simulator only"),
        (Attack(name="a", expect=Expect(breaks=("progress: halt",))), "told in the simulator only"),
        (Attack(name="a", happens=(UNSYNCED,)), "needs the simulator"),
    ],
)
def test_what_nobody_could_see_of_real_processes_is_not_begun(attack: Attack, text: str) -> None:
    with pytest.raises(AttackError, match=text):
        run_live(attack)


def test_all_that_live_attacks_ask_for_can_be_seen() -> None:
    assert not [why_not_live(attack) for attack in all_attacks() if attack.live and why_not_live(attack)]


# -- what is seen ---------------------------------------------------------------------------------------------------

ALARM = "2026-11-24T18:06:24.5Z [error    ] alarm                          replica=2 text="


@pytest.mark.parametrize(
    ("mark", "line"),
    [
        ("primary dismissed as slow", ALARM + "'view 0 is given up: its primary, replica 0, ordered nothing'"),
        ("a false page refused", ALARM + "\"state transfer to 8: replica 0 served rows of page '00'; others are\""),
        (
            "state transfer finished",
            ALARM + "\"state transfer to 8: replica 0 served rows of page '00'; others are\"",
        ),
        ("mute replica voted again", ALARM + "'this replica votes again, in view 1 above sequence number 8'"),
        ("ledger begun again", "... [error    ] ledger begun again: this replica forgot its votes"),
    ],
)
def test_a_mark_that_logs_tell_of(mark: str, line: str, tmp_path: Path) -> None:
    """Of honest replicas, whenever that was, and whoever was started again since."""
    attack = Attack(name="marked", cast=(Liar(0, "silent"),), expect=Expect(marks=(mark,)))
    stage = stage_of(attack, tmp_path)
    log(stage, 0, line)
    stage.read_alarms()
    assert f"it did not come to: {mark}" in verdict(stage).why_not
    log(stage, 2, line, "... [info     ] node up")
    stage.read_alarms()
    assert verdict(stage).as_expected


def report(**fields: Any) -> Report:
    """What a replica says of itself."""
    usual = {
        "timeout_doublings": 0,
        "ignored": {},
        "closed_connections": {},
        "slowed_links": 0,
        "shed": {},
        "dropped_messages": 0,
        "in_view_change": False,
    }
    return {**usual, "view": 0, "transfer": None, **fields}


@pytest.mark.parametrize(
    ("mark", "fields"),
    [
        ("view change", {"view": 1}),
        ("view timeout doubled", {"timeout_doublings": 2}),
        ("proposal from the future refused", {"ignored": {"TIMESTAMP_OUT_OF_RANGE": 1}}),
        ("malformed frame refused", {"closed_connections": {"MalformedMessage": 1}}),
        ("frames left waiting by a busy replica", {"slowed_links": 2}),
        ("frames left waiting by a busy replica", {"shed": {"too much of strangers": 1}}),
        ("frames left waiting by a busy replica", {"ignored": {"POOL_FULL": 1}}),
        ("frames left waiting by a busy replica", {"ignored": {"DEVICE_FULL": 1}}),
        ("state transfer finished", {"transfer": {"checkpoint": 8}}),
    ],
)
def test_a_mark_that_a_replica_reported_is_not_forgotten_with_its_process(
    mark: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    stage = stage_of(Attack(name="marked", expect=Expect(marks=(mark,))), tmp_path)
    stage.saw(1, report())
    assert f"it did not come to: {mark}" in verdict(stage).why_not
    stage.saw(1, report(**fields))
    stage.saw(1, report())
    assert verdict(stage).as_expected


@pytest.mark.parametrize(
    ("mark", "fields"),
    [
        ("view change", {"view": 1, "in_view_change": True}),
        ("malformed frame refused", {"closed_connections": {"BrokenResourceError": 2, "InvalidMessageSignature": 1}}),
        ("frames left waiting by a busy replica", {"dropped_messages": 12, "ignored": {"DUPLICATE": 9}}),
    ],
)
def test_what_any_group_reports_is_no_mark(mark: str, fields: dict[str, Any], tmp_path: Path) -> None:
    stage = stage_of(Attack(name="marked", expect=Expect(marks=(mark,))), tmp_path)
    stage.saw(1, report(**fields))
    outcome = verdict(stage)
    assert (outcome.why_not, outcome.missed) == (f"it did not come to: {mark}", (mark,))


def test_a_full_disk_is_what_a_node_must_say_that_it_stopped_for() -> None:
    up = "... [info     ] node up                        last_executed=0 replica=0"
    full = "quorate: ledger.sqlite: disk I/O error. Nothing was sent that is not stored; free the disk or replace it"
    assert stopped_for_its_disk([up, "... link up", full])
    assert stopped_for_its_disk(["Traceback of an earlier life", up, full])
    assert not stopped_for_its_disk([up, "quorate: group.toml: no such file"])
    assert not stopped_for_its_disk([up, "Traceback (most recent call last):", full])
    assert not stopped_for_its_disk([full, up]), "that was long ago"
    assert not stopped_for_its_disk([])


def test_who_dies_again_and_again_must_have_died_more_than_once_and_gone_on_each_time(tmp_path: Path) -> None:
    crash = Crash(id=1, at_ms=800, for_ms=350, replica=0, fuse=3, again=8)
    marks = ("crash between two effects", "restart with votes to send again")
    stage = stage_of(Attack(name="loop", happens=(crash,), expect=Expect(marks=marks)), tmp_path)
    up = "... [info     ] node up                        clients=127.0.0.1:1 last_executed={} replica=0"
    log(stage, 0, up.format(0), up.format(9))
    stage.deeds["deaths of replica 0"] += 1
    assert verdict(stage).why_not == "it did not come to: crash between two effects"
    stage.deeds["deaths of replica 0"] += 1
    assert verdict(stage).why_not == "it did not come to: restart with votes to send again"
    log(stage, 0, up.format(12))
    assert verdict(stage).as_expected


def test_a_replica_that_knows_that_it_forgot_may_not_be_accused_and_one_that_cannot_know_may(tmp_path: Path) -> None:
    lost = Damage(id=1, at_ms=0, for_ms=0, replica=3, what="lost_ledger")
    stage = stage_of(Attack(name="lost", happens=(lost,)), tmp_path)
    stage.damaged.add(3)
    assert verdict(stage, proof(3, "E2")).breaks == "honest evidence"
    stage = stage_of(Attack(name="stale", happens=(lost,)), tmp_path / "again")
    stage.damaged.add(3)
    stage.forgetful.add(3)
    assert verdict(stage, proof(3, "E2")).as_expected


def test_whose_rows_rotted_may_have_told_people_what_is_false_and_no_more(tmp_path: Path) -> None:
    rot = Damage(id=1, at_ms=0, for_ms=0, replica=3, what="flipped_state")
    stage = stage_of(Attack(name="rot", happens=(rot,)), tmp_path)
    assert verdict(stage, proof(3, "E9")).as_expected
    assert verdict(stage, proof(3, "E2")).breaks == "honest evidence"


def test_nobody_may_be_told_that_what_was_asked_for_is_forgotten(tmp_path: Path) -> None:
    stage = stage_of(LIED, tmp_path)
    stage.journal.add(said(b"1", 0, None, is_forgotten=True))
    outcome = verdict(stage, proof(0))
    assert (outcome.breaks, outcome.safe) == ("replies", False)
    assert "ann was told that its post is forgotten" in outcome.why_not


def test_what_is_not_accepted_in_the_end_is_told(tmp_path: Path) -> None:
    outcome = verdict(stage_of(LIED, tmp_path), proof(0), is_live=False, why_dead="ann waits")
    assert (outcome.as_expected, outcome.live, outcome.safe) == (False, False, True)
    assert (outcome.breaks, outcome.why_not) == ("progress", "progress: ann waits")


def test_who_waits_for_longer_than_a_real_machine_excuses_is_late(tmp_path: Path) -> None:
    stage = stage_of(Attack(name="slow", expect=Expect(wait_ms=100)), tmp_path)
    stage.journal.add(said(b"1", 0, 0.25))
    note_floor(stage)
    assert verdict(stage).as_expected
    stage.journal.add(said(b"2", 0, 0.35))
    note_floor(stage)
    assert "floor: somebody waited 350 ms" in verdict(stage).why_not


def test_a_figure_for_real_machines_is_excused_no_further(tmp_path: Path) -> None:
    stage = stage_of(Attack(name="slow", expect=Expect(wait_ms=100, live_wait_ms=500)), tmp_path)
    stage.journal.add(said(b"1", 0, 0.45))
    note_floor(stage)
    assert verdict(stage).as_expected
    stage.journal.add(said(b"2", 0, 0.55))
    note_floor(stage)
    outcome = verdict(stage)
    assert "waited 550 ms for an operation, where 500 are allowed" in outcome.why_not
    assert outcome.record()["expected"]["wait_ms"] == 500
