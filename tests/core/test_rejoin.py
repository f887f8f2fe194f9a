"""A replica that lost its ledger is mute until nothing it may sign can contradict what it forgot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from pbft.core.effects import Record, RecordKind
from pbft.core.frames import NULL_BATCH
from pbft.core.log import Log
from pbft.core.messages import Commit, PeerMessage, Prepare, Proposal, Rejoining, Signed, Status, ViewChange
from pbft.core.output import Output
from pbft.core.rejoin import PLANNED_VIEW_CHANGES, WINDOWS_OF_NULL_BATCHES, Rejoin
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber, View
from pbft.core.voting_rules import VotingRules
from tests.harness.cluster import Cluster
from tests.harness.craft import digest
from tests.harness.executor import MemoryExecutor
from tests.harness.keys import make_group
from tests.harness.simnode import Flight
from tests.harness.votes import Votes

K = 4
WINDOW = 2 * K
BOUND = 2 * WINDOW
"""How far above the highest certified checkpoint it may have voted."""
ME = ReplicaId(1)
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)


# -- the conditions, one by one


@dataclass(frozen=True)
class Given:
    answers: tuple[int, ...] = (0, 2, 3)
    claimed: int = 0
    committed: int = BOUND + 1
    committed_in: int = 5
    stable: int = BOUND
    view: int = 7
    in_view: bool = True
    commit_first: bool = False


def votes_again(given: Given) -> bool:
    """Whether a replica that lost its voice gets it back, with an alarm and a record."""
    rules = VotingRules(MEMBERS.group, ME, MEMBERS.signers[ME])
    log, out = Log(MEMBERS.group), Output()
    rejoin = Rejoin(MEMBERS.group, ME, rules, log)
    rejoin.lose_voice(out, "a vote")
    commit = Commit(view=View(given.committed_in), sequence=SequenceNumber(given.committed), batch_digest=digest("x"))
    if given.commit_first:
        rejoin.on_committed(commit)
    for peer in given.answers:
        rejoin.on_status(ReplicaId(peer), status(stable=given.claimed))
    log.advance(SequenceNumber(given.stable))
    if not given.commit_first:
        rejoin.on_committed(commit)
    log.move_to(View(given.view), Milliseconds(0), in_view=given.in_view)
    rejoin.check(out)
    kinds = [record.kind for record in out.persist]
    assert kinds == [RecordKind.AMNESIA, RecordKind.REJOINED][: 1 + (not rules.is_mute)]
    assert len(out.alarms) == len(kinds)
    return not rules.is_mute


def status(
    *, stable: int = 0, executed: int | None = None, rejoining: Rejoining | None = None, view: int = 0
) -> Status:
    return Status(
        view=View(view),
        stable_checkpoint=SequenceNumber(stable),
        last_executed=SequenceNumber(stable if executed is None else executed),
        slots=(),
        rejoining=rejoining,
    )


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        pytest.param(Given(), True, id="all of it"),
        pytest.param(Given(stable=5 * BOUND, committed=5 * BOUND, view=70), True, id="more than all of it"),
        pytest.param(Given(answers=(0, 2)), False, id="too few answers"),
        pytest.param(Given(answers=(0, 2, 2, 2, 0)), False, id="one peer answers many times"),
        pytest.param(Given(answers=()), False, id="no answers"),
        pytest.param(Given(claimed=K), False, id="answers whose checkpoint is not proven"),
        pytest.param(Given(stable=BOUND - K), False, id="stable checkpoint one too low"),
        pytest.param(Given(committed=BOUND), False, id="nothing committed beyond the bound"),
        pytest.param(Given(commit_first=True), False, id="committed beyond the bound before that was known"),
        pytest.param(Given(view=6), False, id="only the next view"),
        pytest.param(Given(view=5), False, id="the view of the commit"),
        pytest.param(Given(in_view=False), False, id="the view has not begun"),
    ],
)
def test_each_condition_alone_is_not_enough(given: Given, safe: bool) -> None:
    assert votes_again(given) is safe


# -- a group, and a replica that forgot


@dataclass
class World:
    """Counts what an idle group does for others, and holds every vote against every other."""

    cluster: Cluster
    null_batches: set[tuple[int, int]] = field(default_factory=set)
    view_changes: set[tuple[int, int]] = field(default_factory=set)
    said: list[PeerMessage] = field(default_factory=list)
    """By replica 1 with its own signature, in order."""

    def __post_init__(self) -> None:
        self.votes = Votes(self.cluster)
        self.cluster.on_send = self.watch

    def watch(self, flight: Flight) -> bool:
        message = self.cluster.openers[flight.to].parse_peer(flight.frame).value
        match message:
            case Proposal(batch=batch, pre_prepare=signed) if batch == NULL_BATCH and signed.signer == flight.source:
                self.null_batches.add((signed.message.view, signed.message.sequence))
            case Signed(message=ViewChange() as change) if message.signer == flight.source:
                self.view_changes.add((message.signer, change.view))
            case _:
                pass
        vote = message.pre_prepare if isinstance(message, Proposal) else message
        if isinstance(vote, Signed) and vote.signer == flight.source == ME:
            self.said.append(message)
        return self.votes(flight)

    def run(self, count: int, *, start: int = 0) -> None:
        for first in range(start, start + count):
            self.cluster.request("a", first=first, ack=first, to=self.cluster.group.replicas)
            self.cluster.settle(self.cluster.executed_everywhere(first + 1))

    def lose_ledger(self, *, state_too: bool = False) -> None:
        """As the node does it: a ledger that begins with the news of its loss."""
        cluster, node = self.cluster, self.cluster.nodes[ME]
        cluster.crash(ME)
        node.ledger = [Record(RecordKind.AMNESIA, SequenceNumber(0), b"the ledger was lost")]
        if state_too:
            node.executor = MemoryExecutor(cluster.group)
        self.said.clear()
        cluster.restart(ME)

    @property
    def is_mute(self) -> bool:
        return self.cluster.replicas[ME].rules.is_mute


def world(n: int = 4, *, byzantine: tuple[int, ...] = (), interval: int = K) -> World:
    return World(Cluster(n, byzantine=byzantine, checkpoint_interval=interval, pipeline_depth=2))


@pytest.mark.parametrize("state_too", [False, True], ids=["ledger", "whole disk"])
def test_in_a_busy_group_it_learns_at_once_and_votes_after_a_while(state_too: bool) -> None:
    """It had prepared and committed; nothing it says afterwards is where it may have spoken before."""
    it = world()
    it.run(K + 2)
    before = it.cluster.replicas[ME].log
    highest, view = before.high_watermark, before.view
    it.lose_ledger(state_too=state_too)
    ran = K + 2
    while it.is_mute:
        assert it.said == [], "mute"
        it.run(1, start=ran)
        it.cluster.advance(1000)
        it.cluster.deliver_all()
        ran += 1
        assert ran < 60, "it stays mute"
    assert [record.kind for record in it.cluster.nodes[ME].ledger if record.kind is RecordKind.REJOINED]
    it.run(2 * K, start=ran)
    new = [
        vote.message for vote in it.said if isinstance(vote, Signed) and isinstance(vote.message, Prepare | Commit)
    ]
    assert new, "it votes again"
    assert all(vote.sequence > highest and vote.view >= view + 2 for vote in new)
    it.cluster.assert_same_state()
    # Its vote is needed, and given.
    it.cluster.crash(3)
    it.run(2, start=ran + 2 * K)


def test_an_idle_group_helps_with_null_batches_and_planned_view_changes() -> None:
    it = world()
    it.run(2)
    it.lose_ledger()
    start = it.cluster.now_ms
    it.cluster.settle(lambda: not it.is_mute, within_ms=120_000)
    assert it.cluster.now_ms - start <= 60_000
    assert BOUND - 2 <= len(it.null_batches) <= BOUND + 2 * K
    assert {view for _, view in it.view_changes} == {1, 2}
    it.cluster.advance(60_000)
    it.cluster.deliver_all()
    assert len(it.null_batches) <= BOUND + 2 * K, "and no more once it votes"
    assert {view for _, view in it.view_changes} == {1, 2}
    it.run(2, start=2)


def test_a_primary_that_forgot_is_left_at_the_next_request_and_then_the_group_helps() -> None:
    it = world()
    it.run(2)
    # View 1 is led by the replica that will lose its ledger.
    it.cluster.crash(0)
    it.run(1, start=2)
    it.cluster.restart(0)
    it.run(1, start=3)
    assert it.cluster.replicas[ME].ordering.is_primary
    it.lose_ledger()
    it.run(1, start=4)
    assert it.cluster.replicas[ME].log.view > 1
    it.cluster.settle(lambda: not it.is_mute, within_ms=120_000)
    it.run(2, start=5)


def test_a_restart_while_mute_begins_anew_and_stays_mute() -> None:
    it = world()
    it.run(2)
    it.lose_ledger()
    for _ in range(4):
        it.cluster.advance(3000)
        it.cluster.deliver_all()
        it.cluster.crash(ME)
        it.cluster.restart(ME)
        assert it.is_mute
        assert it.cluster.replicas[ME].rejoin.rejoining == Rejoining(checkpoint=None, view=None)
    assert it.said == []
    it.cluster.settle(lambda: not it.is_mute, within_ms=120_000)
    it.cluster.crash(ME)
    it.cluster.restart(ME)
    assert not it.is_mute, "the return is in its ledger"
    it.run(2, start=2)


def test_a_liar_that_inflates_views_and_checkpoints_keeps_nobody_mute() -> None:
    """Of seven one forgot and one lies: the bound comes from proven checkpoints and from what was committed."""
    it = world(7, byzantine=(6,))
    it.run(2)
    it.lose_ledger()
    far = status(stable=2**62 // K * K, executed=2**62, view=2**62)

    def lie() -> bool:
        for to in it.cluster.nodes:
            it.cluster.inject(
                6, to, replace(far, rejoining=Rejoining(checkpoint=far.stable_checkpoint, view=far.view))
            )
        return not it.is_mute

    it.cluster.settle(lie, within_ms=120_000)
    assert it.cluster.replicas[ME].log.view < 10


def test_a_false_start_is_found_out_by_its_own_votes_and_mended_in_the_same_way() -> None:
    """Its ledger was exchanged for an empty one, and nobody told it: a peer shows it what it said."""
    it = world()
    it.run(2)
    it.cluster.crash(ME)
    it.cluster.nodes[ME].ledger = []
    it.cluster.restart(ME)
    assert it.cluster.replicas[ME].describe()["role"] == "voting"
    old = next(vote for vote in it.said if isinstance(vote, Signed) and isinstance(vote.message, Commit))
    it.said.clear()
    # Into a slot that it takes votes for, and does not know its own in.
    it.cluster.on_send = lambda _flight: False
    it.cluster.inject(3, ME, old)
    it.cluster.deliver_all()
    assert it.is_mute
    it.cluster.on_send = it.watch
    it.cluster.settle(lambda: not it.is_mute, within_ms=120_000)
    it.run(2, start=2)


# -- what the help costs, whoever asks for it


def claims(kind: str) -> Callable[[Cluster], Status]:
    """What a peer may say that wants the group to work for it for ever."""

    def claim(cluster: Cluster) -> Status:
        log = cluster.replicas[ReplicaId(0)].log
        stable = log.low_watermark
        wants = {
            "always one more window": Rejoining(checkpoint=SequenceNumber(stable + WINDOW), view=None),
            "always the next but one view": Rejoining(checkpoint=stable, view=View(log.view + 2)),
            "now this, now that": (
                Rejoining(checkpoint=SequenceNumber(stable + K), view=None)
                if cluster.now_ms // 1000 % 2
                else Rejoining(checkpoint=stable, view=View(log.view + 1))
            ),
            "too much": Rejoining(checkpoint=SequenceNumber(2**62 // K * K), view=View(2**62)),
            "nothing in particular": Rejoining(checkpoint=None, view=None),
        }
        return status(stable=stable, executed=log.last_executed, view=log.view, rejoining=wants[kind])

    return claim


@pytest.mark.parametrize(
    ("kind", "null_batches", "views"),
    [
        ("always one more window", WINDOWS_OF_NULL_BATCHES * WINDOW, 0),
        ("always the next but one view", 0, PLANNED_VIEW_CHANGES),
        ("now this, now that", WINDOWS_OF_NULL_BATCHES * WINDOW, PLANNED_VIEW_CHANGES),
        ("too much", 0, 0),
        ("nothing in particular", 0, 0),
    ],
)
def test_a_peer_that_claims_to_come_back_for_ever_costs_a_bounded_amount(
    kind: str, null_batches: int, views: int
) -> None:
    it = world(byzantine=(3,))
    claim = claims(kind)
    for _ in range(300):
        for to in (0, 1, 2):
            it.cluster.inject(3, to, claim(it.cluster))
        it.cluster.deliver_all()
        it.cluster.advance(1000)
        it.cluster.deliver_all()
    # Each primary has a purse of its own; what it cannot know is what the one before it has spent.
    assert len(it.null_batches) <= null_batches * 3
    assert bool(it.null_batches) is bool(null_batches)
    assert max(replica.log.view for replica in it.cluster.replicas.values()) <= views * 3
    assert bool(it.view_changes) is bool(views)
    it.run(3)


def test_a_busy_group_orders_no_null_batches_for_anybody() -> None:
    it = world()
    it.run(2)
    it.lose_ledger()
    for first in range(2, 2 + 2 * BOUND):
        it.run(1, start=first)
        it.cluster.advance(20)
    assert len(it.null_batches) <= 2
