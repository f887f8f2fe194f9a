"""The hazard that Python versions bring their own Unicode, and what stands against it."""

from __future__ import annotations

from hashlib import sha256
from unicodedata import category, combining, normalize, unidata_version

import pytest

from chatsvc.application.unicode14 import REFUSED, classes

ALL = "".join(map(chr, range(0x110000)))

CLASSES_DIGEST = "435d7aa5a7685c83d8fc7a529050fbc95160693cccf4a8eb191a200d25daa3ce"
FORMS_DIGEST = "ff5653f908ea9af9c048c489263e7a6d9659d3b0289c48cce96e3eb34d6da14f"
"""Of what Python 3.11 (Unicode 14.0) makes of each code point that 14.0 assigns."""


def test_pitfall_13_every_python_has_the_classes_of_unicode_14() -> None:
    assert sha256(classes(ALL)).hexdigest() == CLASSES_DIGEST


def test_pitfall_13_every_python_gives_the_normal_forms_of_unicode_14() -> None:
    digest = sha256()
    for character, kind in zip(ALL, classes(ALL), strict=True):
        if kind != REFUSED:
            form = normalize("NFKC", character)
            folded = normalize("NFKC", form.casefold())
            digest.update(f"{character} {combining(character)} {form} {folded}\n".encode())
    assert digest.hexdigest() == FORMS_DIGEST


def test_classes_are_the_categories_of_unicode_14() -> None:
    """Exact on Python 3.11; a later Python has assigned more, and may have moved some to other categories."""
    expected = "".join("R" if (first := category(c)[0]) in "CZ" else "W" if first in "LMN" else "S" for c in ALL)
    actual = classes(ALL).replace(b"C", b"W").decode()
    differences = [f"U+{ord(c):04X}" for c, one, other in zip(ALL, actual, expected, strict=True) if one != other]
    assert not differences or unidata_version != "14.0.0", differences[:10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aé1", b"WWW"),
        ("漢かカ한", b"CCCC"),
        ("・、", b"SS"),
        (" \n\u200b\ud800", b"RRRR"),
        ("", b""),
        ("😀\U0001fae8", b"SR"),
    ],
)
def test_classes_of_some_characters(text: str, expected: bytes) -> None:
    assert classes(text) == expected
