"""Markup that is safe by construction: whatever is no `Html` is text, and is escaped.

Names and texts in a report come from whoever attacks. They may hold markup, and characters that turn or hide what
stands beside them; the latter are shown by their numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

TEXT_MAX = 2_000
"""Characters of one text that are shown."""
_VOID: Final = frozenset({"meta", "br", "hr", "col"})
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT: Final = frozenset("\n\t")


class Html(str):
    """Markup. Made by `el` and `join`, and by nothing that has seen an outside text."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | float | Iterable[Child] | None"


def shown(text: str) -> str:
    """The text with its invisible characters made visible, and no longer than a page can bear."""
    cut = text[:TEXT_MAX]
    plain = "".join(
        f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(char):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"
        if unicodedata.category(char) in _HIDDEN and char not in _KEPT
        else char
        for char in cut
    )
    return plain if len(cut) == len(text) else f"{plain}\N{HORIZONTAL ELLIPSIS}"


def number(value: float) -> str:
    """The same digits everywhere: at most one after the point."""
    return f"{value:.1f}".removesuffix(".0")


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """An element. `class_` is class, `stroke_width` is stroke-width; an attribute that is None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """One after another, texts escaped."""
    match children:
        case None:
            return Html("")
        case Html():
            return children
        case str():
            return Html(escape(shown(children)))
        case int() | float():
            return Html(number(children))
        case _:
            return Html("".join(join(child) for child in children))


def _attribute(value: str | float) -> str:
    return escape(shown(value)) if isinstance(value, str) else number(value)
