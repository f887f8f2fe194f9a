"""Reads: asked of all, believed at f+1 equal answers that are new enough, asked again when nobody agrees."""

from __future__ import annotations

from itertools import combinations

import pytest

from pbft.client.quorums import (
    Answered,
    Disagreement,
    Knowledge,
    Output,
    QueryId,
    QueryOutcome,
    QueryTracker,
    Settings,
    Unanswered,
)
from pbft.client.quorums.queries import QUERY_BYTES_MAX
from pbft.core.messages import Answer, Query, Signed
from pbft.core.types import ReplicaId, SequenceNumber
from tests.client.said import DEVICE, OTHER_DEVICE, answer, knowledge_of, ms, opened

FIRST = QueryId(100)


class Bench:
    """A tracker, its time, and what it has said so far. Query ids count from 100."""

    def __init__(self, n: int = 4, settings: Settings | None = None, *, seen: int = 0) -> None:
        self.knowledge: Knowledge = knowledge_of(n)
        self.knowledge.on_seen(SequenceNumber(seen))
        self.group = self.knowledge.group
        self.tracker = QueryTracker(self.knowledge, DEVICE, FIRST, settings or Settings())
        self.now = 0
        self.outcomes: dict[QueryId, QueryOutcome] = {}
        self.sent: list[tuple[tuple[ReplicaId, ...], int, int]] = []
        """(to, query id, minimum sequence) of each query sent."""

    def note(self, out: Output) -> Output:
        self.outcomes.update(out.answers)
        for send in out.send:
            query = opened(self.group, send)
            assert isinstance(query, Query)
            self.sent.append((send.to, query.query_id, query.minimum_sequence))
        return out

    def ask(self, query: bytes = b"?", *, within_ms: int | None = None) -> QueryId:
        out = Output()
        number = self.tracker.ask(out, ms(self.now), query, within_ms=within_ms)
        self.note(out)
        return number

    def hear(self, *answers: Signed[Answer]) -> Output:
        out = Output()
        self.tracker.on_answers(out, ms(self.now), answers)
        return self.note(out)

    def wait(self, milliseconds: int) -> Output:
        self.now += milliseconds
        out = Output()
        self.tracker.on_time(out, ms(self.now))
        return self.note(out)


@pytest.mark.parametrize("n", [4, 6, 7, 13])
def test_f_plus_1_equal_answers_of_distinct_replicas_are_believed(n: int) -> None:
    bench = Bench(n)
    number = bench.ask()
    assert bench.sent == [(bench.group.replicas, 100, 0)]
    voters = range(bench.group.honest_minimum)
    for voter in voters:
        assert number not in bench.outcomes
        bench.hear(*[answer(voter, 100)] * 3)
    assert bench.outcomes[number] == Answered(
        result=b"yes", sequence=SequenceNumber(1), vouchers=tuple(map(ReplicaId, voters))
    )


def test_a_liar_cannot_push_up_what_the_client_has_seen() -> None:
    bench = Bench()
    bench.ask()
    bench.hear(answer(3, 100, sequence=2**62), answer(1, 100, sequence=7))
    assert bench.knowledge.seen == 7


def test_answers_older_than_what_was_seen_do_not_count() -> None:
    bench = Bench(seen=10)
    number = bench.ask()
    assert bench.sent[0][2] == 10
    bench.hear(answer(0, 100, sequence=9), answer(1, 100, sequence=9), answer(2, 100, sequence=10))
    assert number not in bench.outcomes
    bench.hear(answer(3, 100, sequence=12))
    assert isinstance(bench.outcomes[number], Answered)


def test_of_two_results_that_f_plus_1_gave_the_newer_one_is_believed() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(
        answer(0, 100, b"old", sequence=4),
        answer(1, 100, b"old", sequence=5),
        answer(2, 100, b"new", sequence=6),
        answer(3, 100, b"new", sequence=9),
    )
    assert bench.outcomes[number] == Answered(
        result=b"new", sequence=SequenceNumber(6), vouchers=(ReplicaId(2), ReplicaId(3))
    )
    assert not len(bench.knowledge.lies)


