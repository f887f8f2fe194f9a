"""Votes that come too late to matter: dropped unchecked, and evidence all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crypto.digest import Digest
from crypto.signing import Signature
from pbft.core.bodies import encode_vote
from pbft.core.frames import encode_signed
from pbft.core.messages import Commit, Prepare, Signed
from pbft.core.types import ReplicaId, SequenceNumber
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest

ME = ReplicaId(1)
LIAR = 3
Vote = Signed[Prepare] | Signed[Commit]
Make = Callable[[Craft, Digest], Vote]

MAKERS: list[tuple[str, Make]] = [
    ("E2", lambda craft, what: craft.prepare(LIAR, 1, what)),
    ("E3", lambda craft, what: craft.commit(LIAR, 1, what)),
]


def committed_without_the_liar() -> tuple[Cluster, Digest]:
    """One batch is executed by 0, 1 and 2; nothing of replica 3 has arrived."""
    cluster = Cluster(4, byzantine=(LIAR,))
    cluster.request("a")
    cluster.deliver_all()
    slot = cluster.replicas[ME].log.get(SequenceNumber(1))
    assert slot is not None
    assert slot.certificate is not None
    return cluster, slot.certificate.commit.batch_digest


@pytest.mark.parametrize(("code", "make"), MAKERS, ids=["PREPARE", "COMMIT"])
def test_a_late_vote_that_agrees_is_set_aside_and_one_that_differs_then_proves_the_lie(code: str, make: Make) -> None:
    cluster, agreed = committed_without_the_liar()
    craft, replica = Craft(cluster.members), cluster.replicas[ME]
    assert replica.is_surplus(make(craft, agreed))
    different = make(craft, digest("other"))
    assert not replica.is_surplus(different)
    cluster.inject(LIAR, ME, different)
    cluster.deliver_all()
    (evidence,) = cluster.nodes[ME].evidence
    assert (evidence.code, evidence.culprit) == (code, LIAR)
    assert {evidence.first, evidence.second} == {make(craft, agreed).wire, different.wire}


@pytest.mark.parametrize(("code", "make"), MAKERS, ids=["PREPARE", "COMMIT"])
def test_a_late_vote_with_a_forged_signature_accuses_nobody(code: str, make: Make) -> None:
    cluster, agreed = committed_without_the_liar()
    craft, replica = Craft(cluster.members), cluster.replicas[ME]
    true = make(craft, agreed)
    kind = "PREPARE" if code == "E2" else "COMMIT"
    epoch = cluster.group.epoch
    body = encode_vote(true.message)
    forged = replace(true, signature=Signature(bytes(64)), wire=encode_signed(kind, epoch, LIAR, body, bytes(64)))
    assert replica.is_surplus(forged)
    cluster.inject(LIAR, ME, make(craft, digest("other")))
    cluster.deliver_all()
    assert cluster.nodes[ME].evidence == []
