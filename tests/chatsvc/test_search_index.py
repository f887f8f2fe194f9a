# Letters that look alike are what is tested here.
# ruff: noqa: RUF001
"""The index against a plain scan of the same messages."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey, DisplayName
from chatsvc.application.operations import Create, Join, OpenPoll, Post, Register
from chatsvc.application.reading.search import SearchPort
from chatsvc.application.schema import MESSAGES, MessageIndex, MessageKind, MessageRow, MessageSerial
from chatsvc.application.search_language import SearchError, SearchPlan, parse_search
from chatsvc.application.tokens import tokens
from chatsvc.search_index import SearchIndex
from pbft.core.application import Application, RowChange
from pbft.core.errors import InvariantViolation
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from pbft.state.errors import StorageFailure
from pbft.state.index import DerivedIndex
from tests.chatsvc.fakes import ALICE, BOB, NOON, Service, replay_sample, sample_messages
from tests.chatsvc.plain_scan import Scanned, plain_find, scan_messages

DAY_MS = 86_400_000

MANY_SCRIPTS = [
    "東京都に住んでいます",
    "東京 の 都",
    "Это просто тест, тест",
    "Straße STRASSE strasse",
    "한국어 말",
    "foo_bar foo-bar foo bar",
    "not and or near",
    "_ __ x_y 5f78",
    "é café cafe\u0301",
    "😀 new\U0001e030letters",
    "bar foo",
    "@|Bob| see https://example.org/foo, @alice",
]


@pytest.fixture(scope="module")
def logged() -> Iterator[Service]:
    """A real log in one room, texts of many scripts in another, some of them imported with an earlier time."""
    service = Service()
    replay_sample(service, sample_messages())
    service.do(ALICE, Register("Alice"))
    service.do(BOB, Register("|Bob|"))
    service.do(ALICE, Create("scripts", ""))
    service.do(BOB, Join("scripts"))
    for number, body in enumerate(MANY_SCRIPTS):
        claimed = Milliseconds(NOON - number * DAY_MS) if number % 2 else None
        device = ALICE if number % 3 else BOB
        service.do(device, Post(room="scripts", body=body, claimed_ms=claimed))
    service.do(ALICE, OpenPoll(room="scripts", question="foo or bar?", options=("foo", "www.example.org")))
    yield service
    service.close()


@pytest.fixture(scope="module")
def scanned(logged: Service) -> list[Scanned]:
    return scan_messages(logged.rows)


def vocabulary() -> list[str]:
    words = {token for _, _, body in sample_messages() for token in tokens(body)}
    return sorted(words)


COMMON = ["the", "to", "i", "a", "is", "ubuntu", "it", "you", "not", "and", "or", "near"]
NICKS = sorted({nick for nick, _, _ in sample_messages()})
BODIES = [body for _, _, body in sample_messages()] + MANY_SCRIPTS

words = st.one_of(
    st.sampled_from(COMMON), st.sampled_from(vocabulary()), st.sampled_from(" ".join(MANY_SCRIPTS).split())
)


@st.composite
def slices(draw: st.DrawFn) -> str:
    """A few words that follow each other in some message."""
    body = re.sub(r'["\0]', " ", draw(st.sampled_from(BODIES))).split()
    start = draw(st.integers(0, max(0, len(body) - 1)))
    return " ".join(body[start : start + draw(st.integers(1, 3))])


parts = st.one_of(
    words,
    slices().map('"{}"'.format),
    st.sampled_from([*NICKS, "ALICE", "|bob|"]).map("from:{}".format),
    st.sampled_from(["in:ubuntu", "in:#scripts", "in:nowhere"]),
    words.map("-{}".format),
    slices().map('-"{}"'.format),
    st.sampled_from(NICKS).map("-from:{}".format),
    st.sampled_from(["has:link", "has:poll", "-has:link", "-has:poll", "mentions:me", "-mentions:|bob|"]),
    st.sampled_from(
        ["-in:scripts", "before:2016-12-19", "after:2016-12-19", "before:2016-12-15", "after:2016-12-14"]
    ),
)


@settings(max_examples=400)
@given(
    text=st.lists(parts, min_size=1, max_size=4).map(" ".join),
    before=st.none() | st.integers(0, 400).map(MessageSerial),
    limit=st.integers(1, 200),
)
def test_a_search_finds_what_a_plain_scan_finds(
    logged: Service, scanned: list[Scanned], text: str, before: MessageSerial | None, limit: int
) -> None:
    try:
        plan = parse_search(text, me=AccountKey("alice"))
    except SearchError:
        return
    assert list(logged.index.find(plan, (), before, limit)) == plain_find(scanned, plan, before, limit)


@pytest.mark.parametrize("word", ["the", "boot", "ubuntu", "flash", "i", "nosuchword"])
def test_a_word_is_found_where_it_stands_as_a_word(logged: Service, word: str) -> None:
    """A scan that knows nothing of our tokens: the sample is ASCII but for a few lines."""
    expected = [
        index
        for index, (_, _, body) in enumerate(sample_messages())
        if re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9])", body.lower())
    ]
    found = logged.index.find(parse_search(f"{word} in:ubuntu"), (), None, 1000)
    assert [index for _, index in reversed(found)] == expected
    assert bool(expected) == (word != "nosuchword")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("東京", {0, 1}),
        ("東京都", {0}),
        ("都", {1}),
        ("ТЕСТ", {2}),
        ("straße", {3}),
        ('"foo bar"', {5}),
        ("foo bar", {5, 10, 12}),
        ("foo_bar", {5}),
        ("AND", {6}),
        ("not -near in:scripts", set()),
        ("5f78", {7}),
        ("x_y", {7}),
        ("CAFÉ", {8}),
        ("new", {9}),
        ("in:scripts before:2016-12-15", {5, 7, 9, 11}),
        ("in:scripts after:2016-12-19 foo", {10, 12}),
        ("in:scripts from:|BOB| -foo", {0, 3, 6, 9}),
        ("mentions:alice", {11}),
        ("has:link -has:poll", {11}),
        ("has:poll", {12}),
    ],
)
def test_scripts_operators_and_dates(logged: Service, text: str, numbers: set[int]) -> None:
    found = logged.index.find(parse_search(text), (), None, 100)
    assert {index for room, index in found if room == "scripts"} == numbers


def test_dates_are_those_shown(service: Service) -> None:
    midnight = Milliseconds(NOON - DAY_MS // 2)
    for claimed in (midnight - 1, midnight, midnight + DAY_MS - 1, midnight + DAY_MS):
        service.do(ALICE, Post(room="garden", body="x", claimed_ms=Milliseconds(claimed)))

    def find(text: str) -> list[MessageIndex]:
        return [index for _, index in service.index.find(parse_search(text), (), None, 10)]

    assert find("x before:2016-12-19") == [0]
    assert find("x after:2016-12-19") == [3, 2, 1]
    assert find("x after:2016-12-19 before:2016-12-20") == [2, 1]


def rebuilt(changes: list[RowChange], chunk: int) -> tuple[SearchIndex, sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    index = SearchIndex()
    index.bind(connection)
    index.clear(connection)
    index.create(connection)
    for start in range(0, len(changes), chunk):
        index.apply(connection, changes[start : start + chunk])
    return index, connection


@pytest.mark.parametrize("chunk", [1, 50, 10_000])
def test_an_index_made_again_from_the_rows_gives_the_same_answers(
    logged: Service, scanned: list[Scanned], chunk: int
) -> None:
    index, connection = rebuilt(logged.rows.all_rows(), chunk)
    for text in ("the", "in:ubuntu -the", "東京", "boot from:joshua__", "in:scripts before:2016-12-15"):
        plan = parse_search(text)
        assert list(index.find(plan, (), None, 500)) == plain_find(scanned, plan, None, 500)
    connection.close()


def message(serial: int, body: str, author: str = "Alice", **fields: object) -> MessageRow:
    row = MessageRow(
        kind=MessageKind.TEXT.value,
        author=DisplayName(author),
        body=body,
        reply_to=None,
        thread=None,
        mentions=[],
        nonce=b"",
        time=NOON,
        claimed_ms=None,
        sequence=SequenceNumber(1),
        batch_index=0,
        serial=MessageSerial(serial),
        event=EventIndex(0),
        digest=bytes(32),
        private=False,
        edits=0,
        edited_ms=None,
        deleted_by=None,
    )
    others: dict[str, Any] = fields
    return row._replace(**others)


def change(room: str, index: int, row: MessageRow | None) -> RowChange:
    return RowChange(MESSAGES, (room, index), None if row is None else tuple(row))


def test_messages_that_state_transfer_replaces_or_takes_back_are_forgotten() -> None:
    index, connection = rebuilt(
        [
            change("a", 0, message(0, "zero")),
            change("a", 1, message(1, "one")),
            change("b", 0, message(2, "two")),
            change("b", 1, message(3, "three")),
        ],
        chunk=10,
    )

    def find(text: str) -> list[tuple[str, int]]:
        return [(room, at) for room, at in index.find(parse_search(text), (), None, 10)]

    index.apply(connection, [change("a", 0, message(0, "nought", "Bob"))])
    index.apply(connection, [change("a", 1, None), change("c", 0, message(1, "uno"))])
    index.apply(connection, [change("c", 1, message(3, "tres"))])  # takes the place of three, gone only after that
    index.apply(connection, [change("b", 1, None)])
    assert [find(text) for text in ("zero", "one", "two", "three")] == [[], [], [("b", 0)], []]
    assert [find(text) for text in ("nought", "uno", "tres")] == [[("a", 0)], [("c", 0)], [("c", 1)]]
    assert find("in:a in:b in:c") == [("c", 1), ("b", 0), ("c", 0), ("a", 0)]
    assert find("from:bob") == [("a", 0)]
    assert find("from:alice -tres") == [("b", 0), ("c", 0)]
    connection.close()


def test_what_is_private_is_found_by_who_may_read_it_and_what_is_deleted_by_nobody() -> None:
    index, connection = rebuilt(
        [
            change("open", 0, message(0, "word")),
            change("club", 0, message(1, "word", private=True)),
            change("crypt", 0, message(2, "word", private=True)),
        ],
        chunk=10,
    )
    plan = parse_search("word")
    assert index.find(plan, (), None, 10) == [("open", 0)]
    assert index.find(plan, ("club", "nowhere"), None, 10) == [("club", 0), ("open", 0)]
    index.apply(connection, [change("open", 0, message(0, "", deleted_by="Alice"))])
    assert index.find(plan, ("crypt",), None, 10) == [("crypt", 0)]
    assert index.find(parse_search("in:open"), (), None, 10) == []
    connection.close()


def test_rows_of_other_tables_are_none_of_its_business() -> None:
    index, connection = rebuilt([RowChange("rooms", ("a",), None), RowChange("accounts", ("a",), ("A", b"", 0))], 10)
    assert index.find(SearchPlan(terms=("a",)), (), None, 10) == []
    connection.close()


@pytest.mark.parametrize(
    "hostile",
    ['"', "' OR 1=1 --", 'x" OR "y', "NEAR(a b, 2)", "body : x", "^x", "x*", "a + b", "x\0y", "_5f", "{room}:x"],
)
def test_no_token_or_name_is_taken_for_a_query(service: Service, hostile: str) -> None:
    service.say(ALICE, "other")
    for plan in (
        SearchPlan(terms=(hostile,)),
        SearchPlan(phrases=((hostile, "other"),)),
        SearchPlan(authors=(hostile,)),  # type: ignore[arg-type]  # no parser lets such tokens and names through
        SearchPlan(rooms=(hostile,)),  # type: ignore[arg-type]
    ):
        assert service.index.find(plan, (), None, 10) == []
        assert service.index.find(replace(plan, terms=("other", *plan.terms)), (), None, 10) == []


def test_the_largest_searches_are_no_failure(logged: Service) -> None:
    texts = [
        " ".join(f"w{number}" for number in range(16)),
        "nosuchword " + " ".join(f"-w{number}" for number in range(15)),
        " ".join(f"from:n{number}" for number in range(8)) + " " + " ".join(f"-in:r{number}" for number in range(8)),
        "東京" * 125,
        '"' + "a " * 250 + '"',
        "x" * 1024,
    ]
    for text in texts:
        assert logged.index.find(parse_search(text), (), None, 200) == []


def test_a_broken_database_is_a_storage_failure() -> None:
    index, connection = rebuilt([], 1)
    index.clear(connection)
    index.clear(connection)
    with pytest.raises(StorageFailure, match="search index"):
        index.find(SearchPlan(terms=("x",)), (), None, 1)
    connection.close()
    with pytest.raises(InvariantViolation):
        SearchIndex().find(SearchPlan(terms=("x",)), (), None, 1)


def test_it_fits_the_interfaces_it_is_made_for() -> None:
    index = SearchIndex()
    derived: DerivedIndex = index
    port: SearchPort = index
    application: Application = ChatApplication(port, ChatLimits())
    assert derived.version == 3
    assert [table.name for table in application.tables].count(MESSAGES) == 1
