"""Proofs travel: what one replica can prove, all can, and nobody can make them work or believe without end."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

import pbft.core.exchange as exchange_module
from crypto.signing import Domain, PublicKey, Signature, Verifier
from pbft.core.bodies import EVIDENCE_BYTES_MAX
from pbft.core.effects import Evidence, IgnoreReason
from pbft.core.evidence import CLIENT_EQUIVOCATION, encode_evidence
from pbft.core.exchange import (
    INVALID_COSTS,
    RESEND_PAUSE_MS,
    SHARED_PER_CULPRIT_MAX,
    TOKEN_MS,
    TOKENS_MAX,
)
from pbft.core.messages import SharedEvidence
from pbft.core.output import Output
from pbft.core.slot import Slot
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest

LIAR = ReplicaId(3)
FINDER, OTHER, THIRD = ReplicaId(1), ReplicaId(0), ReplicaId(2)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(byzantine=(LIAR,), checkpoint_interval=8, pipeline_depth=2)


@pytest.fixture
def craft(cluster: Cluster) -> Craft:
    return Craft(cluster.members)


def lie_to(cluster: Cluster, *replicas: int, sequence: int = 1) -> None:
    """Replica 3 commits to two batches, which only these get to know."""
    craft = Craft(cluster.members)
    for text in ("x", "y"):
        for to in replicas:
            cluster.inject(LIAR, to, craft.commit(LIAR, sequence, digest(text)))


def shared(cluster: Cluster, code: str, culprit: int, *statements: bytes) -> SharedEvidence:
    evidence = Evidence(code=code, culprit=ReplicaId(culprit), statements=statements)
    return SharedEvidence(data=encode_evidence(cluster.group, evidence))


def proofs(cluster: Cluster, me: int) -> list[tuple[str, object]]:
    return [(proof.code, proof.culprit) for proof in cluster.nodes[ReplicaId(me)].evidence]


def test_what_one_finds_all_can_prove(cluster: Cluster) -> None:
    lie_to(cluster, FINDER)
    cluster.deliver_all()
    (proof,) = cluster.nodes[FINDER].evidence
    assert all(node.evidence == [proof] for node in cluster.nodes.values())


def test_a_proof_is_told_once_and_not_passed_on(cluster: Cluster) -> None:
    lie_to(cluster, FINDER)
    cluster.deliver_all()
    cluster.advance(5000)
    cluster.deliver_all()
    assert cluster.sent["SharedEvidence"] == cluster.group.size - 1


def test_a_proof_is_kept_before_it_is_told(cluster: Cluster) -> None:
    """The crash comes between the two: it is told after the restart."""
    lie_to(cluster, FINDER)
    cluster.deliver(cluster.flying.pop(0))
    cluster.nodes[FINDER].fuse = 2  # what is archived, and the proof
    cluster.deliver(cluster.flying.pop(0))
    assert not cluster.nodes[FINDER].alive
    assert len(cluster.nodes[FINDER].evidence) == 1
    assert cluster.sent["SharedEvidence"] == 0
    cluster.restart(FINDER)
    cluster.deliver_all()
    assert proofs(cluster, OTHER) == [("E3", LIAR)]


def test_who_was_away_is_told_when_it_comes_back(cluster: Cluster) -> None:
    cluster.crash(THIRD)
    lie_to(cluster, FINDER)
    cluster.deliver_all()
    cluster.restart(THIRD)
    cluster.deliver_all()
    assert proofs(cluster, THIRD) == [("E3", LIAR)]


def test_a_proof_from_before_a_restart_is_told_still(cluster: Cluster) -> None:
    cluster.crash(THIRD)
    lie_to(cluster, FINDER)
    cluster.deliver_all()
    cluster.crash(FINDER)
    cluster.crash(OTHER)
    cluster.restart(FINDER)
    cluster.restart(THIRD)
    cluster.deliver_all()
    assert proofs(cluster, THIRD) == [("E3", LIAR)]


def test_links_that_come_and_go_are_not_told_each_time(cluster: Cluster) -> None:
    lie_to(cluster, FINDER)
    cluster.deliver_all()
    told = cluster.sent["SharedEvidence"]
    for _ in range(20):
        cluster.connect(FINDER)
        cluster.deliver_all()
    once = cluster.sent["SharedEvidence"] - told
    assert 0 < once <= 2 * len(cluster.nodes)
    cluster.advance(RESEND_PAUSE_MS + 1000)
    cluster.deliver_all()
    assert cluster.sent["SharedEvidence"] - told <= 2 * once, "what is owed is told, once"


def test_a_proof_of_nothing_accuses_neither_its_culprit_nor_its_bearer(cluster: Cluster, craft: Craft) -> None:
    vote, other = craft.commit(0, 1, digest("x")), craft.commit(0, 1, digest("y"))
    forged = other.wire.replace(other.signature, craft.commit(LIAR, 1, digest("y")).signature)
    lies = [
        shared(cluster, "E3", OTHER, vote.wire, vote.wire),
        shared(cluster, "E3", OTHER, vote.wire, forged),
        shared(cluster, "E4", OTHER, vote.wire, other.wire),
        shared(cluster, "E2", LIAR, vote.wire, other.wire),
        SharedEvidence(data=b""),
        SharedEvidence(data=b"\xff" * 100),
    ]
    for lie in lies:
        cluster.inject(LIAR, FINDER, lie)
    cluster.deliver_all()
    node = cluster.nodes[FINDER]
    assert node.evidence == []
    assert node.ignored == {IgnoreReason.PROVES_NOTHING: len(lies)}


class Counting:
    """Checks signatures as another does, and counts."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.checked = 0

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        self.checked += 1
        self._verifier.verify(public_key, domain, body, signature)


