"""Messages that wait to be sent: on the disk before anybody is told that they are queued, and until they are done.

A file beside the identity, one for each group. What is asked of it is on the disk when the call returns; calls block
for as long as that takes. Several programs may queue at once, one delivers.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from chatsvc.application.bodies import MessageText, parse_body
from chatsvc.application.names import RoomName
from chatsvc.application.operations import Post, encode_operation
from chatsvc.application.schema import MessageIndex, MessageKind
from chatsvc.application.texts import parse_thread
from clients.sdk import ClientFailure, ExitCode
from crypto.errors import MalformedEncoding
from crypto.files import PRIVATE_MODE, sync_directory
from crypto.signing import PublicKey
from pbft.core.types import ClientSequence, Milliseconds, SequenceNumber, SessionNumber

VERSION = 1
PENDING_MAX = 10_000
DONE_KEPT_MAX = 1_000
"""Entries that are done with stay in the list, the last so many."""
BUSY_S = 10.0
"""How long another program may be writing."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL,
  room TEXT NOT NULL,
  body TEXT NOT NULL,
  action INTEGER NOT NULL,
  reply_to INTEGER,
  thread TEXT,
  nonce BLOB NOT NULL,
  queued_ms INTEGER NOT NULL,
  device BLOB,
  session INTEGER,
  client_sequence INTEGER,
  event INTEGER,
  message INTEGER,
  sequence INTEGER,
  batch_index INTEGER,
  problem TEXT NOT NULL DEFAULT ''
)
"""


_DONE: Final = "(state IN ('verified', 'refused') OR state = 'ordered' AND problem != '')"


class State(Enum):
    """How far a message is."""

    PENDING = "pending"
    """Not known to be ordered."""
    ORDERED = "ordered"
    """f+1 replicas signed that it was."""
    VERIFIED = "verified"
    """And f+1 show it in the room's history."""
    REFUSED = "refused"
    """It was not posted, and will not be; or nobody can tell whether it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message as its author wrote it. `nonce`: random, to know it again by."""

    room: RoomName
    body: MessageText
    action: bool = False
    reply_to: int | None = None
    thread: str | None = None
    nonce: bytes

    @property
    def operation(self) -> bytes:
        """Always the same bytes."""
        return encode_operation(
            Post(
                room=self.room,
                body=self.body,
                kind=MessageKind.ACTION if self.action else MessageKind.TEXT,
                reply_to=None if self.reply_to is None else MessageIndex(self.reply_to),
                thread=self.thread,
                nonce=self.nonce,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """Under which name the operation was sent, or may have been: it runs under it once at most.

    `event`: how many events the room had before, so that its message is to be looked for from there on.
    """

    device: PublicKey
    session: SessionNumber
    client_sequence: ClientSequence
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the message is: its index in the room, and its place in the order of all operations."""

    message: MessageIndex
    sequence: SequenceNumber
    batch_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    number: int
    state: State
    draft: Draft
    queued_ms: Milliseconds
    name: Name | None
    place: Place | None
    problem: str
    """Why it was refused, why it waits, or why it can never be verified; empty if nothing went wrong."""


class OutboxFailed(ClientFailure):
    """The file cannot be used. The text says which and why."""


class Outbox:
    """Use as `with Outbox.open(path) as outbox`."""

    synchronous: ClassVar = "EXTRA"
    """SQLite's word for being on the disk, names of files too, when a call returns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the file if it is not there. Raises OutboxFailed."""
        try:
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE))
                sync_directory(path.parent)
            connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
        except (OSError, sqlite3.Error) as error:
            raise _failed(path, error) from error
        outbox = cls(path, connection)
        try:
            outbox._execute(f"PRAGMA synchronous = {cls.synchronous}")
            ((version,),) = outbox._execute("PRAGMA user_version")
            if version not in {0, VERSION}:
                raise OutboxFailed(f"{path}: it was written by another version of this program: {version}")
            if version == 0:
                with outbox._transaction():
                    outbox._execute(_SCHEMA)
                    outbox._execute(f"PRAGMA user_version = {VERSION}")
        except OutboxFailed:
            connection.close()
            raise
        return outbox

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Hold the right to deliver; a program that dies gives it back. Raises OutboxFailed if another one has it."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"another program is delivering {self.path} already"
                raise OutboxFailed(msg, exit_code=ExitCode.USAGE) from error
            yield
        finally:
            os.close(descriptor)

    # -- queueing and looking

    def append(self, draft: Draft, queued_ms: Milliseconds) -> Entry:
        """Queue a message behind all others. Raises OutboxFailed, also when too many wait, or when it is none."""
        try:
            parse_body(draft.body)
            if draft.thread is not None:
                parse_thread(draft.thread)
            _ = draft.operation
        except (ValueError, MalformedEncoding) as error:
            raise OutboxFailed(str(error), exit_code=ExitCode.REJECTED) from error
        with self._transaction():
            ((waiting,),) = self._execute("SELECT count(*) FROM entries WHERE state = 'pending'")
            if waiting >= PENDING_MAX:
                msg = f"{self.path}: {waiting} messages wait already; deliver them with: quorate outbox send"
                raise OutboxFailed(msg, exit_code=ExitCode.REJECTED)
            ((number,),) = self._execute(
                "INSERT INTO entries (state, room, body, action, reply_to, thread, nonce, queued_ms)"
                " VALUES ('pending', ?, ?, ?, ?, ?, ?, ?) RETURNING number",
                (draft.room, draft.body, draft.action, draft.reply_to, draft.thread, draft.nonce, queued_ms),
            )
            self._execute(
                f"DELETE FROM entries WHERE {_DONE} AND number <="  # noqa: S608 - a constant
                f" (SELECT number FROM entries WHERE {_DONE} ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (DONE_KEPT_MAX,),
            )
        return self.entry(number)

    def entries(self, *states: State) -> list[Entry]:
        """In the order in which they were queued; all of them if no states are named."""
        wanted = {state.value for state in states or State}
        rows = self._execute("SELECT * FROM entries ORDER BY number")
        return [_entry(row) for row in rows if row[1] in wanted]

    def entry(self, number: int) -> Entry:
        (row,) = self._execute("SELECT * FROM entries WHERE number = ?", (number,))
        return _entry(row)

    def first_pending(self) -> Entry | None:
        rows = self._execute("SELECT * FROM entries WHERE state = 'pending' ORDER BY number LIMIT 1")
        return _entry(rows[0]) if rows else None

    def last_session(self) -> SessionNumber | None:
        """The highest that an entry was named in."""
        ((session,),) = self._execute("SELECT max(session) FROM entries")
        return None if session is None else SessionNumber(session)

    def drop(self, number: int) -> Entry:
        """It is not sent any more. The caller is `delivering`. Raises OutboxFailed unless it is one that waits."""
        waiting = [entry for entry in self.entries(State.PENDING) if entry.number == number]
        if not waiting:
            msg = f"no message {number} waits in the outbox: quorate outbox lists them"
            raise OutboxFailed(msg, exit_code=ExitCode.USAGE)
        named = waiting[0].name is not None
        self.refused(number, "dropped; it may have been posted before" if named else "dropped")
        return self.entry(number)

    # -- delivering: each call is one step that a crash may separate from the next

    def name(self, number: int, name: Name) -> None:
        """It may be sent under this name from now on, and under no other until the name is known to be dead."""
        self._execute(
            "UPDATE entries SET device = ?, session = ?, client_sequence = ?, event = ? WHERE number = ?",
            (name.device, name.session, name.client_sequence, name.event, number),
        )

    def unname(self, number: int, problem: str = "") -> None:
        """It did not run under its name, and never will: it may be given another one."""
        self._execute(
            "UPDATE entries SET device = NULL, client_sequence = NULL, event = NULL, problem = ? WHERE number = ?",
            (problem, number),
        )

    def ordered(self, number: int, place: Place) -> None:
        self._execute(
            "UPDATE entries SET state = 'ordered', problem = '', message = ?, sequence = ?, batch_index = ?"
            " WHERE number = ?",
            (place.message, place.sequence, place.batch_index, number),
        )

    def unverified(self, number: int, problem: str) -> None:
        """It was ordered, but nobody can look at it any more."""
        self._execute("UPDATE entries SET problem = ? WHERE number = ?", (problem, number))

    def verified(self, number: int) -> None:
        self._execute("UPDATE entries SET state = 'verified' WHERE number = ?", (number,))

    def refused(self, number: int, problem: str) -> None:
        self._execute("UPDATE entries SET state = 'refused', problem = ? WHERE number = ?", (problem, number))

    # -- inside

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(self.path, error) from error


