"""Operations: lies about them that are found out, what is kept of them, and outcomes that stay unknown."""

from __future__ import annotations

import pytest

from pbft.client.quorums import (
    Accepted,
    Output,
    Unknown,
    UnknownTicket,
)
from pbft.client.quorums.knowledge import CONTRADICTIONS_PER_REPLICA_MAX
from pbft.client.quorums.requests import ACCEPTED_REMEMBERED
from pbft.core.messages import OperationResult, Reply, Signed
from tests.client.request_bench import Bench
from tests.client.said import SESSION, reply, result

# -- lies


def test_a_lie_before_and_one_after_acceptance_are_kept_with_their_evidence() -> None:
    bench = Bench(7)
    bench.submit(b"x")
    early, truths, late = (
        reply(5, result(0, b"no")),
        [reply(r, result(0)) for r in (1, 2, 3)],
        reply(6, result(0, b"no")),
    )
    bench.hear(early)
    found = bench.hear(*truths).contradictions + bench.hear(late).contradictions
    assert [(one.replica, one.contradicting) for one in found] == [(5, early.wire), (6, late.wire)]
    assert all(one.accepted == tuple(truth.wire for truth in truths) for one in found)
    assert bench.knowledge.lies.counts == {5: 1, 6: 1}


@pytest.mark.parametrize(
    ("second", "lies"),
    [
        (reply(3, result(0, refused=True), sequence=0), 0),
        (reply(3, result(0, refused=True), sequence=30), 0),
        (reply(3, result(0)), 0),
        (reply(3, result(0), sequence=2), 1),
        (reply(3, result(9, b"?")), 0),
    ],
    ids=["forgotten", "proposed twice", "late", "moved", "never sent"],
)
def test_what_a_correct_replica_may_say_after_acceptance_is_no_lie(second: Signed[Reply], lies: int) -> None:
    bench = Bench()
    bench.submit(b"x")
    bench.hear(reply(0, result(0)), reply(1, result(0)))
    bench.hear(second)
    assert len(bench.knowledge.lies) == lies


def test_an_operation_that_is_not_remembered_may_stand_at_two_sequences() -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"read", repeatable=True)
    bench.hear(reply(0, result(0, b"a"), sequence=5))
    bench.hear(reply(0, result(0, b"b"), sequence=8), reply(1, result(0, b"a"), sequence=5))
    assert ticket not in bench.outcomes
    bench.hear(reply(1, result(0, b"b"), sequence=8), reply(2, result(0, b"a"), sequence=5))
    outcome = bench.outcomes[ticket]
    assert isinstance(outcome, Accepted)
    assert (outcome.sequence, outcome.result, outcome.vouchers) == (8, b"b", (0, 1))
    assert not len(bench.knowledge.lies)
    bench.hear(reply(3, result(0, b"c"), sequence=8))
    assert bench.knowledge.lies.counts == {3: 1}


def test_a_reply_that_can_change_nothing_need_not_be_verified() -> None:
    bench = Bench()
    bench.submit(b"x", b"y")
    assert not bench.tracker.is_surplus(reply(0, result(0)).message)
    bench.hear(*(reply(voter, result(0)) for voter in (0, 1)))
    assert bench.tracker.is_surplus(reply(2, result(0)).message)
    assert not bench.tracker.is_surplus(reply(2, result(0, b"lie")).message)
    assert not bench.tracker.is_surplus(reply(2, result(0), result(1)).message)
    assert bench.tracker.is_surplus(reply(2, result(1), session=SESSION + 1).message)


def test_what_is_kept_of_lies_is_bounded_for_each_replica_and_all_are_counted() -> None:
    bench = Bench()
    bench.submit(b"x")
    bench.hear(reply(0, result(0)), reply(1, result(0)))
    bench.hear(*(reply(3, result(0, b"%d" % number)) for number in range(100)))
    bench.hear(reply(2, result(0, b"no")))
    assert bench.knowledge.lies.counts == {2: 1, 3: 100}
    assert len(bench.knowledge.lies.kept) == CONTRADICTIONS_PER_REPLICA_MAX + 1


