"""The link to the primary drops: what only it was told goes to the others at once, and once."""

from __future__ import annotations

from pbft.client.quorums import Output
from pbft.core.types import ReplicaId
from tests.client.request_bench import Bench
from tests.client.said import ms, reply, result

FIRST_OPERATIONS = 3


class LinkedBench(Bench):
    def link(self, replica: int, *, up: bool) -> None:
        self.knowledge.on_link(ReplicaId(replica), up=up)
        out = Output()
        told = self.tracker.on_link_up if up else self.tracker.on_link_down
        told(out, ms(self.now), ReplicaId(replica))
        self.note(out)

    def requests_since(self, count: int) -> list[tuple[tuple[ReplicaId, ...], int]]:
        """To whom, and from which client sequence on."""
        return [(to, first) for to, first, _, _ in self.sent[count:]]


def with_operations_at_the_primary() -> LinkedBench:
    bench = LinkedBench()
    for _ in range(FIRST_OPERATIONS):
        bench.submit(b"x")
    assert {to for to, *_ in bench.sent} == {(0,)}
    return bench


OTHERS = (ReplicaId(1), ReplicaId(2), ReplicaId(3))


def test_what_only_the_primary_was_told_goes_to_all_others_at_once() -> None:
    bench = with_operations_at_the_primary()
    told = len(bench.sent)
    bench.link(0, up=False)
    assert bench.requests_since(told) == [(OTHERS, first) for _, first, _, _ in bench.sent[:told]]
    assert sorted(bench.wires[told:]) == sorted(bench.wires[:told]), "the same bytes under the same names"


def test_the_link_to_another_replica_may_drop_without_a_word() -> None:
    bench = with_operations_at_the_primary()
    told = len(bench.sent)
    for replica in (1, 2, 3):
        bench.link(replica, up=False)
    assert bench.requests_since(told) == []


def test_what_all_were_told_already_is_not_told_again() -> None:
    bench = with_operations_at_the_primary()
    bench.wait(600)
    told = len(bench.sent)
    bench.link(0, up=False)
    assert bench.requests_since(told) == []


def test_a_second_drop_repeats_nothing() -> None:
    bench = with_operations_at_the_primary()
    bench.link(0, up=False)
    bench.link(0, up=True)
    told = len(bench.sent)
    bench.link(0, up=False)
    assert bench.requests_since(told) == []


def test_the_pauses_count_from_the_drop_and_go_on_as_usual() -> None:
    bench = with_operations_at_the_primary()
    bench.wait(100)
    told = len(bench.sent)
    bench.link(0, up=False)
    once = len(bench.sent) - told
    assert not bench.wait(1199).send, "a second time after twice the first pause, and not before"
    assert len(bench.wait(1).send) == once


def test_it_is_the_believed_primary_that_counts_and_not_the_first() -> None:
    bench = LinkedBench()
    bench.submit(b"x")
    bench.hear(*(reply(replica, result(0), view=1) for replica in (1, 2)))
    bench.submit(b"y")
    assert bench.sent[-1][0] == (1,)
    told = len(bench.sent)
    bench.link(0, up=False)
    assert bench.requests_since(told) == []
    bench.link(1, up=False)
    assert bench.requests_since(told) == [((2, 3), 1)]


def test_what_is_answered_already_is_not_sent_to_anybody() -> None:
    bench = LinkedBench()
    bench.submit(b"x")
    bench.hear(reply(1, result(0)), reply(2, result(0)))
    told = len(bench.sent)
    bench.link(0, up=False)
    assert bench.requests_since(told) == []