def test_a_flood_of_false_accusations_costs_little_and_keeps_no_true_one_of_others_out(cluster: Cluster) -> None:
    """Each is well-formed, and all but the last signature hold."""
    craft = Craft(cluster.members)
    counting = Counting(cluster.members.verifier)
    cluster.replicas[FINDER].opener.verifier = counting
    forged = craft.commit(LIAR, 9, digest("forged"))
    for number in range(2000):
        vote, other = craft.commit(OTHER, 1, digest(str(number))), craft.commit(OTHER, 1, digest("z"))
        wrong = other.wire.replace(other.signature, forged.signature)
        cluster.inject(LIAR, FINDER, shared(cluster, "E3", OTHER, vote.wire, wrong))
    cluster.deliver_all()
    node = cluster.nodes[FINDER]
    looked_at = TOKENS_MAX // INVALID_COSTS
    assert node.ignored == {
        IgnoreReason.PROVES_NOTHING: looked_at,
        IgnoreReason.TOO_MUCH_EVIDENCE: 2000 - looked_at,
    }
    assert counting.checked <= 2 * looked_at
    true = shared(cluster, "E3", LIAR, *(craft.commit(LIAR, 1, digest(text)).wire for text in "xy"))
    cluster.inject(LIAR, FINDER, true)
    cluster.deliver_all()
    assert node.evidence == []
    cluster.inject(THIRD, FINDER, true)
    cluster.deliver_all()
    assert proofs(cluster, FINDER) == [("E3", LIAR)]


def test_with_time_a_peer_is_listened_to_again(cluster: Cluster, craft: Craft) -> None:
    for number in range(TOKENS_MAX):
        cluster.inject(LIAR, FINDER, SharedEvidence(data=b"nonsense %d" % number))
    cluster.deliver_all()
    cluster.advance(2 * TOKEN_MS)
    true = shared(cluster, "E3", LIAR, *(craft.commit(LIAR, 1, digest(text)).wire for text in "xy"))
    cluster.inject(LIAR, FINDER, true)
    cluster.deliver_all()
    assert proofs(cluster, FINDER) == [("E3", LIAR)]


