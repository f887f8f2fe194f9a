"""What a correct replica can prove of a liar, and what looks like a lie and is none.

Replica 1 is told things, one after the other, by whoever holds the keys; it is asked what it has proof of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from crypto.merkle import leaf_digest
from crypto.signing import SIGNATURE_BYTES
from pbft.core.codec import Opener
from pbft.core.effects import EFFECT_FIELDS, Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import verify_evidence
from pbft.core.frames import encode_proposal, encode_signed, make_batch
from pbft.core.messages import PeerMessage, PrePrepare, Signed, SignedRequest
from pbft.core.types import Milliseconds, ReplicaId
from pbft.core.witness import ACCUSATIONS_MAX, ACCUSED_DEVICES_MAX, PLACES_PER_WINDOW
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import Craft, digest

ME = ReplicaId(1)
K = 4
X, Y = digest("x"), digest("y")


class World:
    """A backup that hears what a test says, drops what is useless as a node does, and is heard by nobody."""

    def __init__(self) -> None:
        self.cluster = Cluster(checkpoint_interval=K, pipeline_depth=2, batch_operations_max=8)
        self.cluster.drops_useless = True
        self.cluster.on_send = lambda _flight: False
        self.craft = Craft(self.cluster.members)

    def tell(self, *messages: PeerMessage | bytes, source: int = 2) -> None:
        """Over the link from `source`, whoever signed it. After what does not open, another link is dialled."""
        for message in messages:
            self.cluster.inject(source, ME, message)
            try:
                self.cluster.deliver_all()
            except ProtocolViolation:
                continue

    def propose(self, text: str, sequence: int = 1) -> tuple[Signed[PrePrepare], bytes]:
        """A proposal of replica 0, by its text: its PRE-PREPARE, and all of it."""
        batch = self.craft.batch(self.craft.request(text), timestamp=WALL_START_MS)
        proposal = self.craft.proposal(0, sequence, batch)
        return proposal.pre_prepare, proposal.wire

    def leave(self, view: int = 1) -> None:
        """F + 1 replicas ask for a view: the replica joins them."""
        self.tell(*(self.craft.view_change(signer, view) for signer in (0, 2)))
        assert self.cluster.replicas[ME].log.view == view

    def stabilise(self, sequence: int = K) -> None:
        """A quorum vouches for a checkpoint."""
        self.tell(self.craft.checkpoint_certificate(sequence, digest("root"), (0, 2, 3)))
        assert self.cluster.replicas[ME].log.low_watermark == sequence

    @property
    def evidence(self) -> list[Evidence]:
        return self.cluster.nodes[ME].evidence


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


def forged_request(craft: Craft) -> SignedRequest:
    """The signature of one device in the place of another's."""
    honest, other = craft.request("a"), craft.request("b")
    wire = honest.wire[:-SIGNATURE_BYTES] + other.wire[-SIGNATURE_BYTES:]
    return SignedRequest(message=honest.message, device=honest.device, wire=wire, digest=leaf_digest(wire))


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


# -- what looks like a lie


def the_same_again(w: World) -> None:
    """As after a restart: the stored bytes are sent once more."""
    _, proposal = w.propose("x")
    votes = (w.craft.prepare(3, 1, X), w.craft.commit(3, 1, X), w.craft.checkpoint(3, K, X))
    w.tell(proposal, *votes, proposal, *votes)


def late_votes(w: World) -> None:
    """Of the view that was left, and below the checkpoint: they say what they said."""
    votes = (w.craft.prepare(3, 1, X), w.craft.commit(3, 1, X))
    w.tell(*votes, w.craft.view_change(3, 1, w.craft.prepared(1, X, (2, 3))))
    w.leave()
    w.tell(*votes)
    w.stabilise()
    w.tell(*votes)


def another_batch_in_the_next_view(w: World) -> None:
    """Nothing was prepared, so the new primary orders something else."""
    _, first = w.propose("x")
    w.tell(first, w.craft.prepare(3, 1, X))
    w.tell(w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in (0, 2, 3)]))
    batch = w.craft.batch(w.craft.request("z"), timestamp=WALL_START_MS)
    w.tell(w.craft.proposal(2, 1, batch, view=2), w.craft.prepare(3, 1, batch.digest, view=2))


