# Letters that look alike are what is tested here.
# ruff: noqa: RUF001

from __future__ import annotations

from typing import NamedTuple
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.names import (
    KEY_BYTES_MAX,
    NAME_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    BadName,
    is_room_name,
    parse_account,
    parse_room,
)
from chatsvc.application.unicode14 import REFUSED, classes


@pytest.mark.parametrize(
    "name", ["|trey|", "[[mandrix]]", "alz1`", "\\9", "spacey`ki", "ph88^", "_", "-", "0", "Zoë", "日本語", "😀"]
)
def test_names_seen_on_irc_and_elsewhere_stay_as_they_are(name: str) -> None:
    assert parse_account(name).display == name


class Same(NamedTuple):
    one: str
    other: str
    key: str


@pytest.mark.parametrize(
    "case",
    [
        Same("Alice", "aLICE", "alice"),
        Same("Straße", "STRASSE", "strasse"),
        Same("Zoe\u0308", "ZO\u00cb", "zo\u00eb"),
        Same("ﬁsh", "FISH", "fish"),
        Same("Ａｌｉｃｅ", "alice", "alice"),
        Same("Σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        Same("K", "\u212a", "k"),
    ],
)
def test_names_that_differ_in_case_or_encoding_are_one_name(case: Same) -> None:
    assert parse_account(case.one).key == parse_account(case.other).key == case.key
    assert parse_room(case.one) == parse_room(case.other) == case.key


class Bad(NamedTuple):
    why: str
    name: str
    text: str = "a name does not contain the character"


BAD_NAMES = [
    Bad("empty", "", "a name is not empty"),
    Bad("33 characters", "a" * 33, "at most 32 characters"),
    Bad("far too long", "a" * 100_000, "at most 32 characters"),
    Bad("66 bytes", "\U0001f600" * 17, "at most 64 bytes"),
    Bad("longer in normal form", "\ufdfa" * 2, "a name does not contain the character U+0020"),
    Bad("begins with a mark", "\u0301a", "combining mark"),
    Bad("hash", "a#b"),
    Bad("at", "a@b"),
    Bad("colon", "a:b"),
    Bad("comma", "a,b"),
    Bad("quote", 'a"b'),
    Bad("fullwidth hash", "a\uff03b", "the character U+0023"),
    Bad("space", "a b", "the character U+0020"),
    Bad("no-break space", "a\u00a0b"),
    Bad("ideographic space", "a\u3000b"),
    Bad("line separator", "a\u2028b"),
    Bad("newline", "a\n"),
    Bad("nul", "a\0"),
    Bad("delete", "a\x7f"),
    Bad("soft hyphen", "a\u00adb"),
    Bad("zero width space", "a\u200bb"),
    Bad("zero width joiner", "a\u200db"),
    Bad("right-to-left override", "\u202ea"),
    Bad("isolate", "a\u2066b"),
    Bad("byte order mark", "\ufeffa"),
    Bad("tag letter", "a\U000e0061"),
    Bad("lone surrogate", "a\ud800"),
    Bad("private use", "\ue000"),
    Bad("not assigned", "\u0378"),
    Bad("assigned in Unicode 15", "\U0001fae8"),
    Bad("assigned in Unicode 15, a letter", "\U00011f04"),
    Bad("assigned in Unicode 15, decomposes", "\U0001e030"),
    Bad("variation selector", "a\ufe0f"),
    Bad("Hangul filler", "\u3164"),
    Bad("braille blank", "\u2800"),
    Bad("grapheme joiner", "a\u034fb"),
]


@pytest.mark.parametrize("bad", BAD_NAMES, ids=[bad.why for bad in BAD_NAMES])
def test_refused_names(bad: Bad) -> None:
    with pytest.raises(BadName) as caught:
        parse_account(bad.name)
    assert bad.text in str(caught.value)
    assert str(caught.value).isascii()
    with pytest.raises(BadName):
        parse_room(bad.name)


def test_one_hash_before_a_rooms_name_is_dropped() -> None:
    assert parse_room("#Ubuntu") == parse_room("ubuntu") == "ubuntu"
    with pytest.raises(BadName):
        parse_room("##ubuntu")
    with pytest.raises(BadName):
        parse_room("#")


@pytest.mark.parametrize("name", ["Ubuntu", "#ubuntu", "", "stra\u00dfe", "a b", "zoe\u0308", "\U0001fae8"])
def test_no_room_is_stored_under_another_form_of_its_name(name: str) -> None:
    assert not is_room_name(name)


def test_a_rooms_name_is_short_in_key_form() -> None:
    longer_folded = "\u0390" * 20  # iota with dialytika and tonos: folds to three characters, composes to one again
    assert len(parse_room(longer_folded)) == 20
    with pytest.raises(BadName, match="at most 32"):
        parse_room("ß" * 20)
    assert parse_account("ß" * 20).key == "ss" * 20


@given(st.text(max_size=80))
def test_every_text_is_a_name_or_refused_and_its_key_is_its_own_key(text: str) -> None:
    try:
        name = parse_account(text)
    except BadName:
        return
    assert 1 <= len(name.display) <= NAME_CHARACTERS_MAX
    assert len(name.display.encode()) <= NAME_BYTES_MAX
    assert len(name.key.encode()) <= KEY_BYTES_MAX
    assert parse_account(name.display) == name
    if len(name.key) <= NAME_CHARACTERS_MAX and len(name.key.encode()) <= NAME_BYTES_MAX:
        assert parse_account(name.key).key == name.key
        assert is_room_name(name.key)


def test_every_character_is_a_name_that_is_its_own_key_or_refused() -> None:
    accepted = 0
    for character in map(chr, range(0x110000)):
        if classes(character)[0] == REFUSED:
            continue
        try:
            name = parse_account(character)
        except BadName:
            continue
        accepted += 1
        assert parse_account(name.key).key == name.key
        assert category(character)[0] not in "CZ"
    assert accepted > 140_000
