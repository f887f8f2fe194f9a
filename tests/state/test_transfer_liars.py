"""Pitfall 23: sources that lie, cut short, drip, or say nothing. The state comes from others, the liar is named.

Attack 28 (snapshot_poison): up to f sources are faulty, and more than f as long as one serves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from crypto.digest import Digest
from pbft.core.output import Output
from pbft.core.state_bodies import ANSWER_BYTES_MAX
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    Listings,
    NotHeld,
    Pages,
    StateAnswer,
    StateContent,
    StateMeta,
    WantBuckets,
    Wanted,
    WantListings,
    WantPages,
)
from pbft.core.state_serving import SERVE_BURST_MS, SERVE_BYTES_PER_MS, WAITING_MAX, StateServing
from pbft.core.transfer import ANSWER_TIMEOUT_MS
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber
from tests.state.exchange import (
    FETCHER,
    Exchange,
    Liar,
    Said,
    certificate,
    new_state,
    same,
    sources,
    talk,
    toy_members,
)

LIAR = 2
WRONG = Digest(bytes(32))


def says(change: Callable[[StateContent], StateContent | None]) -> Liar:
    """A liar that changes what it would say; None leaves it as it is."""

    def liar(_fetch: FetchState, honest: StateAnswer) -> Said:
        return [(0, replace(honest, content=change(honest.content) or honest.content))]

    return liar


def wrong_height(_fetch: FetchState, honest: StateAnswer) -> Said:
    return [(0, replace(honest, sequence=SequenceNumber(honest.sequence + 4)))]


def wrong_time(content: StateContent) -> StateContent | None:
    if isinstance(content, StateMeta):
        return replace(content, agreed_time=Milliseconds(content.agreed_time + 1))
    return None


def wrong_table_root(content: StateContent) -> StateContent | None:
    if isinstance(content, StateMeta):
        return replace(content, table_roots=tuple((name, WRONG) for name, _ in content.table_roots))
    return None


def wrong_bucket(content: StateContent) -> StateContent | None:
    return replace(content, buckets=(WRONG, *content.buckets[1:])) if isinstance(content, BucketDigests) else None


def wrong_digest_of_a_page(content: StateContent) -> StateContent | None:
    if isinstance(content, Listings):
        buckets = tuple((number, tuple((page, WRONG) for page, _ in pages)) for number, pages in content.buckets)
        return replace(content, buckets=buckets)
    return None


def page_left_out_of_a_listing(content: StateContent) -> StateContent | None:
    if isinstance(content, Listings):
        return replace(content, buckets=tuple((number, pages[:-1]) for number, pages in content.buckets))
    return None


def first_page_bad(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages):
        (page, rows), *others = content.pages
        return replace(content, pages=((page, ((rows[0][0], rows[0][1] + b"x"), *rows[1:])), *others))
    return None


def last_page_bad(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages):
        *others, (page, rows) = content.pages
        return replace(content, pages=(*others, (page, ((rows[0][0], b"x"), *rows[1:]))))
    return None


def row_left_out(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages):
        return replace(content, pages=tuple((page, rows[:-1]) for page, rows in content.pages))
    return None


def rows_of_another_page(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages) and len(content.pages) > 1:
        rows = [rows for _, rows in content.pages]
        return replace(content, pages=tuple((page, rows[i - 1]) for i, (page, _) in enumerate(content.pages)))
    return None


def pages_in_another_order(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages) and len(content.pages) > 1:
        return replace(content, pages=content.pages[::-1])
    return None


def truncated(content: StateContent) -> StateContent | None:
    """Only the first of what was asked for."""
    match content:
        case Pages() if len(content.pages) > 1:
            return replace(content, pages=content.pages[:1])
        case Listings() if len(content.buckets) > 1:
            return replace(content, buckets=content.buckets[:1])
        case _:
            return None


def truncated_inside_a_page(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages):
        page, rows = content.pages[0]
        return replace(content, pages=((page, rows[:1]),), more=True)
    return None


def nothing_at_all(content: StateContent) -> StateContent | None:
    match content:
        case Pages():
            return replace(content, pages=())
        case Listings():
            return replace(content, buckets=())
        case _:
            return None


def another_table(content: StateContent) -> StateContent | None:
    if isinstance(content, BucketDigests | Listings | Pages):
        return replace(content, table="accounts" if content.table != "accounts" else "lines")
    return None


def another_question(content: StateContent) -> StateContent | None:
    if isinstance(content, Pages):
        return BucketDigests(table=content.table, buckets=(WRONG,) * 256)
    return None


LIES: dict[str, tuple[Liar, str]] = {
    "wrong height": (wrong_height, "served the state at 28;"),
    "wrong time": (says(wrong_time), "table roots that do not lead to the certified state root"),
    "wrong table root": (says(wrong_table_root), "table roots that do not lead to the certified state root"),
    "wrong bucket": (says(wrong_bucket), "bucket digests of table .* that do not lead to its root"),
    "wrong digest of a page": (says(wrong_digest_of_a_page), "listing of bucket .* that does not lead to its"),
    "page left out": (says(page_left_out_of_a_listing), "listing of bucket .* that does not lead to its digest"),
    "first page bad": (says(first_page_bad), "rows of page [0-9a-f]+ of table .* that do not lead to its digest"),
    "last page bad": (says(last_page_bad), "rows of page [0-9a-f]+ of table .* that do not lead to its digest"),
    "row left out": (says(row_left_out), "rows of page [0-9a-f]+ of table .* that do not lead to its digest"),
    "wrong page": (says(rows_of_another_page), "rows of page [0-9a-f]+ of table .* that do not lead to its digest"),
    "other order": (says(pages_in_another_order), "other pages of table .* than those asked for"),
    "truncated": (says(truncated), "cut short"),
    "truncated inside a page": (says(truncated_inside_a_page), "cut short"),
    "nothing": (says(nothing_at_all), "than those asked for, or none"),
    "another table": (says(another_table), "an answer to another question"),
    "another question": (says(another_question), "an answer to another question"),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_pitfall_23_a_liar_is_noticed_named_and_avoided(lie: str) -> None:
    holders, fetcher = sources(24), new_state()
    liar, what = LIES[lie]
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={LIAR: liar}).run()
    same(fetcher, holders[1])
    (alarm,) = exchange.alarms
    assert alarm.startswith(f"state transfer to 24: replica {LIAR} served ")
    assert alarm.endswith("; others are asked instead")
    assert re.search(what, alarm)
    assert exchange.transfer.progress.blamed == (LIAR,)
    last_served = max(index for index, (peer, _) in enumerate(exchange.fetches) if peer == LIAR)
    assert last_served < len(exchange.fetches) - 1, "the rest came from others"


@pytest.mark.parametrize("lie", sorted(LIES))
def test_pitfall_23_more_liars_than_honest_sources(lie: str) -> None:
    holders, fetcher = sources(24), new_state()
    liar, _ = LIES[lie]
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={1: liar, 2: liar}).run()
    same(fetcher, holders[1])
    assert set(exchange.transfer.progress.blamed) <= {1, 2}


def test_pitfall_23_a_liar_is_asked_again_only_when_no_other_is_left() -> None:
    """In each of three sources pages rotted: what is sound in one is not in the others."""
    holders, fetcher = sources(24, logs=3), new_state()
    target = certificate(holders[1])

    def spoils_all_but(*tables: str) -> Liar:
        def spoil(content: StateContent) -> StateContent | None:
            rotted = isinstance(content, Pages) and content.table not in tables
            return first_page_bad(content) if rotted else None

        return says(spoil)

    liars = {1: spoils_all_but("lines"), 2: spoils_all_but("accounts", "executed"), 3: spoils_all_but("sessions")}
    exchange = Exchange(holders, fetcher, target, liars=liars).run()
    same(fetcher, holders[1])
    assert sorted(exchange.transfer.progress.blamed) == [1, 2, 3]
    assert len(exchange.alarms) == 3, "each is named once"


def test_pitfall_23_one_that_says_nothing_is_passed_over_and_not_blamed() -> None:
    holders, fetcher = sources(24), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={LIAR: lambda *_: []}).run()
    same(fetcher, holders[1])
    assert exchange.alarms == []
    assert sum(peer == LIAR for peer, _ in exchange.fetches) <= 4


def test_pitfall_23_one_that_answers_late_is_passed_over_and_not_blamed() -> None:
    def late(_fetch: FetchState, honest: StateAnswer) -> Said:
        return [(ANSWER_TIMEOUT_MS + 100, honest)]

    holders, fetcher = sources(60, logs=40), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={LIAR: late}).run(within_ms=10_000)
    same(fetcher, holders[1])
    assert exchange.alarms == []


def test_pitfall_23_one_whose_page_never_ends_is_passed_over() -> None:
    """It makes rows up as long as it is asked for more, each answer just in time."""
    holders, fetcher = sources(24), new_state()
    target = certificate(holders[1])

    def drips(fetch: FetchState, honest: StateAnswer) -> Said:
        if not isinstance(fetch.wanted, WantPages):
            return [(0, honest)]
        number = 0 if fetch.wanted.after is None else int.from_bytes(fetch.wanted.after, "big")
        row = ((number + 1).to_bytes(8, "big"), bytes(ANSWER_BYTES_MAX))
        content = Pages(table=fetch.wanted.table, pages=((fetch.wanted.pages[0], (row,)),), more=True)
        return [(ANSWER_TIMEOUT_MS - 100, replace(honest, content=content))]

    exchange = Exchange(holders, fetcher, target, liars={LIAR: drips}).run(within_ms=30_000)
    same(fetcher, holders[1])
    assert sum(peer == LIAR for peer, _ in exchange.fetches) < 20


def test_pitfall_23_all_slow_at_first_is_no_end() -> None:
    holders, fetcher = sources(24), new_state()
    asked = Counter[int]()

    def silent_at_first(fetch: FetchState, honest: StateAnswer) -> Said:
        asked[fetch.number] += 1
        return [(0, honest)] if len(asked) > 9 else []

    liars = dict.fromkeys((1, 2, 3), silent_at_first)
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars=liars).run()
    same(fetcher, holders[1])
    assert exchange.alarms == []


def test_pitfall_23_a_source_in_another_state_says_so_and_is_not_blamed() -> None:
    """Its root at this sequence number is another: it diverged, and its answers would not verify."""
    holders, fetcher = sources(23), new_state()
    talk(holders[LIAR], 1, by=7)
    for replica in (1, 3):
        talk(holders[replica], 1)
    exchange = Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    assert exchange.alarms == []


def test_pitfall_23_one_that_claims_to_hold_nothing_delays_nothing() -> None:
    def modest(_fetch: FetchState, honest: StateAnswer) -> Said:
        return [(0, replace(honest, content=NotHeld(held=SequenceNumber(2**62))))]

    holders, fetcher = sources(24), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={LIAR: modest}).run(within_ms=2000)
    same(fetcher, holders[1])
    assert exchange.alarms == []


@pytest.mark.parametrize("seed", range(6))
def test_pitfall_23_liars_on_a_lossy_network(seed: int) -> None:
    holders, fetcher = sources(24), new_state()
    liars = {1: LIES["first page bad"][0], 2: LIES["truncated"][0]}
    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars=liars, seed=seed, loss=0.15)
    exchange.run(within_ms=300_000)
    same(fetcher, holders[1])
    assert all("replica 3" not in alarm for alarm in exchange.alarms), "the honest one is never blamed"


# -- whoever asks too much


def test_questions_beyond_the_budget_wait_and_those_beyond_the_queue_are_dropped() -> None:
    members = toy_members()
    serving = StateServing(members.group, ReplicaId(1))
    out = Output()
    fetch = FetchState(
        number=1,
        sequence=SequenceNumber(4),
        state_root=WRONG,
        wanted=WantPages(table="lines", pages=(b"p",)),
    )
    for _ in range(100):
        serving.on_fetch(out, Milliseconds(1000), FETCHER, fetch)
    at_once = len(out.serve_state)
    assert at_once * ANSWER_BYTES_MAX <= SERVE_BURST_MS * SERVE_BYTES_PER_MS + ANSWER_BYTES_MAX
    assert len(out.ignored) == 100 - at_once - WAITING_MAX
    for now in range(1000, 3000, 50):
        serving.on_timer(out, Milliseconds(now))
    assert len(out.serve_state) == at_once + WAITING_MAX
    serving.on_fetch(out, Milliseconds(1000), ReplicaId(2), fetch)
    assert out.serve_state[-1].to == 2, "another peer's budget is its own"


@pytest.mark.parametrize("wanted", [
    WantBuckets(table="no such table"),
    WantListings(table="no such table", buckets=(1,)),
    WantPages(table="no such table", pages=(b"p",)),
])  # fmt: skip
def test_questions_about_tables_that_are_not_there_get_no_answer(wanted: Wanted) -> None:
    holders = sources(4)
    checkpoint = certificate(holders[1]).checkpoint
    fetch = FetchState(number=1, sequence=checkpoint.sequence, state_root=checkpoint.state_root, wanted=wanted)
    assert holders[1].serve_state(fetch).content == NotHeld(held=checkpoint.sequence)
