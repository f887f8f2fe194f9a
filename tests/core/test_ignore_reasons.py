"""Every reason to refuse a message has its case here; a new IgnoreReason without one fails the last test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pbft.core.effects import Evidence, IgnoreReason
from pbft.core.evidence import encode_evidence
from pbft.core.exchange import INVALID_COSTS, SHARED_PER_CULPRIT_MAX, TOKENS_MAX
from pbft.core.messages import Body, Credit, Query, SharedEvidence, Subscribe, Unsubscribe
from pbft.core.places import STRANGERS_DIVISOR
from pbft.core.readers import (
    QUERIES_MAX,
    QUERIES_PER_DEVICE_MAX,
    QUERY_AHEAD_MAX,
    SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_DEVICE_MAX,
)
from pbft.core.request_pool import POOL_STRANGERS_MAX
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber, View
from tests.harness.cluster import WALL_START_MS, Cluster
from tests.harness.craft import Craft, digest

ME = ReplicaId(1)
NOW = WALL_START_MS + 1000
SKEW = 30_000
K = 4
OUTSIDE = 2 * K + 1


class World:
    """A replica that is a backup, and everybody else's keys."""

    def __init__(self) -> None:
        self.cluster = Cluster(
            checkpoint_interval=K, pipeline_depth=1, batch_operations_max=4, batch_bytes_max=4096, client_window=4
        )
        self.craft = Craft(self.cluster.members)
        self.cluster.on_send = lambda _flight: False

    def tell(self, *messages: object, source: int = 3) -> None:
        for message in messages:
            self.cluster.inject(source, ME, message)  # type: ignore[arg-type]
        self.cluster.deliver_all()

    def propose(
        self, sequence: int = 1, *, first: int = 0, signer: int = 0, timestamp: int = NOW, view: int = 0
    ) -> None:
        batch = self.craft.batch(self.craft.request("a", first), timestamp=timestamp)
        self.tell(self.craft.proposal(signer, sequence, batch, view=view))

    def ask(self, *firsts: int, ack: int = 0, device: str = "a") -> None:
        for first in firsts:
            self.cluster.request(device, first=first, ack=ack, to=[ME])
        self.cluster.deliver_all()

    def run(self, count: int) -> None:
        """Let the whole group execute `count` requests of device a."""
        self.cluster.on_send = None
        for first in range(count):
            self.cluster.request("a", first=first, ack=first)
            self.cluster.deliver_all()
        self.cluster.on_send = lambda _flight: False
        self.cluster.nodes[ME].ignored.clear()


@dataclass(frozen=True)
class Case:
    what: str
    reason: IgnoreReason
    act: Callable[[World], None]


def then(*acts: Callable[[World], object]) -> Callable[[World], None]:
    def act(world: World) -> None:
        for each in acts:
            each(world)

    return act


def old_view(world: World) -> None:
    world.cluster.replicas[ME].log.view = View(1)
    world.tell(world.craft.prepare(2, 1, digest("x")))


def two_proposals(world: World) -> None:
    world.propose(1, first=0)
    world.propose(1, first=1)


def proposal_against_a_certificate(world: World) -> None:
    world.tell(world.craft.commit_certificate(1, digest("x"), (0, 2, 3)))
    world.propose(1)


def many_operations(world: World) -> None:
    requests = [world.craft.request("a", first, b"x", b"y", b"z") for first in (0, 3)]
    world.tell(world.craft.proposal(0, 1, world.craft.batch(*requests)))


def many_bytes(world: World) -> None:
    requests = [world.craft.request(name, 0, b"x" * 4096) for name in "abc"]
    world.tell(world.craft.proposal(0, 1, world.craft.batch(*requests)))


def stamp(offset: int) -> Callable[[World], None]:
    return lambda world: world.propose(timestamp=NOW + offset)


def executed_request(world: World) -> None:
    world.run(1)
    world.ask(0)


def executed_certificate(world: World) -> None:
    world.run(1)
    world.tell(world.craft.commit_certificate(1, digest("x"), (0, 2, 3)))


def stale_name(world: World) -> None:
    world.run(3)
    world.ask(0)


def stale_checkpoint(world: World) -> None:
    world.run(K)
    world.tell(world.craft.checkpoint(3, K, digest("root")))


def ask_early(world: World, count: int) -> None:
    """As many queries of each device as it may have."""
    for number in range(count):
        device = world.cluster.members.device(f"d{number // QUERIES_PER_DEVICE_MAX}")
        query = Query(query_id=number, minimum_sequence=SequenceNumber(9), query=b"count")
        world.cluster.from_client(device, ME, query)