def a_view_change_that_shows_the_commit(w: World) -> None:
    w.tell(w.craft.commit(3, 1, X), w.craft.view_change(3, 1, w.craft.prepared(1, X, (2, 3))))


def a_view_change_that_shows_a_later_view(w: World) -> None:
    w.tell(w.craft.commit(3, 1, X), w.craft.view_change(3, 3, w.craft.prepared(1, Y, (1, 3), view=2)))


def a_commit_below_the_checkpoint_of_the_view_change(w: World) -> None:
    """What is stable need not be shown."""
    checkpoint = w.craft.checkpoint_certificate(K, digest("root"), (0, 2, 3))
    w.tell(w.craft.commit(3, 1, X), w.craft.view_change(3, 1, checkpoint=checkpoint))


def a_commit_in_the_view_that_was_asked_for(w: World) -> None:
    """The VIEW-CHANGE came before, and promises nothing of the view that it asks for."""
    w.tell(w.craft.view_change(3, 2))
    w.tell(w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in (0, 2, 3)]))
    w.tell(w.craft.commit(3, 1, X, view=2))


def a_prepare_that_is_not_shown(w: World) -> None:
    """Who only accepted a proposal need not have been prepared."""
    w.tell(w.craft.prepare(3, 1, X), w.craft.view_change(3, 1))


def view_changes_to_one_view_after_another(w: World) -> None:
    w.tell(*(w.craft.view_change(3, view) for view in (1, 2, 3, 2, 1)))


def the_same_view_change_in_a_new_view(w: World) -> None:
    changes = [w.craft.view_change(signer, 2) for signer in (0, 2, 3)]
    w.tell(*changes, w.craft.new_view(2, changes), w.craft.new_view(2, changes))


def a_vote_with_a_forged_signature(w: World) -> None:
    honest, other = w.craft.commit(3, 1, Y), w.craft.commit(2, 1, Y)
    w.tell(w.craft.commit(3, 1, X), honest.wire.replace(honest.signature, other.signature))


def a_forged_vote_of_a_view_that_was_left(w: World) -> None:
    """It would prove something, so its signature is looked at, and does not hold."""
    honest, other = w.craft.commit(3, 1, Y), w.craft.commit(2, 1, Y)
    w.tell(w.craft.commit(3, 1, X), w.craft.view_change(3, 1, w.craft.prepared(1, X, (2, 3))))
    w.leave()
    w.tell(honest.wire.replace(honest.signature, other.signature))


def an_invalid_view_change_that_its_sender_never_signed(w: World) -> None:
    wrong, other = w.craft.view_change(3, 1, w.craft.prepared(1, X, (2,))), w.craft.view_change(2, 1)
    w.tell(wrong.wire.replace(wrong.signature, other.signature))


def a_new_view_by_a_stranger_to_the_view(w: World) -> None:
    """Replica 3 passes on changes as replica 2, which leads the view, would, and signs for it."""
    right = w.craft.new_view(2, [w.craft.view_change(signer, 2) for signer in (0, 2, 3)])
    w.tell(encode_signed("NEW-VIEW", w.cluster.group.epoch, 2, b"no body at all", right.signature))


def a_forged_request_that_no_primary_proposed(w: World) -> None:
    batch = make_batch(Milliseconds(WALL_START_MS), (forged_request(w.craft),))
    honest = w.craft.proposal(0, 1, w.craft.batch(w.craft.request("c")))
    w.tell(forged_request(w.craft).wire, encode_proposal(honest.pre_prepare.wire, batch.wire))


def a_forged_request_under_a_forged_proposal(w: World) -> None:
    batch = make_batch(Milliseconds(WALL_START_MS), (forged_request(w.craft),))
    wrong, other = w.craft.proposal(0, 1, batch), w.craft.pre_prepare(3, 1, batch.digest)
    wire = wrong.pre_prepare.wire.replace(wrong.pre_prepare.signature, other.signature)
    w.tell(encode_proposal(wire, batch.wire))


def garbage(w: World) -> None:
    w.tell(b"", b"\x80", b"\xff" * 9, encode_signed("VIEW-CHANGE", w.cluster.group.epoch, 2**40, b"", bytes(64)))


