"""Views from nowhere, stuck flags, replicas that are late, asleep or deaf, and what a new primary may not do.

The numbers are those of the protocol's section 10.
"""

from __future__ import annotations

import pytest

from pbft.core.effects import RecordKind, Timer
from pbft.core.messages import Commit, Proposal
from pbft.core.types import ReplicaId
from tests.harness.chaos import check_alive
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.looking import message_of, nobody_is_accused, ran_by, views
from tests.harness.simnode import Flight
from tests.harness.votes import Votes

TIMEOUT_MS = 1000


# -- 18: views from nowhere


def memory_of(cluster: Cluster) -> int:
    return sum(len(replica.votes._changes) + len(replica.log._slots) for replica in cluster.replicas.values())


@pytest.mark.parametrize(("n", "liars"), [(4, (3,)), (7, (5, 6))])
def test_pitfall_18_view_changes_to_views_far_away_move_nobody_below_f_plus_one(
    n: int, liars: tuple[int, ...]
) -> None:
    cluster = Cluster(n, byzantine=liars)
    craft = Craft(cluster.members)
    for view in (*range(1, 300), 2**40, 2**62, 2**63 - 1):
        for liar in liars:
            for to in cluster.nodes:
                cluster.inject(liar, to, craft.view_change(liar, view))
    cluster.deliver_all()
    assert views(cluster) == {0}
    assert memory_of(cluster) <= len(cluster.nodes) * len(liars)
    assert all(node.ledger == [] for node in cluster.nodes.values())
    # One honest replica more, for view 1: it is joined there and not in the sky.
    one = craft.view_change(0, 1)
    cluster.inject(0, 1, one)
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(1)].log.view == 1
    assert nobody_is_accused(cluster)


def test_pitfall_18_a_view_near_the_last_one_stops_nobody() -> None:
    """Two of four ask for it: more than may lie. There is a next view all the same, until the numbers end."""
    cluster = Cluster(byzantine=(2, 3))
    craft = Craft(cluster.members)
    view = 2**62 + 1
    for signer in (2, 3):
        for to in (0, 1):
            cluster.inject(signer, to, craft.view_change(signer, view))
    cluster.deliver_all()
    assert views(cluster) == {view}
    assert cluster.replicas[ReplicaId(1)].log.in_view
    assert memory_of(cluster) <= 8


# -- 19: stuck flags (the invariant itself is `check_alive`, after every step of the random runs)


def test_pitfall_19_a_batch_executed_on_the_way_does_not_stop_the_new_primarys_clock() -> None:
    """All wait for view 1, whose primary dies; then they learn what view 0 committed. They must go on to view 2."""
    cluster = Cluster()
    votes = Votes(cluster)
    hidden = ("COMMIT", "NEW-VIEW")
    cluster.on_send = lambda flight: votes(flight) and not any(kind.encode() in flight.frame[:10] for kind in hidden)
    for device in "ab":
        cluster.request(device, to=range(4))
    cluster.deliver_all()
    slot = cluster.replicas[ReplicaId(2)].log.get(1)
    assert slot is not None
    assert slot.prepared is not None
    certificate = Craft(cluster.members).commit_certificate(
        1, slot.prepared.pre_prepare.message.batch_digest, (1, 2, 3)
    )
    cluster.advance(TIMEOUT_MS)
    cluster.deliver_all()
    waiting = [me for me, replica in cluster.replicas.items() if not replica.log.in_view]
    assert waiting == [0, 2, 3]
    assert views(cluster) == {1}
    cluster.crash(1)
    for me in waiting:
        cluster.inject(2 if me == 3 else 3, me, certificate)
    cluster.deliver_all()
    assert {cluster.nodes[me].executed for me in waiting} == {1}
    check_alive(cluster)
    cluster.on_send = votes
    cluster.settle(cluster.executed_everywhere(2), within_ms=10_000)


# -- 21, 25, 26: who is late, asleep or deaf


def test_pitfall_21_a_request_that_ran_arms_no_timer_and_costs_no_view() -> None:
    cluster = Cluster()
    request = cluster.request("a")
    cluster.deliver_all()
    for _ in range(8):
        cluster.send_request(request, cluster.group.replicas)
        cluster.deliver_all()
        assert not any(replica.views.timer.is_armed for replica in cluster.replicas.values())
        cluster.advance(TIMEOUT_MS)
    cluster.deliver_all()
    assert views(cluster) == {0}


