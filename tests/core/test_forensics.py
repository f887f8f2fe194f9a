"""Forensics: more than f faulty replicas break the agreement, and what correct ones keep names more than f."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, product
from random import Random

import pytest

from crypto.canonical import decode, encode
from pbft.core.bodies import (
    CHECKPOINT,
    COMMIT,
    NEW_VIEW,
    PRE_PREPARE,
    PREPARE,
    REPLY,
    VIEW_CHANGE,
    encode_reply,
)
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, Record, RecordKind
from pbft.core.evidence import InvalidEvidence, verify_evidence
from pbft.core.forensics import Findings, Statements, forensics_of
from pbft.core.frames import PROPOSAL, encode_certificate, encode_signed
from pbft.core.messages import CheckpointCertificate, CommitCertificate, Proposal, Reply
from pbft.core.types import ReplicaId, SequenceNumber
from tests.harness.chaos import CRASHING, PARTED, Chaos
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.keys import Members, make_group
from tests.harness.looking import message_of, ran_by
from tests.harness.simnode import Flight

CRAFT = Craft(make_group(4, checkpoint_interval=8, pipeline_depth=2))
A, B = digest("a"), digest("b")


def record(kind: RecordKind, frame: bytes, sequence: int = 3) -> Record:
    return Record(kind, SequenceNumber(sequence), frame)


def committed(certificate: CommitCertificate) -> Record:
    return record(RecordKind.COMMITTED, certificate.wire, certificate.commit.sequence)


def stable(certificate: CheckpointCertificate) -> Record:
    return record(RecordKind.STABLE, certificate.wire, certificate.checkpoint.sequence)


def judge(*ledgers: Iterable[Record], craft: Craft = CRAFT) -> Findings:
    opener = Opener(craft.group, craft.members.verifier)
    findings = forensics_of(opener, ledgers)
    for evidence in findings.evidence:
        verify_evidence(Opener(craft.group, craft.members.verifier), evidence)
    return findings


def find_evidence(opener: Opener, frames: Iterable[bytes]) -> tuple[Evidence, ...]:
    seen = Statements(opener)
    for frame in frames:
        seen.add(frame)
    return seen.findings().evidence


def codes(findings: Findings) -> set[tuple[str, object]]:
    return {(each.code, each.culprit) for each in findings.evidence}


# -- ledgers written by hand: f = 1, replicas 2 and 3 are correct


def test_fork_within_a_view_names_those_who_committed_twice() -> None:
    second = [committed(CRAFT.commit_certificate(3, A, [0, 1, 2]))]
    third = [committed(CRAFT.commit_certificate(3, B, [0, 1, 3]))]
    findings = judge(second, third)
    assert codes(findings) == {("E3", 0), ("E3", 1)}
    assert [(fork.sequence, set(fork.digests)) for fork in findings.forks] == [(3, {A, B})]
    assert findings.names_enough(CRAFT.group)


def test_two_prepared_certificates_name_the_primary_and_who_prepared_both() -> None:
    second = [record(RecordKind.PREPARED, CRAFT.prepared(3, A, [1, 2]).wire)]
    third = [record(RecordKind.PREPARED, CRAFT.prepared(3, B, [1, 3]).wire)]
    assert codes(judge(second, third)) == {("E1", 0), ("E2", 1)}


def test_fork_across_views_names_those_who_hid_what_they_committed_to() -> None:
    """0 and 1 committed with 2, and then begin view 1 with 3 as if they had not."""
    changes = [CRAFT.view_change(signer, 1) for signer in (0, 1, 3)]
    second = [committed(CRAFT.commit_certificate(3, A, [0, 1, 2]))]
    third = [
        record(RecordKind.NEW_VIEW, CRAFT.new_view(1, changes).wire, 0),
        committed(CRAFT.commit_certificate(3, B, [0, 1, 3], view=1)),
    ]
    findings = judge(second, third)
    assert codes(findings) == {("E5", 0), ("E5", 1)}
    assert findings.forks[0].views == tuple({A: 0, B: 1}[each] for each in sorted([A, B]))


@pytest.mark.parametrize("n", [4, 5, 6, 7, 10, 13])
@pytest.mark.parametrize("later", [0, 1])
def test_groups_of_every_size_name_more_than_they_bear(n: int, later: int) -> None:
    """The two quorums overlap as little as quorums can: exactly those in both are named."""
    craft = Craft(make_group(n))
    left, right = range(craft.group.quorum), range(n - craft.group.quorum, n)
    changes = [craft.view_change(signer, 1) for signer in right]
    new_view = [record(RecordKind.NEW_VIEW, craft.new_view(1, changes).wire, 0)] if later else []
    first = [committed(craft.commit_certificate(3, A, left))]
    second = [*new_view, committed(craft.commit_certificate(3, B, right, view=later))]
    findings = judge(first, second, craft=craft)
    assert findings.culprits == tuple(sorted(set(left) & set(right)))
    assert findings.names_enough(craft.group)


def test_the_view_in_which_it_was_hidden_may_lie_before_the_fork() -> None:
    """View 1 hides it and prepares another batch, which view 2 then commits, all in order."""
    changes = [CRAFT.view_change(signer, 1) for signer in (0, 1, 3)]
    other = CRAFT.prepared(3, B, [0, 3], view=1)
    later = [CRAFT.view_change(signer, 2, other) for signer in (0, 1, 3)]
    second = [committed(CRAFT.commit_certificate(3, A, [0, 1, 2]))]
    third = [
        record(RecordKind.NEW_VIEW, CRAFT.new_view(1, changes).wire, 0),
        record(RecordKind.NEW_VIEW, CRAFT.new_view(2, later).wire, 0),
        committed(CRAFT.commit_certificate(3, B, [0, 1, 3], view=2)),
    ]
    assert judge(second, third).culprits == (0, 1)


def test_primary_that_ignores_what_it_was_shown_is_named_with_who_hid_it() -> None:
    """0 hides, 2 shows, and the primary of view 1 proposes as if nobody had shown anything."""
    shown = CRAFT.prepared(3, A, [1, 2])
    changes = [CRAFT.view_change(0, 1), CRAFT.view_change(2, 1, shown), CRAFT.view_change(3, 1)]
    second = [committed(CRAFT.commit_certificate(3, A, [0, 1, 2])), record(RecordKind.PREPARED, shown.wire)]
    third = [record(RecordKind.NEW_VIEW, CRAFT.new_view(1, changes, []).wire, 0)]
    assert codes(judge(second, third)) == {("E5", 0), ("E7", 1)}


def test_batch_shown_instead_from_the_same_view_names_who_prepared_both() -> None:
    """No VIEW-CHANGE hides sequence 3: two of them show another batch of the very view that committed it."""
    instead = CRAFT.prepared(3, B, [1, 3])
    changes = [CRAFT.view_change(signer, 1, instead) for signer in (0, 1, 3)]
    second = [
        record(RecordKind.PREPARED, CRAFT.prepared(3, A, [1, 2]).wire),
        committed(CRAFT.commit_certificate(3, A, [0, 1, 2])),
    ]
    third = [record(RecordKind.NEW_VIEW, CRAFT.new_view(1, changes).wire, 0)]
    assert judge(second, third).culprits == (0, 1)


def test_two_certificates_of_one_checkpoint_name_those_in_both() -> None:
    second = [stable(CRAFT.checkpoint_certificate(8, A, [0, 1, 2]))]
    third = [stable(CRAFT.checkpoint_certificate(8, B, [0, 1, 3]))]
    findings = judge(second, third)
    assert codes(findings) == {("E4", 0), ("E4", 1)}
    assert findings.forks[0].views == ()


def test_both_view_changes_to_one_view_are_found_inside_new_views_and_ledgers() -> None:
    changes = [CRAFT.view_change(signer, 1) for signer in (0, 2, 3)]
    second = [record(RecordKind.NEW_VIEW, CRAFT.new_view(1, changes).wire, 0)]
    third = [record(RecordKind.VIEW_CHANGE, CRAFT.view_change(0, 1, CRAFT.prepared(3, A, [1, 2])).wire, 0)]
    assert codes(judge(second, third)) == {("E6", 0)}


def test_statements_in_kept_proofs_count_too() -> None:
    """One half of the lie is in a proof that somebody kept, the other in a ledger."""
    kept = Evidence(
        code="E3", culprit=ReplicaId(1), statements=(CRAFT.commit(1, 3, A).wire, CRAFT.commit(1, 3, B).wire)
    )
    opener = Opener(CRAFT.group, CRAFT.members.verifier)
    ledger = [record(RecordKind.VIEW_CHANGE, CRAFT.view_change(1, 1).wire, 0)]
    assert codes(forensics_of(opener, [ledger], [kept])) == {("E3", 1), ("E5", 1)}


# -- ledgers that lie


def test_forged_certificate_accuses_nobody_and_hides_nothing() -> None:
    """A faulty node's ledger may hold anything. Its forgery comes first, and must not take the true vote's place."""
    forged = CRAFT.commit_certificate(3, B, [0, 1, 3])
    signatures = tuple((replica, CRAFT.commit(3, 4, A).signature) for replica, _ in forged.endorsements)
    body = CRAFT.commit(0, 3, B)
    fake = encode_certificate("COMMIT-CERTIFICATE", CRAFT.group.epoch, _body(body.wire), signatures)
    first = [record(RecordKind.COMMITTED, fake)]
    second = [committed(CRAFT.commit_certificate(3, A, [0, 1, 2]))]
    findings = judge(first, second)
    assert not findings.evidence
    assert not findings.forks
    assert judge(first, second, [committed(forged)]).culprits == (0, 1)


def _body(wire: bytes) -> bytes:
    return Opener(CRAFT.group, CRAFT.members.verifier).parse_envelope(wire, "COMMIT").value.message


def test_garbage_is_passed_over() -> None:
    frames = [b"", b"\x80", b"\x81\x68PROPOSAL", b"\xff" * 40, CRAFT.commit(1, 3, A).wire[:-1]]
    fork = [CRAFT.commit(1, 3, A).wire, CRAFT.commit(1, 3, B).wire]
    opener = Opener(CRAFT.group, CRAFT.members.verifier)
    assert not find_evidence(opener, frames)
    assert [each.culprit for each in find_evidence(opener, [*frames, *fork])] == [1]


def test_many_lies_of_one_replica_give_a_bounded_number_of_proofs() -> None:
    frames = [CRAFT.commit(1, sequence, what).wire for sequence in range(1, 200) for what in (A, B)]
    assert len(find_evidence(Opener(CRAFT.group, CRAFT.members.verifier), frames)) == 32


# -- twins: two unmodified copies of 0 and of 1, one pair with 2, the other with 3


def half(members: Members, missing: int) -> Cluster:
    return Cluster(members=members, byzantine=(missing,))


def ledger_of(cluster: Cluster, me: int) -> list[Record]:
    """As a node leaves it when it stops."""
    node = cluster.nodes[ReplicaId(me)]
    return [*node.ledger, *node.archive]


def test_twins_that_fork_a_view_are_named_by_the_correct_ledgers_alone() -> None:
    members = make_group(4)
    left, right = half(members, 3), half(members, 2)
    left.request("alice", b"left")
    right.request("alice", b"right")
    for cluster in (left, right):
        cluster.settle(cluster.executed_everywhere(1))
    correct = [ledger_of(left, 2), ledger_of(right, 3)]
    findings = judge(*correct, craft=Craft(members))
    assert findings.culprits == (0, 1)
    assert [fork.sequence for fork in findings.forks] == [1]
    everybody = [ledger_of(cluster, me) for cluster in (left, right) for me in cluster.nodes]
    assert judge(*everybody, craft=Craft(members)).culprits == (0, 1)


def test_twins_that_fork_across_a_view_change_are_named_by_the_correct_ledgers_alone() -> None:
    members = make_group(4)
    left, right = half(members, 3), half(members, 2)
    left.request("alice", b"left")
    left.settle(left.executed_everywhere(1))

    def silent_in_view_0(flight: Flight) -> bool:
        message = message_of(right, flight)
        return not (isinstance(message, Proposal) and message.pre_prepare.message.view == 0)

    right.on_send = silent_in_view_0
    right.request("bob", b"right", to=(0, 1, 3))
    right.settle(ran_by(right, 1, 1, 3))
    assert right.replicas[ReplicaId(3)].log.view >= 1
    correct = [ledger_of(left, 2), ledger_of(right, 3)]
    findings = judge(*correct, craft=Craft(members))
    assert {each.code for each in findings.evidence} >= {"E5"}
    assert findings.culprits == (0, 1)
    assert findings.forks


# -- honest runs


class Overheard(Chaos):
    """A run with faults that no replica is to blame for; everything that was sent is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.frames: dict[bytes, None] = {}
        inner = self.cluster.on_send
        assert inner is not None

        def keep(flight: Flight) -> bool:
            self.frames[flight.frame] = None
            return inner(flight)

        self.cluster.on_send = keep


