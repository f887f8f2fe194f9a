from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.bodies import BadText, TextTooLong
from chatsvc.application.texts import (
    parse_description,
    parse_display,
    parse_label,
    parse_option,
    parse_question,
    parse_reaction,
    parse_reason,
    parse_thread,
    thread_key,
)

LINES: list[Callable[[str], str]] = [parse_label, parse_display, parse_reason, parse_question, parse_option]


@pytest.mark.parametrize("parse", [*LINES, parse_description])
def test_texts_are_kept_as_they_are(parse: Callable[[str], str]) -> None:
    for text in ("a", "Ada L.", "日本語 \U0001f469\u200d\U0001f680", "\u0645\u06cc\u200c\u062e", "\U0001fae8 new"):
        assert parse(text) == text


@pytest.mark.parametrize("parse", LINES)
@pytest.mark.parametrize("character", ["\n", "\t", "\0", "\x9f", "\u202e", "\u200b", "\u2066", "\u3164", "\ud800"])
def test_a_line_has_nothing_unseen(parse: Callable[[str], str], character: str) -> None:
    with pytest.raises(BadText, match=f"U\\+{ord(character):04X}"):
        parse(f"a{character}b")


@pytest.mark.parametrize(
    ("parse", "bytes_max"),
    [
        (parse_label, 64),
        (parse_display, 128),
        (parse_reason, 256),
        (parse_question, 1024),
        (parse_option, 256),
        (parse_description, 1024),
        (parse_reaction, 32),
    ],
)
def test_texts_have_a_length(parse: Callable[[str], str], bytes_max: int) -> None:
    assert parse("é" * (bytes_max // 2))
    with pytest.raises(TextTooLong, match=f"{bytes_max} bytes"):
        parse("é" * (bytes_max // 2) + "e")


def test_some_may_be_empty() -> None:
    for parse in (parse_label, parse_display, parse_reason, parse_description):
        assert parse("") == ""
    for parse in (parse_question, parse_option):
        with pytest.raises(BadText, match="not empty"):
            parse("  ")
    assert parse_description("a\nb") == "a\nb"


@pytest.mark.parametrize(
    "text", ["\U0001f44d", "❤\ufe0f", ":tada:", "+1", "\U0001f469\u200d\U0001f680", "\U0001fae8"]
)
def test_reactions(text: str) -> None:
    assert parse_reaction(text) == text


@pytest.mark.parametrize("text", ["", "\ufe0f", "\u200d", "a b", "a\u00a0b", "\n", "\u2800", "\u202e", "\ud800"])
def test_what_is_no_reaction(text: str) -> None:
    with pytest.raises(BadText):
        parse_reaction(text)


@pytest.mark.parametrize(
    ("text", "title", "key"),
    [
        ("Release 1.0", "Release 1.0", "release 1.0"),
        ("  Two   words ", "Two words", "two words"),
        ("\uff26\uff35\uff2c\uff2c", "FULL", "full"),
        ("Straße", "Straße", "strasse"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u062e"),
    ],
)
def test_threads(text: str, title: str, key: str) -> None:
    assert parse_thread(text) == (title, key)
    assert parse_thread(title) == (title, key)
    assert thread_key(text.upper()) == key


@pytest.mark.parametrize(
    "text", ["", " ", "\u200d", "a\nb", "a\u00a0b", "\U0001fae8", "x" * 65, "\ufdfa" * 4, "😀" * 49, "\ud800"]
)
def test_what_is_no_thread(text: str) -> None:
    with pytest.raises(BadText):
        parse_thread(text)
    assert thread_key(text) == ""


@given(st.text(max_size=70))
def test_a_thread_is_the_same_when_its_title_is_read_again(text: str) -> None:
    try:
        thread = parse_thread(text)
    except BadText:
        return
    assert parse_thread(thread.title) == thread
    assert len(thread.title) <= 64
    assert thread_key(thread.title.casefold()) in ("", thread.key)
