# Letters that look alike are what is tested here.
# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.tokens import TOKEN_CHARACTERS_MAX, blank_out, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (":-) !!!", []),
        ("Hello, World", ["hello", "world"]),
        ("foo_bar don't x-y", ["foo", "bar", "don", "t", "x", "y"]),
        ("http://a.example/b?c=1", ["http", "a", "example", "b", "c", "1"]),
        ("Straße ΣΊΣΥΦΟΣ", ["strasse", "σίσυφοσ"]),
        ("ﬁle ｆｉｌｅ", ["file", "file"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("①²", ["12"]),
        ("東京都", ["東京", "京都"]),
        ("東", ["東"]),
        ("東京、都", ["東京", "都"]),
        ("abc東京xyz", ["abc", "東京", "xyz"]),
        ("ｶﾞｷﾞ", ["ガギ"]),
        ("한국어 말", ["한국", "국어", "말"]),
        ("दिल्ली", ["दिल्ली"]),
        ("soft\u00adhyphen zero\u200bwidth", ["soft", "hyphen", "zero", "width"]),
        ("new\U0001e030letters", ["new", "letters"]),
        ("a\ud800b", ["a", "b"]),
        ("é" + "x" * 70, ["é" + "x" * 63, "x" * 7]),
        ("x" * 129, ["x" * 64, "x" * 64, "x"]),
        ("a\0b", ["a", "b"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text(max_size=200))
def test_tokens_of_any_text_are_short_and_made_again_of_themselves(text: str) -> None:
    found = tokens(text)
    assert all(1 <= len(token) <= TOKEN_CHARACTERS_MAX for token in found)
    assert [tokens(token) for token in found] == [[token] for token in found]


@given(st.text(max_size=200))
def test_ascii_is_no_special_case(text: str) -> None:
    ascii_text = "".join(filter(str.isascii, text))
    assert tokens(ascii_text) == tokens(f"{ascii_text} é")[:-1]


@given(st.text(max_size=200))
def test_blanking_out_keeps_positions(text: str) -> None:
    blanked = blank_out(text)
    assert len(blanked) == len(text)
    assert all(after in (before, " ") for before, after in zip(text, blanked, strict=True))
