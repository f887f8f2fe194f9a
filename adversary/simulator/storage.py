"""A replica's disk: the real ledger and the real state in a directory that can be full, fail, rot or lose power."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.process import STATE_NAME
from chatsvc.search_index import SearchIndex
from crypto.digest import Digest
from pbft.core.application import TableSpec
from pbft.core.dedupe import DEDUPE_TABLES
from pbft.core.effects import (
    BatchExecuted,
    Evidence,
    Execute,
    InstallPages,
    InstallState,
    Record,
    RecordKind,
    StateInstalled,
)
from pbft.core.group import Group
from pbft.core.types import Now
from pbft.node.evidence import EVIDENCE_PER_CULPRIT_MAX
from pbft.node.ledger import Ledger, LedgerDamaged
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from pbft.state.database_files import set_aside
from pbft.state.errors import StateDamaged, StorageFailure
from pbft.state.executor import Executor, open_state
from pbft.state.scrub import DamagedPage
from pbft.state.store import StateStore

WAL_HEADER_BYTES = 32
SPACE_USED_UP = "PRAGMA max_page_count = 1"
"""SQLite takes no more pages than it has, and says SQLITE_FULL."""
SPACE_AGAIN = "PRAGMA max_page_count = 1073741823"

LEDGER_FILES: Final = (LEDGER_NAME, f"{LEDGER_NAME}-wal", WITNESS_NAME)
STATE_FILES: Final = (STATE_NAME, f"{STATE_NAME}-wal")

Trouble = Literal["", "full", "sync fails", "sync fails, data kept"]
Image = dict[str, bytes]
"""Contents of the files that exist, by name."""

_template_of: list[tuple[Digest, bytes]] = []
"""A group and its empty state database, once there is one."""
_founded: dict[bytes, Image] = {}

MEMORY = Path("/dev/shm")  # noqa: S108 - TemporaryDirectory makes a name of its own in it


class TroubledLedger(Ledger):
    """The real ledger on a disk with troubles."""

    trouble: Trouble = ""
    synced_witness = b""
    """What a power loss leaves of the witness: it is synced only before the ledger is shortened."""

    def free(self) -> None:
        self._database.execute(SPACE_AGAIN)

    def append(self, records: Sequence[Record]) -> None:
        if not records:
            return
        if self.trouble == "full":
            self._database.execute(SPACE_USED_UP)
        if any(record.kind is RecordKind.STABLE for record in records):
            self.synced_witness = self._witness_path.read_bytes()
        if self.trouble == "sync fails, data kept":
            super().append(records)
        if self.trouble.startswith("sync fails"):
            with self._guard():
                raise OSError(errno.EIO, "Input/output error")
        super().append(records)


@dataclass(frozen=True, slots=True)
class Opening:
    """What `Disk.open` found damaged and replaced: the reasons, empty for what was sound."""

    ledger: str = ""
    state: str = ""


class Disk:
    """What survives a crash of one host. Between `open` and `kill` ledger and state are in use."""

    executor: Executor
    ledger: TroubledLedger

    def __init__(self, directory: Path, group: Group, identity: bytes, retained_sequences: int) -> None:
        self._directory = directory
        self._group = group
        self._identity = identity
        self._retained = retained_sequences
        self._store: StateStore
        self._durable = (b"", 0)
        """Header and length of the state's log when it was last synced: a power loss leaves no more."""
        self.proofs: list[Evidence] = []
        """What a node keeps in a directory of its own."""
        self.is_full = False
        self._is_open = False
        directory.mkdir()
        (directory / STATE_NAME).write_bytes(_template(group))
        for name, data in _empty_ledger(identity).items():
            (directory / name).write_bytes(data)

    def open(self) -> Opening:
        """As `chatsvc.process` does: a damaged state is put aside, a damaged ledger begun again.

        Raises StateError, LedgerDamaged.
        """
        opening = Opening()
        is_new = not (self._directory / STATE_NAME).exists()
        try:
            self._open_state()
        except StateDamaged as damage:
            self.set_state_aside()
            is_new = True
            opening = replace(opening, state=str(damage))
            self._open_state()
        try:
            try:
                self._open_ledger()
            except LedgerDamaged as damage:
                opening = replace(opening, ledger=str(damage))
                Ledger.begin_again(self._directory, self._identity, str(damage))
                self._open_ledger()
        except BaseException:
            self._close_state()
            raise
        self._is_open = True
        self.ledger.synced_witness = (self._directory / WITNESS_NAME).read_bytes()
        if is_new:
            self._durable = (b"", 0)
        else:
            self._note_durable()
        if self.is_full:
            self.fill()
        return opening

    def _open_state(self) -> None:
        index = SearchIndex()
        application = _application(index, self._group)
        tables: tuple[TableSpec, ...] = (*application.tables, *DEDUPE_TABLES)
        self._store = StateStore(self._directory / STATE_NAME, tables, self._group, seldom_scanned=DEDUPE_TABLES)
        try:
            self.executor = Executor(self._store, application, self._group, index)
        except BaseException:
            self._store.connection.close()
            raise

    def _open_ledger(self) -> None:
        self.ledger = TroubledLedger(self._directory, self._identity, retained_sequences=self._retained)

    def _close_state(self) -> None:
        """Without a word, as when a process dies: what SQLite was not told to commit is gone."""
        self.executor._drop_snapshot()  # noqa: SLF001 - an orderly end would commit
        self._store.connection.close()

    def set_state_aside(self) -> None:
        """Move the damaged state out of the way; not while it is in use."""
        set_aside(self._directory / STATE_NAME)

    def execute(self, execute: Execute, now: Now) -> BatchExecuted:
        done = self.executor.execute(execute, now)
        if done.state_root is not None:
            self._note_durable()
        return done

    def install_pages(self, install: InstallPages) -> None:
        self.executor.install_pages(install)
        self._note_durable()

    def install_state(self, install: InstallState, now: Now) -> StateInstalled:
        installed = self.executor.install_state(install, now)
        self._note_durable()
        return installed

    def keep(self, evidence: Evidence) -> None:
        """Durably, and once. Raises StorageFailure."""
        alike = [known for known in self.proofs if (known.code, known.culprit) == (evidence.code, evidence.culprit)]
        if evidence in alike or len(alike) >= EVIDENCE_PER_CULPRIT_MAX:
            return
        if self.is_full:
            raise StorageFailure("evidence: No space left on device")
        self.proofs.append(evidence)

    def scrub(self, pages_max: int) -> list[DamagedPage]:
        damaged = self.executor.scrub(pages_max)
        if damaged:
            self._note_durable()
        return damaged

    def _note_durable(self) -> None:
        path = self._directory / f"{STATE_NAME}-wal"
        try:
            with path.open("rb") as log:
                header = log.read(WAL_HEADER_BYTES)
            self._durable = (header, path.stat().st_size)
        except FileNotFoundError:
            self._durable = (b"", 0)

    # -- how a process ends

    def kill(self, *, power: bool = False) -> None:
        """The process dies: what it had not handed to SQLite is gone; without power, what was not synced too."""
        image = self.image() if power else {}
        self._is_open = False
        self._close_state()
        self.ledger.close()
        if power:
            log = image.get(f"{STATE_NAME}-wal", b"")
            header, size = self._durable
            # A log begun anew since then was synced into the database before.
            image[f"{STATE_NAME}-wal"] = log[:size] if log[:WAL_HEADER_BYTES] == header else b""
            image[WITNESS_NAME] = self.ledger.synced_witness
            self.restore(image)

    # -- troubles

    def fill(self) -> None:
        self.is_full = True
        self.ledger.trouble = "full"
        self._store.connection.execute(SPACE_USED_UP)

    def mend(self) -> None:
        """No more troubles. A ledger or state that failed meanwhile takes no more before the next `open`."""
        self.is_full = False
        if self._is_open:
            self.ledger.trouble = ""
            self.ledger.free()
            self._store.connection.execute(SPACE_AGAIN)

    def fail_sync(self, *, kept: bool) -> None:
        self.ledger.trouble = "sync fails, data kept" if kept else "sync fails"

    def image(self) -> Image:
        """The files as they are, also while they are in use."""
        paths = [self._directory / name for name in (*LEDGER_FILES, *STATE_FILES)]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def restore(self, image: Image, names: Sequence[str] = (*LEDGER_FILES, *STATE_FILES)) -> None:
        """Put files back as they were; those that were not there go. Not while they are in use."""
        for name in names:
            path = self._directory / name
            if name in image:
                path.write_bytes(image[name])
            else:
                path.unlink(missing_ok=True)
        for name in (LEDGER_NAME, STATE_NAME):
            (self._directory / f"{name}-shm").unlink(missing_ok=True)

    def damage(self, what: str, amount: int, before: Image, stale: Image | None) -> None:
        """Do to the files of a dead process what `what` says. `before`: as they were when it died."""
        match what:
            case "lost_ledger":
                self.restore({}, LEDGER_FILES)
            case "lost_state":
                self.restore({}, STATE_FILES)
            case "lost_disk":
                self.restore({})
                self.proofs.clear()
            case "forgetful":
                self.restore(_empty_ledger(self._identity), LEDGER_FILES)
            case "forgetful_disk":
                self.restore(_empty_ledger(self._identity) | {STATE_NAME: _template(self._group)})
            case "stale":
                if stale is not None:
                    self.restore(stale)
            case "torn_ledger":
                self._change(before, lambda log: log[: max(0, len(log) - 1 - amount % 4096)])
            case "flipped_ledger":
                self._change(before, lambda log: _flipped(log, amount))
            case _:
                self._flip_row(amount)

    def _change(self, before: Image, change: Callable[[bytes], bytes]) -> None:
        """Change the ledger's log, or its database when the log is empty."""
        log = f"{LEDGER_NAME}-wal"
        name = log if before.get(log) else LEDGER_NAME
        self.restore(before | {name: change(before[name])}, LEDGER_FILES)

    def _flip_row(self, amount: int) -> None:
        """Flip one bit of one row, behind the back of the digests."""
        database = sqlite3.connect(self._directory / STATE_NAME, isolation_level=None)
        try:
            names = [
                name
                for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
                if {"page", "key", "row"} <= {column[1] for column in database.execute(f"PRAGMA table_info({name})")}
            ]
            rows = [
                (name, key, row)
                for name in names
                for key, row in database.execute(f"SELECT key, row FROM {name} ORDER BY page, key")  # noqa: S608
            ]
            if rows:
                name, key, row = rows[amount % len(rows)]
                database.execute(f"UPDATE {name} SET row = ? WHERE key = ?", (_flipped(row, amount), key))  # noqa: S608
        finally:
            database.close()


