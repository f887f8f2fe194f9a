# Letters that look alike are what is tested here.
# ruff: noqa: RUF001

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.names import AccountKey, RoomName
from chatsvc.application.search_language import (
    DAY_MS,
    SEARCH_BYTES_MAX,
    SEARCH_PARTS_MAX,
    SearchError,
    SearchPlan,
    midnight,
    parse_search,
)
from pbft.core.types import Milliseconds

ALICE, BOB = AccountKey("alice"), AccountKey("|bob|")
GARDEN, ATTIC = RoomName("garden"), RoomName("attic")
DEC_19 = Milliseconds(1_482_105_600_000)


class Case(NamedTuple):
    text: str
    plan: SearchPlan


CASES = [
    Case("hello", SearchPlan(terms=("hello",))),
    Case("Hello WORLD hello", SearchPlan(terms=("hello", "world"))),
    Case("  two\twords ", SearchPlan(terms=("two", "words"))),
    Case('"How to" x', SearchPlan(terms=("x",), phrases=(("how", "to"),))),
    Case('"one"', SearchPlan(terms=("one",))),
    Case("foo-bar", SearchPlan(phrases=(("foo", "bar"),))),
    Case("http://a.b", SearchPlan(phrases=(("http", "a", "b"),))),
    Case("東京都", SearchPlan(phrases=(("東京", "京都"),))),
    Case("東", SearchPlan(terms=("東",))),
    Case("x -y", SearchPlan(terms=("x",), excluded_terms=("y",))),
    Case('x -"y z"', SearchPlan(terms=("x",), excluded_phrases=(("y", "z"),))),
    Case("x -y-z", SearchPlan(terms=("x",), excluded_phrases=(("y", "z"),))),
    Case("x --y", SearchPlan(terms=("x",), excluded_terms=("y",))),
    Case("x - :-) -", SearchPlan(terms=("x",))),
    Case('x "" -""', SearchPlan(terms=("x",))),
    Case('x""y', SearchPlan(phrases=(("x", "y"),))),
    Case('"a""b"', SearchPlan(terms=("a", "b"))),
    Case("from:Alice", SearchPlan(authors=(ALICE,))),
    Case("FROM:alice from:|bob| from:ALICE", SearchPlan(authors=(ALICE, BOB))),
    Case("in:#Garden in:attic", SearchPlan(rooms=(GARDEN, ATTIC))),
    Case("x -from:alice -in:attic", SearchPlan(terms=("x",), excluded_authors=(ALICE,), excluded_rooms=(ATTIC,))),
    Case("x before:2016-12-19", SearchPlan(terms=("x",), before_ms=DEC_19)),
    Case("x after:2016-12-19", SearchPlan(terms=("x",), after_ms=DEC_19)),
    Case(
        "x after:2016-12-19 after:2016-12-18 before:2016-12-19 before:2016-12-20",
        SearchPlan(terms=("x",), after_ms=DEC_19, before_ms=DEC_19),
    ),
    Case("to:alice", SearchPlan(phrases=(("to", "alice"),))),
    Case('"from:alice"', SearchPlan(phrases=(("from", "alice"),))),
    Case("wwı\u0307dth", SearchPlan(terms=("wwı\u0307dth",))),
    Case("\u0131n:garden", SearchPlan(phrases=(("\u0131n", "garden"),))),
    Case("a\ud800b", SearchPlan(terms=("a", "b"))),
    Case("a\u3000b", SearchPlan(terms=("a", "b"))),
]


@pytest.mark.parametrize("case", CASES, ids=[ascii(case.text) for case in CASES])
def test_searches_and_what_they_ask_for(case: Case) -> None:
    assert parse_search(case.text) == case.plan


class Bad(NamedTuple):
    text: str
    position: int
    problem: str


BAD = [
    Bad("", 0, "needs a word"),
    Bad("   ", 0, "needs a word"),
    Bad(":-) ...", 0, "needs a word"),
    Bad("-x", 0, "needs a word"),
    Bad("-from:alice", 0, "needs a word"),
    Bad("before:2016-12-19", 0, "needs a word"),
    Bad('x "open', 2, "never closed"),
    Bad('x -"open', 3, "never closed"),
    Bad('"a" "', 4, "never closed"),
    Bad("x before:yesterday", 2, "YYYY-MM-DD"),
    Bad("x after:", 2, "YYYY-MM-DD"),
    Bad("x after:2016-13-01", 2, "day of the calendar"),
    Bad("x after:2015-02-29", 2, "day of the calendar"),
    Bad("x after:1969-12-31", 2, "day of the calendar"),
    Bad("x after:2016-1-1", 2, "YYYY-MM-DD"),
    Bad("x after:٢٠١٦-١٢-١٩", 2, "YYYY-MM-DD"),
    Bad("x -after:2016-12-19", 3, "cannot be excluded"),
    Bad("from:", 0, "from: a name is not empty"),
    Bad("x from:a:b", 2, "from: a name does not contain the character U+003A"),
    Bad('in:"a', 0, "in: a name"),
    Bad("x " * 17, 32, "at most 16 parts"),
    Bad("x" * 1025, 0, "at most 1024 bytes"),
    Bad("é" * 513, 0, "at most 1024 bytes"),
    Bad("東" * 200 + " " + "x-" * 60 + " y", 201, "at most 256 words"),
]


@pytest.mark.parametrize("bad", BAD, ids=[ascii(bad.text[:30]) for bad in BAD])
def test_refused_searches_say_what_is_wrong_and_where(bad: Bad) -> None:
    with pytest.raises(SearchError) as caught:
        parse_search(bad.text)
    assert bad.problem in str(caught.value)
    assert caught.value.position == bad.position
    assert f"at character {bad.position + 1}" in str(caught.value)
    assert str(caught.value).isascii()


@given(st.dates(min_value=date(1970, 1, 1)))
def test_midnight_is_that_of_the_calendar(day: date) -> None:
    expected = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert midnight(day.year, day.month, day.day) == int(expected.timestamp()) * 1000


def test_every_day_of_four_centuries_follows_the_day_before() -> None:
    day, days = midnight(1970, 1, 1), 0
    assert day == 0
    for year in range(1970, 2371):
        for month in range(1, 13):
            for number in range(1, 32):
                moment = midnight(year, month, number)
                if moment is not None:
                    assert moment == days * DAY_MS
                    days += 1
    assert days == 400 * 365 + 97 + 365


PIECES = [
    "x",
    "yy-z",
    "-",
    '"',
    " ",
    ":",
    "from:",
    "-in:",
    "before:",
    "after:",
    "2016-12-19",
    "東京",
    "é",
    "\ud800",
    "\0",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_text_is_a_search_or_a_search_error(text: str) -> None:
    try:
        plan = parse_search(text)
    except SearchError:
        return
    assert plan.terms or plan.phrases or plan.authors or plan.rooms
    assert all(len(phrase) > 1 for phrase in (*plan.phrases, *plan.excluded_phrases))


def test_the_largest_search_is_one() -> None:
    text = " ".join(f'"{"ab " * 15}{number}"' for number in range(SEARCH_PARTS_MAX))
    assert len(text) <= SEARCH_BYTES_MAX
    assert len(parse_search(text).phrases) == SEARCH_PARTS_MAX