def overhear(seed: int) -> Overheard:
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    faults = PARTED if seed % 2 else CRASHING
    cluster = Cluster(4, seed=seed, checkpoint_interval=5, pipeline_depth=2, batch_operations_max=4)
    cluster.deferred = faults.defer
    run = Overheard(cluster, random, faults, 10)
    run.run()
    return run


@pytest.mark.parametrize("seed", range(6))
def test_honest_runs_name_nobody(seed: int) -> None:
    run = overhear(seed)
    cluster = run.cluster
    findings = judge(*[node.ledger for node in cluster.nodes.values()], craft=Craft(cluster.members))
    assert (findings.evidence, findings.forks) == ((), ())
    assert findings.statements > 40
    assert not find_evidence(Opener(cluster.group, cluster.members.verifier), run.frames)


PAIRED = {
    "E1": (PRE_PREPARE, PRE_PREPARE),
    "E2": (PREPARE, PREPARE),
    "E3": (COMMIT, COMMIT),
    "E4": (CHECKPOINT, CHECKPOINT),
    "E5": (COMMIT, VIEW_CHANGE),
    "E6": (VIEW_CHANGE, VIEW_CHANGE),
    "E7": (NEW_VIEW, NEW_VIEW),
}


Said = defaultdict[tuple[object, object], list[bytes]]
"""Frames by type and signer."""