@pytest.mark.parametrize("sleeper", [0, 2])
@pytest.mark.parametrize("asked", [True, False], ids=["with a request waiting", "idle"])
def test_pitfall_25_a_process_that_was_paused_for_minutes_rejoins(sleeper: int, asked: bool) -> None:
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=2)
    me = ReplicaId(sleeper)
    if asked:
        cluster.request("a", to=[sleeper])
        cluster.deliver(cluster.flying.pop(0))
        cluster.flying.clear()
    node = cluster.nodes[me]
    timers, node.timers = node.timers, {}
    node.alive = False
    rest = [peer for peer in range(4) if peer != sleeper]
    for first in range(10):
        cluster.request("b", first=first, ack=first, to=rest)
        cluster.settle(cluster.executed_everywhere(first + 1))
    cluster.advance(300_000)
    cluster.deliver_all()
    before = views(cluster)
    assert all(len(cluster.replicas[ReplicaId(peer)].log._slots) <= 16 for peer in rest)
    node.alive, node.timers = True, timers
    cluster.advance(0)
    cluster.deliver_all()
    cluster.settle(cluster.executed_everywhere(11 if asked else 10), within_ms=5000)
    cluster.assert_same_state()
    assert views(cluster) == before, "it was late itself, and blames nobody for it"
    assert Timer.STATUS in node.timers


def test_pitfall_26_a_replica_that_cannot_hear_but_can_send_is_never_accused() -> None:
    cluster = Cluster()
    votes = Votes(cluster)
    cluster.on_send = lambda flight: votes(flight) and flight.to != 3
    for first in range(6):
        cluster.request("a", first=first, ack=first, to=range(4))
        cluster.settle(ran_by(cluster, first + 1, 0, 1, 2))
        cluster.advance(2000)
        cluster.deliver_all()
    assert cluster.replicas[ReplicaId(3)].log.view > 0, "it gave views up that nobody else did"
    assert {cluster.replicas[ReplicaId(me)].log.view for me in (0, 1, 2)} == {0}
    assert nobody_is_accused(cluster)
    # It hears again, and is needed at once.
    cluster.on_send = votes
    cluster.crash(0)
    cluster.request("b", to=(1, 2, 3))
    cluster.settle(cluster.executed_everywhere(7))
    assert nobody_is_accused(cluster)
    cluster.assert_same_state()


# -- what a primary of a new view may not do


@pytest.mark.parametrize("lie", ["another digest", "left out", "one more", "twice over"])
def test_a_new_primary_that_proposes_something_else_is_left_and_accused(lie: str) -> None:
    cluster = Cluster(byzantine=(1,))
    craft = Craft(cluster.members)
    shown = craft.prepared(1, digest("x"), (2, 3))
    changes = [craft.view_change(signer, 1, shown) for signer in (0, 1, 2)]
    again = {
        "another digest": [(1, digest("y"))],
        "left out": [],
        "one more": [(1, digest("x")), (2, digest("y"))],
        "twice over": [(1, digest("x")), (1, digest("x"))],
    }[lie]
    wrong = craft.new_view(1, changes, again)
    cluster.on_send = lambda _flight: False
    for to in (2, 3):
        cluster.inject(1, to, wrong)
    cluster.deliver_all()
    for me in (2, 3):
        (evidence,) = cluster.nodes[ReplicaId(me)].evidence
        assert (evidence.code, evidence.culprit, evidence.statements) == ("E7", 1, (wrong.wire,))
        log = cluster.replicas[ReplicaId(me)].log
        assert (log.view, log.in_view) == (2, False)
        assert {record.kind for record in cluster.nodes[ReplicaId(me)].ledger} == {RecordKind.VIEW_CHANGE}


def test_a_primary_that_sends_two_new_views_is_accused() -> None:
    cluster = Cluster(byzantine=(1,))
    craft = Craft(cluster.members)
    cluster.on_send = lambda _flight: False
    first, second = (
        craft.new_view(1, [craft.view_change(signer, 1) for signer in signers]) for signers in ((0, 1, 2), (0, 1, 3))
    )
    for new_view in (first, second, first):
        cluster.inject(1, 2, new_view)
    cluster.deliver_all()
    (evidence,) = cluster.nodes[ReplicaId(2)].evidence
    assert (evidence.code, evidence.culprit, evidence.statements) == ("E7", 1, (first.wire, second.wire))


def test_two_view_changes_for_one_view_are_evidence() -> None:
    cluster = Cluster(byzantine=(3,))
    craft = Craft(cluster.members)
    first, second = craft.view_change(3, 5), craft.view_change(3, 5, craft.prepared(1, digest("x"), (1, 2)))
    for change in (first, second):
        cluster.inject(3, 1, change)
    cluster.deliver_all()
    (evidence,) = cluster.nodes[ReplicaId(1)].evidence
    assert (evidence.code, evidence.culprit, evidence.statements) == ("E6", 3, (first.wire, second.wire))


def test_a_primary_proposes_again_bodies_it_has_never_seen() -> None:
    """It votes on digests, and executes once it has fetched them. PBFT section 4.4."""
    cluster = Cluster()

    def hide(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        return not (isinstance(message, Proposal) and flight.to == 1) and not isinstance(message, Commit)

    cluster.on_send = hide
    cluster.request("a")
    cluster.deliver_all()
    assert cluster.replicas[ReplicaId(1)].log.get(1).prepared is None  # type: ignore[union-attr]
    cluster.crash(0)
    cluster.on_send = Votes(cluster)
    cluster.request("b", to=(1, 2, 3))
    cluster.settle(cluster.executed_everywhere(2))
    assert views(cluster) == {1}