def test_what_is_remembered_of_accepted_operations_is_bounded() -> None:
    bench = Bench()
    for number in range(ACCEPTED_REMEMBERED + 10):
        bench.submit(b"x")
        bench.hear(reply(0, result(number)), reply(1, result(number)))
    assert len(bench.tracker._accepted) == ACCEPTED_REMEMBERED
    bench.hear(reply(3, result(0, b"forgotten")), reply(3, result(ACCEPTED_REMEMBERED, b"lie")))
    assert len(bench.knowledge.lies) == 1


def test_frames_of_opinions_are_bounded_and_the_opinions_count_all_the_same() -> None:
    bench = Bench()
    tickets = bench.submit(*[b"x"] * 64)
    padding: OperationResult = result(10_000, b"z" * 1024 * 1024)
    for number in range(64):
        bench.hear(reply(3, result(number), padding))
    held = sum(len(frame) for one in bench.tracker._open.values() for _, frame in one.opinions.values())
    assert held <= 32 * 1024 * 1024
    bench.hear(reply(0, *(result(number) for number in range(64))))
    assert all(isinstance(bench.outcomes[ticket], Accepted) for ticket in tickets)
    assert set(bench.tracker._frame_bytes.values()) == {0}


# -- unknown outcomes


def test_an_outcome_that_does_not_come_is_unknown_and_may_be_retried_under_the_same_name() -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"x")
    bench.wait(30_000)
    assert bench.outcomes[ticket] == Unknown(ticket=ticket, sent=True)
    assert bench.tracker.is_unknown(ticket)
    sent = len(bench.wires)
    bench.retry(ticket)
    assert len(bench.wires) == sent + 1
    assert len(set(bench.wires)) == 1, "the same name, the same bytes"
    bench.hear(reply(1, result(0)), reply(2, result(0)))
    assert isinstance(bench.outcomes[ticket], Accepted)
    with pytest.raises(UnknownTicket):
        bench.retry(ticket)


def test_an_outcome_that_came_late_is_there_for_the_retry() -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"x")
    bench.wait(30_000)
    assert not bench.hear(reply(1, result(0)), reply(2, result(0))).outcomes
    bench.retry(ticket)
    assert isinstance(bench.outcomes[ticket], Accepted)


def test_an_operation_still_waited_for_cannot_be_retried() -> None:
    bench = Bench()
    (ticket,) = bench.submit(b"x")
    with pytest.raises(UnknownTicket):
        bench.retry(ticket)


def test_what_was_never_sent_is_taken_back_and_leaves_no_hole_in_the_names() -> None:
    bench = Bench(client_window=2, request_operations_max=1)
    tickets = bench.submit(b"a", b"b", b"c")
    bench.wait(30_000)
    assert [bench.outcomes[ticket] for ticket in tickets] == [
        Unknown(ticket=ticket, sent=ticket != tickets[2]) for ticket in tickets
    ]
    bench.hear(*(reply(voter, result(0), result(1)) for voter in (0, 1)))
    (fourth,) = bench.submit(b"d")
    assert bench.sent[-1][1] == 2, "the next name, although operation c was given up"
    bench.retry(tickets[2])
    assert bench.sent[-1][1] == 3
    bench.hear(*(reply(voter, result(2), result(3)) for voter in (0, 1)))
    assert isinstance(bench.outcomes[tickets[2]], Accepted)
    assert isinstance(bench.outcomes[fourth], Accepted)


def test_giving_up_reports_everything_as_unknown_once() -> None:
    bench = Bench(client_window=1, request_operations_max=1)
    tickets = bench.submit(b"a", b"b")
    out = Output()
    bench.tracker.give_up(out)
    bench.tracker.give_up(out)
    assert [ticket for ticket, _ in out.outcomes] == list(tickets)


def test_time_wakes_the_tracker_only_for_what_is_due() -> None:
    bench = Bench()
    due = [bench.tracker.next_at]
    bench.submit(b"x")
    due.append(bench.tracker.next_at)
    bench.hear(reply(0, result(0)), reply(1, result(0)))
    bench.wait(40_000)
    due.append(bench.tracker.next_at)
    assert due == [None, 600, None]
