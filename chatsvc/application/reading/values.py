"""Messages as answers show them: values for the encoding, made without structures in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

from chatsvc.application.answers import Message
from chatsvc.application.schema import MESSAGES, REACTION_COUNTS, MessageRow
from crypto.canonical import Value, encode
from crypto.digest import Digest, digest_of
from pbft.core.application import Reader, Row
from pbft.core.errors import InvariantViolation

MessageValue = list[Value]
"""What the encoding of a message in an answer is made of: the fields of `answers.Message` in their order."""

_HIDDEN = {"digest", "private"}
_SHOWN = [position for position, name in enumerate(MessageRow._fields) if name not in _HIDDEN]
_FIELDS = Message.__struct_fields__
INDEX = _FIELDS.index("index")
SERIAL = _FIELDS.index("serial")
_BODY, _MENTIONS, _REACTIONS = _FIELDS.index("body"), _FIELDS.index("mentions"), _FIELDS.index("reactions")
_HEAD_BYTES_MAX = 640
"""Of an encoded message without body, mentions and reactions: names, a thread and a dozen numbers."""


def message_values(reader: Reader, room: str, first: int, end: int) -> Iterator[MessageValue]:
    """Yield the messages `first` .. `end` - 1, all of which exist.

    By `get`: an ordered read must not show what its batch has taken away, which a scan still sees.
    """
    for index in range(first, end):
        yield message_value(reader, room, index)


def message_value(reader: Reader, room: str, index: int) -> MessageValue:
    row = reader.get(MESSAGES, (room, index))
    if row is None:
        raise InvariantViolation("a message is missing")
    counts = reader.get(REACTION_COUNTS, (room, index))
    return _value(room, index, row, [] if counts is None else counts[0])


def _value(room: str, index: int, row: Row, reactions: Value) -> MessageValue:
    return [room, index, *[row[position] for position in _SHOWN], reactions]


def digest(value: MessageValue) -> Digest:
    """The digest that `answers.Message.digest` has on the other side."""
    return digest_of(encode(value))


def fill(messages: Iterable[MessageValue], limit: int, bytes_full: int) -> tuple[list[MessageValue], bool]:
    """Return the messages that one answer takes, and whether it is full, which only they decide."""
    page: list[MessageValue] = []
    size_bytes = 0
    for message in islice(messages, limit):
        page.append(message)
        size_bytes += _size(message)
        if size_bytes >= bytes_full:
            return page, True
    return page, len(page) == limit


def _size(message: MessageValue) -> int:
    """At least as many bytes as the message takes."""
    size = _HEAD_BYTES_MAX + len(str(message[_BODY]).encode())
    for mention in cast("list[str]", message[_MENTIONS]):
        size += len(mention.encode()) + 2
    for reaction, _count in cast("list[tuple[str, int]]", message[_REACTIONS]):
        size += len(reaction.encode()) + 12
    return size


def number(message: MessageValue, position: int) -> int:
    return cast("int", message[position])
