"""Requests: admission, forwarding, answers, and what a client may be accused of."""

from __future__ import annotations

import pytest

from pbft.core.codec import Opener
from pbft.core.effects import BatchExecuted, ExecutedRequest, IgnoreReason
from pbft.core.messages import OperationResult, Reply, SignedRequest
from pbft.core.output import Output
from pbft.core.replies import replies_to_executed
from pbft.core.types import ClientSequence, Milliseconds, Now, ReplicaId, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.keys import make_group

BACKUP = ReplicaId(1)
NOW = Milliseconds(0)


def backup_alone() -> tuple[Cluster, Craft]:
    """A cluster in which nothing leaves anybody: only what a test delivers arrives."""
    cluster = Cluster()
    cluster.on_send = lambda _flight: False
    return cluster, Craft(cluster.members)


def hand(cluster: Cluster, *requests: SignedRequest, to: int = BACKUP) -> None:
    for request in requests:
        cluster.send_request(request, [to])
    cluster.deliver_all()


# -- equivocation


def backup_that_knows(device: str) -> tuple[Cluster, Craft]:
    """As `backup_alone`, when the device has run something already, in another session."""
    cluster = Cluster()
    cluster.request(device, session=2)
    cluster.settle(lambda: all(replica.log.last_executed for replica in cluster.replicas.values()))
    cluster.on_send = lambda _flight: False
    return cluster, Craft(cluster.members)


def test_two_operations_under_one_name_are_kept_as_evidence() -> None:
    cluster, craft = backup_that_knows("a")
    first, second = craft.request("a", 0, b"x"), craft.request("a", 0, b"y")
    hand(cluster, first, second)
    (evidence,) = cluster.nodes[BACKUP].evidence
    assert (evidence.culprit, evidence.statements) == (first.device, (first.wire, second.wire))


def test_two_operations_under_one_name_in_requests_that_begin_elsewhere_are_evidence_too() -> None:
    cluster, craft = backup_that_knows("a")
    hand(cluster, craft.request("a", 0, b"x", b"y"), craft.request("a", 1, b"z"))
    assert cluster.nodes[BACKUP].ignored[IgnoreReason.NAME_IN_USE] == 1
    assert len(cluster.nodes[BACKUP].evidence) == 1


def test_a_stranger_may_say_what_it_likes_and_fills_no_disk() -> None:
    cluster, craft = backup_that_knows("a")
    hand(cluster, craft.request("b", 0, b"x"), craft.request("b", 0, b"y"))
    assert cluster.nodes[BACKUP].ignored[IgnoreReason.NAME_IN_USE] == 1
    assert cluster.nodes[BACKUP].evidence == []


@pytest.mark.parametrize(("size", "kept"), [(10_000, 1), (15_000, 0)])
def test_two_large_requests_are_not_kept(size: int, kept: int) -> None:
    cluster, craft = backup_that_knows("a")
    hand(cluster, *(craft.request("a", 0, *[text * size] * 3) for text in (b"x", b"y")))
    assert cluster.nodes[BACKUP].ignored[IgnoreReason.NAME_IN_USE] == 1
    assert len(cluster.nodes[BACKUP].evidence) == kept


def test_the_same_operation_in_another_request_accuses_nobody() -> None:
    """A client may sign again: with a later acknowledgement, or other operations beside the same one."""
    cluster, craft = backup_alone()
    hand(cluster, craft.request("a", 5, b"x", b"y"), craft.request("a", 5, b"x", b"y", ack=3))
    hand(cluster, craft.request("a", 5, b"x"), craft.request("a", 6, b"y", b"z"))
    assert cluster.nodes[BACKUP].ignored == {IgnoreReason.NAME_IN_USE: 3}
    assert cluster.nodes[BACKUP].evidence == []


# -- what ran leaves the pool


def test_an_operation_that_ran_leaves_the_pool_whatever_request_brought_it() -> None:
    """Else a backup would wait for ever for what its primary rightly refuses to order again."""
    cluster = Cluster()
    craft = Craft(cluster.members)
    cluster.on_send = lambda flight: not (flight.source == BACKUP and flight.to == 0)
    hand(cluster, craft.request("a", 0, b"x", b"y"))
    hand(cluster, craft.request("a", 3, b"v", b"w"))
    cluster.on_send = None
    hand(cluster, craft.request("a", 0, b"x"), to=0)
    hand(cluster, craft.request("a", 1, b"y"), to=0)
    hand(cluster, craft.request("a", 2, b"u", b"v", b"w"), to=0)
    assert cluster.executed_everywhere(5)()
    assert [len(replica.pool) for replica in cluster.replicas.values()] == [0, 0, 0, 0]


