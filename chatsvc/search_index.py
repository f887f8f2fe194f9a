"""The search index: which messages hold which tokens, kept by SQLite's FTS5 beside the rows and derived from them.

Its answers are equal on every correct replica: the tokens are ours, matching is boolean, and the order is that of
message serials. FTS5 gets each token in a form that its own tokenizer can only leave whole: the token itself if it is
ASCII letters and digits, else `_` and the UTF-8 in hexadecimal. `_` and upper case stand in no token of ours.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache

from chatsvc.application.names import RoomName, parse_account
from chatsvc.application.schema import MESSAGES, MessageIndex, MessageKind, MessageRow, MessageSerial
from chatsvc.application.search_language import Phrase, SearchPlan, traits_of
from chatsvc.application.tokens import tokens
from pbft.core.application import RowChange
from pbft.core.errors import InvariantViolation
from pbft.state.errors import storage_failure

VERSION = 3
"""Raise it with every change of the tokens or of the tables below."""

# By serial. `shown_ms` is what the dates of a search speak of. What is `private` is for the members of its room.
_CREATE_MESSAGES = """
CREATE TABLE search_messages (
    serial INTEGER PRIMARY KEY, room TEXT NOT NULL, room_index INTEGER NOT NULL, shown_ms INTEGER NOT NULL,
    private INTEGER NOT NULL, UNIQUE (room, room_index)
)
"""
_CREATE_DATES = "CREATE INDEX search_dates ON search_messages (shown_ms, serial)"
# FTS5 keeps the columns themselves too, so that a message that state transfer takes back can be taken out again.
_CREATE_TEXT = """
CREATE VIRTUAL TABLE search_text USING fts5 (
    body, author, room, mentions, traits, columnsize = 0, tokenize = "ascii tokenchars '_'"
)
"""
_CREATE_FORGETTING = """
CREATE TRIGGER search_forget AFTER DELETE ON search_messages BEGIN
    DELETE FROM search_text WHERE rowid = old.serial;
END
"""
_CREATE = (_CREATE_MESSAGES, _CREATE_DATES, _CREATE_TEXT, _CREATE_FORGETTING)
_DROP = ("DROP TABLE IF EXISTS search_messages", "DROP TABLE IF EXISTS search_text")
_FORGET = "DELETE FROM search_messages WHERE room = ? AND room_index = ?"
_FORGET_SERIAL = "DELETE FROM search_messages WHERE serial = ?"
_ADD_MESSAGE = "INSERT INTO search_messages VALUES (?, ?, ?, ?, ?)"
_ADD_TEXT = "INSERT INTO search_text (rowid, body, author, room, mentions, traits) VALUES (?, ?, ?, ?, ?, ?)"
# CROSS: in this order, so that the newest come first and the search ends when there are enough.
_FIND = """
SELECT message.room, message.room_index
FROM search_text AS text CROSS JOIN search_messages AS message ON message.serial = text.rowid
WHERE search_text MATCH ? AND text.rowid BETWEEN ? AND ? AND message.shown_ms BETWEEN ? AND ?
    AND (NOT message.private OR message.room IN (SELECT value FROM json_each(?)))
ORDER BY text.rowid DESC LIMIT ?
"""
# Dates mostly go with serials: without these bounds, one long ago would be looked for in every message since.
_SERIALS = "SELECT min(serial), max(serial) FROM search_messages WHERE shown_ms BETWEEN ? AND ?"
_INTEGER_MAX = 2**63 - 1
_PUBLIC = "public"
"""A trait of messages that everybody may read; no search asks for it by `has:`."""
_OWN_ROOMS_NAMED_MAX = 64
"""Each costs a search some 25 us, whatever there is to be found."""


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
        """Follow the messages among `changes`. What was there before is forgotten."""
        messages = [
            (change.key, MessageRow.from_row(change.row))
            for change in changes
            if change.table == MESSAGES and change.row is not None
        ]
        messages = [message for message in messages if message[1].deleted_by is None]
        messages.sort(key=lambda message: message[1].serial)  # what FTS5 takes fastest
        connection.executemany(_FORGET, [change.key for change in changes if change.table == MESSAGES])
        connection.executemany(_FORGET_SERIAL, [(row.serial,) for _, row in messages])
        connection.executemany(_ADD_MESSAGE, [(row.serial, *key, row.shown_ms, row.private) for key, row in messages])
        connection.executemany(_ADD_TEXT, [_text(str(key[0]), row) for key, row in messages])

    def find(
        self, plan: SearchPlan, own_rooms: Sequence[str], before_serial: MessageSerial | None, limit: int
    ) -> Sequence[tuple[RoomName, MessageIndex]]:
        """Return at most `limit` matches, those of the highest serials below `before_serial`, highest first.

        Of private rooms only of those among `own_rooms`. Raises StorageFailure.
        """
        if self._connection is None:
            raise InvariantViolation("the search index is not bound to a database")
        oldest, newest = 0, _INTEGER_MAX if before_serial is None else before_serial - 1
        dates = (plan.after_ms or 0, _INTEGER_MAX if plan.before_ms is None else plan.before_ms - 1)
        try:
            if dates != (0, _INTEGER_MAX):
                first, last = self._connection.execute(_SERIALS, dates).fetchone()
                if first is None:
                    return []
                oldest, newest = first, min(newest, last)
            parameters = (_expression(plan, own_rooms), oldest, newest, *dates, json.dumps(list(own_rooms)), limit)
            return self._connection.execute(_FIND, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise storage_failure("the search index", error) from error


def _text(room: str, row: MessageRow) -> tuple[int, str, str, str, str, str]:
    """Return what FTS5 gets: serial, then the columns."""
    mentions = " ".join(_account(str(name)) for name in row.mentions)
    traits = traits_of(row.body, is_poll=row.kind == MessageKind.POLL.value)
    if not row.private:
        traits.append(_PUBLIC)
    return row.serial, _stored(tokens(row.body)), _account(row.author), _name(room), mentions, " ".join(traits)


def _expression(plan: SearchPlan, own_rooms: Sequence[str]) -> str:
    """Return `plan`, but for its dates, in the language of FTS5. Its strings hold a-z, 0-9, _ and spaces only.

    Who may read what is for the SQL around it to say; here it only spares looking at what that would leave out.
    """
    wanted = [f'body : "{_stored(phrase)}"' for phrase in _phrases(plan.terms, plan.phrases)]
    wanted += _any("author", plan.authors) + _any("room", plan.rooms) + _any("mentions", plan.mentions)
    wanted += [f"traits : {trait}" for trait in plan.traits]
    if len(own_rooms) <= _OWN_ROOMS_NAMED_MAX:
        wanted.append(f"(traits : {_PUBLIC} OR {_any('room', own_rooms)[0]})" if own_rooms else f"traits : {_PUBLIC}")
    excluded = [f'body : "{_stored(phrase)}"' for phrase in _phrases(plan.excluded_terms, plan.excluded_phrases)]
    excluded += _any("author", plan.excluded_authors) + _any("room", plan.excluded_rooms)
    excluded += _any("mentions", plan.excluded_mentions) + [f"traits : {trait}" for trait in plan.excluded_traits]
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
def _account(display: str) -> str:
    return _name(parse_account(display).key)


def _name(text: str) -> str:
    return f"_{text.encode().hex()}"
