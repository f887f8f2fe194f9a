"""Rows in a dictionary, and a chat of one replica on them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from chatsvc.application.answers import Answer, decode_answer
from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Create, Join, Operation, Post, Register, encode_operation
from chatsvc.application.queries import Query, encode_query
from chatsvc.application.results import Posted, Rejected, Result, decode_result
from chatsvc.application.schema import MessageKind
from chatsvc.search_index import SearchIndex
from crypto.signing import PublicKey
from pbft.core.application import Call, Key, Outcome, Row, RowChange
from pbft.core.types import ClientSequence, Milliseconds, SequenceNumber, SessionNumber

ALICE = PublicKey(b"A" * 32)
BOB = PublicKey(b"B" * 32)
CAROL = PublicKey(b"C" * 32)

NOON = Milliseconds(1_482_148_800_000)
"""2016-12-19 12:00 UTC."""

SAMPLE = Path(__file__).parent / "data" / "ubuntu-sample.txt"


class FakeRows:
    """As in the interface: `get` sees what the batch has written, `scan` does not."""

    def __init__(self) -> None:
        self.committed: dict[str, dict[Key, Row]] = {}
        self.pending: dict[tuple[str, Key], Row | None] = {}
        self.writes = 0

    def get(self, table: str, key: Key) -> Row | None:
        if (table, key) in self.pending:
            return self.pending[table, key]
        return self.committed.get(table, {}).get(key)

    def scan(
        self, table: str, *, prefix: Key = (), start: Key | None = None, limit: int, reverse: bool = False
    ) -> Iterator[tuple[Key, Row]]:
        rows = self.committed.get(table, {})
        keys = sorted((key for key in rows if key[: len(prefix)] == prefix), reverse=reverse)
        if start is not None:
            keys = [key for key in keys if (key <= start if reverse else key >= start)]
        return iter([(key, rows[key]) for key in keys[:limit]])

    def put(self, table: str, key: Key, row: Row) -> None:
        self.writes += 1
        self.pending[table, key] = row

    def delete(self, table: str, key: Key) -> None:
        self.writes += 1
        self.pending[table, key] = None

    def commit(self) -> list[RowChange]:
        """End the batch, and return what it changed."""
        changes = [RowChange(table, key, row) for (table, key), row in self.pending.items()]
        for change in changes:
            rows = self.committed.setdefault(change.table, {})
            if change.row is None:
                rows.pop(change.key, None)
            else:
                rows[change.key] = change.row
        self.pending.clear()
        return changes

    def all_rows(self) -> list[RowChange]:
        return [
            RowChange(table, key, row)
            for table in sorted(self.committed)
            for key, row in sorted(self.committed[table].items())
        ]


class Service:
    """Batches of one operation, a second apart, unless a test writes several before `commit`."""

    def __init__(self, limits: ChatLimits = ChatLimits()) -> None:  # noqa: B008 - frozen
        self.rows = FakeRows()
        self.index = SearchIndex()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.index.bind(self.connection)
        self.index.create(self.connection)
        self.application = ChatApplication(self.index, limits)
        self.sequence = 0

    def do(self, device: PublicKey, operation: Operation, *, time: Milliseconds | None = None) -> Result:
        return decode_result(self.execute(device, encode_operation(operation), time=time).result)

    def execute(self, device: PublicKey, operation: bytes, *, time: Milliseconds | None = None) -> Outcome:
        self.sequence += 1
        outcome = self.execute_in_batch(device, operation, time=time)
        self.commit()
        return outcome

    def execute_in_batch(
        self, device: PublicKey, operation: bytes, *, index: int = 0, time: Milliseconds | None = None
    ) -> Outcome:
        call = Call(
            device=device,
            session=SessionNumber(1),
            client_sequence=ClientSequence(self.sequence),
            sequence=SequenceNumber(self.sequence),
            index=index,
            time=Milliseconds(NOON + 1000 * self.sequence) if time is None else time,
        )
        return self.application.execute(self.rows, call, operation)

    def commit(self) -> None:
        self.index.apply(self.connection, self.rows.commit())

    def ask(self, query: Query, device: PublicKey = ALICE) -> Answer:
        return decode_answer(self.application.query(self.rows, device, encode_query(query)))

    def say(self, device: PublicKey, body: str, room: str = "garden") -> Posted:
        result = self.do(device, Post(room=room, body=body))
        assert isinstance(result, Posted), result
        return result

    def close(self) -> None:
        self.connection.close()


def furnish(service: Service) -> None:
    """Let Alice make the room `garden` and Bob join it; Carol has no account."""
    for device, operation in (
        (ALICE, Register("Alice")),
        (BOB, Register("Bob")),
        (ALICE, Create("garden", "plants and such")),
        (BOB, Join("garden")),
    ):
        result = service.do(device, operation)
        assert not isinstance(result, Rejected), result


def sample_messages(lines: int = 400) -> list[tuple[str, MessageKind, str]]:
    """Return (nick, kind, body) of the messages in the sample's first lines."""
    found: list[tuple[str, MessageKind, str]] = []
    for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:lines]:
        said = re.fullmatch(r"\[\d\d:\d\d\] <([^>]+)> (.+)", line)
        done = re.fullmatch(r"\[\d\d:\d\d\]  \* (\S+) (.+)", line)
        if said:
            found.append((said[1], MessageKind.TEXT, said[2]))
        elif done:
            found.append((done[1], MessageKind.ACTION, done[2]))
    return found


def device_of(nick: str) -> PublicKey:
    return PublicKey(nick.encode().ljust(32, b"\0")[:32])


def replay_sample(service: Service, messages: list[tuple[str, MessageKind, str]], room: str = "ubuntu") -> None:
    """Register, join and post what the log says, in its order."""
    seen: set[str] = set()
    for nick, kind, body in messages:
        device = device_of(nick)
        if nick not in seen:
            seen.add(nick)
            service.do(device, Register(nick))
            if isinstance(service.do(device, Join(room)), Rejected):
                service.do(device, Create(room, ""))
        assert isinstance(service.do(device, Post(room=room, kind=kind, body=body)), Posted)
