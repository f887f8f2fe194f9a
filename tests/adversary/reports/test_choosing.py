"""Which moments tell the story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from adversary.attacks.outcome import Moment
from adversary.reports.captions import captioned, sentence
from adversary.reports.choosing import ROWS_MAX, Chosen, choose
from adversary.reports.folding import fold
from tests.adversary.reports.outcomes import happens, ordered, said, split


def kinds(chosen: Chosen) -> list[str]:
    return [row.what for row in chosen.rows]


@dataclass(frozen=True)
class Case:
    name: str
    moments: Sequence[Moment]
    sequence: int | None
    shows: tuple[str, ...]
    hides: tuple[str, ...] = ()


QUIET = [moment for number in range(1, 6) for moment in ordered(number, f"d{number}", at_ms=number * 1000)]
FAR = 2**63
CASES = [
    Case("nothing at all", [], None, ()),
    Case("an honest run shows its first place", QUIET, 1, ("PRE-PREPARE", "PREPARE", "COMMIT", "executes")),
    Case("the place where two were proposed", [*QUIET, *split(6, at_ms=6_000)], 6, ("PRE-PREPARE", "proves")),
    Case(
        "a lie of another kind beside it",
        [*split(1), *said(50, "CHECKPOINT", 0, 1, 2, sequence=8, digest="cc", lie=True)],
        1,
        ("PRE-PREPARE", "CHECKPOINT"),
    ),
    Case(
        "a place that nobody ordered is none",
        [*said(1, "CHECKPOINT", 3, 0, sequence=FAR, digest="cc", lie=True), *QUIET],
        1,
        ("CHECKPOINT", "executes"),
    ),
    Case(
        "a break is where histories part, whatever was lied about before",
        [
            *split(1),
            *ordered(2, "x", at_ms=100)[:-4],
            *happens(104, "executes", 1, sequence=2, digest="x"),
            *happens(105, "executes", 2, sequence=2, digest="y"),
            *happens(105, "breaks", 2, text="agreement: 2 executes another batch at 2"),
        ],
        2,
        ("breaks", "executes"),
    ),
    Case(
        "a crash shows what was ordered then",
        [*QUIET, *happens(3_000.5, "crashes", 2), *happens(3_900, "starts", 2)],
        3,
        ("crashes", "starts", "PRE-PREPARE"),
    ),
    Case(
        "silence shows by the patience that was lost",
        [
            *QUIET,
            *said(8_000, "REQUEST", "ann", 0, text="operation 9"),
            *said(8_400, "VIEW-CHANGE", 1, 0, 2, 3, view=1),
            *said(8_401, "NEW-VIEW", 1, 0, 2, 3, view=1),
            *ordered(6, "d6", at_ms=8_402, view=1),
        ],
        6,
        ("REQUEST", "VIEW-CHANGE", "NEW-VIEW", "executes"),
    ),
    Case(
        "talk of every day is left out",
        [*split(1), *said(2, "STATUS", 1, 0, 2, 3), *said(2, "FETCH", 1, 0)],
        1,
        ("PRE-PREPARE",),
        ("STATUS", "FETCH"),
    ),
    Case(
        "a NEW-VIEW that is passed on later is no news",
        [
            *split(1),
            *said(50, "NEW-VIEW", 1, 0, 2, 3, view=1),
            *said(900, "NEW-VIEW", 2, 0, view=1),
        ],
        1,
        ("NEW-VIEW",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_decisive_moments(case: Case) -> None:
    chosen = choose(case.moments)
    assert chosen.focus.sequence == case.sequence
    assert set(case.shows) <= set(kinds(chosen))
    assert not set(case.hides) & set(kinds(chosen))


def test_one_arrow_for_what_goes_to_several_and_a_count_for_repeats() -> None:
    (row,) = fold((0, moment) for _ in range(3) for moment in said(1, "PREPARE", 1, 0, 2, 3, digest="aa"))
    assert row.to == ("replica 0", "replica 2", "replica 3")
    assert (row.count, row.repeats) == (9, 3)


def test_whom_it_reaches_much_later_it_reaches_by_another_arrow() -> None:
    moments = [*said(1, "COMMIT", 1, 0, 2), *said(5_000, "COMMIT", 1, 3), *said(6_000, "COMMIT", 1, 0)]
    first, later = fold((0, moment) for moment in moments)
    assert (first.to, first.count) == (("replica 0", "replica 2"), 3)
    assert later.to == ("replica 3",)


def test_a_message_to_a_dead_replica_is_lost_on_the_way() -> None:
    chosen = choose([*happens(0.5, "crashes", 2), *ordered(1, at_ms=1)])
    proposal = next(row for row in chosen.rows if row.what == "PRE-PREPARE")
    assert proposal.lost_to == ("replica 2",)
    assert "lost on the way to replica 2" in sentence(proposal, chosen.letters)


def test_what_liars_hold_as_proof_is_of_no_interest() -> None:
    proofs = [*happens(9, "proves", 0, text="E1 against replica 1")]
    assert "proves" in kinds(choose([*ordered(1), *proofs]))
    assert "proves" not in kinds(choose([*ordered(1), *proofs], faulty=(0,)))


def test_equal_digests_share_a_letter() -> None:
    chosen = choose(split(1))
    assert chosen.letters == {"aa": "A", "bb": "B"}
    assert [row.digest for row in chosen.contradiction] == ["aa", "bb"]


def storm(count: int, replicas: int = 13) -> list[Moment]:
    """Everybody lies about everything, to everybody."""
    return [
        Moment(
            at_ms=float(number),
            source=f"replica {number % replicas}",
            to=f"replica {(number + 1 + number // replicas) % replicas}",
            what=("PRE-PREPARE", "PREPARE", "COMMIT", "VIEW-CHANGE", "REPLY", f"KIND {number % 97}")[number % 6],
            view=number % 5,
            sequence=number % 11,
            digest=f"{number % 1009}",
            lie=number % 2 == 0,
        )
        for number in range(count)
    ]


def test_twenty_thousand_moments_make_a_picture_of_bounded_size() -> None:
    chosen = choose(storm(20_000))
    assert 0 < len(chosen.rows) <= ROWS_MAX
    assert chosen.messages == 20_000
    assert chosen.messages_shown + sum(chosen.left_out.values()) == 20_000


def test_the_order_in_which_moments_are_told_makes_no_difference() -> None:
    moments = split(1)
    assert choose(moments) == choose(sorted(moments, key=lambda moment: moment.at_ms))


def test_headings_tell_the_story_in_order() -> None:
    told = [caption for caption, _ in captioned(choose([*said(-9, "REQUEST", "ann", 0), *split(1)])) if caption]
    assert told == [
        "ann asks for something",
        "The lie: replica 0 proposes two different batches at place 1",
        "The others vote on place 1",
        "Agreed all the same: place 1 is executed",
        "Caught: signatures that cannot both be honest",
    ]


def test_a_fork_is_not_called_agreement() -> None:
    moments = [
        *split(1)[:-7],
        *happens(5, "executes", 1, sequence=1, digest="aa"),
        *happens(6, "executes", 3, sequence=1, digest="bb"),
    ]
    told = [caption for caption, _ in captioned(choose(moments)) if caption]
    assert told[-1] == "Place 1 is executed, and not alike"
