"""Applies committed batches to the state, one transaction each, and answers reads out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from crypto.canonical import encode
from crypto.digest import Digest, digest_of_parts
from crypto.signing import PublicKey
from pbft.core.application import Application, Call, EventItem, Key, Reader, Row
from pbft.core.dedupe import DEDUPE_TABLES, DamagedRow, Dedupe, Executed, SessionWindow, Standing, Verdict
from pbft.core.effects import BatchExecuted, Execute, ExecutedRequest, InstallPages, InstallState, StateInstalled
from pbft.core.errors import InvariantViolation, invariant
from pbft.core.group import Group
from pbft.core.messages import Batch, OperationResult, Request, SignedRequest
from pbft.core.state_digest import state_root
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.types import ClientSequence, EventIndex, Now, SequenceNumber
from pbft.state.errors import StorageFailure
from pbft.state.index import DerivedIndex, apply_changes, open_index
from pbft.state.install import Installer
from pbft.state.position import CheckpointRoot, Position, beginning, position_meta, read_position
from pbft.state.scrub import DamagedPage, Scrubber
from pbft.state.snapshot import Snapshot, answer_from
from pbft.state.store import StateStore

INTERNAL_ERROR = encode(["error", "INTERNAL", ""])
"""Result of an operation or query that the application failed on: the same bytes whatever the failure."""

T = TypeVar("T")


def open_state(
    path: Path | str, application: Application, group: Group, index: DerivedIndex | None = None
) -> Executor:
    """Open the state database at `path`, or begin one. Raises StateError."""
    store = StateStore(path, (*application.tables, *DEDUPE_TABLES), group, seldom_scanned=DEDUPE_TABLES)
    try:
        return Executor(store, application, group, index)
    except BaseException:
        store.close()
        raise


def next_history_head(head: Digest, sequence: SequenceNumber, batch_digest: Digest) -> Digest:
    """H(n) = hash(H(n-1), n, batch digest): commits to every batch executed."""
    return digest_of_parts(b"quorate/history/1", head, sequence.to_bytes(8, "big"), batch_digest)


class Executor:
    """Owns the state. The tables of `store` are the application's and DEDUPE_TABLES.

    Its `position` says whether the state is whole; else nothing is executed on it or read out of it.

    Any method raises StorageFailure. Then, and whenever `execute` raises, nothing of the batch remains.
    """

    def __init__(
        self, store: StateStore, application: Application, group: Group, index: DerivedIndex | None = None
    ) -> None:
        self._store = store
        self._reader = _ReadOnly(store)
        self._application = application
        self._application_tables = [spec.name for spec in application.tables]
        self._group = group
        self._dedupe = Dedupe(group.parameters)
        self._index = index
        self._position, self._checkpoint = read_position(store.read_meta(), group, store.guard)
        open_index(store, self._application_tables, index)
        self._installer = Installer(store, group, self._application_tables, index)
        self._scrubber = Scrubber(store, list(store.rows_tables))
        self._snapshot: Snapshot | None = None
        if self._checkpoint is not None and self._checkpoint.sequence == self._position.last_executed:
            self._take_snapshot(self._checkpoint)

    @property
    def position(self) -> Position:
        return self._position

    @property
    def checkpoint(self) -> CheckpointRoot | None:
        """The last checkpoint executed: after a crash its CHECKPOINT may still have to be signed."""
        return self._checkpoint

    def execute(self, execute: Execute, now: Now) -> BatchExecuted:
        """Apply the next batch. Raises InvariantViolation for any other than the next."""
        before, sequence, batch = self._position, execute.sequence, execute.batch
        invariant(before.is_whole, "a batch executed on a state that is not whole")
        invariant(sequence == before.last_executed + 1, f"batch {sequence} executed after {before.last_executed}")
        after = Position(
            last_executed=sequence,
            history_head=next_history_head(before.history_head, sequence, batch.digest),
            agreed_time=max(before.agreed_time, batch.timestamp),
        )
        checkpoint: CheckpointRoot | None = None
        durable = self._group.is_checkpoint(sequence)
        with self._store.transaction(durable=durable):
            try:
                results, topics = self._run(batch, after)
                if durable:
                    self._tidy(after)
            except DamagedRow as error:
                raise self._store.guard.damage(error) from error
            changes = self._store.changes(self._application_tables) if self._index is not None else []
            self._store.flush()
            if self._index is not None:
                apply_changes(self._store, self._index, changes)
            if durable:
                checkpoint = CheckpointRoot(sequence=sequence, state_root=self._root(after))
            self._checkpoint = checkpoint or self._checkpoint
            self._store.write_meta(position_meta(after, self._checkpoint))
        self._position = after
        if checkpoint is not None:
            self._take_snapshot(checkpoint)
        return BatchExecuted(
            now=now,
            sequence=sequence,
            batch=batch,
            results=results,
            topics=topics,
            state_root=checkpoint.state_root if checkpoint else None,
        )

    def state_root(self) -> Digest:
        """Return the root of the state as it is, at any position."""
        with self._store.transaction(durable=False):
            return self._root(self._position)

    def recomputed_state_root(self) -> Digest:
        """Return the same from the rows alone, however long it takes: a difference means that rows rotted."""
        with self._store.guard:
            table_roots = self._store.digests.recomputed_roots()
        return self._root_over(self._position, table_roots)

    # -- state transfer (LocalState of pbft.core.state_walk, and its effects) ---------------------------------------

    def table_roots(self) -> dict[str, Digest]:
        with self._store.transaction(durable=False):
            return self._store.table_roots()

    def bucket_digests(self, table: str) -> tuple[Digest, ...]:
        """As of the last `table_roots`."""
        return self._store.digests.tree(table).buckets()

    def page_digests(self, table: str, bucket: int) -> Mapping[bytes, Digest]:
        """As of the last `table_roots`, or of what was installed since."""
        return self._store.digests.tree(table).bucket(bucket)

    def install_pages(self, install: InstallPages) -> None:
        """Put pages in place. From then on the state is not whole, and stands nowhere, until `install_state`."""
        self._drop_snapshot()
        self._installer.pages(install)
        self._position, self._checkpoint = beginning(self._group, is_whole=False), None

    def install_state(self, install: InstallState, now: Now) -> StateInstalled:
        """Stand at a checkpoint, if the rows come to its root; sequence 0 empties them first."""
        if install.sequence == 0:
            self._drop_snapshot()
            self._installer.empty()
            self._position, self._checkpoint = beginning(self._group, is_whole=False), None
        position = Position(
            last_executed=install.sequence, history_head=install.history_head, agreed_time=install.agreed_time
        )
        root = self._root_over(position, self.table_roots())
        if root == install.state_root:
            checkpoint = None
            if install.sequence > 0:
                checkpoint = CheckpointRoot(sequence=install.sequence, state_root=root)
            self._installer.finish(position, checkpoint)
            self._position, self._checkpoint = position, checkpoint
            if checkpoint is not None:
                self._take_snapshot(checkpoint)
        return StateInstalled(now=now, sequence=install.sequence, state_root=root)

    def serve_state(self, fetch: FetchState) -> StateAnswer:
        """Answer out of the state of the last checkpoint, if that is the one asked for."""
        with self._store.guard:
            return answer_from(self._snapshot, fetch)

    def scrub(self, pages_max: int) -> list[DamagedPage]:
        """Hash the next few pages again, and return those whose rows rotted; the next root shows them."""
        return self._scrubber.next_pages(pages_max) if self._position.is_whole else []

    # -- reads -----------------------------------------------------------------------------------------------------

    def judge(self, device: PublicKey, request: Request) -> tuple[Verdict, ...]:
        """Tell for each operation of a request whether it ran already, or might run if the request were next.

        A state that is not whole knows of none.
        """
        if not self._position.is_whole:
            return (Standing.NEW,) * len(request.operations)
        first = request.first_client_sequence
        try:
            window = self._dedupe.open(self._store, device, request.session)
            window.acknowledge(request.ack_below)  # seen by this window alone: it is not saved
            return tuple(window.judge(ClientSequence(first + offset)) for offset in range(len(request.operations)))
        except DamagedRow as error:
            raise self._store.guard.damage(error) from error

    def query(self, device: PublicKey, query: bytes) -> tuple[SequenceNumber, bytes]:
        """Answer a read, with the sequence number whose state answered."""
        invariant(self._position.is_whole, "a query asked of a state that is not whole")
        try:
            answer = self._application.query(self._reader, device, query)
        except StorageFailure:
            raise
        except Exception:  # noqa: BLE001 - a query may break the application, never the node
            answer = INTERNAL_ERROR
        return self._position.last_executed, answer

    def events(
        self, device: PublicKey, topic: bytes, start: EventIndex, limit: int
    ) -> tuple[SequenceNumber, tuple[EventItem, ...] | None]:
        """Read events of a topic (None: it cannot be read), with the sequence number whose state answered."""
        invariant(self._position.is_whole, "events read out of a state that is not whole")
        try:
            found = self._application.events(self._reader, device, topic, start, limit)
            events = None if found is None else tuple(found)
        except StorageFailure:
            raise
        except Exception:  # noqa: BLE001 - as for queries
            events = None
        return self._position.last_executed, events

    def settle(self) -> None:
        """Commit the batches executed since the last time: to be called now and then, not for each."""
        self._store.settle()

    def close(self) -> None:
        self._drop_snapshot()
        self._store.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _run(self, batch: Batch, position: Position) -> tuple[tuple[ExecutedRequest, ...], tuple[bytes, ...]]:
        executed: list[ExecutedRequest] = []
        topics: dict[bytes, None] = {}
        index = 0
        for request in batch.requests:
            results = self._run_request(request, index, position, topics)
            index += len(request.message.operations)
            if results:
                session = request.message.session
                executed.append(ExecutedRequest(device=request.device, session=session, results=results))
        return tuple(executed), tuple(topics)

    def _run_request(
        self, request: SignedRequest, index: int, position: Position, topics: dict[bytes, None]
    ) -> tuple[OperationResult, ...]:
        """Run those operations that are new. `index` is the place of the first in the batch."""
        message, device = request.message, request.device
        window = self._dedupe.open(self._store, device, message.session)
        window.acknowledge(message.ack_below)
        results: list[OperationResult] = []
        for offset, operation in enumerate(message.operations):
            name = ClientSequence(message.first_client_sequence + offset)
            verdict = window.judge(name)
            if verdict is Standing.NEW:
                call = Call(
                    device=device,
                    session=message.session,
                    client_sequence=name,
                    sequence=position.last_executed,
                    index=index + offset,
                    time=position.agreed_time,
                )
                results.append(self._run_operation(window, call, operation, topics))
            elif not isinstance(verdict, Executed):
                results.append(OperationResult(client_sequence=name, index=index + offset, refused=True, result=b""))
        window.save()
        return tuple(results)

    def _run_operation(
        self, window: SessionWindow, call: Call, operation: bytes, topics: dict[bytes, None]
    ) -> OperationResult:
        """Run one operation. Whatever it makes the application raise is its result, at every replica the same."""
        knew = self.knows(call.device)

        def execute() -> tuple[bytes, bool, dict[bytes, None]]:
            outcome = self._application.execute(self._store, call, operation)
            if type(outcome.result) is not bytes:
                raise TypeError("a result is bytes")
            return outcome.result, outcome.remember, dict.fromkeys(outcome.topics)

        answer, remember, gained = self._apart(execute) or (INTERNAL_ERROR, True, {})
        topics.update(gained)
        result = OperationResult(client_sequence=call.client_sequence, index=call.index, refused=False, result=answer)
        if self.knows(call.device):
            if not knew:
                window.introduce(call.client_sequence)
            if remember:
                window.remember(result, call.sequence)
            else:
                window.note(call.client_sequence)
        return result

    def _tidy(self, position: Position) -> None:
        self._apart(lambda: self._application.tidy(self._store, position.last_executed, position.agreed_time))

    def _apart(self, work: Callable[[], T]) -> T | None:
        """Let the application write. What it raises leaves no write, and gives None, at every replica the same."""
        store = self._store
        store.begin_operation()
        try:
            done = work()
            store.accept_operation()
        except StorageFailure:
            raise
        except MemoryError as error:
            # Not the operation's doing, which is bounded, but this machine's: another one would have managed.
            raise InvariantViolation("this machine has no memory left; the node stops rather than differ") from error
        except Exception:  # noqa: BLE001 - a query of death: every replica would stop at it, again after each restart
            store.drop_operation()
            return None
        return done

    def knows(self, device: PublicKey) -> bool:
        """Whether the application knows the device."""
        try:
            return self._application.knows(self._store, device)
        except StorageFailure:
            raise
        except Exception:  # noqa: BLE001 - as for operations
            return False

    def _take_snapshot(self, checkpoint: CheckpointRoot) -> None:
        """The state is at a checkpoint, and committed: keep it readable for those who fetch it."""
        self._drop_snapshot()
        table_roots = self.table_roots()
        self._store.settle()
        connection = self._store.open_snapshot()
        if connection is None:
            return
        self._snapshot = Snapshot(
            sequence=checkpoint.sequence,
            state_root=checkpoint.state_root,
            history_head=self._position.history_head,
            agreed_time=self._position.agreed_time,
            table_roots=table_roots,
            trees=self._store.digests.freeze(),
            connection=connection,
            guard=self._store.guard,
            rows_tables=self._store.rows_tables,
        )

    def _drop_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def _root(self, position: Position) -> Digest:
        return self._root_over(position, self._store.table_roots())

    def _root_over(self, position: Position, table_roots: dict[str, Digest]) -> Digest:
        return state_root(
            history_head=position.history_head,
            agreed_time=position.agreed_time,
            table_roots=table_roots,
            group_id=self._group.group_id,
            epoch=self._group.epoch,
            sequence=position.last_executed,
        )


class _ReadOnly:
    """What queries get: a row put by a query would enter this replica's state alone."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.scan = store.scan

    def get(self, table: str, key: Key) -> Row | None:
        return self._store.get(table, key)
