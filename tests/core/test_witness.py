"""What a correct replica can prove of a liar, and what looks like a lie and is none.

Replica 1 is told things, one after the other, by whoever holds the keys; it is asked what it has proof of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pbft.core.codec import Opener
from pbft.core.evidence import verify_evidence
from pbft.core.frames import make_batch
from pbft.core.messages import Signed
from pbft.core.types import Milliseconds
from tests.core.witnessing import K, World, X, Y, forged_request
from tests.harness.cluster import WALL_START_MS
from tests.harness.craft import digest


@dataclass(frozen=True)
class Lie:
    """`tell` gives the two statements, or the one, that are to be the proof."""

    code: str
    culprit: int
    tell: Callable[[World], tuple[bytes, ...]]


# -- E1 to E4: two statements about one place


def two_proposals(w: World) -> tuple[bytes, ...]:
    (first, one), (second, other) = w.propose("x"), w.propose("y")
    w.tell(one, other)
    return first.wire, second.wire


def a_proposal_and_another_in_a_certificate(w: World) -> tuple[bytes, ...]:
    first, frame = w.propose("x")
    shown = w.craft.prepared(1, Y, (2, 3))
    w.tell(frame, w.craft.view_change(2, 1, shown))
    return first.wire, shown.pre_prepare.wire


def a_certificate_and_then_another_proposal(w: World) -> tuple[bytes, ...]:
    second, frame = w.propose("x")
    shown = w.craft.prepared(1, Y, (2, 3))
    w.tell(w.craft.view_change(2, 1, shown), frame)
    return shown.pre_prepare.wire, second.wire


def another_proposal_when_the_view_is_left(w: World) -> tuple[bytes, ...]:
    (first, one), (second, other) = w.propose("x"), w.propose("y")
    w.tell(one)
    w.leave()
    w.tell(other)
    return first.wire, second.wire


def another_proposal_than_in_the_new_view(w: World) -> tuple[bytes, ...]:
    """Replica 2 leads view 2."""
    shown = w.craft.prepared(1, X, (2, 3))
    new_view = w.craft.new_view(2, [w.craft.view_change(signer, 2, shown) for signer in (0, 2, 3)])
    batch = w.craft.batch(w.craft.request("z"), timestamp=WALL_START_MS)
    second = w.craft.proposal(2, 1, batch, view=2)
    w.tell(new_view, second)
    return new_view.message.pre_prepares[0].wire, second.pre_prepare.wire


def two_prepares(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.prepare(3, 1, X), w.craft.prepare(3, 1, Y)
    w.tell(first, second)
    return first.wire, second.wire


def a_prepare_and_another_in_a_certificate(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.prepare(3, 1, X), w.craft.prepare(3, 1, Y)
    w.tell(first, w.craft.view_change(2, 1, w.craft.prepared(1, Y, (2, 3))))
    return first.wire, second.wire


def another_prepare_two_views_later(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.prepare(3, 1, X), w.craft.prepare(3, 1, Y)
    w.tell(first)
    w.leave(1)
    w.leave(2)
    w.tell(second)
    return first.wire, second.wire


def two_commits(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.commit(3, 1, X), w.craft.commit(3, 1, Y)
    w.tell(first, second)
    return first.wire, second.wire


def another_commit_below_a_stable_checkpoint(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.commit(3, 1, X), w.craft.commit(3, 1, Y)
    w.tell(first)
    w.stabilise()
    w.tell(second)
    return first.wire, second.wire


def a_commit_and_another_in_a_certificate(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.commit(3, 1, X), w.craft.commit(3, 1, Y)
    w.tell(first, w.craft.commit_certificate(1, Y, (0, 2, 3)))
    return first.wire, second.wire


def two_checkpoints(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.checkpoint(3, K, X), w.craft.checkpoint(3, K, Y)
    w.tell(first, second)
    return first.wire, second.wire


def another_checkpoint_when_it_is_stable(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.checkpoint(3, K, digest("root")), w.craft.checkpoint(3, K, Y)
    w.stabilise()
    w.tell(second)
    return first.wire, second.wire


def a_checkpoint_and_another_in_a_certificate(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.checkpoint(3, K, X), w.craft.checkpoint(3, K, digest("root"))
    w.tell(first)
    w.stabilise()
    return first.wire, second.wire


# -- E5: a COMMIT and what a VIEW-CHANGE shows


def a_commit_and_a_view_change_that_omits_it(w: World) -> tuple[bytes, ...]:
    commit, change = w.craft.commit(3, 1, X), w.craft.view_change(3, 1)
    w.tell(commit, change)
    return commit.wire, change.wire


def a_view_change_that_shows_an_older_view(w: World) -> tuple[bytes, ...]:
    w.tell(w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in (0, 2, 3)]))
    commit = w.craft.commit(3, 1, X, view=2)
    change = w.craft.view_change(3, 3, w.craft.prepared(1, X, (1, 2)))
    w.tell(commit, change)
    return commit.wire, change.wire


def a_commit_that_comes_after_the_view_change(w: World) -> tuple[bytes, ...]:
    """The network turned them round, and the view is left meanwhile."""
    commit, change = w.craft.commit(3, 1, X), w.craft.view_change(3, 1)
    w.tell(change)
    w.leave()
    w.tell(commit)
    return commit.wire, change.wire


def a_hidden_commit_in_a_new_view(w: World) -> tuple[bytes, ...]:
    commit, change = w.craft.commit(3, 1, X), w.craft.view_change(3, 2)
    w.tell(commit, w.craft.new_view(2, [*(w.craft.view_change(signer, 2) for signer in (0, 2)), change]))
    return commit.wire, change.wire


def a_commit_of_a_certificate_that_is_hidden(w: World) -> tuple[bytes, ...]:
    commit, change = w.craft.commit(3, 1, X), w.craft.view_change(3, 1)
    w.tell(w.craft.commit_certificate(1, X, (0, 2, 3)), change)
    return commit.wire, change.wire


# -- E6 and E7: two statements about one view, or one that is invalid in itself


def two_view_changes(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.view_change(3, 1), w.craft.view_change(3, 1, w.craft.prepared(1, X, (2, 3)))
    w.tell(first, second)
    return first.wire, second.wire


def a_view_change_and_another_in_a_new_view(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.view_change(3, 2), w.craft.view_change(3, 2, w.craft.prepared(1, X, (2, 3)))
    w.tell(first, w.craft.new_view(2, [*(w.craft.view_change(signer, 2) for signer in (0, 2)), second]))
    return first.wire, second.wire


def another_view_change_when_the_view_was_left(w: World) -> tuple[bytes, ...]:
    first, second = w.craft.view_change(3, 1), w.craft.view_change(3, 1, w.craft.prepared(1, X, (2, 3)))
    w.tell(first)
    w.leave(2)
    w.tell(second)
    return first.wire, second.wire


def two_new_views(w: World) -> tuple[bytes, ...]:
    first, second = (
        w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in signers])
        for signers in ((0, 2, 3), (0, 1, 2))
    )
    w.tell(first, second)
    return first.wire, second.wire


def another_new_view_when_the_view_was_left(w: World) -> tuple[bytes, ...]:
    first, second = (
        w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in signers])
        for signers in ((0, 2, 3), (0, 1, 2))
    )
    w.tell(first)
    w.leave(3)
    w.tell(second)
    return first.wire, second.wire


def a_new_view_that_proposes_something_else(w: World) -> tuple[bytes, ...]:
    wrong = w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in (0, 2, 3)], [(1, X)])
    w.tell(wrong)
    return (wrong.wire,)


def a_view_change_with_too_small_a_certificate(w: World) -> tuple[bytes, ...]:
    """Over the link from replica 2, which only passes it on."""
    change = w.craft.view_change(3, 1, w.craft.prepared(1, X, (2,)))
    w.tell(change)
    return (change.wire,)


def a_view_change_with_a_forged_prepare(w: World) -> tuple[bytes, ...]:
    """The signature of one replica in the place of another's: only checking it shows."""
    honest = w.craft.prepare(2, 1, X)
    forged = w.craft.prepared(1, X, (2, 3))
    mine = w.craft.prepare(3, 1, X)
    wire = forged.wire.replace(honest.signature, mine.signature)
    change = w.craft.view_change(3, 1, type(forged)(pre_prepare=forged.pre_prepare, prepares=(), wire=wire))
    w.tell(change)
    return (change.wire,)