def test_what_is_told_of_one_culprit_is_bounded(cluster: Cluster) -> None:
    """The finder keeps more than it tells of."""
    for sequence in range(1, 7):
        lie_to(cluster, FINDER, sequence=sequence)
    cluster.deliver_all()
    assert len(cluster.nodes[FINDER].evidence) == 6
    assert len(cluster.nodes[OTHER].evidence) == SHARED_PER_CULPRIT_MAX


def test_a_liar_that_proves_itself_without_end_is_believed_twice(cluster: Cluster, craft: Craft) -> None:
    for sequence in range(1, 50):
        statements = (craft.commit(LIAR, sequence, digest(text)).wire for text in "xy")
        cluster.inject(LIAR, FINDER, shared(cluster, "E3", LIAR, *statements))
    cluster.deliver_all()
    assert len(cluster.nodes[FINDER].evidence) == SHARED_PER_CULPRIT_MAX


def test_devices_prove_as_much_as_they_like_against_themselves_and_keep_no_proof_back(cluster: Cluster) -> None:
    """Anybody can make devices and have them lie: that is kept where it was found, and is told to nobody."""
    for number in range(40):
        device = f"device {number}"
        cluster.request(device, b"hello")
        cluster.settle(lambda: all(me.log.last_executed > number for me in cluster.replicas.values()))  # noqa: B023
        for text in (b"this", b"that"):
            cluster.request(device, *[text * 500] * 10, first=1, to=[FINDER])
    cluster.deliver_all()
    assert proofs(cluster, FINDER)
    assert all(code == CLIENT_EQUIVOCATION for code, _ in proofs(cluster, FINDER))
    lie_to(cluster, FINDER, sequence=cluster.replicas[FINDER].log.last_executed + 2)
    cluster.deliver_all()
    assert proofs(cluster, OTHER) == proofs(cluster, THIRD) == [("E3", LIAR)]


def test_who_says_it_of_a_device_is_not_heard(cluster: Cluster, craft: Craft) -> None:
    """And pays for having been looked at."""
    one, other = craft.request("a", 0, b"x"), craft.request("a", 0, b"y")
    evidence = Evidence(code=CLIENT_EQUIVOCATION, culprit=one.device, statements=(one.wire, other.wire))
    cluster.inject(THIRD, FINDER, SharedEvidence(data=encode_evidence(cluster.group, evidence)))
    cluster.deliver_all()
    assert cluster.nodes[FINDER].evidence == []
    assert cluster.nodes[FINDER].ignored == {IgnoreReason.NOT_WANTED: 1}


def test_a_proof_for_which_there_is_no_room_to_tell_of_is_kept_all_the_same(
    cluster: Cluster, craft: Craft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "SHARED_BYTES_MAX", 600)
    for sequence, code in enumerate(("E3", "E2", "E4"), start=1):
        kinds = {"E2": craft.prepare, "E3": craft.commit}
        make = kinds.get(code, lambda who, n, what: craft.checkpoint(who, 8 * n, what))
        pair = (make(LIAR, sequence, digest(text)).wire for text in "xy")
        cluster.inject(THIRD, FINDER, shared(cluster, code, LIAR, *pair))
    cluster.deliver_all()
    assert [code for code, _ in proofs(cluster, FINDER)] == ["E3", "E2", "E4"]
    assert len(cluster.replicas[FINDER].exchange) < 3


