"""Cutting text into the tokens that a search compares.

A word is a run of letters, marks and numbers of Unicode 14.0 in the text's NFKC form, case folded. Everything else
separates: an underscore or apostrophe too, so `foo_bar` and `don't` are two words each, and as a search each is a
phrase. A run of Han, Hiragana, Katakana or Hangul becomes its overlapping pairs of characters, or the one character
it has. A word of more than 64 characters is cut into pieces of 64. Code points not in Unicode 14.0 separate, and are
blanked out before anything is normalised: `unicode14` says why.
"""

from __future__ import annotations

import re
from unicodedata import normalize

from chatsvc.application.unicode14 import CJK, REFUSED, classes

TOKEN_CHARACTERS_MAX = 64

_ASCII_WORD = re.compile(rf"[a-z0-9]{{1,{TOKEN_CHARACTERS_MAX}}}")
_RUN = re.compile(rf"C+|W{{1,{TOKEN_CHARACTERS_MAX}}}".encode())
"""Over the classes of characters, not the characters themselves."""


def blank_out(text: str) -> str:
    """Replace each control, format, separator and unassigned character by a space; positions stay."""
    return "".join(" " if kind == REFUSED else character for character, kind in zip(text, classes(text), strict=True))


def tokens(text: str) -> list[str]:
    """Return the tokens of `text` in the order they stand in; total for any str."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    folded = normalize("NFKC", normalize("NFKC", blank_out(text)).casefold())
    kinds = classes(folded)
    found: list[str] = []
    for match in _RUN.finditer(kinds):
        start, end = match.span()
        if kinds[start] == CJK and end - start > 1:
            found.extend(folded[left : left + 2] for left in range(start, end - 1))
        else:
            found.append(folded[start:end])
    return found
