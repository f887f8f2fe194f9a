"""A replica that forgot what it said, or whose state is known to be damaged, must not go on as if nothing were."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbft.core.effects import IgnoreReason, RecordKind
from pbft.core.messages import PeerMessage, Query
from pbft.core.types import ReplicaId, SequenceNumber
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.votes import Votes

ME = ReplicaId(1)
K = 4


OWN: dict[str, Callable[[Craft, int], PeerMessage]] = {
    "proposal": lambda craft, me: craft.proposal(me, 1, craft.batch(craft.request("x"))),
    "prepare": lambda craft, me: craft.prepare(me, 1, digest("x")),
    "commit": lambda craft, me: craft.commit(me, 1, digest("x")),
    "view change": lambda craft, me: craft.view_change(me, 3),
    "new view": lambda craft, me: craft.new_view(me + 4, [craft.view_change(s, me + 4) for s in (0, 2, 3)]),
}
"""What a forgetful replica may be shown of its own."""


@pytest.mark.parametrize(("kind", "me"), [(kind, 0 if kind == "proposal" else 1) for kind in OWN])
def test_pitfall_08_a_vote_of_its_own_that_its_ledger_does_not_know_makes_a_replica_mute(kind: str, me: int) -> None:
    """It lost its whole directory, and a peer shows it what it had said: it must not say otherwise now."""
    cluster = Cluster()
    craft = Craft(cluster.members)
    cluster.inject(3, me, OWN[kind](craft, me))
    cluster.deliver_all()
    node = cluster.nodes[ReplicaId(me)]
    assert node.ignored == {IgnoreReason.NOT_OWN: 1}
    assert [record.kind for record in node.ledger] == [RecordKind.AMNESIA]
    (alarm,) = node.alarms
    assert "stays mute" in alarm
    said = Votes(cluster)
    cluster.request("a", to=range(4))
    cluster.settle(cluster.executed_everywhere(1))
    assert me not in said.signers, "it learns, and says nothing that counts"
    assert cluster.replicas[ReplicaId(me)].describe()["role"] == "mute"


def test_its_own_votes_that_it_does_know_are_duplicates() -> None:
    cluster = Cluster()
    cluster.request("a")
    cluster.deliver_all()
    slot = cluster.replicas[ME].log.get(SequenceNumber(1))
    assert slot is not None
    cluster.inject(3, ME, slot.prepares[ME])
    cluster.inject(3, ME, slot.commits[ME])
    cluster.deliver_all()
    assert cluster.nodes[ME].ignored[IgnoreReason.DUPLICATE] == 2


def test_a_damaged_state_is_remembered_over_a_restart_and_answers_nobody() -> None:
    cluster = Cluster(checkpoint_interval=K, pipeline_depth=2)
    cluster.on_send = lambda flight: flight.to != ME or flight.source != 3
    craft = Craft(cluster.members)
    # Certified before it gets there: it does not even sign its own root.
    cluster.inject(3, ME, craft.checkpoint_certificate(K, digest("theirs"), (0, 2, 3)))
    for first in range(K):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()
    cluster.settle(lambda: cluster.nodes[ME].executed == K)
    assert cluster.replicas[ME].checkpoints.diverged_at == K
    assert cluster.replicas[ME].checkpoints.own_vote(SequenceNumber(K)) is None
    assert cluster.nodes[ME].alarms
    cluster.crash(ME)
    cluster.restart(ME)
    cluster.on_send = lambda flight: flight.source != ME or b"FETCH-STATE" not in flight.frame
    for first in range(K, 2 * K):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()
    replica = cluster.replicas[ME]
    assert replica.checkpoints.diverged_at == K
    assert replica.log.last_executed == K, "nothing is executed on top of it"
    told = replica.describe()
    assert told["role"] == "transferring"
    assert told["waiting_for"] is None, "what is committed waits for the state alone"
    before = len(cluster.replies)
    query = Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"count")
    cluster.from_client(cluster.members.device("a"), ME, query)
    cluster.deliver_all()
    assert cluster.nodes[ME].ignored[IgnoreReason.STATE_NOT_WHOLE] == 1
    assert [reply for reply in cluster.replies[before:] if reply[0] == ME] == []