def test_what_is_left_of_an_overlapping_request_can_be_asked_for_again() -> None:
    cluster = Cluster()
    craft = Craft(cluster.members)
    hand(cluster, craft.request("a", 0, b"x", b"y"), to=0)
    late = craft.request("a", 1, b"y", b"z")
    hand(cluster, late, to=0)
    cluster.settle(cluster.executed_everywhere(3))
    assert [len(replica.pool) for replica in cluster.replicas.values()] == [0, 0, 0, 0]


# -- forwarding


def test_a_backup_passes_a_new_request_on_to_the_primary() -> None:
    cluster = Cluster()
    cluster.request("a", to=[2])
    cluster.settle(cluster.executed_everywhere(1), within_ms=0)


def test_a_request_asked_for_again_is_passed_on_again() -> None:
    """The first copy was lost on the way, and the client cannot reach the primary itself."""
    cluster = Cluster()
    cluster.on_send = lambda flight: not (flight.source == 2 and flight.to == 0)
    request = cluster.request("a", to=[2])
    cluster.deliver_all()
    cluster.on_send = None
    cluster.send_request(request, [2])
    cluster.settle(cluster.executed_everywhere(1))


def test_a_request_whose_forward_was_lost_is_passed_on_with_the_next_status() -> None:
    """Its client is gone, and nobody else asks."""
    cluster = Cluster()
    cluster.on_send = lambda flight: not (flight.source == 2 and flight.to == 0)
    cluster.request("a", to=[2])
    cluster.deliver_all()
    cluster.on_send = None
    cluster.settle(cluster.executed_everywhere(1))


def test_a_request_passed_on_by_a_peer_is_not_passed_on_again() -> None:
    cluster, craft = backup_alone()
    request = craft.request("a")
    cluster.inject(2, BACKUP, request)
    cluster.inject(3, BACKUP, request)
    cluster.deliver_all()
    assert cluster.sent["SignedRequest"] == 0


def test_waiting_requests_are_passed_on_when_the_link_to_the_primary_comes_up() -> None:
    cluster = Cluster()
    cluster.crash(0)
    for first in range(3):
        cluster.request("a", first=first, to=[2])
    cluster.deliver_all()
    cluster.restart(0)
    cluster.settle(cluster.executed_everywhere(3))


# -- answers


def test_a_request_that_ran_is_answered_again_from_what_was_kept() -> None:
    cluster = Cluster()
    request = cluster.request("a")
    cluster.deliver_all()
    before = list(cluster.replies)
    cluster.send_request(request, cluster.group.replicas)
    cluster.deliver_all()
    again = cluster.replies[len(before) :]
    assert sorted(again, key=str) == sorted(before, key=str)
    assert cluster.order.keys() == {1}


def test_names_that_were_forgotten_are_refused_with_an_answer() -> None:
    cluster = Cluster()
    old = cluster.request("a", first=0)
    cluster.deliver_all()
    cluster.request("a", first=1, ack=1)
    cluster.deliver_all()
    cluster.send_request(old, [0])
    cluster.deliver_all()
    reply = cluster.replies[-1][2]
    assert isinstance(reply, Reply)
    assert [(r.client_sequence, r.refused) for r in reply.results] == [(0, True)]


def test_a_window_that_was_used_up_goes_on_with_the_acknowledgement_in_the_next_request() -> None:
    cluster = Cluster(client_window=4)
    for first in range(4):
        cluster.request("a", first=first)
    cluster.deliver_all()
    cluster.request("a", first=4, ack=4)
    cluster.settle(cluster.executed_everywhere(5), within_ms=0)


def test_large_results_come_in_replies_that_a_client_can_open() -> None:
    results = tuple(
        OperationResult(client_sequence=ClientSequence(number), index=number, refused=False, result=bytes(200 * 1024))
        for number in range(7)
    )
    members = make_group(4)
    key = members.device("a").public_key
    done = BatchExecuted(
        now=Now(steady=Milliseconds(0), wall=Milliseconds(0)),
        sequence=SequenceNumber(1),
        batch=Craft(members).batch(timestamp=0),
        results=(ExecutedRequest(device=key, session=SessionNumber(1), results=results),),
        topics=(),
        state_root=None,
    )
    out = Output()
    replies_to_executed(out, VotingRules(members.group, BACKUP, members.signers[1]), View(0), done)
    opened = [Opener(members.group, members.verifier).open_reply(reply.message.wire).message for reply in out.reply]
    parts = [message.results for message in opened if isinstance(message, Reply)]
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert tuple(result for part in parts for result in part) == results
