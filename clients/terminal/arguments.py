"""What was typed after a command, taken apart."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from clients.terminal.emoji import EMOJI, with_emoji

_INDEX = re.compile(r"#(\d{1,18})(?:\s+|$)")
_LEADING_INDEX = re.compile(r"#?(\d{1,18})\s+(?=\S)")
_BARE_INDEX = re.compile(r"#?(\d{1,18})\s*$")


class BadCommand(Exception):  # noqa: N818 - what a person typed
    """The line is no command that can be carried out; the text says what to type."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line: its name, and the rest without spaces around it."""

    name: str
    rest: str


def split_command(line: str) -> Typed | None:
    """Return the command that `line` is; None for what is to be said. `//` says a line that begins with `/`."""
    if not line.startswith("/") or line.startswith("//"):
        return None
    name, _, rest = line[1:].partition(" ")
    return Typed(name.strip().casefold(), rest.strip())


def said(line: str) -> str:
    """Return what a line that is no command says."""
    return line[1:] if line.startswith("//") else line


def take_index(rest: str) -> tuple[int | None, str]:
    """Take `#N` from the beginning: the message that is meant, and what follows."""
    found = _INDEX.match(rest)
    return (None, rest) if found is None else (int(found.group(1)), rest[found.end() :].strip())


def take_number(rest: str) -> tuple[int | None, str]:
    """Take `N` or `#N` from the beginning, where something else must follow; a number alone is what follows."""
    found = _LEADING_INDEX.match(rest)
    return take_index(rest) if found is None else (int(found.group(1)), rest[found.end() :].strip())


def only_index(rest: str) -> int | None:
    """Return `N` or `#N`, where nothing else may stand; None for nothing. Raises BadCommand."""
    if not rest:
        return None
    found = _BARE_INDEX.match(rest)
    if found is None:
        raise BadCommand(f"{rest[:20]!r} is no message: give its number, or select one with Ctrl-Up")
    return int(found.group(1))


def take_word(rest: str, what: str) -> tuple[str, str]:
    """Take the first word. Raises BadCommand when there is none; `what` it should have been."""
    word, _, after = rest.partition(" ")
    if not word:
        raise BadCommand(f"say {what}")
    return word, after.strip()


def person(word: str) -> str:
    return word.removeprefix("@").removesuffix(":")


def poll_parts(rest: str) -> tuple[str, tuple[str, ...]]:
    """Return the question and the options of `question | option | option`. Of two parts, the first of which does not
    end with `?`, both are options, and the question is which of them. Raises BadCommand."""
    question, *options = (part.strip() for part in rest.split("|"))
    if len(options) == 1 and not question.endswith("?"):
        options = [question, options[0].rstrip("? ")]
        question = " | ".join(options) + "?"
    if not question or len(options) < 2 or not all(options):
        raise BadCommand("say /poll question? | option | option, or only /poll option | option")
    return question, tuple(options)


def reaction_of(word: str, there: Collection[str]) -> str:
    """Return the emoji that `word` names, with or without colons; also what `there` has. Raises BadCommand for words
    and numbers, which are hardly meant as reactions."""
    reaction = EMOJI.get(word) or with_emoji(word)
    if reaction.isascii() and reaction not in there:
        raise BadCommand(f"{word[:20]!r} is no emoji: say /react [N] :+1:, and Tab after `:+` offers what there is")
    return reaction
