"""Names of accounts and rooms: what is allowed, and when two names are the same name.

The display form of a name is its NFKC form and keeps the case. The key form, NFKC(casefold(NFKC(name))), is the
identity: two names with one key form are one name. Accounts have both, rooms only the key form. Code points that
Unicode 14.0 does not assign are refused before anything is normalised; `unicode14` says why that makes the result
independent of the Python version. Letters of different scripts that look alike are different letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType
from unicodedata import combining, normalize

from chatsvc.application.unicode14 import CJK, REFUSED, WORD, classes

AccountKey = NewType("AccountKey", str)
"""The key form of an account's name."""
DisplayName = NewType("DisplayName", str)
RoomName = NewType("RoomName", str)
"""A room's name in key form, without `#`."""

NAME_CHARACTERS_MAX = 32
NAME_BYTES_MAX = 64
"""Of UTF-8, in normal form."""
KEY_BYTES_MAX = 3 * NAME_BYTES_MAX
"""Case folding may lengthen a name, a character of two or three bytes to at most three times as many."""

_RESERVED = re.compile(
    '[#@:,"'
    "\u034f"  # combining grapheme joiner
    "\u115f\u1160\u3164\uffa0"  # Hangul fillers
    "\u17b4\u17b5"  # Khmer inherent vowels
    "\u180b-\u180f"  # Mongolian variation selectors
    "\u2800"  # braille blank
    "\ufe00-\ufe0f\U000e0100-\U000e01ef]"  # variation selectors
)
"""What the service gives a meaning of its own, and what shows nothing: with it two names would look the same."""


class BadName(ValueError):  # noqa: N818 - the word of the error code
    """This can be no name; the text says why, in words that are the same at every replica."""


@dataclass(frozen=True, slots=True)
class AccountName:
    """A name in both of its forms."""

    display: DisplayName
    key: AccountKey


def parse_account(text: str) -> AccountName:
    """Return the forms of an account's name. Raises BadName."""
    display = _normal(text)
    return AccountName(DisplayName(display), AccountKey(_key(display)))


def parse_room(text: str) -> RoomName:
    """Return the name of the room that a person calls `text`, with or without a leading `#`. Raises BadName."""
    key = _key(_normal(text.removeprefix("#")))
    _check_length(key)
    return RoomName(key)


def is_room_name(text: str) -> bool:
    """Whether `text` is a room's name in key form."""
    try:
        return not text.startswith("#") and parse_room(text) == text
    except BadName:
        return False


def is_name_character(character: str) -> bool:
    """Whether a name may contain it."""
    return classes(character)[0] != REFUSED and not _RESERVED.match(character)


def is_word_character(character: str) -> bool:
    """Whether it is a letter, mark or number, and no punctuation."""
    return classes(character)[0] in (WORD, CJK)


def _normal(text: str) -> str:
    """Return the NFKC form of an allowed name. Raises BadName."""
    if len(text) > NAME_BYTES_MAX:  # its normal form could be shorter, but no name needs that
        raise BadName(f"a name has at most {NAME_CHARACTERS_MAX} characters")
    _refuse_characters(text)
    normal = normalize("NFKC", text)
    _refuse_characters(normal)
    _check_length(normal)
    if combining(normal[0]):
        raise BadName("a name does not begin with a combining mark")
    return normal


def _key(normal: str) -> str:
    key = _fold(normal)
    _refuse_characters(key)
    if _fold(key) != key:
        raise BadName("this name has no normal form")
    return key


def _fold(normal: str) -> str:
    return normalize("NFKC", normal.casefold())


def _refuse_characters(text: str) -> None:
    position = classes(text).find(REFUSED)
    if position < 0:
        found = _RESERVED.search(text)
        if found is None:
            return
        position = found.start()
    raise BadName(f"a name does not contain the character U+{ord(text[position]):04X}")


def _check_length(text: str) -> None:
    if not text:
        raise BadName("a name is not empty")
    if len(text) > NAME_CHARACTERS_MAX:
        raise BadName(f"a name has at most {NAME_CHARACTERS_MAX} characters")
    if len(text.encode()) > NAME_BYTES_MAX:
        raise BadName(f"a name has at most {NAME_BYTES_MAX} bytes of UTF-8")
