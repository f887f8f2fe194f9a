"""Operations, queries, results and answers as bytes: each has one encoding, and any other bytes are refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.answers import Answer, decode_answer
from chatsvc.application.events import (
    Content,
    Head,
    NoticeHead,
    decode_content,
    decode_head,
    decode_notice,
)
from chatsvc.application.operations import (
    OPERATION_BYTES_MAX,
    TIME_MS_MAX,
    Operation,
    Register,
    decode_operation,
    encode_operation,
)
from chatsvc.application.queries import ROWS_MAX, Query, ShowRoom, decode_query, encode_query
from chatsvc.application.results import ErrorCode, Rejected, Result, decode_result, encode_result
from chatsvc.application.wire import encode_wire
from crypto.canonical import Value, encode
from crypto.errors import MalformedEncoding
from tests.chatsvc.shapes import operations, queries, structure, structures


@given(operations)
def test_an_operation_is_read_back(operation: Operation) -> None:
    assert decode_operation(encode_operation(operation)) == operation


@given(queries)
def test_a_query_is_read_back(query: Query) -> None:
    assert decode_query(encode_query(query)) == query


@given(structures(Result))
def test_a_result_is_read_back(result: Result) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("code", ErrorCode)
def test_a_refusal_is_result_and_answer(code: ErrorCode) -> None:
    data = encode_result(Rejected(code, "why"))
    assert decode_result(data) == decode_answer(data) == Rejected(code, "why")


@given(structures(Answer))
def test_an_answer_is_read_back(answer: Answer) -> None:
    assert decode_answer(encode_wire(answer)) == answer


@given(structure(Head), structure(NoticeHead), structure(Content))
def test_an_event_is_read_back(head: Head, notice: NoticeHead, content: Content) -> None:
    assert decode_head(encode_wire(head)) == head
    assert decode_notice(encode_wire(notice)) == notice
    assert decode_content(encode_wire(content)) == content


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
    ["register", "a", None],
    ["register", "a", b"short", ""],
    ["register", "a", None, "", "more"],
    ["create", "a", "t", False],
    ["create", "a", None, False, ""],
    ["create", "a", "t", 0, ""],
    ["direct", []],
    ["direct", ["a"] * 8],
    ["direct", "a"],
    ["slow", "r", -1],
    ["slow", "r", 2**31],
    ["role", "r", "a", "king"],
    ["make-link", "r", bytes(32), 5, 0],
    ["make-link", "r", bytes(31), 5, 1],
    ["join", b"a"],
    ["leave", ["a"]],
    ["read", "a"],
    ["unknown", "a"],
    ["post", "r", "b", "text", None, None, b""],
    ["post", "r", "b", "shout", None, None, b"", None],
    ["post", "r", "b", None, None, None, b"", None],
    ["post", "r", b"b", "text", None, None, b"", None],
    ["post", "r", "b", "text", -1, None, b"", None],
    ["post", "r", "b", "text", True, None, b"", None],
    ["post", "r", "b", "text", 2**63, None, b"", None],
    ["post", "r", "b", "text", None, 1, b"", None],
    ["post", "r", "b", "text", None, None, b"n" * 17, None],
    ["post", "r", "b", "text", None, None, "n", None],
    ["post", "r", "b", "text", None, None, b"", -1],
    ["post", "r", "b", "text", None, None, b"", TIME_MS_MAX + 1],
    ["poll", "r", "q", ["one"], None, b""],
    ["poll", "r", "q", ["x"] * 11, None, b""],
    ["vote", "r", 0, 10],
    ["vote", "r", 0, False],
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


MESSAGE: list[Value] = [
    *("r", 0, "text", "Alice", "hi", None, None, [], b""),
    *(5, None, 1, 0, 0, 0),
    *(0, None, None, []),
]

BAD_ANSWERS: list[Value] = [
    None,
    ["nothing"],
    ["rooms", [["r", "t", "c"]], None],
    ["rooms", [], 1],
    ["members", ["m"], None],
    ["account", "Alice", "", 0, b"none", False],
    ["history", [MESSAGE[:9]], None],
    ["history", [[*MESSAGE[:2], "shout", *MESSAGE[3:]]], None],
    ["found", [MESSAGE], "1"],
    ["error", "OF_A_NEW_KIND", "why", None],
    ["error", "MALFORMED", b"why", None],
    ["error", "MALFORMED", "why", None, None],
    ["h" * 300_000],
]


def test_the_message_of_the_bad_answers_is_a_good_one() -> None:
    decode_answer(encode(["history", [MESSAGE], None]))


@pytest.mark.parametrize("value", BAD_ANSWERS, ids=lambda value: ascii(value)[:50])
def test_what_is_no_answer_and_no_result(value: Value) -> None:
    with pytest.raises(MalformedEncoding):
        decode_answer(encode(value))
    with pytest.raises(MalformedEncoding):
        decode_result(encode(value))
    with pytest.raises(MalformedEncoding):
        decode_head(encode(value))


DECODERS: list[Callable[[bytes], Operation | Query | Result | Answer | object]] = [
    decode_operation,
    decode_query,
    decode_result,
    decode_answer,
    decode_head,
    decode_notice,
    decode_content,
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
