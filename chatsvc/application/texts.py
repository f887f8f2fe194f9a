"""What short texts may say: labels, display names, descriptions, reasons, reactions, threads, questions and options.

All are kept as they were written, but the title of a thread, which is put into NFKC form like a name. Nothing here
depends on the version of Unicode that a Python knows: forbidden characters are listed, and where a text is
normalised, `unicode14` says which characters there are.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from unicodedata import normalize

from chatsvc.application.bodies import BadText, TextTooLong
from chatsvc.application.unicode14 import REFUSED, classes

LABEL_BYTES_MAX = 64
DISPLAY_BYTES_MAX = 128
DESCRIPTION_BYTES_MAX = 1024
REASON_BYTES_MAX = 256
REACTION_BYTES_MAX = 32
THREAD_CHARACTERS_MAX = 64
THREAD_BYTES_MAX = 192
QUESTION_BYTES_MAX = 1024
OPTION_BYTES_MAX = 256

_CONTROL = "\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029"
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufeff"
    "\uffa0\ufff9-\ufffb"
)
"""What shows nothing or turns the direction of what follows: with it a short text would pass for another one."""
_SPACE = " \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_JOINERS = "\u200c\u200d"
"""Stand between letters and in composed emoji."""

_FORBIDDEN_IN_LINE = re.compile(f"[{_CONTROL}{_UNSEEN}]")
_FORBIDDEN_IN_DESCRIPTION = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_FORBIDDEN_IN_REACTION = re.compile(f"[{_CONTROL}{_UNSEEN}{_SPACE}]")
_ONLY_MODIFIERS = re.compile(f"[{_JOINERS}\ufe00-\ufe0f\U000e0020-\U000e007f]*")
"""What changes how an emoji looks, and is none itself."""


class ThreadTitle(NamedTuple):
    """A thread as its first message wrote it, and the identity: two titles of one key are one thread."""

    title: str
    key: str


def parse_label(text: str) -> str:
    """Return `text`, what a device is called: one line, or nothing. Raises BadText, TextTooLong."""
    return _line("a label", text, LABEL_BYTES_MAX)


def parse_display(text: str) -> str:
    """Return `text`, what an account is called beside its name: one line, or nothing. Raises BadText, TextTooLong."""
    return _line("a display name", text, DISPLAY_BYTES_MAX)


def parse_reason(text: str) -> str:
    """Return `text`: one line, or nothing. Raises BadText, TextTooLong."""
    return _line("a reason", text, REASON_BYTES_MAX)


def parse_question(text: str) -> str:
    """Return `text`, a poll's question: one line, not empty. Raises BadText, TextTooLong."""
    return _line("a question", text, QUESTION_BYTES_MAX, may_be_empty=False)


def parse_option(text: str) -> str:
    """Return `text`, a poll's option: one line, not empty. Raises BadText, TextTooLong."""
    return _line("an option", text, OPTION_BYTES_MAX, may_be_empty=False)


def parse_description(text: str) -> str:
    """Return `text`, what a room is for: lines, or nothing. Raises BadText, TextTooLong."""
    _check("a description", text, _FORBIDDEN_IN_DESCRIPTION, DESCRIPTION_BYTES_MAX)
    return text


def parse_reaction(text: str) -> str:
    """Return `text`: an emoji, a `:word:`, or another short text without spaces. Raises BadText, TextTooLong."""
    _check("a reaction", text, _FORBIDDEN_IN_REACTION, REACTION_BYTES_MAX)
    if _ONLY_MODIFIERS.fullmatch(text):
        raise BadText("a reaction is not empty")
    return text


def parse_thread(text: str) -> ThreadTitle:
    """Return the title and the key form of a thread: one line, not empty. Raises BadText, TextTooLong.

    The title is the NFKC form without spaces at its ends or side by side; the key, its case folded, has no joiners.
    """
    if len(text) > THREAD_CHARACTERS_MAX:
        raise TextTooLong(f"a thread's title has at most {THREAD_CHARACTERS_MAX} characters")
    _refuse_unknown(text)
    title = " ".join(filter(None, normalize("NFKC", text).split(" ")))
    _refuse_unknown(title)
    if len(title) > THREAD_CHARACTERS_MAX or len(title.encode()) > THREAD_BYTES_MAX:
        raise TextTooLong(
            f"a thread's title has at most {THREAD_CHARACTERS_MAX} characters and {THREAD_BYTES_MAX} bytes of UTF-8"
        )
    key = _fold("".join(character for character in title if character not in _JOINERS))
    _refuse_unknown(key)
    if not key.strip(" "):
        raise BadText("a thread's title is not empty")
    if _fold(key) != key:
        raise BadText("this title of a thread has no normal form")
    return ThreadTitle(title, key)


def thread_key(text: str) -> str:
    """Return the key form of a thread's title, however it is written; nothing for a text that no thread can have."""
    try:
        return parse_thread(text).key
    except BadText:
        return ""


def _line(what: str, text: str, bytes_max: int, *, may_be_empty: bool = True) -> str:
    if not (may_be_empty or text.strip(" ")):
        raise BadText(f"{what} is not empty")
    _check(what, text, _FORBIDDEN_IN_LINE, bytes_max)
    return text


def _check(what: str, text: str, forbidden: re.Pattern[str], bytes_max: int) -> None:
    found = forbidden.search(text)
    if found is not None:
        raise BadText(f"{what} does not contain the character U+{ord(found.group()):04X}")
    if len(text.encode()) > bytes_max:
        raise TextTooLong(f"{what} has at most {bytes_max} bytes of UTF-8")


def _fold(normal: str) -> str:
    return normalize("NFKC", normal.casefold())


def _refuse_unknown(text: str) -> None:
    """Refuse what Unicode 14.0 does not assign, and controls, formats and separators but spaces and joiners."""
    for character, kind in zip(text, classes(text), strict=True):
        if kind == REFUSED and character != " " and character not in _JOINERS:
            raise BadText(f"a thread's title does not contain the character U+{ord(character):04X}")
