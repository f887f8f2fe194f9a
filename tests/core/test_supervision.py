"""Who stays in a view, who leaves it, and who follows: a backup's supervision of its primary in a group."""

from __future__ import annotations

import pytest

from pbft.core.effects import ExecutedRequest, Record, RecordKind, Timer
from pbft.core.frames import NULL_BATCH
from pbft.core.messages import OperationResult, Proposal, Rejoining, Status
from pbft.core.output import Output
from pbft.core.rejoin import PLANNED_PAUSE_MS, PLANNED_VIEW_CHANGES, STRANDED_MS
from pbft.core.replica import STATUS_INTERVAL_INCOMPLETE_MS, STATUS_INTERVAL_MS
from pbft.core.types import ClientSequence, Milliseconds, Now, ReplicaId, SequenceNumber, SessionNumber, View
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.looking import message_of, nobody_is_accused, views, without
from tests.harness.simnode import Flight

TIMEOUT_MS = 1000
K = 4
LONG_SILENT_MS = 4 * STATUS_INTERVAL_MS


def pass_time(cluster: Cluster, milliseconds: int) -> None:
    for _ in range(milliseconds // 50):
        cluster.advance(50)
        cluster.deliver_all()


def view_of(cluster: Cluster, me: int) -> int:
    return cluster.replicas[ReplicaId(me)].log.view


# -- one that is cut off


def test_a_backup_that_hears_nobody_does_not_leave_its_view() -> None:
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    cluster.on_send = without(cluster, 3)
    pass_time(cluster, LONG_SILENT_MS)
    cluster.request("a", first=1, to=(3,))
    pass_time(cluster, 2 * TIMEOUT_MS)
    assert view_of(cluster, 3) == 0
    assert not any(record.kind is RecordKind.VIEW_CHANGE for record in cluster.nodes[ReplicaId(3)].ledger)
    cluster.on_send = None
    cluster.connect(3)
    cluster.settle(cluster.executed_everywhere(2), within_ms=TIMEOUT_MS)
    assert views(cluster) == {0}


def test_a_backup_that_hears_all_but_the_primary_leaves_its_view() -> None:
    """The counterpart: it is not left alone, so the primary is what is missing."""
    cluster = Cluster()
    cluster.on_send = without(cluster, 0)
    pass_time(cluster, LONG_SILENT_MS)
    cluster.request("a", to=(1, 2, 3))
    cluster.settle(lambda: all(cluster.nodes[ReplicaId(me)].executed == 1 for me in (1, 2, 3)))
    assert {view_of(cluster, me) for me in (1, 2, 3)} == {1}


# -- one that left alone


def strand(cluster: Cluster, view: int) -> None:
    """Replica 3, which a test speaks for, asks for a view that nobody else asks for."""
    craft = Craft(cluster.members)
    for me in cluster.nodes:
        cluster.inject(3, me, craft.view_change(3, view))
    cluster.deliver_all()


def test_a_peer_that_waits_alone_for_a_view_is_followed_after_ten_seconds() -> None:
    cluster = Cluster(byzantine=(3,))
    strand(cluster, 1)
    pass_time(cluster, STRANDED_MS - 500)
    assert views(cluster) == {0}
    pass_time(cluster, 2 * STATUS_INTERVAL_MS)
    assert views(cluster) == {1}
    cluster.request("a", to=(0, 1, 2))
    cluster.settle(cluster.executed_everywhere(1))
    assert nobody_is_accused(cluster)


def test_one_that_leaves_alone_again_and_again_is_followed_a_few_times_only() -> None:
    cluster = Cluster(byzantine=(3,))
    reached = []
    for _ in range(4 * PLANNED_VIEW_CHANGES):
        strand(cluster, max(views(cluster)) + 1)
        pass_time(cluster, STRANDED_MS + PLANNED_PAUSE_MS)
        reached.append(max(views(cluster)))
    # Each of the three has an account of its own for it, and one that follows makes two, whom the others join.
    assert PLANNED_VIEW_CHANGES <= reached[-1] <= 3 * PLANNED_VIEW_CHANGES
    assert reached[-1] == reached[-3], "it has stopped"
    cluster.request("a", to=(0, 1, 2))
    cluster.settle(cluster.executed_everywhere(1), within_ms=40 * TIMEOUT_MS)


def test_one_that_is_joined_by_the_group_in_time_costs_none_of_its_budget() -> None:
    cluster = Cluster(byzantine=(3,))
    strand(cluster, 1)
    pass_time(cluster, STRANDED_MS // 2)
    cluster.on_send = lambda flight: not (flight.source == 0 and isinstance(message_of(cluster, flight), Proposal))
    cluster.request("a", to=(1, 2))
    cluster.settle(cluster.executed_everywhere(1))
    assert views(cluster) == {1}
    pass_time(cluster, 2 * STRANDED_MS)
    assert views(cluster) == {1}
    helped = cluster.replicas[ReplicaId(1)].rejoin_help._peers[ReplicaId(3)]
    assert helped.view_changes == PLANNED_VIEW_CHANGES


# -- a primary that may not speak


def forget(cluster: Cluster, me: int) -> None:
    cluster.crash(me)
    cluster.nodes[ReplicaId(me)].ledger = [Record(RecordKind.AMNESIA, SequenceNumber(0), b"the ledger was lost")]
    cluster.restart(me)


def test_a_mute_primary_of_an_idle_group_is_relieved() -> None:
    """Nothing waits, so nobody's timer runs: but it could order no null batch for itself either."""
    cluster = Cluster(checkpoint_interval=K, pipeline_depth=1)
    forget(cluster, 0)
    pass_time(cluster, 3 * STATUS_INTERVAL_MS)
    assert {view_of(cluster, me) for me in (1, 2, 3)} == {1}
    cluster.settle(lambda: not cluster.replicas[ReplicaId(0)].rules.is_mute, within_ms=120_000)
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))