def said_in(run: Overheard) -> Said:
    said = Said(list)
    opener = Opener(run.cluster.group, run.cluster.members.verifier)
    for frame in run.frames:
        match decode(frame, bytes_max=10**6):
            case [kind, bytes(header), _] if kind == PROPOSAL:
                signer = opener.parse_envelope(header, PRE_PREPARE).value.signer
                said[PRE_PREPARE, signer].append(header)
                said[PROPOSAL, signer].append(frame)
            case [kind, _, signer, _, _]:
                said[kind, signer].append(frame)
    craft = Craft(run.cluster.members)
    for me, _, reply in run.cluster.replies:
        if isinstance(reply, Reply):
            said[REPLY, me].append(craft.sign(me, REPLY, reply, encode_reply).wire)
    return said


def accusations(run: Overheard, said: Said) -> Iterator[Evidence]:
    """Everything of the right types that could be held against each replica and device."""
    replicas = run.cluster.group.replicas
    for signer in replicas:
        for code, (first, second) in PAIRED.items():
            for pair in product(said[first, signer], said[second, signer]):
                yield Evidence(code=code, culprit=signer, statements=pair)
        for frame in (*said[VIEW_CHANGE, signer], *said[NEW_VIEW, signer]):
            yield Evidence(code="E7", culprit=signer, statements=(frame,))
        for frame in said[PROPOSAL, signer]:
            yield Evidence(code="E8", culprit=signer, statements=(frame,))
    for three in combinations(replicas, 3):
        for replies in product(*(said[REPLY, me][:12] for me in three)):
            yield Evidence(code="E9", culprit=three[0], statements=replies)
    for one, other in product(run.requests, run.requests):
        yield Evidence(code="CLIENT-EQUIVOCATION", culprit=one.device, statements=(one.wire, other.wire))


