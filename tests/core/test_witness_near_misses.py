"""What looks like a lie and is none; and how much of liars is remembered, and told of."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from pbft.core.effects import EFFECT_FIELDS
from pbft.core.evidence import CLIENT_EQUIVOCATION
from pbft.core.frames import encode_proposal, encode_signed, make_batch
from pbft.core.output import Output
from pbft.core.types import Milliseconds, SequenceNumber
from pbft.core.witness import ACCUSATIONS_MAX, ACCUSED_DEVICES_MAX, PLACES_PER_WINDOW, VIEWS_KEPT
from tests.core.witnessing import ME, K, World, X, Y, forged_request
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import digest

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
    out = Output()
    for number in range(ACCUSED_DEVICES_MAX + 20):
        one, other = (world.craft.request(f"device {number}", 0, text) for text in (b"this", b"that"))
        witness = world.cluster.replicas[ME].witness
        witness.accuse(out, CLIENT_EQUIVOCATION, one.device, (1, 0), one.wire, other.wire)
    assert len(out.evidence) == ACCUSED_DEVICES_MAX


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
    assert all(len(held) <= VIEWS_KEPT for held in witness._changes.values())


def test_proofs_are_durable_before_anything_is_sent() -> None:
    """The fields of Effects are in the order in which they are carried out."""
    order = [EFFECT_FIELDS.index(name) for name in ("persist", "evidence", "send", "reply")]
    assert all(first < second for first, second in pairwise(order))


# -- what must not be forgotten, or dropped unseen


def accusations(world: World) -> list[tuple[str, object]]:
    return [(proof.code, proof.culprit) for proof in world.evidence]


@pytest.mark.parametrize("others", [(), (6, 10), (3, 4, 5, 6, 7, 8)])
def test_asking_for_many_views_does_not_make_the_first_request_forgotten(others: tuple[int, ...]) -> None:
    world = World()
    shown = world.craft.prepared(1, X, (2, 3))
    world.tell(world.craft.view_change(3, 1), source=3)
    world.tell(*(world.craft.view_change(3, view, shown) for view in others), source=3)
    world.tell(world.craft.view_change(3, 1, shown), source=3)
    assert ("E6", 3) in accusations(world)


def test_a_view_change_that_comes_late_and_hides_a_commit_is_heard() -> None:
    world = World()
    world.tell(world.craft.commit(3, 1, X), source=3)
    world.tell(world.craft.new_view(3, [world.craft.view_change(signer, 3) for signer in (0, 1, 2)]))
    assert world.cluster.replicas[ME].log.view == 3
    world.tell(world.craft.view_change(3, 2), source=3)
    assert accusations(world) == [("E5", 3)]


def test_a_certificate_against_what_was_executed_names_its_signers_and_is_an_alarm() -> None:
    world = World()
    header, frame = world.propose("x")
    world.tell(frame, world.craft.commit_certificate(1, header.message.batch_digest, (0, 2, 3)))
    assert world.cluster.replicas[ME].log.last_executed == 1
    fork = world.craft.commit_certificate(1, Y, (0, 2, 3))
    world.tell(fork, fork)
    assert accusations(world) == [("E3", 0), ("E3", 2), ("E3", 3)]
    assert world.cluster.nodes[ME].alarms == [
        "agreement is broken: two batches are certified at sequence number 1",
    ]


def test_what_stands_in_the_ledger_is_held_against_others_after_a_restart() -> None:
    """Replica 2's PREPARE is in the certificate that this replica committed on."""
    world = World()
    header, frame = world.propose("x")
    world.tell(frame, world.craft.prepare(2, 1, header.message.batch_digest))
    assert world.cluster.replicas[ME].log.get(SequenceNumber(1)).prepared is not None  # type: ignore[union-attr]
    world.cluster.restart(ME)
    world.tell(world.craft.prepare(2, 1, Y), source=2)
    assert accusations(world) == [("E2", 2)]
