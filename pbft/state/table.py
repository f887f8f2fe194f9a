"""One table: its SQL, and its rows in memory between SQLite and those who read and write them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from crypto.canonical import decode, encode
from pbft.core.application import Key, Row, TableSpec
from pbft.state.keys import KeyLayout, Position, ScanRange

_CREATE = """
CREATE TABLE $rows (page BLOB NOT NULL, key BLOB NOT NULL, row BLOB NOT NULL, PRIMARY KEY (page, key)) WITHOUT ROWID
"""
_CREATE_KEY_INDEX = "CREATE INDEX $rows_by_key ON $rows (key)"
_GET = "SELECT row FROM $rows WHERE page = ? AND key = ?"
_PUT = "INSERT INTO $rows VALUES (?, ?, ?) ON CONFLICT (page, key) DO UPDATE SET row = excluded.row"
_DELETE = "DELETE FROM $rows WHERE page = ? AND key = ?"
_PAGE = "SELECT key, row FROM $rows WHERE page = ? ORDER BY key"
_CLEAR = "DELETE FROM $rows"
_ALL = "SELECT key, row FROM $rows ORDER BY page, key"
_SCAN = "SELECT key, row FROM $rows WHERE"

_POSITIONS_MAX = 1 << 15

_NESTED = frozenset((list, tuple))

Stored = tuple[bytes, bytes, bytes | None]
"""(page, key, row) as SQLite holds them; row is None for a deleted one."""


@dataclass(slots=True)
class Writes:
    """What a batch does to a table, in SQLite's terms."""

    puts: list[tuple[bytes, bytes, bytes]]
    deletes: list[Position]
    pages: set[bytes]


class Table:
    """Rows of one table.

    `layer` holds what the operation under execution wrote, until it succeeds. `recent` and `older` are the cache, of
    two generations, and `recent` holds whatever the batch wrote; None stands for an absent row. `pending` names what
    is to be written to SQLite; None there is encoded when it is written.
    """

    def __init__(self, spec: TableSpec, *, key_index: bool) -> None:
        """`key_index`: scans over hashed pages need not sort."""
        if not (spec.name.isascii() and spec.name.isidentifier() and spec.name.islower()):
            raise ValueError(f"table name {spec.name!r} is not a lower-case identifier")
        self.spec = spec
        self.layout = KeyLayout(spec)
        self.key_types = self.layout.types
        self.locate = lru_cache(maxsize=_POSITIONS_MAX)(self.layout.locate)
        """As in the layout, for keys whose types were checked: to the cache, True is 1."""
        self._key_index = key_index and not self.layout.ordered
        self.layer: dict[Key, Row | None] = {}
        self.recent: dict[Key, Row | None] = {}
        self.older: dict[Key, Row | None] = {}
        self.pending: dict[Key, Stored | None] = {}
        self.sql_name = f"rows_{spec.name}"
        self.sql_get, self.sql_put, self.sql_delete, self.sql_all = map(self._sql, (_GET, _PUT, _DELETE, _ALL))
        self.sql_page, self.sql_clear = map(self._sql, (_PAGE, _CLEAR))

    @property
    def sql_create(self) -> list[str]:
        return [self._sql(_CREATE), self._sql(_CREATE_KEY_INDEX)] if self._key_index else [self._sql(_CREATE)]

    def sql_scan(self, span: ScanRange, *, limit: int, reverse: bool) -> tuple[str, list[bytes | int]]:
        """Return the statement that reads a range, and its parameters."""
        columns, marks = ", ".join(span.columns), ", ".join("?" * len(span.columns))
        conditions, parameters = [f"({columns}) >= ({marks})"], [*span.low]
        if span.high is not None:
            conditions.append(f"({columns}) < ({marks})")
            parameters += span.high
        if span.page is not None:
            conditions.append("page = ?")
            parameters.append(span.page)
        order = ", ".join(f"{column} {'DESC' if reverse else 'ASC'}" for column in span.columns)
        statement = f"{self._sql(_SCAN)} {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
        return statement, [*parameters, limit]

    def writes(self) -> Writes:
        """Return what is pending, in the order of the SQL table."""
        puts: list[tuple[bytes, bytes, bytes]] = []
        deletes: list[Position] = []
        pages: set[bytes] = set()
        for key, stored in self.pending.items():
            if stored is None:
                page, encoded = self.locate(key)
                row = self.recent[key]
                data = None if row is None else encode(row)
            else:
                page, encoded, data = stored
            pages.add(page)
            if data is None:
                deletes.append((page, encoded))
            else:
                puts.append((page, encoded, data))
        puts.sort()  # one walk along the tree
        deletes.sort()
        return Writes(puts, deletes, pages)

    def shrink(self, rows_max: int) -> None:
        """Forget the older half of the cache when the newer one is full. Never between a write and its commit."""
        if len(self.recent) > rows_max:
            self.older, self.recent = self.recent, {}

    def forget(self) -> None:
        """Drop all that is only in memory."""
        for rows in (self.layer, self.recent, self.older, self.pending):
            rows.clear()

    def _sql(self, statement: str) -> str:
        return statement.replace("$rows", self.sql_name)


def encode_row(row: Row) -> bytes:
    """Raise TypeError, ValueError or MalformedEncoding for what no row can hold."""
    if type(row) is not tuple:
        raise TypeError(f"a row is a tuple, not {type(row).__name__}")
    if not _NESTED.isdisjoint(map(type, row)):
        for column in row:
            _refuse_tuples(column)
    return encode(row)


def decode_row(data: bytes) -> Row:
    """Raise MalformedEncoding or ValueError for bytes that encode no row."""
    row = decode(data, bytes_max=len(data))
    if type(row) is not list:
        raise ValueError("not a row")
    return tuple(row)


def _refuse_tuples(column: object) -> None:
    """A tuple inside a row would come back as a list from SQLite, and as a tuple from the cache."""
    if type(column) is tuple:
        raise TypeError("inside a row, lists are lists, not tuples")
    if type(column) is list:
        for item in column:
            _refuse_tuples(item)