@pytest.mark.parametrize("seed", [1, 5])
def test_no_statements_of_an_honest_run_are_evidence_under_any_code(seed: int) -> None:
    run = overhear(seed)
    said = said_in(run)
    spoken = {kind for kind, _ in said}
    assert spoken >= {PRE_PREPARE, PREPARE, COMMIT, VIEW_CHANGE, NEW_VIEW, PROPOSAL, REPLY}
    opener = Opener(run.cluster.group, run.cluster.members.verifier)
    for evidence in accusations(run, said):
        with pytest.raises(InvalidEvidence):
            verify_evidence(opener, evidence)


# -- frames that are made to be dug into


@pytest.mark.parametrize("shape", ["changes", "proposals"])
def test_frames_inside_frames_without_end_are_not_followed(shape: str) -> None:
    """Each is signed; what stands in a VIEW-CHANGE is a certificate, and in a proposal a PRE-PREPARE."""
    craft = Craft(make_group(4, real=True))
    frame = b"x"
    for _ in range(600):
        if shape == "proposals":
            frame = encode([PROPOSAL, frame, b""])
        else:
            body = encode([1, 0, None, [frame]])
            signature = craft.members.signers[3].sign(craft.group.domain(VIEW_CHANGE), body)
            frame = encode_signed(VIEW_CHANGE, craft.group.epoch, ReplicaId(3), body, signature)
    kind = RecordKind.PROPOSAL if shape == "proposals" else RecordKind.VIEW_CHANGE
    findings = judge([record(kind, frame)], craft=craft)
    assert codes(findings) == (set() if shape == "proposals" else {("E7", 3)})


def test_a_frame_counts_in_its_place_though_it_was_met_out_of_place_before() -> None:
    vote, other = CRAFT.prepare(3, 1, A).wire, CRAFT.prepare(3, 1, B).wire
    seen = Statements(Opener(CRAFT.group, CRAFT.members.verifier))
    seen.add(encode([PROPOSAL, vote, b""]))
    assert seen.findings().statements == 0
    seen.add(vote)
    seen.add(other)
    assert [(each.code, each.culprit) for each in seen.findings().evidence] == [("E2", 3)]
