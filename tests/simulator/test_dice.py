"""Streams of random numbers: reproducible, and deaf to each other."""

from __future__ import annotations

from adversary.simulator.dice import FACES, Streams, below, hits


def test_a_stream_follows_from_seed_and_name_alone() -> None:
    one, other = Streams(7), Streams(7)
    for number in range(50):
        other.roll("something else", number)
    assert one.roll("frame", 1, 2, 3) == other.roll("frame", 1, 2, 3)
    assert one.random("fault", "crash").random() == other.random("fault", "crash").random()


def test_streams_of_other_names_and_seeds_differ() -> None:
    rolls = {Streams(seed).roll("frame", source, to, count) for seed in (1, 2) for source, to in ((0, 1), (1, 0))
             for count in range(100)}  # fmt: skip
    assert len(rolls) == 400


def test_probabilities_are_thousandths() -> None:
    faces = [face for number in range(500) for face in Streams(3).roll("die", number)]
    share = sum(hits(face, 300) for face in faces) / len(faces)
    assert 0.27 < share < 0.33
    assert not any(hits(face, 0) for face in faces)
    assert all(hits(face, 1000) for face in faces)


def test_a_number_below_a_limit_is_below_it() -> None:
    assert {below(face, 3) for face in range(0, FACES, FACES // 1000)} == {0, 1, 2}
    assert below(FACES - 1, 7) == 6
    assert below(FACES - 1, 0) == 0
