from __future__ import annotations

import pytest

from chatsvc.application.bodies import BODY_BYTES_MAX, TOPIC_BYTES_MAX, BadText, TextTooLong, parse_body, parse_topic


@pytest.mark.parametrize(
    "body", ["a", " ", "two\nlines\tand more  \n", "x" * BODY_BYTES_MAX, "\u202e😀\U0001fae8\ue000"]
)
def test_bodies_are_kept_as_they_are(body: str) -> None:
    assert parse_body(body) == body


@pytest.mark.parametrize("character", ["\0", "\r", "\x0b", "\x1b", "\x7f", "\x85", "\x9f", "\ud800"])
def test_control_characters_and_surrogates_are_refused(character: str) -> None:
    with pytest.raises(BadText, match=f"U\\+{ord(character):04X}"):
        parse_body(f"a{character}b")
    with pytest.raises(BadText):
        parse_topic(character)


def test_a_body_has_a_length() -> None:
    with pytest.raises(BadText, match="not empty"):
        parse_body("")
    with pytest.raises(TextTooLong, match="4096 bytes"):
        parse_body("é" * (BODY_BYTES_MAX // 2) + "e")


def test_a_topic_is_one_short_line() -> None:
    assert parse_topic("") == ""
    assert parse_topic("t" * TOPIC_BYTES_MAX)
    with pytest.raises(TextTooLong, match="256 bytes"):
        parse_topic("t" * (TOPIC_BYTES_MAX + 1))
    for character in "\n\t\u2028\u2029":
        with pytest.raises(BadText):
            parse_topic(f"a{character}b")
