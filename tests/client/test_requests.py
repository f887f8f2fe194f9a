"""Operations: bundled, sent, sent again, and believed at f+1 equal replies of distinct replicas."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest

from pbft.client.quorums import (
    Accepted,
    OutboxFull,
    Output,
    Rejected,
    Settings,
)
from pbft.client.quorums.requests import BUNDLE_BYTES_MAX
from pbft.core.messages import Reply, Signed
from pbft.core.types import ReplicaId
from tests.client.request_bench import Bench
from tests.client.said import OTHER_DEVICE, SESSION, ms, reply, result

# -- sending


def test_an_idle_client_sends_one_operation_at_once_alone_to_the_primary() -> None:
    bench = Bench()
    bench.submit(b"hello")
    assert bench.sent == [((ReplicaId(0),), 0, 1, 0)]


def test_operations_that_wait_together_share_a_signature() -> None:
    bench = Bench()
    bench.submit(*[b"x"] * 100)
    assert [(first, count) for _, first, count, _ in bench.sent] == [(0, 64), (64, 36)]


def test_a_busy_client_bundles_what_comes_meanwhile() -> None:
    bench = Bench(settings=Settings(bundles_in_flight=2))
    for _ in range(10):
        bench.submit(b"x")
    assert [count for _, _, count, _ in bench.sent] == [1, 1]
    bench.hear(reply(0, result(0)), reply(1, result(0)))
    assert [count for _, _, count, _ in bench.sent] == [1, 1, 8]


def test_the_window_bounds_what_is_outstanding_and_moves_with_the_oldest() -> None:
    bench = Bench(client_window=8, request_operations_max=4)
    bench.submit(*[b"x"] * 20)
    assert bench.tracker.outstanding == 8
    bench.hear(*(reply(replica, *(result(number) for number in range(1, 8))) for replica in (1, 2)))
    assert bench.tracker.outstanding == 1, "operation 0 holds the window"
    assert len(bench.sent) == 2
    bench.hear(reply(1, result(0)), reply(2, result(0)))
    assert bench.tracker.outstanding == 8
    assert bench.sent[2:] == [((ReplicaId(0),), 8, 4, 8), ((ReplicaId(0),), 12, 4, 8)]


def test_a_bundle_is_bounded_in_bytes() -> None:
    bench = Bench()
    bench.submit(*[b"x" * 16_000] * 40)
    assert all(count * 16_000 <= BUNDLE_BYTES_MAX for _, _, count, _ in bench.sent)
    assert sum(count for _, _, count, _ in bench.sent) == 40


def test_an_operation_over_the_limit_and_an_outbox_that_is_full_are_refused_whole() -> None:
    bench = Bench(settings=Settings(outbox_max=10), operation_bytes_max=100)
    with pytest.raises(ValueError, match="at most 100 bytes"):
        bench.submit(b"fine", b"x" * 101)
    with pytest.raises(OutboxFull):
        bench.submit(*[b"x"] * 11)
    assert bench.tracker.outstanding == bench.tracker.waiting == 0


def test_the_same_bytes_go_to_all_after_a_timeout_and_again_with_longer_pauses() -> None:
    bench = Bench()
    bench.submit(b"x")
    bench.wait(599)
    assert len(bench.sent) == 1
    times = [bench.now for _ in range(360) if bench.wait(50).send]
    assert [later - earlier for earlier, later in pairwise(times)] == [1200, 2400, 4800, 5000]
    assert {to for to, *_ in bench.sent[1:]} == {bench.group.replicas}
    assert len(set(bench.wires)) == 1


def test_a_link_that_comes_back_is_told_what_it_has_to_know() -> None:
    bench = Bench()
    bench.submit(b"x")
    out = Output()
    bench.tracker.on_link_up(out, ms(0), ReplicaId(2))
    assert not out.send, "a backup need not know yet"
    bench.tracker.on_link_up(out, ms(0), ReplicaId(0))
    assert [send.to for send in out.send] == [(ReplicaId(0),)]
    bench.wait(600)
    out = Output()
    bench.tracker.on_link_up(out, ms(0), ReplicaId(2))
    assert [send.to for send in out.send] == [(ReplicaId(2),)]


def test_without_the_primary_the_others_are_told_at_once() -> None:
    bench = Bench()
    bench.knowledge.on_link(ReplicaId(0), up=False)
    bench.submit(b"x")
    assert bench.sent[0][0] == (1, 2, 3)


def test_operations_submitted_while_nobody_is_connected_go_out_with_the_first_link() -> None:
    bench = Bench()
    for replica in bench.group.replicas:
        bench.knowledge.on_link(replica, up=False)
    bench.submit(b"x")
    assert not bench.sent
    bench.knowledge.on_link(ReplicaId(3), up=True)
    out = Output()
    bench.tracker.on_link_up(out, ms(0), ReplicaId(3))
    assert [send.to for send in out.send] == [(ReplicaId(3),)]


# -- where the primary is


def test_the_primary_is_believed_where_f_plus_1_replicas_say() -> None:
    bench = Bench()
    bench.submit(b"x")
    bench.hear(reply(3, result(0), view=2**62))
    assert bench.knowledge.believed_primary == 0, "one replica may lie"
    bench.hear(reply(1, result(0), view=5))
    assert bench.knowledge.believed_primary == 1
    bench.submit(b"y")
    assert bench.sent[-1][0] == (1,)


# -- acceptance


@pytest.mark.parametrize("n", [4, 5, 6, 7, 10, 13])
def test_f_plus_1_distinct_replicas_make_an_outcome_and_fewer_do_not(n: int) -> None:
    bench = Bench(n)
    (ticket,) = bench.submit(b"x")
    voters = range(n - bench.group.honest_minimum, n)
    for voter in voters:
        assert ticket not in bench.outcomes
        for _ in range(3):
            bench.hear(reply(voter, result(0, b"done", index=3), sequence=9))
    outcome = bench.outcomes[ticket]
    assert isinstance(outcome, Accepted)
    assert (outcome.sequence, outcome.index, outcome.result) == (9, 3, b"done")
    assert outcome.vouchers == tuple(voters)
    assert bench.knowledge.seen == 9


def test_vouchers_are_all_that_agree_within_the_poll() -> None:
    bench = Bench(7)
    (ticket,) = bench.submit(b"x")
    bench.hear(*(reply(voter, result(0)) for voter in (6, 2, 4, 0)))
    bench.hear(reply(1, result(0)))
    outcome = bench.outcomes[ticket]
    assert isinstance(outcome, Accepted)
    assert outcome.vouchers == (0, 2, 4, 6)


@dataclass(frozen=True)
class Differs:
    """A second reply that does not back the first."""

    name: str
    second: Signed[Reply]
    a_lie_of: int | None


FIRST = reply(0, result(0, b"a", index=1), sequence=5)
DIFFERENT = [
    Differs("another result", reply(1, result(0, b"b", index=1), sequence=5), None),
    Differs("another place", reply(1, result(0, b"a", index=2), sequence=5), None),
    Differs("another sequence", reply(1, result(0, b"a", index=1), sequence=6), None),
    Differs("refused", reply(1, result(0, b"a", index=1, refused=True), sequence=5), None),
    Differs("another operation", reply(1, result(7, b"a", index=1), sequence=5), None),
    Differs("another session", reply(1, result(0, b"a", index=1), sequence=5, session=SESSION + 1), None),
    Differs("another device", reply(1, result(0, b"a", index=1), sequence=5, device=OTHER_DEVICE), None),
    Differs("the same replica", reply(0, result(0, b"a", index=1), sequence=5), None),
    Differs("the same replica, otherwise", reply(0, result(0, b"b", index=1), sequence=5), 0),
]


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda case: case.name)
def test_what_is_not_equal_in_everything_backs_nothing(case: Differs) -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"x")
    bench.hear(FIRST)
    bench.hear(case.second)
    assert ticket not in bench.outcomes
    assert list(bench.knowledge.lies.counts) == ([] if case.a_lie_of is None else [case.a_lie_of])
    bench.hear(reply(2, result(0, b"a", index=1), sequence=5))
    assert isinstance(bench.outcomes[ticket], Accepted)


def test_f_liars_together_never_get_their_result_accepted() -> None:
    for n in (4, 7):
        f = (n - 1) // 3
        for liars in combinations(range(n), f):
            bench = Bench(n)
            (ticket,) = bench.submit(b"x")
            for liar in liars:
                bench.hear(reply(liar, result(0, b"lie")))
            assert ticket not in bench.outcomes
            honest = [replica for replica in range(n) if replica not in liars]
            bench.hear(*(reply(replica, result(0, b"truth")) for replica in honest))
            outcome = bench.outcomes[ticket]
            assert isinstance(outcome, Accepted)
            assert (outcome.result, outcome.vouchers) == (b"truth", tuple(honest))
            assert list(bench.knowledge.lies.counts) == list(liars)


def test_f_plus_1_refusals_reject_whatever_place_they_name() -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"x")
    bench.hear(reply(0, result(0, refused=True), sequence=0))
    assert ticket not in bench.outcomes
    bench.hear(reply(3, result(0, index=4, refused=True), sequence=17))
    outcome = bench.outcomes[ticket]
    assert isinstance(outcome, Rejected)
    assert outcome.vouchers == (0, 3)
    assert bench.knowledge.seen == 0
