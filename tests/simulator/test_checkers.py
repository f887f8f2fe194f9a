"""Every invariant can be broken: a checker that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from pbft.client.quorums import Accepted
from pbft.core.effects import (
    BatchExecuted,
    Effects,
    Evidence,
    ExecutedRequest,
    FrameRefused,
    FromPeer,
    InstallState,
    Received,
    Record,
    RecordKind,
    Recovered,
    RunQuery,
    Send,
    SetTimer,
    StateInstalled,
    Timer,
)
from pbft.core.errors import InvariantViolation, MalformedMessage
from pbft.core.messages import OperationResult, SignedRequest
from pbft.core.output import Output
from pbft.core.types import ClientSequence, Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.node.ledger import LedgerDamaged
from pbft.state.errors import StorageFailure
from tests.simulator.scenarios import story

NOW = Now(steady=Milliseconds(1000), wall=Milliseconds(1_700_000_000_000))


@dataclass
class Bench:
    """A checker, two correct hosts (0 and 1), a faulty one (3), and hands to make history with."""

    run: Simulation
    craft: Craft
    checker: Checker
    accounts: int = field(default=0)

    def __post_init__(self) -> None:
        for host in self.run.hosts:
            host.start()
        self.zero, self.one, _, self.liar = self.run.hosts

    def register(self, name: str, first: int = 0) -> SignedRequest:
        return self.craft.request(name, first, encode_operation(Register(name)))

    def executed(
        self, sequence: int, *requests: SignedRequest, results: tuple[bytes, ...] = (), root: str = ""
    ) -> BatchExecuted:
        """What the executor says of a batch of one-operation requests. Results: those of Register, unless given."""
        names = [self.craft.members.device_name(request.device) for request in requests]
        given = results or tuple(encode(["registered", name]) for name in names)
        return BatchExecuted(
            now=NOW,
            sequence=SequenceNumber(sequence),
            batch=self.craft.batch(*requests),
            results=tuple(
                ExecutedRequest(
                    device=request.device,
                    session=request.message.session,
                    results=(
                        OperationResult(
                            client_sequence=request.message.first_client_sequence,
                            index=index,
                            refused=False,
                            result=result,
                        ),
                    ),
                )
                for index, (request, result) in enumerate(zip(requests, given, strict=True))
            ),
            topics=(),
            state_root=digest(root) if root else None,
        )

    def accepted(self, sequence: int, result: bytes) -> Accepted:
        return Accepted(
            client_sequence=ClientSequence(0),
            sequence=SequenceNumber(sequence),
            index=0,
            result=result,
            vouchers=(ReplicaId(0), ReplicaId(1)),
        )

    def proposals(self) -> Iterator[tuple[Received, Any]]:
        """Two conflicting proposals of replica 0 reach host 1, one after the other."""
        for name in ("alice", "bob"):
            proposal = self.craft.proposal(0, 1, self.craft.batch(self.register(name)))
            yield Received(now=NOW, messages=(FromPeer(peer=ReplicaId(0), message=proposal),)), proposal


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
    b.checker.beyond.on_stable(1, b.craft.checkpoint_certificate(4, digest("another"), (1, 2, 3)), b.checker.roots)


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


def an_unstored_vote(b: Bench) -> None:
    b.checker.on_send(b.one, b.craft.prepare(1, 1, digest("batch")))


def an_undurable_checkpoint(b: Bench) -> None:
    vote = b.craft.checkpoint(1, 4, digest("root"))
    b.checker.on_stored(b.one, [Record(RecordKind.CHECKPOINT, SequenceNumber(4), vote.wire)])
    b.checker.on_send(b.one, vote)


def a_commit_without_its_certificate(b: Bench) -> None:
    vote = b.craft.commit(1, 1, digest("batch"))
    b.checker.on_stored(b.one, [Record(RecordKind.COMMIT, SequenceNumber(1), vote.wire)])
    b.checker.on_send(b.one, vote)


def two_votes(b: Bench) -> None:
    for text in ("batch", "another"):
        vote = b.craft.prepare(1, 1, digest(text))
        b.checker.on_stored(b.one, [Record(RecordKind.PREPARE, SequenceNumber(1), vote.wire)])
        b.checker.on_send(b.one, vote)


def store(b: Bench, kind: RecordKind, wire: bytes) -> None:
    b.checker.on_stored(b.one, [Record(kind, SequenceNumber(1), wire)])


def a_vote_in_a_view_that_was_left(b: Bench) -> None:
    change, vote = b.craft.view_change(1, 2), b.craft.prepare(1, 1, digest("batch"), view=1)
    store(b, RecordKind.PREPARE, vote.wire)
    store(b, RecordKind.VIEW_CHANGE, change.wire)
    b.checker.on_send(b.one, change)
    b.checker.on_send(b.one, vote)


def a_vote_in_a_view_that_was_left_before_a_restart(b: Bench) -> None:
    """Its VIEW-CHANGE was stored, and the crash came before it was sent."""
    change, vote = b.craft.view_change(1, 2), b.craft.prepare(1, 1, digest("batch"), view=1)
    b.checker.on_step(b.one, [], Effects(send=(Send(to=(ReplicaId(0),), message=change),)))
    store(b, RecordKind.VIEW_CHANGE, change.wire)
    b.checker.on_start(b.one, Recovered(now=NOW, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    store(b, RecordKind.PREPARE, vote.wire)
    b.checker.on_send(b.one, vote)


def two_view_changes_to_one_view(b: Bench) -> None:
    for prepared in ((), (b.craft.prepared(1, digest("batch"), (1, 2)),)):
        change = b.craft.view_change(1, 1, *prepared)
        store(b, RecordKind.VIEW_CHANGE, change.wire)
        b.checker.on_send(b.one, change)


def two_new_views(b: Bench) -> None:
    for voters in ((0, 1, 2), (1, 2, 3)):
        new_view = b.craft.new_view(1, [b.craft.view_change(voter, 1) for voter in voters])
        store(b, RecordKind.NEW_VIEW, new_view.wire)
        b.checker.on_send(b.one, new_view)


def another_proposal_than_in_the_new_view(b: Bench) -> None:
    changes = [b.craft.view_change(2, 1, b.craft.prepared(1, digest("batch"), (2, 3)))]
    changes += [b.craft.view_change(voter, 1) for voter in (1, 3)]
    new_view, other = b.craft.new_view(1, changes), b.craft.proposal(1, 1, b.craft.batch(), view=1)
    store(b, RecordKind.NEW_VIEW, new_view.wire)
    b.checker.on_send(b.one, new_view)
    store(b, RecordKind.PROPOSAL, other.wire)
    b.checker.on_send(b.one, other)


def a_view_change_that_hides_a_commit(b: Bench) -> None:
    commit, change = b.craft.commit(1, 1, digest("batch")), b.craft.view_change(1, 1)
    store(b, RecordKind.PREPARED, b"a certificate")
    store(b, RecordKind.COMMIT, commit.wire)
    store(b, RecordKind.VIEW_CHANGE, change.wire)
    b.checker.on_send(b.one, commit)
    b.checker.on_send(b.one, change)


def garbage_of_an_honest_replica(b: Bench) -> None:
    b.checker.on_malformed(ReplicaId(2), MalformedMessage("trailing bytes"))


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


def a_proof_not_kept(b: Bench) -> None:
    checker = Checker(b.run.group, frozenset({0}), Marks())
    checker.on_start(b.one, Recovered(now=NOW, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    for given, _ in b.proposals():
        effects = b.one.replica.step(given)
        checker.on_step(b.one, [given], replace(effects, evidence=()))


def told_and_not_proven(b: Bench, *messages: Any) -> None:
    """Replica 3 tells host 1 these, and what host 1 proves is lost."""
    for message in messages:
        given = Received(now=NOW, messages=(FromPeer(peer=ReplicaId(3), message=message),))
        b.checker.on_step(b.one, [given], replace(b.one.replica.step(given), evidence=()))


def a_second_prepare_in_a_certificate_not_proven(b: Bench) -> None:
    shown = b.craft.prepared(1, digest("y"), (2, 3))
    told_and_not_proven(b, b.craft.prepare(3, 1, digest("x")), b.craft.view_change(2, 1, shown))


def a_second_commit_in_a_view_that_was_left_not_proven(b: Bench) -> None:
    changes = (b.craft.view_change(signer, 1) for signer in (0, 2))
    commits = (b.craft.commit(3, 1, digest(text)) for text in "xy")
    told_and_not_proven(b, next(commits), *changes, next(commits))


def a_second_checkpoint_not_proven(b: Bench) -> None:
    told_and_not_proven(b, *(b.craft.checkpoint(3, 4, digest(text)) for text in "xy"))


def a_hidden_commit_not_proven(b: Bench) -> None:
    told_and_not_proven(b, b.craft.commit(3, 1, digest("x")), b.craft.view_change(3, 1))


def a_hidden_commit_that_came_late_not_proven(b: Bench) -> None:
    told_and_not_proven(b, b.craft.view_change(3, 1), b.craft.commit(3, 1, digest("x")))


def a_second_view_change_not_proven(b: Bench) -> None:
    shown = b.craft.prepared(1, digest("x"), (2, 3))
    told_and_not_proven(b, b.craft.view_change(3, 1), b.craft.view_change(3, 1, shown))


def a_second_new_view_not_proven(b: Bench) -> None:
    voters = ((0, 1, 2), (0, 2, 3))
    told_and_not_proven(b, *(b.craft.new_view(3, [b.craft.view_change(v, 3) for v in each]) for each in voters))


def a_frame_that_proves_it_not_proven(b: Bench) -> None:
    refused = Evidence(code="E7", culprit=ReplicaId(3), statements=(b.craft.view_change(3, 1).wire,))
    b.checker.on_step(b.one, [FrameRefused(now=NOW, evidence=refused)], Effects())


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
    "stored first": (an_unstored_vote, an_undurable_checkpoint, a_commit_without_its_certificate),
    "one vote": (
        two_votes,
        a_vote_in_a_view_that_was_left,
        a_vote_in_a_view_that_was_left_before_a_restart,
        two_view_changes_to_one_view,
        two_new_views,
        another_proposal_than_in_the_new_view,
        a_view_change_that_hides_a_commit,
    ),
    "well-formed": (garbage_of_an_honest_replica,),
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
        a_proof_not_kept,
        a_second_prepare_in_a_certificate_not_proven,
        a_second_commit_in_a_view_that_was_left_not_proven,
        a_second_checkpoint_not_proven,
        a_hidden_commit_not_proven,
        a_hidden_commit_that_came_late_not_proven,
        a_second_view_change_not_proven,
        a_second_new_view_not_proven,
        a_frame_that_proves_it_not_proven,
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
