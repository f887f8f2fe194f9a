"""Whom a transfer asks: peers that answer, before those that keep it waiting."""

from __future__ import annotations

from pbft.core.state_sources import REST_MAX_MS, REST_MS, Sources
from pbft.core.types import Milliseconds, ReplicaId

DEAD = ReplicaId(3)
CHECKPOINT_EVERY_MS = 300


def walk(sources: Sources, now: int) -> set[ReplicaId]:
    """Ask everybody that may be asked; all but one answer at once. Gives who was asked."""
    asked: set[ReplicaId] = set()
    while (peer := sources.choose(Milliseconds(now))) is not None and len(asked) < 3:
        sources.asked(peer, Milliseconds(now))
        if peer == DEAD and peer in asked:
            break
        asked.add(peer)
        if peer != DEAD:
            sources.answered(peer)
            sources.asked(peer, Milliseconds(now))
    for peer in asked - {DEAD}:
        sources.answered(peer)
    return asked


def test_a_dead_peer_is_passed_over_though_each_walk_ends_before_its_answer_is_late() -> None:
    """Checkpoints follow each other so fast that no question ever times out."""
    sources = Sources([ReplicaId(1), ReplicaId(2), DEAD])
    walks = []
    for now in range(0, 40 * CHECKPOINT_EVERY_MS, CHECKPOINT_EVERY_MS):
        sources.start_over(Milliseconds(now))
        walks.append(DEAD in walk(sources, now))
    assert walks[0]
    assert sum(walks) < len(walks) // 2
    assert walks.count(False) * CHECKPOINT_EVERY_MS > REST_MAX_MS // 2


def test_one_that_answers_now_and_then_is_not_passed_over() -> None:
    sources = Sources([ReplicaId(1), ReplicaId(2)])
    sources.asked(ReplicaId(1), Milliseconds(0))
    sources.start_over(Milliseconds(REST_MS - 1))
    assert sources.rests_until(Milliseconds(REST_MS - 1)) is None
    sources.asked(ReplicaId(1), Milliseconds(REST_MS - 1))
    sources.answered(ReplicaId(1))
    sources.start_over(Milliseconds(10 * REST_MS))
    assert sources.rests_until(Milliseconds(10 * REST_MS)) is None


def test_a_link_that_comes_up_is_a_new_beginning() -> None:
    sources = Sources([ReplicaId(1), ReplicaId(2)])
    sources.asked(ReplicaId(1), Milliseconds(0))
    sources.link_up(ReplicaId(1))
    sources.start_over(Milliseconds(10 * REST_MS))
    assert sources.rests_until(Milliseconds(10 * REST_MS)) is None