HARMLESS = (
    the_same_again,
    late_votes,
    another_batch_in_the_next_view,
    a_view_change_that_shows_the_commit,
    a_view_change_that_shows_a_later_view,
    a_commit_below_the_checkpoint_of_the_view_change,
    a_commit_in_the_view_that_was_asked_for,
    a_prepare_that_is_not_shown,
    view_changes_to_one_view_after_another,
    the_same_view_change_in_a_new_view,
    a_vote_with_a_forged_signature,
    a_forged_vote_of_a_view_that_was_left,
    an_invalid_view_change_that_its_sender_never_signed,
    a_new_view_by_a_stranger_to_the_view,
    a_forged_request_that_no_primary_proposed,
    a_forged_request_under_a_forged_proposal,
    garbage,
)


@pytest.mark.parametrize("tell", HARMLESS, ids=lambda tell: tell.__name__)
def test_what_only_looks_like_a_lie_accuses_nobody(tell: Callable[[World], None]) -> None:
    world = World()
    tell(world)
    assert world.evidence == []


def test_an_honest_group_that_crashes_and_changes_views_accuses_nobody() -> None:
    """Every replica restarts in the middle of a batch, every view is given up once, and one loses all that it had."""
    cluster = Cluster(checkpoint_interval=K, pipeline_depth=2)
    cluster.drops_useless = True
    for number in range(8):
        cluster.request("a", first=number, ack=number, to=range(4))
        for _ in range(6):
            if cluster.flying:
                cluster.deliver(cluster.flying.pop(0))
        me = number % 4
        cluster.crash(me)
        cluster.advance(3000)
        cluster.deliver_all()
        cluster.restart(me)
        cluster.settle(cluster.executed_everywhere(number + 1))
    assert max(replica.log.view for replica in cluster.replicas.values()) > 1
    assert all(not node.evidence for node in cluster.nodes.values())


# -- bounds


def test_a_liar_without_end_is_accused_a_few_times() -> None:
    world = World()
    for sequence in range(1, 2 * K + 1):
        for text in range(6):
            world.tell(world.craft.commit(3, sequence, digest(str(text))))
    assert len(world.evidence) == min(ACCUSATIONS_MAX, 2 * K)
    assert {(proof.code, proof.culprit) for proof in world.evidence} == {("E3", 3)}
    assert world.cluster.replicas[ME].is_useless(world.craft.commit(3, 1, Y)) is False, "inside the window"
    world.stabilise()
    assert world.cluster.replicas[ME].is_useless(world.craft.commit(3, 1, Y)), "it is proven"


def test_devices_without_end_are_accused_up_to_a_bound() -> None:
    """They cost nothing to make."""
    world = World()
    for number in range(ACCUSED_DEVICES_MAX + 20):
        for text in (b"this", b"that"):
            world.tell(world.craft.request(f"device {number}", 0, text))
    assert len(world.evidence) == ACCUSED_DEVICES_MAX


def test_what_is_remembered_of_each_replica_is_bounded() -> None:
    """View after view, and checkpoint after checkpoint, with votes for every sequence number."""
    world = World()
    most = PLACES_PER_WINDOW * world.cluster.group.parameters.window
    for view in range(1, 12):
        low = world.cluster.replicas[ME].log.low_watermark
        for sequence in range(low + 1, low + 2 * K + 1):
            world.tell(
                world.craft.commit(3, sequence, X, view=view - 1), world.craft.prepare(3, sequence, X, view=view - 1)
            )
        shown = [world.craft.prepared(number, X, (1, 3), view=view - 1) for number in range(low + 1, low + 2 * K + 1)]
        changes = [world.craft.view_change(signer, view, *shown) for signer in (0, 2, 3)]
        if view % 4 != ME:
            world.tell(world.craft.new_view(view, changes))
    witness = world.cluster.replicas[ME].witness
    assert witness.largest <= most
    assert all(len(held) <= 2 for held in witness._changes.values())


def test_proofs_are_durable_before_anything_is_sent() -> None:
    """The fields of Effects are in the order in which they are carried out."""
    order = [EFFECT_FIELDS.index(name) for name in ("persist", "evidence", "send", "reply")]
    assert all(first < second for first, second in pairwise(order))