def a_new_view_with_a_view_change_that_nobody_signed(w: World) -> tuple[bytes, ...]:
    """Its sender had to check what it put in."""
    change, other = w.craft.view_change(3, 2), w.craft.view_change(0, 2)
    wire = change.wire.replace(change.signature, other.signature)
    forged = Signed(message=change.message, signer=change.signer, signature=other.signature, wire=wire)
    new_view = w.craft.new_view(2, [other, w.craft.view_change(2, 2), forged])
    w.tell(new_view, source=3)
    return (new_view.wire,)


# -- E8: a request that its device never signed


def a_proposal_with_a_forged_request(w: World) -> tuple[bytes, ...]:
    batch = make_batch(Milliseconds(WALL_START_MS), (w.craft.request("c"), forged_request(w.craft)))
    proposal = w.craft.proposal(0, 1, batch)
    w.tell(proposal)
    return (proposal.wire,)


LIES = (
    Lie("E1", 0, two_proposals),
    Lie("E1", 0, a_proposal_and_another_in_a_certificate),
    Lie("E1", 0, a_certificate_and_then_another_proposal),
    Lie("E1", 0, another_proposal_when_the_view_is_left),
    Lie("E1", 2, another_proposal_than_in_the_new_view),
    Lie("E2", 3, two_prepares),
    Lie("E2", 3, a_prepare_and_another_in_a_certificate),
    Lie("E2", 3, another_prepare_two_views_later),
    Lie("E3", 3, two_commits),
    Lie("E3", 3, another_commit_below_a_stable_checkpoint),
    Lie("E3", 3, a_commit_and_another_in_a_certificate),
    Lie("E4", 3, two_checkpoints),
    Lie("E4", 3, another_checkpoint_when_it_is_stable),
    Lie("E4", 3, a_checkpoint_and_another_in_a_certificate),
    Lie("E5", 3, a_commit_and_a_view_change_that_omits_it),
    Lie("E5", 3, a_view_change_that_shows_an_older_view),
    Lie("E5", 3, a_commit_that_comes_after_the_view_change),
    Lie("E5", 3, a_hidden_commit_in_a_new_view),
    Lie("E5", 3, a_commit_of_a_certificate_that_is_hidden),
    Lie("E6", 3, two_view_changes),
    Lie("E6", 3, a_view_change_and_another_in_a_new_view),
    Lie("E6", 3, another_view_change_when_the_view_was_left),
    Lie("E7", 2, two_new_views),
    Lie("E7", 2, another_new_view_when_the_view_was_left),
    Lie("E7", 2, a_new_view_that_proposes_something_else),
    Lie("E7", 3, a_view_change_with_too_small_a_certificate),
    Lie("E7", 3, a_view_change_with_a_forged_prepare),
    Lie("E7", 2, a_new_view_with_a_view_change_that_nobody_signed),
    Lie("E8", 0, a_proposal_with_a_forged_request),
)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: f"{lie.code} {lie.tell.__name__}")
def test_who_receives_what_proves_a_lie_has_the_proof(lie: Lie) -> None:
    world = World()
    statements = lie.tell(world)
    proofs = [proof for proof in world.evidence if (proof.code, proof.culprit) == (lie.code, lie.culprit)]
    assert [proof.statements for proof in proofs] == [statements]
    for proof in world.evidence:
        verify_evidence(Opener(world.cluster.group, world.cluster.members.verifier), proof)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: f"{lie.code} {lie.tell.__name__}")
def test_the_same_lie_again_is_no_other_proof(lie: Lie) -> None:
    world = World()
    statements = lie.tell(world)
    before = list(world.evidence)
    world.tell(*(frame for frame in statements if b"PRE-PREPARE" not in frame[:16]))
    assert world.evidence == before


def test_every_code_that_replicas_can_find_has_its_lie() -> None:
    assert {lie.code for lie in LIES} == {f"E{number}" for number in range(1, 9)}