def test_a_peer_that_has_much_to_verify_is_told_the_rest_later(
    cluster: Cluster, craft: Craft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would drop what is beyond the time that it gives to one peer."""
    monkeypatch.setattr(exchange_module, "BYTES_PER_TOKEN", 256)
    exchange = cluster.replicas[FINDER].exchange
    shown = [craft.prepared(number, digest("x"), (0, 1, 2)) for number in range(1, 17)]
    changes = [[craft.view_change(LIAR, view, *shown[start:]).wire for start in (0, 1)] for view in (3, 7)]
    votes = [[craft.commit(LIAR, sequence, digest(text)).wire for text in "xy"] for sequence in (1, 2)]
    exchange.restore(
        Evidence(code=code, culprit=LIAR, statements=tuple(pair))
        for code, pairs in (("E6", changes), ("E3", votes))
        for pair in pairs
    )
    exchange.on_link_up(out := Output(), Milliseconds(cluster.now_ms), OTHER)
    at_once = len(out.send)
    told = [send.message for send in out.send]
    for _ in range(200):
        cluster.now_ms += TOKEN_MS
        exchange.tell(out := Output(), Milliseconds(cluster.now_ms))
        told += [send.message for send in out.send]
    assert at_once < len(told) == len(exchange) == 4


def test_a_proof_too_large_to_travel_stays_where_it_was_found(cluster: Cluster) -> None:
    """Two NEW-VIEWs, of which each fills a window."""
    members = Cluster(7, byzantine=(6,), checkpoint_interval=128)
    craft = Craft(members.members)
    shown = [craft.prepared(number, digest("x"), range(1, 5)) for number in range(1, 257)]
    first, second = (
        craft.new_view(6, [craft.view_change(signer, 6, *shown) for signer in signers])
        for signers in ((0, 1, 2, 3, 4), (1, 2, 3, 4, 5))
    )
    assert len(first.wire) + len(second.wire) > EVIDENCE_BYTES_MAX
    members.on_send = lambda flight: b"EVIDENCE" in flight.frame[:16]
    for new_view in (first, second):
        members.inject(6, FINDER, new_view)
    members.deliver_all()
    assert proofs(members, FINDER) == [("E7", 6)]
    assert members.sent["SharedEvidence"] == 0


def test_a_proof_against_oneself_is_kept_like_any_other(cluster: Cluster, craft: Craft) -> None:
    """Somebody else has the key: the operator has to know."""
    statements = (craft.commit(FINDER, 1, digest(text)).wire for text in "xy")
    cluster.inject(THIRD, FINDER, shared(cluster, "E3", FINDER, *statements))
    cluster.deliver_all()
    assert proofs(cluster, FINDER) == [("E3", FINDER)]


def test_what_a_replica_believes_to_have_found_is_verified_before_anybody_is_accused(
    cluster: Cluster, craft: Craft
) -> None:
    """Here by a statement in the witness's memory that was never made."""
    witness = cluster.replicas[FINDER].witness
    said, forged = craft.commit(OTHER, 1, digest("x")), craft.commit(LIAR, 1, digest("y"))
    slot = Slot(SequenceNumber(1), Milliseconds(0))
    slot.commits[OTHER] = replace(said, signature=forged.signature)
    witness.keep(slot)
    cluster.inject(OTHER, FINDER, craft.commit(OTHER, 1, digest("y")))
    cluster.deliver_all()
    node = cluster.nodes[FINDER]
    assert node.evidence == []
    assert [text for text in node.alarms if text.startswith("internal error: what looked like E3 of replica 0")]
    assert cluster.sent["SharedEvidence"] == 0


def test_a_large_proof_is_verified_in_steps_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "SIGNATURES_PER_STEP", 10)
    members = Cluster(byzantine=(LIAR,), checkpoint_interval=32)
    craft = Craft(members.members)
    counting = Counting(members.members.verifier)
    members.replicas[FINDER].opener.verifier = counting
    shown = [craft.prepared(number, digest("x"), (1, 2)) for number in range(1, 17)]
    commit, hiding = craft.commit(LIAR, 17, digest("x")), craft.view_change(LIAR, 3, *shown)
    members.inject(THIRD, FINDER, shared(members, "E5", LIAR, commit.wire, hiding.wire))
    small = (craft.prepare(LIAR, 1, digest(text)).wire for text in "xy")
    members.inject(OTHER, FINDER, shared(members, "E2", LIAR, *small))
    members.deliver_all()
    checked = [counting.checked]
    for _ in range(20):
        members.advance(exchange_module.EXAMINE_PAUSE_MS)
        checked.append(counting.checked)
    assert proofs(members, FINDER) == [("E5", LIAR), ("E2", LIAR)], "each in its turn"
    assert checked[-1] > 2 * len(shown)
    assert max(later - sooner for sooner, later in itertools.pairwise(checked)) <= 10