def too_many_reads(world: World) -> None:
    """Of devices that are strangers to the application."""
    ask_early(world, QUERIES_MAX // STRANGERS_DIVISOR + 1)


def too_many_reads_of_one(world: World) -> None:
    ask_early(world, QUERIES_PER_DEVICE_MAX)
    query = Query(query_id=0, minimum_sequence=SequenceNumber(9), query=b"count")
    world.cluster.from_client(world.cluster.members.device("d0"), ME, query)


def too_far_ahead(world: World) -> None:
    query = Query(query_id=1, minimum_sequence=SequenceNumber(QUERY_AHEAD_MAX + 1), query=b"count")
    world.cluster.from_client(world.cluster.members.device("a"), ME, query)


def read_of_a_damaged_state(world: World) -> None:
    world.cluster.replicas[ME].checkpoints.restore_divergence(SequenceNumber(4))
    query = Query(query_id=1, minimum_sequence=SequenceNumber(0), query=b"count")
    world.cluster.from_client(world.cluster.members.device("a"), ME, query)


def too_many_subscriptions(world: World) -> None:
    """Of devices that are strangers to the application."""
    for number in range(SUBSCRIPTIONS_MAX // STRANGERS_DIVISOR + 1):
        device = world.cluster.members.device(f"d{number // SUBSCRIPTIONS_PER_DEVICE_MAX}")
        subscribe = Subscribe(
            subscription=number % SUBSCRIPTIONS_PER_DEVICE_MAX, topic=b"log", start=EventIndex(0), bodies=True
        )
        world.cluster.from_client(device, ME, subscribe)


def proof(world: World, *texts: str, sequence: int = 1) -> SharedEvidence:
    """That replica 3 sent COMMITs for these batches."""
    commits = tuple(world.craft.commit(3, sequence, digest(text)).wire for text in texts)
    evidence = Evidence(code="E3", culprit=ReplicaId(3), statements=commits)
    return SharedEvidence(data=encode_evidence(world.cluster.group, evidence))


def evidence_of_nothing(world: World) -> None:
    world.tell(proof(world, "x", "x"))
    assert world.cluster.nodes[ME].evidence == []


def evidence_of_what_is_proven(world: World) -> None:
    for sequence in range(1, SHARED_PER_CULPRIT_MAX + 2):
        world.tell(proof(world, "x", "y", sequence=sequence))
    assert len(world.cluster.nodes[ME].evidence) == SHARED_PER_CULPRIT_MAX


def evidence_without_end(world: World) -> None:
    for number in range(TOKENS_MAX // INVALID_COSTS):
        world.tell(proof(world, str(number), str(number)))
    world.cluster.nodes[ME].ignored.clear()
    world.tell(proof(world, "x", "y"))
    assert world.cluster.nodes[ME].evidence == []


def two_requests(world: World) -> None:
    world.tell(*(world.craft.request("a", 0, operation) for operation in (b"x", b"y")))


def full_pool(world: World) -> None:
    """Strangers share a part of it."""
    for number in range(POOL_STRANGERS_MAX // 4 + 1):
        world.tell(world.craft.request(f"d{number}", 0, *[b"x"] * 4))


def full_of_one(world: World) -> None:
    """A device may have two client windows of operations waiting."""
    for session in (1, 2, 3):
        world.tell(world.craft.request("a", 0, *[b"x"] * 4 if session < 3 else (b"x",), session=session))


def someone_elses_request(world: World) -> None:
    world.cluster.from_client(world.cluster.members.device("b"), ME, world.craft.request("a"))


def body_unasked(world: World) -> None:
    world.tell(Body(sequence=SequenceNumber(1), batch=world.craft.batch(world.craft.request("a"))))


def view_change_under_way(world: World) -> None:
    """It joined two others on the way to view 2."""
    for signer in (2, 3):
        world.tell(world.craft.view_change(signer, 2))
    world.propose(signer=2, view=2)


def begun(world: World, view: int = 2, *, signers: tuple[int, ...] = (0, 2, 3)) -> None:
    world.tell(world.craft.new_view(view, [world.craft.view_change(signer, view) for signer in signers]))


CASES = (
    Case("proposal while a view change is under way", IgnoreReason.VIEW_CHANGE_UNDER_WAY, view_change_under_way),
    Case(
        "view change to an old view", IgnoreReason.OLD_VIEW, then(begun, lambda w: w.tell(w.craft.view_change(3, 1)))
    ),
    Case("view change to this view", IgnoreReason.OLD_VIEW, then(begun, lambda w: w.tell(w.craft.view_change(3, 2)))),
    Case(
        "view change to a lower view than before",
        IgnoreReason.OLD_VIEW,
        lambda w: w.tell(w.craft.view_change(3, 5), w.craft.view_change(3, 4)),
    ),
    Case("new view of an old view", IgnoreReason.OLD_VIEW, then(begun, lambda w: begun(w, 1, signers=(0, 2, 3)))),
    Case("view change twice", IgnoreReason.DUPLICATE, lambda w: w.tell(*[w.craft.view_change(3, 1)] * 2)),
    Case("new view twice", IgnoreReason.DUPLICATE, then(begun, begun)),
    Case(
        "second view change",
        IgnoreReason.CONFLICTING_VOTE,
        lambda w: w.tell(
            w.craft.view_change(3, 1), w.craft.view_change(3, 1, w.craft.prepared(1, digest("x"), (1, 2)))
        ),
    ),
    Case(
        "second new view",
        IgnoreReason.CONFLICTING_PROPOSAL,
        then(begun, lambda w: begun(w, signers=(0, 1, 3))),
    ),
    Case("its own prepare, unknown", IgnoreReason.NOT_OWN, lambda w: w.tell(w.craft.prepare(ME, 1, digest("x")))),
    Case("its own commit, unknown", IgnoreReason.NOT_OWN, lambda w: w.tell(w.craft.commit(ME, 1, digest("x")))),
    Case("its own view change, unknown", IgnoreReason.NOT_OWN, lambda w: w.tell(w.craft.view_change(ME, 1))),
    Case("its own new view, unknown", IgnoreReason.NOT_OWN, lambda w: begun(w, 1)),
    Case(
        "its own proposal, unknown",
        IgnoreReason.NOT_OWN,
        then(
            lambda w: begun(w, 4),
            lambda w: w.tell(*[w.craft.view_change(signer, 5) for signer in (2, 3)]),
            lambda w: w.propose(5, signer=ME, view=5),
        ),
    ),
    Case("prepare of an old view", IgnoreReason.OLD_VIEW, old_view),
    Case("prepare", IgnoreReason.FUTURE_VIEW, lambda w: w.tell(w.craft.prepare(2, 1, digest("x"), view=1))),
    Case("commit", IgnoreReason.FUTURE_VIEW, lambda w: w.tell(w.craft.commit(2, 1, digest("x"), view=2**62))),
    Case("prepare twice", IgnoreReason.DUPLICATE, lambda w: w.tell(*[w.craft.prepare(2, 1, digest("x"))] * 2)),
    Case("commit twice", IgnoreReason.DUPLICATE, lambda w: w.tell(*[w.craft.commit(2, 1, digest("x"))] * 2)),
    Case("checkpoint twice", IgnoreReason.DUPLICATE, lambda w: w.tell(*[w.craft.checkpoint(2, K, digest("r"))] * 2)),
    Case("proposal twice", IgnoreReason.DUPLICATE, then(World.propose, World.propose)),
    Case("request twice", IgnoreReason.DUPLICATE, lambda w: w.ask(0, 0)),
    Case(
        "certificate twice",
        IgnoreReason.DUPLICATE,
        lambda w: w.tell(*[w.craft.commit_certificate(1, digest("x"), (0, 2, 3))] * 2),
    ),
    Case("checkpoint passed", IgnoreReason.BELOW_LOW_WATERMARK, stale_checkpoint),
    Case(
        "certificate of a checkpoint passed",
        IgnoreReason.BELOW_LOW_WATERMARK,
        then(lambda w: w.run(K), lambda w: w.tell(w.craft.checkpoint_certificate(K, digest("r"), (0, 2, 3)))),
    ),
    Case(
        "old prepare",
        IgnoreReason.BELOW_LOW_WATERMARK,
        then(lambda w: w.run(K), lambda w: w.tell(w.craft.prepare(2, K, digest("x")))),
    ),
    Case("prepare", IgnoreReason.ABOVE_HIGH_WATERMARK, lambda w: w.tell(w.craft.prepare(2, OUTSIDE, digest("x")))),
    Case("commit", IgnoreReason.ABOVE_HIGH_WATERMARK, lambda w: w.tell(w.craft.commit(2, 2**62, digest("x")))),
    Case("proposal", IgnoreReason.ABOVE_HIGH_WATERMARK, lambda w: w.propose(OUTSIDE)),
    Case(
        "checkpoint", IgnoreReason.ABOVE_HIGH_WATERMARK, lambda w: w.tell(w.craft.checkpoint(2, 3 * K, digest("r")))
    ),
    Case(
        "certificate",
        IgnoreReason.ABOVE_HIGH_WATERMARK,
        lambda w: w.tell(w.craft.commit_certificate(OUTSIDE, digest("x"), (0, 2, 3))),
    ),
    Case("proposal by a backup", IgnoreReason.NOT_THE_PRIMARY, lambda w: w.propose(signer=2)),
    Case(
        "prepare by the primary",
        IgnoreReason.PRIMARY_DOES_NOT_PREPARE,
        lambda w: w.tell(w.craft.prepare(0, 1, digest("x"))),
    ),
    Case("second proposal", IgnoreReason.CONFLICTING_PROPOSAL, two_proposals),
    Case("proposal against a certificate", IgnoreReason.CONFLICTING_PROPOSAL, proposal_against_a_certificate),
    Case(
        "second prepare",
        IgnoreReason.CONFLICTING_VOTE,
        lambda w: w.tell(w.craft.prepare(2, 1, digest("x")), w.craft.prepare(2, 1, digest("y"))),
    ),
    Case(
        "second commit",
        IgnoreReason.CONFLICTING_VOTE,
        lambda w: w.tell(w.craft.commit(2, 1, digest("x")), w.craft.commit(2, 1, digest("y"))),
    ),
    Case(
        "second checkpoint",
        IgnoreReason.CONFLICTING_VOTE,
        lambda w: w.tell(w.craft.checkpoint(2, K, digest("x")), w.craft.checkpoint(2, K, digest("y"))),
    ),
    Case("operations", IgnoreReason.BATCH_TOO_LARGE, many_operations),
    Case("bytes", IgnoreReason.BATCH_TOO_LARGE, many_bytes),
    Case("early stamp", IgnoreReason.TIMESTAMP_OUT_OF_RANGE, stamp(SKEW + 1)),
    Case("request", IgnoreReason.ALREADY_EXECUTED, executed_request),
    Case("certificate", IgnoreReason.ALREADY_EXECUTED, executed_certificate),
    Case("vote", IgnoreReason.NOT_A_CHECKPOINT, lambda w: w.tell(w.craft.checkpoint(2, K + 1, digest("r")))),
    Case(
        "certificate",
        IgnoreReason.NOT_A_CHECKPOINT,
        lambda w: w.tell(w.craft.checkpoint_certificate(K + 1, digest("r"), (0, 2, 3))),
    ),
    Case("body", IgnoreReason.NOT_WANTED, body_unasked),
    Case(
        "other operations under one name",
        IgnoreReason.NAME_IN_USE,
        two_requests,
    ),
    Case("pool", IgnoreReason.POOL_FULL, full_pool),
    Case("pool, for one device", IgnoreReason.DEVICE_FULL, full_of_one),
    Case("request", IgnoreReason.WRONG_DEVICE, someone_elses_request),
    Case("acknowledged", IgnoreReason.STALE_NAME, stale_name),
    Case("sequence", IgnoreReason.OUT_OF_WINDOW, lambda w: w.ask(4)),
    Case("evidence", IgnoreReason.PROVES_NOTHING, evidence_of_nothing),
    Case("evidence", IgnoreReason.PROVEN_ALREADY, evidence_of_what_is_proven),
    Case("evidence", IgnoreReason.TOO_MUCH_EVIDENCE, evidence_without_end),
    Case("queries", IgnoreReason.TOO_MANY_READS, too_many_reads),
    Case("queries of one device", IgnoreReason.DEVICE_FULL, too_many_reads_of_one),
    Case("a query to a damaged replica", IgnoreReason.STATE_NOT_WHOLE, read_of_a_damaged_state),
    Case("a query for a far future", IgnoreReason.TOO_FAR_AHEAD, too_far_ahead),
    Case("subscriptions", IgnoreReason.TOO_MANY_SUBSCRIPTIONS, too_many_subscriptions),
    Case(
        "credit",
        IgnoreReason.NO_SUBSCRIPTION,
        lambda w: w.cluster.from_client(
            w.cluster.members.device("a"), ME, Credit(subscription=1, taken=EventIndex(5))
        ),
    ),
    Case(
        "unsubscribe",
        IgnoreReason.NO_SUBSCRIPTION,
        lambda w: w.cluster.from_client(w.cluster.members.device("a"), ME, Unsubscribe(subscription=1)),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason.name}: {case.what}")
def test_refused(case: Case) -> None:
    world = World()
    case.act(world)
    ignored = world.cluster.nodes[ME].ignored
    assert ignored == {case.reason: 1}


def test_the_smallest_and_largest_stamps_in_range_are_accepted() -> None:
    for offset in (-SKEW, SKEW):
        world = World()
        world.propose(timestamp=NOW + offset)
        assert not world.cluster.nodes[ME].ignored


def test_the_null_batch_is_accepted_whatever_the_clock_says() -> None:
    world = World()
    world.tell(world.craft.proposal(0, 1, world.craft.batch(timestamp=0)))
    assert not world.cluster.nodes[ME].ignored


def test_every_reason_has_a_case() -> None:
    assert set(IgnoreReason) == {case.reason for case in CASES}
