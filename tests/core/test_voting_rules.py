"""VotingRules refuses every vote that contradicts one already signed, also one read back from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pbft.core.effects import RecordKind
from pbft.core.errors import UnsafeVote
from pbft.core.messages import Batch, Checkpoint, Commit
from pbft.core.types import ReplicaId, SequenceNumber, View
from pbft.core.voting_rules import VotingRules
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

K = 4
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
CRAFT = Craft(MEMBERS)
X = CRAFT.batch(CRAFT.request("a", 0))
Y = CRAFT.batch(CRAFT.request("a", 1))
WINDOW = 2 * K

Act = Callable[[VotingRules], object]


def propose(sequence: int = 1, batch: Batch = X, view: int = 0) -> Act:
    return lambda rules: rules.sign_pre_prepare(View(view), SequenceNumber(sequence), batch)


def prepare(sequence: int = 1, batch: Batch = X, view: int = 0) -> Act:
    primary = view % 4
    return lambda rules: rules.sign_prepare(CRAFT.proposal(primary, sequence, batch, view=view))


def commit(sequence: int = 1, batch: Batch = X, view: int = 0) -> Act:
    backups = [replica for replica in range(4) if replica != view % 4][:2]
    return lambda rules: rules.sign_commit(CRAFT.prepared(sequence, batch.digest, backups, view=view))


def checkpoint(sequence: int = K, root: str = "x") -> Act:
    return lambda rules: rules.sign_checkpoint(SequenceNumber(sequence), digest(root))


def accepted(sequence: int = 1, batch: Batch = X, view: int = 0) -> Act:
    return lambda rules: rules.restore_accepted(View(view), SequenceNumber(sequence), batch.digest)


def committed(sequence: int = 1, batch: Batch = X, view: int = 0) -> Act:
    vote = Commit(view=View(view), sequence=SequenceNumber(sequence), batch_digest=batch.digest)
    return lambda rules: rules.restore_commit(vote)


def vouched(sequence: int = K, root: str = "x") -> Act:
    vote = Checkpoint(sequence=SequenceNumber(sequence), state_root=digest(root))
    return lambda rules: rules.restore_checkpoint(vote)


def forget(sequence: int) -> Act:
    return lambda rules: rules.forget_below(SequenceNumber(sequence))


def remembered(rules: VotingRules) -> int:
    return len(rules._accepted) + len(rules._committed) + len(rules._roots)


@dataclass(frozen=True)
class Unsafe:
    what: str
    before: tuple[Act, ...]
    vote: Act
    me: int = 1


UNSAFE = (
    Unsafe("PRE-PREPARE by a backup", (), propose(), me=1),
    Unsafe("PRE-PREPARE in a view of another primary", (), propose(view=1), me=0),
    Unsafe("second PRE-PREPARE", (propose(),), propose(batch=Y), me=0),
    Unsafe("PRE-PREPARE against the ledger", (accepted(),), propose(batch=Y), me=0),
    Unsafe("PRE-PREPARE below the window", (forget(K),), propose(K), me=0),
    Unsafe("PRE-PREPARE above the window", (), propose(WINDOW + 1), me=0),
    Unsafe("PREPARE by the primary", (), prepare(), me=0),
    Unsafe("second PREPARE", (prepare(),), prepare(batch=Y)),
    Unsafe("PREPARE against the ledger", (accepted(),), prepare(batch=Y)),
    Unsafe("PREPARE below the window", (forget(K),), prepare(K)),
    Unsafe("PREPARE above the window", (), prepare(WINDOW + 1)),
    Unsafe("second COMMIT", (commit(),), commit(batch=Y)),
    Unsafe("COMMIT to what was not accepted", (prepare(),), commit(batch=Y)),
    Unsafe("COMMIT against the ledger's PREPARE", (accepted(),), commit(batch=Y)),
    Unsafe("COMMIT against the ledger's COMMIT", (committed(),), commit(batch=Y)),
    Unsafe("COMMIT below the window", (forget(K),), commit(K)),
    Unsafe("COMMIT above the window", (), commit(WINDOW + 1)),
    Unsafe("second CHECKPOINT", (checkpoint(),), checkpoint(root="y")),
    Unsafe("CHECKPOINT against the ledger", (vouched(),), checkpoint(root="y")),
    Unsafe("CHECKPOINT at the stable one", (forget(K),), checkpoint()),
    Unsafe("ledger with two digests", (accepted(),), accepted(batch=Y)),
    Unsafe("ledger with two commits", (committed(),), committed(batch=Y)),
    Unsafe("ledger with two roots", (vouched(),), vouched(root="y")),
)


@pytest.mark.parametrize("case", UNSAFE, ids=lambda case: case.what)
def test_refuses(case: Unsafe) -> None:
    rules = VotingRules(MEMBERS.group, ReplicaId(case.me), MEMBERS.signers[case.me])
    for act in case.before:
        act(rules)
    with pytest.raises(UnsafeVote):
        case.vote(rules)


@dataclass(frozen=True)
class Safe:
    what: str
    votes: tuple[Act, ...]
    me: int = 1


SAFE = (
    Safe("the same votes again", (prepare(), prepare(), commit(), commit(), checkpoint(), checkpoint())),
    Safe("the same proposal again", (propose(), propose(), commit()), me=0),
    Safe("another digest in another slot", (prepare(1), prepare(2, Y), commit(1), commit(2, Y))),
    Safe("another digest in another view", (prepare(), prepare(batch=Y, view=2), commit(), commit(batch=Y, view=2))),
    Safe("the ends of the window", (prepare(1), prepare(WINDOW), forget(K), prepare(K + 1), prepare(WINDOW + K))),
    Safe("other roots elsewhere", (checkpoint(K, "x"), checkpoint(2 * K, "y"))),
)


@pytest.mark.parametrize("case", SAFE, ids=lambda case: case.what)
def test_signs(case: Safe) -> None:
    rules = VotingRules(MEMBERS.group, ReplicaId(case.me), MEMBERS.signers[case.me])
    for vote in case.votes:
        vote(rules)


def test_a_refused_vote_leaves_no_trace() -> None:
    rules = VotingRules(MEMBERS.group, ReplicaId(1), MEMBERS.signers[1])
    forget(K)(rules)
    for vote in (prepare(K, Y), commit(K, Y), checkpoint(K, "y")):
        with pytest.raises(UnsafeVote):
            vote(rules)
    assert remembered(rules) == 0


def test_memory_is_that_of_the_window() -> None:
    rules = VotingRules(MEMBERS.group, ReplicaId(1), MEMBERS.signers[1])
    for stable in range(0, 100 * K, K):
        for sequence in range(stable + 1, stable + K + 1):
            prepare(sequence)(rules)
            commit(sequence)(rules)
        checkpoint(stable + K)(rules)
        forget(stable + K)(rules)
        assert remembered(rules) == 0


def test_every_vote_comes_with_the_record_of_what_must_be_stored() -> None:
    rules = VotingRules(MEMBERS.group, ReplicaId(1), MEMBERS.signers[1])
    signed, record = rules.sign_prepare(CRAFT.proposal(0, 1, X))
    assert (record.kind, record.sequence, record.data) == (RecordKind.PREPARE, 1, signed.wire)
    certificate = CRAFT.prepared(1, X.digest, (1, 2))
    vote, (prepared, stored) = rules.sign_commit(certificate)
    assert (prepared.kind, prepared.data) == (RecordKind.PREPARED, certificate.wire)
    assert (stored.kind, stored.data) == (RecordKind.COMMIT, vote.wire)
    root, kept = rules.sign_checkpoint(SequenceNumber(K), digest("x"))
    assert (kept.kind, kept.data) == (RecordKind.CHECKPOINT, root.wire)
