"""VotingRules refuses every vote that contradicts one already signed, also one read back from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pbft.core.effects import RecordKind
from pbft.core.errors import UnsafeVote
from pbft.core.messages import Batch, Checkpoint, Commit, ViewChange
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
    return lambda rules: rules.sign_prepare(CRAFT.proposal(primary, sequence, batch, view=view).pre_prepare.message)


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


def change(view: int) -> Act:
    statement = ViewChange(view=View(view), stable_checkpoint=SequenceNumber(0), checkpoint=None, prepared=())
    return lambda rules: rules.sign_view_change(statement)


def begin(view: int, *again: tuple[int, Batch]) -> Act:
    changes = tuple(CRAFT.view_change(signer, view) for signer in (0, 1, 2))
    proposals = [(SequenceNumber(sequence), batch.digest) for sequence, batch in again]
    return lambda rules: rules.sign_new_view(View(view), changes, proposals)


def enter(view: int) -> Act:
    return lambda rules: rules.enter_view(View(view))


def stands(view: int, *, in_view: bool) -> Act:
    return lambda rules: rules.restore_view(View(view), in_view=in_view)


def mute(rules: VotingRules) -> None:
    rules.is_mute = True


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
    Unsafe("second COMMIT", (prepare(), commit()), commit(batch=Y)),
    Unsafe("COMMIT to another digest than was accepted", (prepare(),), commit(batch=Y)),
    Unsafe("COMMIT to what nothing is known of", (), commit()),
    Unsafe("COMMIT to what was accepted in another view", (prepare(), enter(2)), commit()),
    Unsafe("COMMIT against the ledger's PREPARE", (accepted(),), commit(batch=Y)),
    Unsafe("COMMIT against the ledger's COMMIT", (committed(), accepted(batch=Y)), commit(batch=Y)),
    Unsafe("COMMIT below the window", (prepare(K), forget(K)), commit(K)),
    Unsafe("COMMIT above the window", (accepted(WINDOW + 1),), commit(WINDOW + 1)),
    Unsafe("COMMIT after the VIEW-CHANGE", (prepare(), change(1)), commit()),
    Unsafe("PREPARE after the VIEW-CHANGE", (change(1),), prepare()),
    Unsafe("PRE-PREPARE after the VIEW-CHANGE", (change(1),), propose(), me=0),
    Unsafe("PREPARE in the view that is waited for", (change(2),), prepare(view=2)),
    Unsafe("PRE-PREPARE in the view that is waited for", (change(1),), propose(view=1)),
    Unsafe("PREPARE in a later view", (), prepare(view=2)),
    Unsafe("PREPARE in an earlier view", (enter(3),), prepare(view=2)),
    Unsafe("second PREPARE in a later view", (enter(2), prepare(view=2)), prepare(batch=Y, view=2)),
    Unsafe("VIEW-CHANGE to the current view", (), change(0)),
    Unsafe("VIEW-CHANGE to a view entered", (enter(3),), change(3)),
    Unsafe("second VIEW-CHANGE", (change(3),), change(3)),
    Unsafe("VIEW-CHANGE to a lower view", (change(3),), change(2)),
    Unsafe("VIEW-CHANGE against the ledger", (stands(3, in_view=False),), change(3)),
    Unsafe("entering a view twice", (enter(3),), enter(3)),
    Unsafe("entering a view given up", (change(3),), enter(2)),
    Unsafe("entering a view left", (enter(3),), enter(2)),
    Unsafe("NEW-VIEW by a backup", (change(2),), begin(2)),
    Unsafe("second NEW-VIEW", (change(1), begin(1)), begin(1, (1, X))),
    Unsafe("NEW-VIEW of a view given up", (change(2),), begin(1)),
    Unsafe("PRE-PREPARE against its own NEW-VIEW", (change(1), begin(1, (1, X))), propose(1, Y, view=1)),
    Unsafe("mute: PRE-PREPARE", (mute,), propose(), me=0),
    Unsafe("mute: PREPARE", (mute,), prepare()),
    Unsafe("mute: COMMIT", (prepare(), mute), commit()),
    Unsafe("mute: CHECKPOINT", (mute,), checkpoint()),
    Unsafe("mute: VIEW-CHANGE", (mute,), change(1)),
    Unsafe("mute: NEW-VIEW", (mute,), begin(1)),
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
    Safe(
        "another digest in another view",
        (prepare(), commit(), change(2), enter(2), prepare(batch=Y, view=2), commit(batch=Y, view=2)),
    ),
    Safe("views, some of them skipped", (change(1), change(5), enter(5), enter(7), change(9), enter(9))),
    Safe("what its own NEW-VIEW proposed", (change(1), begin(1, (1, X)), propose(1, X, view=1), commit(view=1))),
    Safe("votes of a view left bind no more", (accepted(), committed(), enter(2), accepted(1, Y), committed(1, Y))),
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
    for vote in (prepare(K, Y), commit(K, Y), checkpoint(K, "y"), change(0), begin(2)):
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
    signed, record = rules.sign_prepare(CRAFT.proposal(0, 1, X).pre_prepare.message)
    assert (record.kind, record.sequence, record.data) == (RecordKind.PREPARE, 1, signed.wire)
    certificate = CRAFT.prepared(1, X.digest, (1, 2))
    vote, (prepared, stored) = rules.sign_commit(certificate)
    assert (prepared.kind, prepared.data) == (RecordKind.PREPARED, certificate.wire)
    assert (stored.kind, stored.data) == (RecordKind.COMMIT, vote.wire)
    root, kept = rules.sign_checkpoint(SequenceNumber(K), digest("x"))
    assert (kept.kind, kept.data) == (RecordKind.CHECKPOINT, root.wire)


def test_of_what_the_ledger_holds_below_the_stable_checkpoint_nothing_is_remembered() -> None:
    """A state that lags is executed again from there, but nobody votes on it any more."""
    rules = VotingRules(MEMBERS.group, ReplicaId(1), MEMBERS.signers[1])
    rules.forget_below(SequenceNumber(WINDOW))
    for sequence in range(1, WINDOW + 1):
        accepted(sequence)(rules)
        committed(sequence)(rules)
    assert not rules._accepted
    assert not rules._committed
