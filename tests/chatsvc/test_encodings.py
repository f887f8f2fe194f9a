"""Operations, queries, results and answers as bytes: each has one encoding, and any other bytes are refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.answers import Answer, decode_answer, decode_event
from chatsvc.application.operations import (
    CLAIMED_MS_MAX,
    OPERATION_BYTES_MAX,
    Create,
    Join,
    Leave,
    Operation,
    Post,
    Read,
    Register,
    decode_operation,
    encode_operation,
)
from chatsvc.application.queries import (
    ROWS_MAX,
    ListMembers,
    ListMemberships,
    ListRooms,
    Query,
    ReadHistory,
    SearchMessages,
    ShowAccount,
    ShowRoom,
    WhoAmI,
    decode_query,
    encode_query,
)
from chatsvc.application.results import (
    Created,
    ErrorCode,
    Joined,
    Left,
    Posted,
    Registered,
    Rejected,
    Result,
    decode_result,
    encode_result,
)
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from crypto.canonical import Value, encode
from crypto.errors import MalformedEncoding
from pbft.core.types import Milliseconds

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(0, 2**63 - 1)
limits = st.integers(1, ROWS_MAX)

operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Register, texts),
    st.builds(Create, texts, texts),
    st.builds(Join, texts),
    st.builds(Leave, texts),
    st.builds(
        Post,
        room=texts,
        body=texts,
        kind=st.sampled_from(MessageKind),
        reply_to=st.none() | numbers.map(MessageIndex),
        nonce=st.binary(max_size=16),
        claimed_ms=st.none() | st.integers(0, CLAIMED_MS_MAX).map(Milliseconds),
    ),
    st.builds(Read, st.binary(max_size=40)),
)
queries: st.SearchStrategy[Query] = st.one_of(
    st.builds(ListRooms, after=st.none() | texts, limit=limits),
    st.builds(ShowRoom, texts),
    st.builds(ListMembers, room=texts, after=st.none() | texts, limit=limits),
    st.builds(ShowAccount, texts),
    st.builds(WhoAmI),
    st.builds(ListMemberships, name=texts, after=st.none() | texts, limit=limits),
    st.builds(ReadHistory, room=texts, before=numbers.map(MessageIndex), limit=limits),
    st.builds(ReadHistory, room=texts, after=st.none() | numbers.map(MessageIndex), limit=limits),
    st.builds(SearchMessages, text=texts, before=st.none() | numbers.map(MessageSerial), limit=limits),
)

RESULTS: list[Result] = [
    Registered("Alice"),  # type: ignore[arg-type]  # names are plain text here
    Created("garden"),  # type: ignore[arg-type]
    Joined("garden"),  # type: ignore[arg-type]
    Left("garden"),  # type: ignore[arg-type]
    Posted("garden", MessageIndex(7)),  # type: ignore[arg-type]
    *(Rejected(code, "why") for code in ErrorCode),
]


@given(operations)
def test_an_operation_is_read_back(operation: Operation) -> None:
    assert decode_operation(encode_operation(operation)) == operation


@given(queries)
def test_a_query_is_read_back(query: Query) -> None:
    assert decode_query(encode_query(query)) == query


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_a_result_is_read_back(result: Result) -> None:
    assert decode_result(encode_result(result)) == result


BAD_OPERATIONS: list[Value] = [
    None,
    [],
    [1],
    "register",
    ["register"],
    ["register", 1],
    ["register", "a", "b"],
    ["Register", "a"],
    [b"register", "a"],
    ["create", "a"],
    ["create", "a", None],
    ["join", b"a"],
    ["leave", ["a"]],
    ["read", "a"],
    ["unknown", "a"],
    ["post", "r", "text", "b", None, b""],
    ["post", "r", "shout", "b", None, b"", None],
    ["post", "r", None, "b", None, b"", None],
    ["post", "r", "text", b"b", None, b"", None],
    ["post", "r", "text", "b", -1, b"", None],
    ["post", "r", "text", "b", True, b"", None],
    ["post", "r", "text", "b", 2**63, b"", None],
    ["post", "r", "text", "b", None, b"n" * 17, None],
    ["post", "r", "text", "b", None, "n", None],
    ["post", "r", "text", "b", None, b"", -1],
    ["post", "r", "text", "b", None, b"", CLAIMED_MS_MAX + 1],
    ["register", "x" * OPERATION_BYTES_MAX],
]


@pytest.mark.parametrize("value", BAD_OPERATIONS, ids=lambda value: ascii(value)[:50])
def test_what_is_no_operation(value: Value) -> None:
    with pytest.raises(MalformedEncoding):
        decode_operation(encode(value))


BAD_QUERIES: list[Value] = [
    None,
    [],
    ["rooms"],
    ["rooms", None, 0],
    ["rooms", None, ROWS_MAX + 1],
    ["rooms", None, True],
    ["rooms", 1, 10],
    ["room"],
    ["room", b"r"],
    ["members", "r", None],
    ["account", None],
    ["whoami", None],
    ["memberships", "n", 1, 1],
    ["history", "r", 1, 1, 10],
    ["history", "r", -1, None, 10],
    ["history", "r", None, 2**63, 10],
    ["search", "x", "1", 10],
    ["search", None, None, 10],
    ["search", "x" * 2048, None, 10],
]


@pytest.mark.parametrize("value", BAD_QUERIES, ids=lambda value: ascii(value)[:50])
def test_what_is_no_query(value: Value) -> None:
    with pytest.raises(MalformedEncoding):
        decode_query(encode(value))


MESSAGE: list[Value] = ["r", 0, "text", "Alice", "hi", None, b"", 5, None, 1, 0, 0]

BAD_ANSWERS: list[Value] = [
    None,
    ["ok"],
    ["ok", "nothing"],
    ["ok", "rooms", [["r", "t", "c"]], None],
    ["ok", "rooms", [], 1],
    ["ok", "members", ["m"], None],
    ["ok", "account", "Alice", b"short", 0],
    ["ok", "history", [MESSAGE[:-1]], None],
    ["ok", "history", [[*MESSAGE[:2], "shout", *MESSAGE[3:]]], None],
    ["ok", "history", [MESSAGE] * (ROWS_MAX + 1), None],
    ["ok", "found", [MESSAGE], "1"],
    ["error", "OF_A_NEW_KIND", "why"],
    ["error", "MALFORMED", b"why"],
    ["error", "MALFORMED", "w" * 1000],
]


@pytest.mark.parametrize("value", BAD_ANSWERS, ids=lambda value: ascii(value)[:50])
def test_what_is_no_answer_and_no_result(value: Value) -> None:
    with pytest.raises(MalformedEncoding):
        decode_answer(encode(value))
    with pytest.raises(MalformedEncoding):
        decode_result(encode(value))
    with pytest.raises(MalformedEncoding):
        decode_event(encode(value))


DECODERS: list[Callable[[bytes], Operation | Query | Result | Answer | object]] = [
    decode_operation,
    decode_query,
    decode_result,
    decode_answer,
    decode_event,
]

Mutation = tuple[int, bytes, int]
"""Where, what to put there, instead of how many bytes."""
mutations = st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=3)


def mutate(data: bytes, changes: list[Mutation]) -> bytes:
    for position, inserted, removed in changes:
        at = position % (len(data) + 1)
        data = data[:at] + inserted + data[at + removed :]
    return data


@given(st.binary(max_size=300))
def test_decoders_are_total_on_any_bytes(data: bytes) -> None:
    for decode_one in DECODERS:
        with suppress(MalformedEncoding):
            decode_one(data)


@given(operations, queries, mutations)
def test_decoders_are_total_on_spoilt_encodings(operation: Operation, query: Query, changes: list[Mutation]) -> None:
    spoilt_operation = mutate(encode_operation(operation), changes)
    spoilt_query = mutate(encode_query(query), changes)
    with suppress(MalformedEncoding):
        assert encode_operation(decode_operation(spoilt_operation)) == spoilt_operation
    with suppress(MalformedEncoding):
        assert encode_query(decode_query(spoilt_query)) == spoilt_query


def test_text_that_is_no_unicode_has_no_encoding() -> None:
    with pytest.raises(MalformedEncoding):
        encode_operation(Register("\ud800"))
    with pytest.raises(MalformedEncoding):
        encode_query(ShowRoom("\ud800"))


def test_what_a_replica_says_when_the_service_fails_is_a_rejection() -> None:
    """See pbft.state.executor: whatever the failure, the same bytes."""
    failed = encode(["error", "INTERNAL", ""])
    assert decode_result(failed) == decode_answer(failed) == Rejected(ErrorCode.INTERNAL, "")
