"""View changes that went wrong elsewhere: the numbers are those of the protocol's section 10."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.digest import Digest
from pbft.core.effects import RecordKind, Timer
from pbft.core.frames import NULL_BATCH
from pbft.core.messages import Commit, Prepare, Proposal, Signed
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.core.view_timer import LEVEL_MAX
from tests.harness.chaos import check_alive
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.simnode import Flight
from tests.harness.votes import Votes

TIMEOUT_MS = 1000


def views(cluster: Cluster) -> set[int]:
    return {cluster.replicas[me].log.view for me, node in cluster.nodes.items() if node.alive}


def nobody_is_accused(cluster: Cluster) -> bool:
    return not any(node.evidence for node in cluster.nodes.values())


def message_of(cluster: Cluster, flight: Flight) -> object:
    message = cluster.openers[flight.to].parse_peer(flight.frame).value
    return message.message if isinstance(message, Signed) else message


def without(cluster: Cluster, *replicas: int) -> Callable[[Flight], bool]:
    """These hear nothing and are not heard."""
    return lambda flight: flight.source not in replicas and flight.to not in replicas


def ran_by(cluster: Cluster, count: int, *replicas: int) -> Callable[[], bool]:
    states = [cluster.nodes[ReplicaId(me)].executor.state for me in replicas]
    return lambda: all(len(state.ran) >= count for state in states)


# -- 1 to 4: what a view change must keep, and what it must not


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
    cluster.on_send = lambda flight: without(cluster, *gone)(flight) and votes(flight)
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
    cluster.on_send = Votes(cluster)
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
        assert (evidence.code, evidence.culprit, evidence.first) == ("E7", 1, wrong.wire)
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
    assert (evidence.code, evidence.culprit, evidence.first, evidence.second) == ("E7", 1, first.wire, second.wire)


def test_two_view_changes_for_one_view_are_evidence() -> None:
    cluster = Cluster(byzantine=(3,))
    craft = Craft(cluster.members)
    first, second = craft.view_change(3, 5), craft.view_change(3, 5, craft.prepared(1, digest("x"), (1, 2)))
    for change in (first, second):
        cluster.inject(3, 1, change)
    cluster.deliver_all()
    (evidence,) = cluster.nodes[ReplicaId(1)].evidence
    assert (evidence.code, evidence.culprit, evidence.first, evidence.second) == ("E6", 3, first.wire, second.wire)


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
