"""The search index: which messages hold which tokens, kept by SQLite's FTS5 beside the rows and derived from them.

Its answers are equal on every correct replica: the tokens are ours, matching is boolean, and the order is that of
message serials. FTS5 gets each token in a form that its own tokenizer can only leave whole: the token itself if it is
ASCII letters and digits, else `_` and the UTF-8 in hexadecimal. `_` and upper case stand in no token of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache

from chatsvc.application.names import RoomName, parse_account
from chatsvc.application.schema import MESSAGES, MessageIndex, MessageRow, MessageSerial
from chatsvc.application.search_language import Phrase, SearchPlan
from chatsvc.application.tokens import tokens
from pbft.core.application import RowChange
from pbft.core.errors import InvariantViolation
from pbft.state.errors import storage_failure

VERSION = 1
"""Raise it with every change of the tokens or of the tables below."""

# By serial. `shown_ms` is what the dates of a search speak of.
_CREATE_MESSAGES = """
CREATE TABLE search_messages (
    serial INTEGER PRIMARY KEY, room TEXT NOT NULL, room_index INTEGER NOT NULL, shown_ms INTEGER NOT NULL,
    UNIQUE (room, room_index)
)
"""
# FTS5 keeps the columns themselves too, so that a message that state transfer takes back can be taken out again.
_CREATE_TEXT = """
CREATE VIRTUAL TABLE search_text USING fts5 (
    body, author, room, columnsize = 0, tokenize = "ascii tokenchars '_'"
)
"""
_CREATE_FORGETTING = """
CREATE TRIGGER search_forget AFTER DELETE ON search_messages BEGIN
    DELETE FROM search_text WHERE rowid = old.serial;
END
"""
_CREATE = (_CREATE_MESSAGES, _CREATE_TEXT, _CREATE_FORGETTING)
_DROP = ("DROP TABLE IF EXISTS search_messages", "DROP TABLE IF EXISTS search_text")
_FORGET = "DELETE FROM search_messages WHERE room = ? AND room_index = ?"
_FORGET_SERIAL = "DELETE FROM search_messages WHERE serial = ?"
_ADD_MESSAGE = "INSERT INTO search_messages VALUES (?, ?, ?, ?)"
_ADD_TEXT = "INSERT INTO search_text (rowid, body, author, room) VALUES (?, ?, ?, ?)"
# CROSS: in this order, so that the newest come first and the search ends when there are enough.
_FIND = """
SELECT message.room, message.room_index
FROM search_text AS text CROSS JOIN search_messages AS message ON message.serial = text.rowid
WHERE search_text MATCH ? AND text.rowid <= ? AND message.shown_ms BETWEEN ? AND ?
ORDER BY text.rowid DESC LIMIT ?
"""
_INTEGER_MAX = 2**63 - 1


class SearchIndex:
    """Implements `pbft.state.index.DerivedIndex`, and the application's `SearchPort`."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    @property
    def version(self) -> int:
        return VERSION

    def bind(self, connection: sqlite3.Connection) -> None:
        """Keep the connection that `find` asks."""
        self._connection = connection

    def create(self, connection: sqlite3.Connection) -> None:
        for statement in _CREATE:
            connection.execute(statement)

    def clear(self, connection: sqlite3.Connection) -> None:
        for statement in _DROP:
            connection.execute(statement)

    def apply(self, connection: sqlite3.Connection, changes: Sequence[RowChange]) -> None:
        """Follow the messages among `changes`. Those replaced or deleted (by state transfer only) are forgotten."""
        messages = [
            (change.key, MessageRow.from_row(change.row))
            for change in changes
            if change.table == MESSAGES and change.row is not None
        ]
        messages.sort(key=lambda message: message[1].serial)  # what FTS5 takes fastest
        connection.executemany(_FORGET, [change.key for change in changes if change.table == MESSAGES])
        connection.executemany(_FORGET_SERIAL, [(row.serial,) for _, row in messages])
        connection.executemany(_ADD_MESSAGE, [(row.serial, *key, row.shown_ms) for key, row in messages])
        connection.executemany(_ADD_TEXT, [_text(str(key[0]), row) for key, row in messages])

    def find(
        self, plan: SearchPlan, before_serial: MessageSerial | None, limit: int
    ) -> Sequence[tuple[RoomName, MessageIndex]]:
        """Return at most `limit` matches, those of the highest serials below `before_serial`, highest first.

        Raises StorageFailure.
        """
        if self._connection is None:
            raise InvariantViolation("the search index is not bound to a database")
        newest = _INTEGER_MAX if before_serial is None else before_serial - 1
        latest_ms = _INTEGER_MAX if plan.before_ms is None else plan.before_ms - 1
        parameters = (_expression(plan), newest, plan.after_ms or 0, latest_ms, limit)
        try:
            return self._connection.execute(_FIND, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise storage_failure("the search index", error) from error


def _text(room: str, row: MessageRow) -> tuple[int, str, str, str]:
    """Return what FTS5 gets: serial, then the three columns."""
    return row.serial, _stored(tokens(row.body)), _author(row.author), _name(room)


def _expression(plan: SearchPlan) -> str:
    """Return `plan`, but for its dates, in the language of FTS5. Its strings hold a-z, 0-9, _ and spaces only."""
    wanted = [f'body : "{_stored(phrase)}"' for phrase in _phrases(plan.terms, plan.phrases)]
    wanted += _any("author", plan.authors) + _any("room", plan.rooms)
    excluded = [f'body : "{_stored(phrase)}"' for phrase in _phrases(plan.excluded_terms, plan.excluded_phrases)]
    excluded += _any("author", plan.excluded_authors) + _any("room", plan.excluded_rooms)
    expression = " AND ".join(wanted)
    return f"({expression}) NOT ({' OR '.join(excluded)})" if excluded else expression


def _phrases(terms: Iterable[str], phrases: Iterable[Phrase]) -> list[Phrase]:
    return [*((term,) for term in terms), *phrases]


def _any(column: str, names: Iterable[str]) -> list[str]:
    """Return the condition that the column has one of the names; no condition without names."""
    alternatives = " OR ".join(f'"{_name(name)}"' for name in names)
    return [f"{column} : ({alternatives})"] if alternatives else []


def _stored(found: Iterable[str]) -> str:
    return " ".join([token if token.isascii() and token.isalnum() else _name(token) for token in found])


@lru_cache(maxsize=4096)
def _author(display: str) -> str:
    return _name(parse_account(display).key)


def _name(text: str) -> str:
    return f"_{text.encode().hex()}"