def test_f_liars_together_never_get_their_answer_believed() -> None:
    for n in (4, 7):
        for liars in combinations(range(n), (n - 1) // 3):
            bench = Bench(n)
            number = bench.ask()
            bench.hear(*(answer(liar, 100, b"lie", sequence=50) for liar in liars))
            assert number not in bench.outcomes
            bench.hear(*(answer(r, 100, b"truth", sequence=50) for r in range(n) if r not in liars))
            outcome = bench.outcomes[number]
            assert isinstance(outcome, Answered)
            assert outcome.result == b"truth"
            assert list(bench.knowledge.lies.counts) == list(liars)


# -- disagreement


def test_when_all_answered_differently_it_is_asked_again_no_earlier_than_a_correct_one_is() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(*(answer(replica, 100, b"%d" % replica, sequence=10 + replica) for replica in range(4)))
    assert number not in bench.outcomes
    bench.wait(49)
    assert len(bench.sent) == 1
    bench.wait(1)
    assert bench.sent[1] == (bench.group.replicas, 101, 12)
    bench.hear(*(answer(replica, 101, sequence=12) for replica in (1, 2)))
    assert isinstance(bench.outcomes[number], Answered)


def test_a_quorum_of_different_answers_waits_a_little_for_the_others() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(*(answer(replica, 100, b"%d" % replica) for replica in range(3)))
    bench.wait(149)
    bench.wait(1)
    bench.wait(50)
    assert bench.sent[-1][1] == 101
    bench.hear(answer(3, 100, b"0"))
    assert number not in bench.outcomes, "an answer of the last round counts no more"


def test_after_some_rounds_the_disagreement_is_told_with_who_said_what() -> None:
    bench = Bench(settings=Settings(query_rounds=3))
    number = bench.ask()
    for query_id in (100, 101, 102):
        bench.hear(*(answer(replica, query_id, b"%d" % replica, sequence=20) for replica in range(4)))
        bench.wait(400)
    outcome = bench.outcomes[number]
    assert isinstance(outcome, Disagreement)
    assert [(one.replica, one.sequence, one.result) for one in outcome.statements] == [
        (replica, 20, b"%d" % replica) for replica in range(4)
    ]
    assert not len(bench.knowledge.lies), "no f+1 say the same, so nobody can be convicted"
    assert bench.tracker.outstanding == 0
    assert bench.tracker.next_at is None


def test_too_few_answers_are_an_unanswered_question_and_are_asked_for_again_meanwhile() -> None:
    bench = Bench()
    number = bench.ask(within_ms=2_000)
    bench.hear(answer(2, 100))
    bench.wait(600)
    assert bench.sent[-1] == ((0, 1, 3), 100, 0), "only those that were silent"
    bench.wait(1_400)
    outcome = bench.outcomes[number]
    assert isinstance(outcome, Unanswered)
    assert [one.replica for one in outcome.statements] == [2]


def test_at_the_deadline_f_plus_1_that_differ_are_a_disagreement() -> None:
    bench = Bench()
    number = bench.ask(within_ms=1_000)
    bench.hear(answer(2, 100, b"a"), answer(3, 100, b"b"))
    bench.wait(1_000)
    assert isinstance(bench.outcomes[number], Disagreement)


def test_a_link_that_comes_up_is_asked_what_it_has_not_answered() -> None:
    bench = Bench()
    bench.ask()
    bench.hear(answer(2, 100))
    out = Output()
    bench.tracker.on_link_up(out, ReplicaId(2))
    assert not out.send
    bench.tracker.on_link_up(out, ReplicaId(1))
    assert [send.to for send in out.send] == [(1,)]


# -- lies


def test_another_answer_at_another_sequence_is_no_lie() -> None:
    bench = Bench()
    bench.ask()
    bench.hear(answer(0, 100, b"old", sequence=4), answer(1, 100, sequence=5), answer(2, 100, sequence=5))
    bench.hear(answer(3, 100, b"newer", sequence=6))
    assert not len(bench.knowledge.lies)


def test_another_answer_at_the_accepted_sequence_is_a_lie_early_or_late() -> None:
    bench = Bench(7)
    bench.ask()
    early, late = answer(0, 100, b"no", sequence=5), answer(6, 100, b"no", sequence=5)
    truths = [answer(replica, 100, sequence=5) for replica in (1, 2, 3)]
    found = bench.hear(early, *truths).contradictions
    assert bench.tracker.is_surplus(answer(5, 100, sequence=5).message)
    assert not bench.tracker.is_surplus(late.message)
    found += bench.hear(late).contradictions
    assert [(one.replica, one.contradicting) for one in found] == [(0, early.wire), (6, late.wire)]
    assert all(one.accepted == tuple(truth.wire for truth in truths) for one in found)


def test_who_copies_an_answer_and_claims_a_later_sequence_convicts_nobody() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(answer(0, 100, b"x", sequence=5), answer(3, 100, b"x", sequence=6))
    assert isinstance(bench.outcomes[number], Answered)
    bench.hear(answer(1, 100, b"y", sequence=6))
    assert not len(bench.knowledge.lies), "replica 3 is the liar, and replica 1 is right"


def test_two_answers_of_one_replica_at_one_sequence_convict_it_and_a_newer_one_replaces_the_older() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(answer(3, 100, b"a", sequence=5), answer(3, 100, b"b", sequence=5))
    assert bench.knowledge.lies.counts == {3: 1}
    bench.hear(answer(2, 100, b"a", sequence=6), answer(2, 100, b"b", sequence=7), answer(1, 100, b"b", sequence=7))
    assert bench.knowledge.lies.counts == {3: 1}
    assert isinstance(bench.outcomes[number], Answered)


def test_answers_to_others_and_to_nothing_are_passed_over() -> None:
    bench = Bench()
    number = bench.ask()
    bench.hear(answer(0, 100, device=OTHER_DEVICE), answer(1, 100, device=OTHER_DEVICE))
    bench.hear(answer(0, 99), answer(1, 99))
    assert number not in bench.outcomes
    assert bench.tracker.is_surplus(answer(0, 99).message)


def test_a_query_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="a query has at most"):
        Bench().ask(b"x" * (QUERY_BYTES_MAX + 1))
    Bench().ask(b"x" * QUERY_BYTES_MAX)