def test_null_batches_are_counted_when_they_are_ordered_and_not_when_they_are_wished_for() -> None:
    """A primary that cannot propose, for nothing comes back, must not spend what the peer has a claim to."""
    cluster = Cluster(checkpoint_interval=K, pipeline_depth=1, byzantine=(3,))
    ordered: set[int] = set()

    def watch(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        if isinstance(message, Proposal) and message.batch == NULL_BATCH:
            ordered.add(message.pre_prepare.message.sequence)
        return flight.to != 0

    cluster.on_send = watch
    helped = cluster.replicas[ReplicaId(0)].rejoin_help._peers[ReplicaId(3)]
    before = helped.null_batches
    wish = Status(
        view=View(0),
        stable_checkpoint=SequenceNumber(0),
        last_executed=SequenceNumber(0),
        slots=(),
        rejoining=Rejoining(checkpoint=SequenceNumber(K), view=None),
    )
    for _ in range(20):
        cluster.inject(3, 0, wish)
        cluster.fire(0, Timer.STATUS)
        cluster.deliver_all()
        cluster.advance(100)
    assert ordered == {1}
    assert helped.null_batches == before - 1


# -- what gets lost in a quiet group is missed soon


def test_status_is_hastened_when_something_begins_to_wait() -> None:
    cluster = Cluster()
    pass_time(cluster, 5 * STATUS_INTERVAL_MS)
    node = cluster.nodes[ReplicaId(1)]
    cluster.fire(1, Timer.STATUS)
    assert node.timers[Timer.STATUS] == cluster.now_ms + STATUS_INTERVAL_MS
    cluster.on_send = lambda _flight: False
    cluster.request("a", to=(1,))
    cluster.deliver_all()
    hastened = cluster.now_ms + STATUS_INTERVAL_INCOMPLETE_MS
    assert node.timers[Timer.STATUS] == hastened
    cluster.advance(100)
    cluster.request("b", to=(1,))
    cluster.deliver_all()
    assert node.timers[Timer.STATUS] == hastened, "it is not put off by what comes afterwards"


def test_a_proposal_lost_in_a_quiet_group_is_sent_again_before_anybody_loses_patience() -> None:
    cluster = Cluster()
    pass_time(cluster, 5 * STATUS_INTERVAL_MS)
    cluster.on_send = lambda flight: not isinstance(message_of(cluster, flight), Proposal)
    cluster.request("a", to=range(4))
    cluster.deliver_all()
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(1), within_ms=3 * STATUS_INTERVAL_INCOMPLETE_MS)
    assert views(cluster) == {0}


# -- requests that are refused when their turn comes


@pytest.mark.parametrize("waited", [True, False])
def test_what_waited_here_is_progress_even_if_it_is_refused_in_the_end(waited: bool) -> None:
    """A client that only sends such things must not cost honest primaries their office; and a primary must not keep
    it by ordering what waits nowhere."""
    cluster = Cluster()
    replica = cluster.replicas[ReplicaId(1)]
    request = Craft(cluster.members).request("a")
    replica.pool.add(request, Milliseconds(0))
    now = Now(steady=Milliseconds(0), wall=Milliseconds(0))
    replica.supervision.time_primary(Output(), now)
    assert replica.views.timer.is_armed
    refused = OperationResult(client_sequence=ClientSequence(0), index=0, refused=True, result=b"")
    executed = ExecutedRequest(device=request.device, session=SessionNumber(1), results=(refused,))
    replica.supervision.on_executed((executed,), waited=waited)
    assert replica.views.timer.is_armed is not waited


def test_the_pool_says_whether_what_was_executed_waited_in_it() -> None:
    cluster = Cluster()
    pool, request = cluster.replicas[ReplicaId(1)].pool, Craft(cluster.members).request("a")
    pool.add(request, Milliseconds(0))
    assert pool.remove(request, Milliseconds(1))
    assert not pool.remove(request, Milliseconds(2))
