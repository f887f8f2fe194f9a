"""Histories of what replicas say that break an invariant: unstored, against what they said, heard and not proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adversary.craft import digest
from adversary.simulator.invariants import Checker
from adversary.simulator.marks import Marks
from pbft.core.effects import Effects, Evidence, FrameRefused, FromPeer, Received, Record, RecordKind, Recovered, Send
from pbft.core.types import ReplicaId, SequenceNumber
from tests.simulator.bench import NOW, Bench


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
