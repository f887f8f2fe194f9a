"""View changes as a weapon: what liars and clients do to have good primaries voted out, or bad ones kept."""

from __future__ import annotations

import pytest

from pbft.core.messages import Rejoining, Status
from pbft.core.primary_watch import STRIKES
from pbft.core.types import ReplicaId, SequenceNumber, View
from tests.core.scripted import Scripted, tick
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.looking import views, without

TIMEOUT_MS = 1000


def pass_time(cluster: Cluster, milliseconds: int) -> None:
    for _ in range(milliseconds // 100):
        cluster.advance(100)
        cluster.deliver_all()


def status(view: int = 0, *, last_executed: int = 0, rejoining: Rejoining | None = None) -> Status:
    return Status(
        view=View(view),
        stable_checkpoint=SequenceNumber(0),
        last_executed=SequenceNumber(last_executed),
        slots=(),
        rejoining=rejoining,
    )


# -- liars


@pytest.mark.parametrize("view", [2, 2**40, 2**63 - 1])
def test_pitfall_18_one_that_waits_alone_for_a_view_far_away_is_never_followed(view: int) -> None:
    """A peer that left a view alone is followed after a while: to the next view, and not into the sky."""
    cluster = Cluster(byzantine=(3,))
    craft = Craft(cluster.members)
    for me in cluster.nodes:
        cluster.inject(3, me, craft.view_change(3, view))
    cluster.deliver_all()
    pass_time(cluster, 30 * TIMEOUT_MS)
    assert views(cluster) == {0}
    cluster.request("a", to=(0, 1, 2))
    cluster.settle(cluster.executed_everywhere(1), within_ms=TIMEOUT_MS)


def test_view_changes_for_a_peer_that_comes_back_to_an_idle_group_are_no_failures_of_primaries() -> None:
    """Else one that feigns it would stretch the timeout to its cap before the first primary fails."""
    cluster = Cluster(byzantine=(3,))
    for _ in range(100):
        for to, replica in cluster.replicas.items():
            wish = Rejoining(checkpoint=SequenceNumber(0), view=View(replica.log.view + 1))
            cluster.inject(3, to, status(replica.log.view, rejoining=wish))
        cluster.deliver_all()
        cluster.advance(TIMEOUT_MS)
        cluster.deliver_all()
    assert min(views(cluster)) > 1, "there were such view changes"
    # At most one primary failed: replica 3, which holds one of those views and begins it never.
    assert max(replica.views.timer.level for replica in cluster.replicas.values()) <= 1


@pytest.mark.parametrize("copies", [1, 8])
@pytest.mark.parametrize("accomplice", [False, True], ids=["alone", "with an accomplice"])
def test_a_primary_that_orders_nothing_but_what_ran_before_is_voted_out(copies: int, accomplice: bool) -> None:
    """Old operations are no progress, no work done, and no turn for the client that sent them once. A few new ones,
    of one client, stop the timer; they are far below the floor."""
    victims = "abcdefg"
    script = Scripted(victims + "z")
    old = [script.ask(device) for device in victims]
    script.order(*old)
    for device in victims:
        script.ask(device)
    start = script.cluster.now_ms
    bound = (STRIKES + 1) * TIMEOUT_MS if accomplice else 2 * TIMEOUT_MS
    while not script.lost_office and script.cluster.now_ms - start < bound:
        script.pass_time(100)
        new = [script.ask("z")] if accomplice else []
        script.order(*old * copies, *new)
    assert script.lost_office, "every client but one was censored"


# -- those who may judge a primary, and those who may not


def test_a_backup_that_hears_nobody_does_not_judge_its_primary() -> None:
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    cluster.on_send = without(cluster, 3)
    pass_time(cluster, 5 * TIMEOUT_MS)
    cluster.request("a", first=1, to=(3,))
    pass_time(cluster, 10 * TIMEOUT_MS)
    assert views(cluster) == {0}
    assert cluster.nodes[ReplicaId(3)].alarms == []


def test_a_backup_that_lags_loses_its_patience_with_nobody() -> None:
    """Patience doubles with each dismissal, also with the next primary: so none counts that came to nothing."""
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    late = cluster.replicas[ReplicaId(3)]
    cluster.on_send = without(cluster, 3)
    cluster.request("a", first=1, to=(3,))
    for _ in range(40):
        for peer in (1, 2):
            cluster.inject(peer, 3, status(last_executed=9))
        pass_time(cluster, TIMEOUT_MS)
    assert late.log.view == 0
    assert late.supervision._watch._level == 0


# -- clients


def test_pitfall_16_a_client_that_says_two_things_under_one_name_costs_no_view() -> None:
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    cluster.request("a", b"one", first=1, to=(0,))
    cluster.request("a", b"two", first=1, to=(1, 2, 3))
    for _ in range(200):
        tick(cluster, 20)
    assert views(cluster) == {0}
    assert all(len(replica.pool) == 0 for replica in cluster.replicas.values())


def test_pitfall_16_overlapping_requests_of_one_client_cost_no_view() -> None:
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    for first in range(1, 200, 3):
        cluster.request("a", b"x", first=first, to=(0,))
        cluster.request("a", b"x", b"y", b"z", b"w", first=first, to=(1,))
        cluster.request("a", b"x", b"y", first=first + 1, ack=first + 1, to=(2,))
        cluster.request("a", b"p", first=first + 300, to=(3,))
        for _ in range(10):
            tick(cluster, 20)
    for _ in range(300):
        tick(cluster, 20)
    assert views(cluster) == {0}
    assert all(len(replica.pool) == 0 for replica in cluster.replicas.values())