def outbox_path(identity: Path, group_id: bytes) -> Path:
    """Where the messages wait that this identity has for this group."""
    return identity.with_name(f"{identity.stem}.outbox") / f"{group_id.hex()[:16]}.sqlite"


def _failed(path: Path, error: OSError | sqlite3.Error) -> OutboxFailed:
    return OutboxFailed(f"{path}: the outbox cannot be used: {error}", exit_code=ExitCode.USAGE)


def _entry(row: tuple[object, ...]) -> Entry:
    match row:
        case (
            int(number), str(state), str(room), str(body), int(action), int() | None as reply_to,
            str() | None as thread, bytes(nonce), int(queued_ms), bytes() | None as device,
            int() | None as session, int() | None as client_sequence, int() | None as event,
            int() | None as message, int() | None as sequence, int() | None as batch_index, str(problem),
        ):  # fmt: skip
            draft = Draft(
                room=RoomName(room),
                body=MessageText(body),
                action=bool(action),
                reply_to=reply_to,
                thread=thread,
                nonce=nonce,
            )
            name = place = None
            if device is not None and session is not None and client_sequence is not None and event is not None:
                name = Name(
                    device=PublicKey(device),
                    session=SessionNumber(session),
                    client_sequence=ClientSequence(client_sequence),
                    event=event,
                )
            if message is not None and sequence is not None and batch_index is not None:
                place = Place(
                    message=MessageIndex(message), sequence=SequenceNumber(sequence), batch_index=batch_index
                )
            return Entry(
                number=number,
                state=State(state),
                draft=draft,
                queued_ms=Milliseconds(queued_ms),
                name=name,
                place=place,
                problem=problem,
            )
        case _:
            raise OutboxFailed(f"an entry of the outbox is damaged: {row[:2]!r}")
