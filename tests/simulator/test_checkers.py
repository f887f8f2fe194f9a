"""Every invariant can be broken: a checker that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from adversary.craft import Craft, digest
from adversary.simulator.broken import INVARIANTS, Broken
from adversary.simulator.invariants import Checker
from adversary.simulator.marks import Marks
from adversary.simulator.run import Simulation, simulate
from adversary.simulator.scenario import Pause
from adversary.simulator.storage import Opening
from chatsvc.application.operations import Post, Read, Register, encode_operation
from crypto.canonical import encode
from pbft.core.effects import Effects, Evidence, InstallState, Recovered, RunQuery, SetTimer, StateInstalled, Timer
from pbft.core.errors import InvariantViolation, MalformedMessage
from pbft.core.output import Output
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StorageFailure
from tests.simulator import saying
from tests.simulator.bench import NOW, Bench
from tests.simulator.scenarios import story


@pytest.fixture
def bench(memory: Path) -> Iterator[Bench]:
    run = Simulation(story(), memory)
    made = Bench(run, Craft(run.members), Checker(run.group, frozenset({3}), Marks()))
    for host in run.hosts:
        made.checker.on_start(host, Recovered(now=NOW, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    yield made
    for host in run.hosts:
        host.close()


def two_batches_at_one_place(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    b.checker.on_executed(b.one, b.executed(1, b.register("bob")))


def another_batch_than_a_client_saw_accepted(b: Bench) -> None:
    request = b.register("alice")
    b.checker.on_executed(b.zero, b.executed(1, request))
    result = encode(["registered", "alice"])
    b.checker.on_accepted((request.device, 1, 0), b.accepted(1, result), (0, 0), repeatable=False)
    b.checker.on_executed(b.one, b.executed(1, b.register("bob")))


def two_operations_under_one_name(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    other = b.craft.request("alice", 0, encode_operation(Register("malice")))
    b.checker.on_executed(b.one, b.executed(1, other))


def two_batches_prepared_in_one_slot(b: Bench) -> None:
    for replica, name in ((0, "a"), (1, "b")):
        b.checker.beyond.on_commit(replica, b.craft.commit(replica, 1, digest(name)).message)
    broken = b.checker.beyond.in_the_end()
    assert broken is not None
    raise broken


def a_certificate_for_a_state_that_never_was(b: Bench) -> None:
    for sequence in range(1, 5):
        b.checker.on_executed(b.zero, b.executed(sequence, root="root" if sequence == 4 else ""))
    another = b.craft.checkpoint_certificate(4, digest("another"), (1, 2, 3))
    b.checker.beyond.on_stable(1, another, b.checker.history.roots)


def a_gap(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(2, b.register("alice")))


def a_checkpoint_undone(b: Bench) -> None:
    for sequence in range(1, 5):
        b.checker.on_executed(b.zero, b.executed(sequence, root="root" if sequence == 4 else ""))
    restarted = Recovered(now=NOW, records=(), last_executed=SequenceNumber(3), checkpoint=None)
    b.checker.on_start(b.zero, restarted)


def a_forged_request(b: Bench) -> None:
    forged = b.register("alice")
    b.checker.on_request(forged.device, b.register("alice", 7).digest)
    b.checker.on_executed(b.zero, b.executed(1, forged))


def a_second_effect(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    b.checker.on_executed(b.zero, b.executed(2, b.register("alice")))


def two_roots(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice"), root="one"))
    b.checker.on_executed(b.one, b.executed(1, b.register("alice"), root="other"))


def two_results(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    b.checker.on_executed(b.one, b.executed(1, b.register("alice"), results=(b"",)))


def an_alarm(b: Bench) -> None:
    b.checker.on_alarm(b.zero, "the state differs")


def another_state_installed(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice"), root="one"))
    install = InstallState(
        sequence=SequenceNumber(1), history_head=digest("h"), agreed_time=Milliseconds(1), state_root=digest("other")
    )
    installed = StateInstalled(now=NOW, sequence=SequenceNumber(1), state_root=digest("other"))
    b.checker.on_installed(b.one, install, installed)


def a_wrong_result(b: Bench) -> None:
    post = b.craft.request("alice", 0, encode_operation(Post(room="main", body="hello")))
    b.checker.on_executed(b.zero, b.executed(1, post, results=(encode(["posted", "main", 0]),)))


def garbage_of_an_honest_replica(b: Bench) -> None:
    b.checker.on_malformed(ReplicaId(2), MalformedMessage("trailing bytes"))


def a_frame_in_other_bytes(b: Bench) -> None:
    wire = b.craft.commit(3, 1, digest("batch")).wire
    b.checker.on_opened_frame(b.one, ReplicaId(3), wire)
    b.checker.on_opened_frame(b.one, ReplicaId(3), wire + b"\x00")


def a_request_in_other_bytes_in_a_batch(b: Bench) -> None:
    """Its digest is another, so it would run twice."""
    request = b.register("alice")
    batch = b.craft.batch(request)
    b.checker.on_opened_frame(b.one, ReplicaId(3), b.craft.proposal(3, 1, batch, view=3).wire)
    wire = b"\x9f" + request.wire[1:] + b"\xff"
    batch = b.craft.batch(replace(request, wire=wire))
    b.checker.on_opened_frame(b.one, ReplicaId(3), b.craft.proposal(3, 1, batch, view=3).wire)


def a_body_in_other_bytes(b: Bench) -> None:
    b.checker.on_opened_frame(b.one, ReplicaId(3), encode(["COMMIT", 0, 3, b"\x98\x01\x00", bytes(64)]))


def a_log_without_end(b: Bench) -> None:
    b.one.timers[Timer.STATUS] = Milliseconds(1)
    log = b.one.replica.log
    log._slots.update({SequenceNumber(n): log.slot(SequenceNumber(1), NOW.steady) for n in range(1, 100)})
    for _ in range(32):
        b.checker.after_step(b.one)


def no_timer(b: Bench) -> None:
    b.one.timers.clear()
    b.checker.after_step(b.one)


def nothing_that_wakes_it_when_the_primary_is_late(b: Bench) -> None:
    b.one.timers[Timer.STATUS] = Milliseconds(1)
    b.one.replica.views.timer.arm(Output(), NOW.steady)
    b.checker.after_step(b.one)


def an_order_against_time(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    name = (b.register("alice").device, 1, 0)
    accepted = b.accepted(1, encode(["registered", "alice"]))
    b.checker.on_accepted(name, accepted, (1, 5), repeatable=False)


def an_answer_out_of_the_past(b: Bench) -> None:
    b.checker.on_answered("alice", 3, 4)


def a_result_that_never_was(b: Bench) -> None:
    b.checker.on_executed(b.zero, b.executed(1, b.register("alice")))
    b.checker.on_accepted((b.register("alice").device, 1, 0), b.accepted(1, b"yes"), (0, 0), repeatable=False)


def a_result_before_its_time(b: Bench) -> None:
    b.checker.on_accepted((b.register("alice").device, 1, 0), b.accepted(1, b"yes"), (0, 0), repeatable=False)


def a_forgotten_operation(b: Bench) -> None:
    b.checker.on_lost_outcome("alice", True)


def two_answers(b: Bench) -> None:
    read = RunQuery(device=b.register("alice").device, query_id=1, query=b"?")
    b.checker.on_answer(b.zero, read, SequenceNumber(1), b"this")
    b.checker.on_answer(b.one, replace(read, query_id=2), SequenceNumber(1), b"that")


def a_false_accusation(b: Bench) -> None:
    b.checker.on_evidence(b.zero, Evidence(code="E1", culprit=ReplicaId(1), statements=()))


def a_false_blame_for_a_false_state(b: Bench) -> None:
    b.checker.on_alarm(b.zero, "state transfer to 8: replica 1 served rows of another page; others are asked instead")


def a_slandered_client(b: Bench) -> None:
    request = b.register("alice")
    b.checker.on_request(request.device, request.digest)
    b.checker.on_evidence(b.zero, Evidence(code="CLIENT-EQUIVOCATION", culprit=request.device, statements=()))


def a_client_that_accuses_the_honest(b: Bench) -> None:
    b.checker.on_contradiction(ReplicaId(1))


def a_bug(b: Bench) -> None:
    b.checker.on_stop(b.one, InvariantViolation("a slot outside the window"))


def a_crash_of_the_code(b: Bench) -> None:
    b.checker.on_stop(b.one, TypeError("int and list"))


def rot_without_cause(b: Bench) -> None:
    b.checker.on_stop(b.one, LedgerDamaged("record 7 was changed"))


def a_ledger_begun_again_without_cause(b: Bench) -> None:
    b.checker.on_opened(b.one, Opening(ledger="the ledger is gone"))


def a_ledger_begun_again_for_what_was_done_to_another_file(b: Bench) -> None:
    b.one.planted.add("flipped_state")
    b.checker.on_opened(b.one, Opening(ledger="the ledger is gone"))


def a_state_put_aside_without_cause(b: Bench) -> None:
    b.checker.on_opened(b.one, Opening(state="the state is damaged"))


def a_full_disk_with_room(b: Bench) -> None:
    b.checker.on_stop(b.one, StorageFailure("database or disk is full"))


HISTORIES: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "agreement": (two_batches_at_one_place,),
    "order": (a_gap, a_checkpoint_undone),
    "signed requests": (a_forged_request,),
    "exactly once": (a_second_effect, two_operations_under_one_name),
    "one prepared": (two_batches_prepared_in_one_slot,),
    "accepted kept": (another_batch_than_a_client_saw_accepted,),
    "stable state": (a_certificate_for_a_state_that_never_was,),
    "equal roots": (two_roots, two_results, an_alarm, another_state_installed),
    "model": (a_wrong_result,),
    "stored first": (
        saying.an_unstored_vote,
        saying.an_undurable_checkpoint,
        saying.a_commit_without_its_certificate,
    ),
    "one vote": (
        saying.two_votes,
        saying.a_vote_in_a_view_that_was_left,
        saying.a_vote_in_a_view_that_was_left_before_a_restart,
        saying.two_view_changes_to_one_view,
        saying.two_new_views,
        saying.another_proposal_than_in_the_new_view,
        saying.a_view_change_that_hides_a_commit,
    ),
    "well-formed": (garbage_of_an_honest_replica,),
    "one spelling": (a_frame_in_other_bytes, a_request_in_other_bytes_in_a_batch, a_body_in_other_bytes),
    "bounded memory": (a_log_without_end,),
    "timer": (no_timer, nothing_that_wakes_it_when_the_primary_is_late),
    "real time": (an_order_against_time, an_answer_out_of_the_past),
    "replies": (a_result_that_never_was, a_result_before_its_time, a_forgotten_operation),
    "answers": (two_answers,),
    "honest evidence": (
        a_false_accusation,
        a_false_blame_for_a_false_state,
        a_slandered_client,
        a_client_that_accuses_the_honest,
    ),
    "evidence found": (
        saying.a_proof_not_kept,
        saying.a_second_prepare_in_a_certificate_not_proven,
        saying.a_second_commit_in_a_view_that_was_left_not_proven,
        saying.a_second_checkpoint_not_proven,
        saying.a_hidden_commit_not_proven,
        saying.a_hidden_commit_that_came_late_not_proven,
        saying.a_second_view_change_not_proven,
        saying.a_second_new_view_not_proven,
        saying.a_frame_that_proves_it_not_proven,
    ),
    "internal": (a_bug, a_crash_of_the_code),
    "storage": (
        rot_without_cause,
        a_ledger_begun_again_without_cause,
        a_ledger_begun_again_for_what_was_done_to_another_file,
        a_state_put_aside_without_cause,
        a_full_disk_with_room,
    ),
}


@pytest.mark.parametrize(
    ("invariant", "history"), [(name, history) for name, found in HISTORIES.items() for history in found]
)
def test_a_history_that_breaks_the_invariant_is_noticed(
    bench: Bench, invariant: str, history: Callable[[Bench], None]
) -> None:
    with pytest.raises(Broken) as caught:
        history(bench)
    assert caught.value.invariant == invariant


def test_a_group_without_a_quorum_makes_no_progress_and_it_is_said_why(memory: Path) -> None:
    result = simulate(story(without=(2, 3), heal_ms=500, bound_ms=5_000), memory)
    assert result.failure is not None
    assert result.failure.invariant == "progress"
    assert not result.failure.recoverable
    assert "could not recover" in result.failure.text


def test_every_invariant_has_a_history_that_breaks_it() -> None:
    assert {*HISTORIES, "progress", "floor"} == set(INVARIANTS)


def test_whoever_waits_longer_than_allowed_breaks_the_floor(memory: Path) -> None:
    scenario = story(Pause(id=1, at_ms=550, for_ms=2_000, replica=0), wait_ms=300)
    (memory / "once").mkdir()
    (memory / "again").mkdir()
    result = simulate(scenario, memory / "once")
    assert result.failure is not None
    assert result.failure.invariant == "floor"
    patient = msgspec.structs.replace(scenario, wait_ms=5_000)
    assert simulate(patient, memory / "again").failure is None


def test_above_f_a_client_is_deceived_when_nobody_ever_executes_what_it_accepted(bench: Bench) -> None:
    checker = Checker(bench.run.group, frozenset({2, 3}), Marks())
    request = bench.register("alice")
    result = encode(["registered", "alice"])
    checker.on_accepted((request.device, 1, 0), bench.accepted(1, result), (0, 0), repeatable=False)
    broken = checker.beyond.in_the_end()
    assert broken is not None
    assert broken.invariant == "replies"
    checker.on_start(bench.zero, Recovered(now=NOW, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    checker.on_executed(bench.zero, bench.executed(1, request))
    assert checker.beyond.in_the_end() is None


def test_what_the_faulty_do_breaks_nothing(bench: Bench) -> None:
    bench.checker.on_stop(bench.liar, InvariantViolation("lost its ledger"))
    bench.checker.on_alarm(bench.liar, "the state differs")
    bench.checker.on_opened(bench.liar, Opening(ledger="it is gone", state="it is damaged"))
    bench.checker.on_send(bench.liar, bench.craft.view_change(3, 5))
    bench.checker.on_malformed(ReplicaId(3), MalformedMessage("trailing bytes"))
    bench.checker.on_send(bench.liar, bench.craft.prepare(3, 1, digest("never stored")))
    bench.checker.on_evidence(bench.zero, Evidence(code="E2", culprit=ReplicaId(3), statements=()))
    bench.liar.timers.clear()
    bench.checker.after_step(bench.liar)


def test_reads_may_run_again(bench: Bench) -> None:
    read = bench.craft.request("alice", 1, encode_operation(Read(b"")))
    bench.checker.on_executed(bench.zero, bench.executed(1, bench.register("alice")))
    for sequence in (2, 3):
        bench.checker.on_executed(bench.zero, bench.executed(sequence, read, results=(b"\x80",)))


def test_a_proof_once_given_need_not_be_given_again(bench: Bench) -> None:
    checker = Checker(bench.run.group, frozenset({0}), Marks())
    checker.on_start(bench.one, Recovered(now=NOW, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    for given, _ in bench.proposals():
        checker.on_step(bench.one, [given], bench.one.replica.step(given))
    checker.on_step(bench.one, [given], Effects(timers=(SetTimer(Timer.STATUS, Milliseconds(1)),)))
