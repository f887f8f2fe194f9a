"""What a message may say, and a room's topic."""

from __future__ import annotations

import re
from typing import NewType

MessageText = NewType("MessageText", str)
"""A message's body: 1 .. BODY_BYTES_MAX bytes of UTF-8, no control characters but newline and tab."""

BODY_BYTES_MAX = 4096
TOPIC_BYTES_MAX = 256

_FORBIDDEN_IN_BODY = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_FORBIDDEN_IN_TOPIC = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


class BadText(ValueError):  # noqa: N818 - the words of the error codes
    """No message body, or no topic; the text says why, in words that are the same at every replica."""


class TextTooLong(BadText):
    """It would be one if it were shorter."""


def parse_body(text: str) -> MessageText:
    """Return `text`, unchanged, as a message's body. Raises BadText, TextTooLong."""
    if not text:
        raise BadText("a message is not empty")
    _check("a message", text, _FORBIDDEN_IN_BODY, BODY_BYTES_MAX)
    return MessageText(text)


def parse_topic(text: str, what: str = "a topic") -> str:
    """Return `text`, unchanged, as a room's topic: one line, or nothing. Raises BadText, TextTooLong."""
    _check(what, text, _FORBIDDEN_IN_TOPIC, TOPIC_BYTES_MAX)
    return text


def _check(what: str, text: str, forbidden: re.Pattern[str], bytes_max: int) -> None:
    found = forbidden.search(text)
    if found is not None:
        raise BadText(f"{what} does not contain the character U+{ord(found.group()):04X}")
    if len(text.encode()) > bytes_max:
        raise TextTooLong(f"{what} has at most {bytes_max} bytes of UTF-8")
