"""Exactly once: which operations ran already, as rows of the replicated state.

An operation is named (device, session, client sequence). Inside a session a bounded window of client sequences may
run in any order; a result is kept until the client acknowledges it. Sessions per device are bounded: the
lowest-numbered one goes first, and no session at or below it is ever opened again, or an old signed request would run
twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import cast

from crypto.signing import PublicKey
from pbft.core.application import HashedPages, KeyType, Row, Rows, TableSpec
from pbft.core.errors import invariant
from pbft.core.group import Parameters
from pbft.core.messages import OperationResult
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber

SESSIONS = TableSpec(name="sessions", key=(KeyType.BYTES,), pages=HashedPages(prefix=1))
"""(device) -> (floor, [[session, ack_below, next_unused], ...] by session).

`floor` is the highest session evicted, `next_unused` the highest client sequence seen plus one.
"""

EXECUTED = TableSpec(
    name="executed", key=(KeyType.BYTES, KeyType.INTEGER, KeyType.INTEGER), pages=HashedPages(prefix=1)
)
"""(device, session, client sequence) -> (sequence, index in its batch, result)."""

DEDUPE_TABLES = (SESSIONS, EXECUTED)

NOTHING_EVICTED = -1
"""Floor of a device all of whose sessions are open: sessions count from 0."""


class DamagedRow(Exception):  # noqa: N818 - as the protocol's own failures are named
    """A row rotted into something else that decodes."""


class Standing(Enum):
    """What an operation that has no stored result is to the rule."""

    NEW = "new"
    STALE = "stale"
    """Acknowledged or evicted: whether it ran is forgotten, so it must not run."""
    OUT_OF_WINDOW = "out of window"
    """Beyond the client sequences that the session may have outstanding."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The operation ran in the batch at `sequence`."""

    sequence: SequenceNumber
    result: OperationResult


Verdict = Standing | Executed


class Dedupe:
    """The exactly-once rule. Has no state of its own."""

    def __init__(self, parameters: Parameters) -> None:
        self._window = parameters.client_window
        self._sessions_max = parameters.sessions_per_device

    def open(self, rows: Rows, device: PublicKey, session: SessionNumber) -> SessionWindow:
        """Read where a session stands. Of one device's, only one may be changed at a time."""
        return SessionWindow(rows, device, session, window=self._window, sessions_max=self._sessions_max)


class SessionWindow:
    """Which operations of one session ran. Reads the device's row once, and `save` writes it once.

    But for the results that `remember` keeps, nothing is written before `save`; without it, one looks ahead.
    """

    __slots__ = (
        "_ack_below",
        "_acknowledged",
        "_changed",
        "_device",
        "_floor",
        "_is_open",
        "_is_stale",
        "_next_unused",
        "_others",
        "_rows",
        "_session",
        "_sessions_max",
        "_window",
    )

    def __init__(
        self, rows: Rows, device: PublicKey, session: SessionNumber, *, window: int, sessions_max: int
    ) -> None:
        self._rows, self._device, self._session = rows, device, session
        self._window, self._sessions_max = window, sessions_max
        self._floor, self._others = _parse(rows.get("sessions", (device,)), window)
        self._acknowledged = self._ack_below = self._next_unused = 0
        self._is_open = self._changed = False
        for entry in self._others:
            if entry[0] == session:
                _, self._ack_below, self._next_unused = entry
                self._acknowledged = self._ack_below
                self._is_open = True
        # Opening a session below all of a full set would evict it at once.
        self._is_stale = session <= self._floor or (
            not self._is_open and len(self._others) >= sessions_max and session < self._others[0][0]
        )

    def judge(self, client_sequence: ClientSequence) -> Verdict:
        """Tell whether an operation ran, or may run."""
        if self._is_stale or client_sequence < self._ack_below:
            return Standing.STALE
        if client_sequence >= self._ack_below + self._window:
            return Standing.OUT_OF_WINDOW
        if client_sequence >= self._next_unused:
            return Standing.NEW
        stored = self._rows.get("executed", (self._device, self._session, client_sequence))
        return Standing.NEW if stored is None else _executed(client_sequence, stored)

    def acknowledge(self, ack_below: ClientSequence) -> None:
        """Forget the results below `ack_below`, for ever.

        Clamped to what has run: a client that acknowledges more, or what it still wants to run, harms itself alone.
        A session that is not open has no results; there the names below are spent once it opens.
        """
        new = min(ack_below, self._next_unused) if self._is_open else ack_below
        if new > self._ack_below:
            self._ack_below = new
            self._changed = self._is_open

    def introduce(self, client_sequence: ClientSequence) -> None:
        """The device became known by this operation: all names before it are spent.

        What was refused while it was unknown left no trace, and would run if somebody brought it again.
        """
        self._floor = max(self._floor, self._session - 1)
        self._ack_below = self._acknowledged = client_sequence

    def note(self, client_sequence: ClientSequence) -> None:
        """Count an operation that was judged NEW as run, keeping no result: it may run again."""
        invariant(not self._is_stale, "an operation of a stale session ran")
        if not self._is_open or client_sequence >= self._next_unused:
            if not self._is_open:
                self._acknowledged = self._ack_below
            self._is_open = self._changed = True
            self._next_unused = client_sequence + 1

    def remember(self, result: OperationResult, sequence: SequenceNumber) -> None:
        """Keep the result of an operation that was judged NEW and ran in the batch at `sequence`."""
        self.note(result.client_sequence)
        key = (self._device, self._session, result.client_sequence)
        self._rows.put("executed", key, (sequence, result.index, result.result))

    def save(self) -> None:
        """Write the device's row if it changed, opening the session if it ran its first operation.

        Deletes the results acknowledged, and evicts the lowest-numbered sessions beyond the bound.
        """
        if not self._changed:
            return
        self._forget(self._session, self._acknowledged, self._ack_below)
        floor = self._floor
        mine = [self._session, self._ack_below, self._next_unused]
        opened = sorted([*(entry for entry in self._others if entry[0] != self._session), mine])
        while len(opened) > self._sessions_max:
            floor, ack_below, next_unused = opened.pop(0)
            self._forget(floor, ack_below, next_unused)
        row = (floor, opened)
        self._rows.put("sessions", (self._device,), row)  # type: ignore[arg-type]  # list is invariant
        self._acknowledged, self._changed = self._ack_below, False

    def _forget(self, session: int, start: int, end: int) -> None:
        for client_sequence in range(start, end):
            self._rows.delete("executed", (self._device, session, client_sequence))


def _parse(row: Row | None, window: int) -> tuple[int, list[list[int]]]:
    if row is None:
        return NOTHING_EVICTED, []
    match row:
        case (int(floor), list(sessions)) if floor >= NOTHING_EVICTED:
            if all(_is_session(entry, window) for entry in cast("list[object]", sessions)):
                return row  # type: ignore[return-value]  # as `save` wrote it
    raise DamagedRow("a row of table sessions is none that was ever written")


def _is_session(entry: object, window: int) -> bool:
    match entry:
        case [int(session), int(ack_below), int(next_unused)]:
            return session >= 0 and 0 <= ack_below <= next_unused <= ack_below + window
        case _:
            return False


def _executed(client_sequence: ClientSequence, row: Row) -> Executed:
    match row:
        case (int(), int(), bytes()):
            sequence, index, result = cast("tuple[SequenceNumber, int, bytes]", row)
        case _:
            raise DamagedRow("a row of table executed is none that was ever written")
    return Executed(
        sequence,
        OperationResult(client_sequence=client_sequence, index=index, refused=False, result=result),
    )
