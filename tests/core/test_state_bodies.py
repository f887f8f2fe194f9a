"""FETCH-STATE and STATE: what goes in comes out, and what no correct replica says is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.canonical import Value, encode
from crypto.errors import MalformedEncoding
from pbft.core.state_bodies import (
    ANSWER_ITEMS_MAX,
    ITEMS_ASKED_MAX,
    KEY_BYTES_MAX,
    TABLES_MAX,
    decode_fetch_state,
    decode_state,
    encode_fetch_state,
    encode_state,
)
from pbft.core.state_messages import FetchState, StateAnswer
from tests.core.corpus import state_messages

D = bytes(32)
MANY_ROWS: list[Value] = [part for number in range(ANSWER_ITEMS_MAX + 1) for part in (b"%06d" % number, b"")]


def test_every_question_and_answer_comes_back() -> None:
    for message in state_messages().values():
        if isinstance(message, FetchState):
            assert decode_fetch_state(encode_fetch_state(message)) == message
        else:
            assert isinstance(message, StateAnswer)
            assert decode_state(encode_state(message), bytes_max=1 << 20) == message


def question(wanted: Value) -> Callable[[], object]:
    return lambda: decode_fetch_state(encode([1, 128, D, wanted]))


def answer(content: Value) -> Callable[[], object]:
    return lambda: decode_state(encode([1, 128, content]), bytes_max=1 << 20)


REFUSED: dict[str, Callable[[], object]] = {
    "no question": question([]),
    "another question": question(["everything"]),
    "a question with more": question(["meta", 1]),
    "no buckets": question(["listings", "t", [], None]),
    "no pages": question(["pages", "t", [], None]),
    "a bucket that is none": question(["listings", "t", [256], None]),
    "too many pages": question(["pages", "t", [b"p"] * (ITEMS_ASKED_MAX + 1), None]),
    "a long key": question(["pages", "t", [bytes(KEY_BYTES_MAX + 1)], None]),
    "a long name": question(["buckets", "t" * 65]),
    "a name that is none": question(["buckets", b"t"]),
    "after a number": question(["pages", "t", [b"p"], 7]),
    "sequence 0": lambda: decode_fetch_state(encode([1, 0, D, ["meta"]])),
    "a question without end": lambda: decode_fetch_state(bytes(1 << 20)),
    "no answer": answer([]),
    "another answer": answer(["everything"]),
    "tables out of order": answer(["meta", D, 1, [["b", D], ["a", D]]]),
    "one table twice": answer(["meta", D, 1, [["a", D], ["a", D]]]),
    "too many tables": answer(["meta", D, 1, [[f"t{number:04}", D] for number in range(TABLES_MAX + 1)]]),
    "255 buckets": answer(["buckets", "t", [D] * 255]),
    "a short digest": answer(["buckets", "t", [D[1:], *([D] * 255)]]),
    "a page with a short digest": answer(["listings", "t", [[0, [b"p", D[1:]]]], False]),
    "a page without a digest": answer(["listings", "t", [[0, [b"p"]]], False]),
    "pages out of order": answer(["listings", "t", [[0, [b"q", D, b"p", D]]], False]),
    "rows out of order": answer(["pages", "t", [[b"p", [b"l", b"", b"k", b""]]], False]),
    "one row twice": answer(["pages", "t", [[b"p", [b"k", b"", b"k", b""]]], False]),
    "more that is no boolean": answer(["pages", "t", [], 1]),
    "too many rows": answer(["pages", "t", [[b"p", MANY_ROWS]], False]),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_no_correct_replica_says_is_refused(what: str) -> None:
    with pytest.raises(MalformedEncoding):
        REFUSED[what]()