def _flipped(data: bytes, amount: int) -> bytes:
    if not data:
        return data
    place = amount % len(data)
    return data[:place] + bytes([data[place] ^ (1 << amount % 8)]) + data[place + 1 :]


def _application(index: SearchIndex, group: Group) -> ChatApplication:
    return ChatApplication(index, ChatLimits.from_mapping(dict(group.application)))


def _template(group: Group) -> bytes:
    """An empty state database of the group: that of another one, with another name in it."""
    if not _template_of:
        with workspace() as directory:
            path = Path(directory) / STATE_NAME
            index = SearchIndex()
            open_state(path, _application(index, group), group, index).close()
            _template_of.append((group.group_id, path.read_bytes()))
    known, database = _template_of[0]
    return database.replace(known, group.group_id)


def _empty_ledger(identity: bytes) -> Image:
    """The files of a ledger as founding makes them."""
    known = _founded.get(identity)
    if known is None:
        with workspace() as name:
            directory = Path(name)
            Ledger.create(directory, identity)
            known = {name: (directory / name).read_bytes() for name in (LEDGER_NAME, WITNESS_NAME)}
        _founded[identity] = known
    return known


def workspace() -> TemporaryDirectory[str]:
    """A directory in memory where there is one. Gone with its context, whatever happens in it."""
    return TemporaryDirectory(prefix="quorate-simulation-", dir=MEMORY if MEMORY.is_dir() else None)
