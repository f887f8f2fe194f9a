"""View changes that went wrong elsewhere: the numbers are those of the protocol's section 10."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.digest import Digest
from pbft.core.effects import RecordKind
from pbft.core.frames import NULL_BATCH
from pbft.core.messages import Commit, Prepare
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.core.view_timer import LEVEL_MAX
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.looking import message_of, nobody_is_accused, ran_by, views, without
from tests.harness.simnode import Flight
from tests.harness.votes import Votes

TIMEOUT_MS = 1000


# -- 1 to 4: what a view change must keep, and what it must not


def no_votes_of_view_0(cluster: Cluster) -> Callable[[Flight], bool]:
    """What was lost in view 0 is not sent again there: only a later view can bring it."""

    def allow(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        return not isinstance(message, Prepare | Commit) or message.view > 0

    return allow


@pytest.mark.parametrize(("n", "witness"), [(4, 3), (4, 1), (7, 6), (7, 2)])
def test_pitfall_01_what_one_replica_alone_executed_survives_the_view_change(n: int, witness: int) -> None:
    cluster = Cluster(n)
    cluster.on_send = lambda flight: not isinstance(message_of(cluster, flight), Commit) or flight.to == witness
    request = cluster.request("a")
    cluster.deliver_all()
    assert [me for me, node in cluster.nodes.items() if node.executed] == [witness]
    # It is cut off, with as many more as may fail: the others must find it out by themselves.
    gone = [witness, *range(n - 1, n - cluster.group.faulty_max, -1)][: cluster.group.faulty_max]
    votes = Votes(cluster)
    in_later_views = no_votes_of_view_0(cluster)
    cluster.on_send = lambda flight: without(cluster, *gone)(flight) and in_later_views(flight) and votes(flight)
    cluster.send_request(cluster.request("b", to=()), cluster.group.replicas)
    rest = [me for me in range(n) if me not in gone]
    cluster.settle(ran_by(cluster, 2, *rest))
    assert all(cluster.replicas[ReplicaId(me)].log.view >= 1 for me in rest)
    name = (request.device, 1, 0)
    assert all(cluster.nodes[ReplicaId(me)].executor.state.ran[0] == name for me in rest)
    cluster.on_send = votes
    cluster.settle(cluster.executed_everywhere(2))
    cluster.assert_same_state()
    assert nobody_is_accused(cluster)


def test_pitfall_02_nothing_is_committed_by_two_phases() -> None:
    """Everybody has prepared, and nobody executes, however long it takes; then a later view commits it."""
    cluster = Cluster()
    cluster.on_send = lambda flight: not isinstance(message_of(cluster, flight), Commit)
    cluster.request("a", to=range(4))
    cluster.deliver_all()
    assert all(replica.log.get(1).prepared is not None for replica in cluster.replicas.values())  # type: ignore[union-attr]
    cluster.advance(5 * TIMEOUT_MS)
    cluster.deliver_all()
    assert not cluster.order
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(1))
    assert min(views(cluster)) >= 1


def test_pitfall_02_a_replica_that_has_committed_takes_part_in_the_view_change() -> None:
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    batch = craft.batch(craft.request("a"))
    for to in (1, 2, 3):
        cluster.inject(0, to, craft.proposal(0, 1, batch))
        cluster.inject(0, to, craft.commit(0, 1, batch.digest))
    cluster.deliver_all()
    assert {node.executed for node in cluster.nodes.values()} == {1}
    cluster.request("b", to=(1, 2, 3))
    cluster.settle(cluster.executed_everywhere(2))
    assert views(cluster) == {1}


def test_pitfall_02_a_commit_certificate_is_executed_and_never_a_reason_to_vote() -> None:
    cluster = Cluster()
    craft = Craft(cluster.members)
    node = cluster.nodes[ReplicaId(1)]
    cluster.on_send = lambda _flight: False
    cluster.inject(3, 1, craft.commit_certificate(1, NULL_BATCH.digest, (0, 2, 3)))
    for signer in (2, 3):
        cluster.inject(signer, 1, craft.view_change(signer, 2))
    cluster.deliver_all()
    assert node.executed == 1
    assert [record.kind for record in node.ledger] == [RecordKind.COMMITTED, RecordKind.VIEW_CHANGE]
    mine = cluster.replicas[ReplicaId(1)].votes.of(ReplicaId(1))
    assert mine is not None
    assert mine.message.prepared == ()


@pytest.mark.parametrize("witness", [2, 3])
def test_pitfall_03_one_view_change_that_hides_a_certificate_masks_nothing(witness: int) -> None:
    """The primary lies: it committed, and shows nothing. One replica has executed, and is cut off."""
    cluster = Cluster(byzantine=(0,))
    craft = Craft(cluster.members)
    batch = craft.batch(craft.request("a"))
    # Replica 1, the next primary, knows nothing; the other two have prepared, and one of them has committed.
    for to in (2, 3):
        cluster.inject(0, to, craft.proposal(0, 1, batch))
    cluster.inject(0, witness, craft.commit(0, 1, batch.digest))
    cluster.on_send = lambda flight: flight.to != 1
    cluster.flying = [flight for flight in cluster.flying if flight.to != 1]
    cluster.deliver_all()
    assert [me for me, node in cluster.nodes.items() if node.executed] == [witness]
    cluster.on_send = without(cluster, witness)
    hiding = craft.view_change(0, 1)
    for to in (1, 2, 3):
        cluster.inject(0, to, hiding)
    rest = [me for me in (1, 2, 3) if me != witness]
    cluster.request("b", to=rest)
    cluster.advance(TIMEOUT_MS + 300)
    cluster.deliver_all()
    assert {cluster.replicas[ReplicaId(me)].log.view for me in rest} == {1}
    for me in rest:
        slot = cluster.replicas[ReplicaId(me)].log.get(1)
        assert slot is not None
        assert slot.accepted == batch.digest
    cluster.on_send = None
    cluster.settle(lambda: all(node.executed >= 2 for node in cluster.nodes.values()))
    cluster.assert_same_state()


def test_pitfall_03_view_changes_that_are_invalid_count_for_nobody() -> None:
    """They are refused before the core (tests of the codec); what is left does not make a quorum, then it does."""
    cluster = Cluster(byzantine=(0, 3))
    craft = Craft(cluster.members)
    cluster.inject(2, 1, craft.view_change(2, 1))
    cluster.inject(3, 1, craft.view_change(3, 2))
    cluster.deliver_all()
    log = cluster.replicas[ReplicaId(1)].log
    assert (log.view, log.in_view) == (1, False), "two want more than 0: the smaller view, and one of its own for it"
    cluster.inject(0, 1, craft.view_change(0, 1))
    cluster.deliver_all()
    assert log.in_view


@pytest.mark.parametrize("prepared", [(3,), (2,), (1, 3), (2, 3)], ids=str)
def test_pitfall_04_gaps_are_filled_with_null_batches(prepared: tuple[int, ...]) -> None:
    cluster = Cluster(pipeline_depth=3, batch_operations_max=4)

    def allow(flight: Flight) -> bool:
        message = message_of(cluster, flight)
        return not isinstance(message, Commit) and not (
            isinstance(message, Prepare) and message.sequence not in prepared
        )

    cluster.on_send = allow
    for name in "abc":
        cluster.request(name)
    cluster.deliver_all()
    proposed = {sequence: cluster.replicas[ReplicaId(1)].log.get(sequence).accepted for sequence in (1, 2, 3)}  # type: ignore[union-attr]
    cluster.crash(0)
    votes, in_later_views = Votes(cluster), no_votes_of_view_0(cluster)
    cluster.on_send = lambda flight: in_later_views(flight) and votes(flight)
    for name in "abc":
        cluster.request(name, to=(1, 2, 3))
    cluster.settle(cluster.executed_everywhere(3))
    again: dict[int, Digest | None] = {
        place: cluster.order[SequenceNumber(place)] for place in range(1, max(prepared) + 1)
    }
    assert again == {place: proposed[place] if place in prepared else NULL_BATCH.digest for place in again}
    cluster.restart(0)
    cluster.settle(cluster.executed_everywhere(3))
    cluster.assert_same_state()


# -- 5, 9, 17: progress


@pytest.mark.parametrize("n", range(4, 14))
def test_pitfall_05_with_f_primaries_in_a_row_down_every_group_size_makes_progress(n: int) -> None:
    cluster = Cluster(n)
    down = cluster.group.faulty_max
    for me in range(down):
        cluster.crash(me)
    start = cluster.now_ms
    for first in range(3):
        cluster.request("a", first=first, ack=first, to=range(n))
        cluster.settle(cluster.executed_everywhere(first + 1), within_ms=40_000)
    assert views(cluster) == {down}
    bound = sum(TIMEOUT_MS << failed for failed in range(down + 1)) + 2000
    assert cluster.now_ms - start <= bound


@pytest.mark.parametrize("record", [RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW])
@pytest.mark.parametrize("n", [4, 7])
def test_pitfall_09_everybody_crashes_right_after_storing(n: int, record: RecordKind) -> None:
    """What was stored and never sent is sent after the restart, byte for byte, and counts."""
    cluster = Cluster(n)
    votes = Votes(cluster)
    cluster.on_send = lambda flight: votes(flight) and flight.source != 0
    cluster.request("a", to=range(n))
    cluster.deliver_all()
    held: set[int] = set()

    def crash_when_stored(flight: Flight) -> bool:
        """The frame is stored by now, and leaves no more."""
        votes(flight)
        kinds = {kept.kind for kept in cluster.nodes[ReplicaId(flight.source)].ledger}  # type: ignore[arg-type]
        if record in kinds:
            held.add(flight.source)  # type: ignore[arg-type]
        return record not in kinds and flight.source != 0

    cluster.on_send = crash_when_stored
    while len(held) < (n - 1 if record is RecordKind.VIEW_CHANGE else 1):
        cluster.advance(50)
        cluster.deliver_all()
    for me in cluster.nodes:
        cluster.crash(me)
    cluster.on_send = votes
    for me in cluster.nodes:
        cluster.restart(me, link_up=False)
    cluster.request("a", to=range(n))
    cluster.settle(cluster.executed_everywhere(1), within_ms=8000)
    cluster.assert_same_state()
    assert min(views(cluster)) >= 1
    assert nobody_is_accused(cluster)


@pytest.mark.parametrize("minutes", [1, 10])
def test_pitfall_17_after_a_long_loss_of_quorum_progress_comes_within_the_cap(minutes: int) -> None:
    cluster = Cluster()
    cluster.request("a", to=range(4))
    cluster.flying.clear()
    cluster.crash(0)
    cluster.crash(3)
    for _ in range(minutes):
        cluster.request("a", to=(1, 2))
        cluster.advance(60_000)
        cluster.deliver_all()
    assert max(views(cluster)) <= 2, "without a quorum that waits for it no view fails"
    cluster.restart(3)
    cluster.request("a", to=range(1, 4))
    start = cluster.now_ms
    cluster.settle(cluster.executed_everywhere(1), within_ms=3 * TIMEOUT_MS)
    assert cluster.now_ms - start < 3 * TIMEOUT_MS


def test_pitfall_17_after_many_failed_views_the_timeout_is_capped_and_shrinks_again() -> None:
    """No NEW-VIEW gets through for ten minutes: views fail one by one; then all heals."""
    cluster = Cluster()
    cluster.crash(0)
    cluster.on_send = lambda flight: b"NEW-VIEW" not in flight.frame[:16]
    cluster.request("a", to=(1, 2, 3))
    for _ in range(600):
        cluster.advance(1000)
        cluster.deliver_all()
    assert 10 < max(views(cluster)) < 600_000 // (TIMEOUT_MS << LEVEL_MAX) + 10
    assert {cluster.replicas[ReplicaId(me)].views.timer.level for me in (1, 2, 3)} == {LEVEL_MAX}
    cluster.on_send = None
    start = cluster.now_ms
    cluster.settle(cluster.executed_everywhere(1), within_ms=100_000)
    assert cluster.now_ms - start <= 2 * (TIMEOUT_MS << LEVEL_MAX) + 2000, "one of two primaries in a row is up"
    for first in range(1, 60):
        cluster.request("a", first=first, ack=first, to=(1, 2, 3))
        cluster.settle(cluster.executed_everywhere(first + 1))
    assert {cluster.replicas[ReplicaId(me)].views.timer.level for me in (1, 2, 3)} == {0}