def test_what_waited_together_is_verified_in_portions_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass of a node is many steps, and nobody's turn comes in between."""
    monkeypatch.setattr(exchange_module, "SIGNATURES_PER_STEP", 10)
    members = Cluster(byzantine=(LIAR,), checkpoint_interval=32)
    craft = Craft(members.members)
    counting = Counting(members.members.verifier)
    exchange = members.replicas[FINDER].exchange
    exchange._opener.verifier = counting
    shown = [craft.prepared(number, digest("x"), (1, 2)) for number in range(1, 17)]
    commit, hiding = craft.commit(LIAR, 17, digest("x")), craft.view_change(LIAR, 3, *shown)
    large = shared(members, "E5", LIAR, commit.wire, hiding.wire)
    small = [
        shared(members, code, LIAR, *(say(LIAR, 1, digest(text)).wire for text in "xy"))
        for code, say in (("E2", craft.prepare), ("E3", craft.commit))
    ]
    found: list[str] = []
    due: list[Milliseconds] = []

    def step(now: int, *brought: tuple[ReplicaId, SharedEvidence]) -> int:
        """Returns how many signatures were checked until then."""
        out = Output()
        for peer, message in brought:
            exchange.on_evidence(out, Milliseconds(now), peer, message)
        exchange.conclude(out, Milliseconds(now), is_verified=False)
        found.extend(proof.code for proof in out.evidence)
        due.extend(timer.at for timer in out.timers)
        return counting.checked

    for brought in ((OTHER, small[0]), (THIRD, small[1]), (OTHER, large)):
        step(5, brought)
    checked = [step(5) for _ in range(5)]
    assert (checked, found) == ([10] * 5, ["E2", "E3"]), "what is done with counts as well"
    while len(found) < 3:
        assert step(due[-1] - 1) == checked[-1], "what is to wait waits, whatever comes"
        checked.append(step(due[-1]))
    assert max(later - sooner for sooner, later in itertools.pairwise(checked)) <= 10


def test_a_large_proof_of_nothing_is_paid_for_and_one_that_two_bring_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_module, "SIGNATURES_PER_STEP", 10)
    members = Cluster(byzantine=(LIAR,), checkpoint_interval=32)
    craft = Craft(members.members)
    shown = [craft.prepared(number, digest("x"), (1, 2)) for number in range(1, 17)]
    commit, hiding = craft.commit(LIAR, 17, digest("x")), craft.view_change(LIAR, 3, *shown)
    forged = hiding.wire[:-64] + bytes(64)
    exchange = members.replicas[FINDER].exchange
    members.inject(OTHER, FINDER, shared(members, "E5", LIAR, commit.wire, forged))
    for who in (OTHER, THIRD):
        members.inject(who, FINDER, shared(members, "E5", LIAR, commit.wire, hiding.wire))
    members.deliver_all()
    members.advance(20 * exchange_module.EXAMINE_PAUSE_MS)
    node = members.nodes[FINDER]
    assert proofs(members, FINDER) == [("E5", LIAR)]
    assert node.ignored == {IgnoreReason.PROVES_NOTHING: 1, IgnoreReason.DUPLICATE: 1}
    assert exchange._peers[OTHER].tokens.left < exchange._peers[THIRD].tokens.left
