"""Applies committed batches to the state, one transaction each, and answers reads out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from crypto.canonical import encode
from crypto.digest import Digest, digest_of_parts
from crypto.merkle import merkle_root
from crypto.signing import PublicKey
from pbft.core.application import Application, Call, Key, Reader, Row
from pbft.core.dedupe import DEDUPE_TABLES, Dedupe, Executed, SessionWindow, Standing, Verdict
from pbft.core.effects import BatchExecuted, Execute, ExecutedRequest
from pbft.core.errors import InvariantViolation, invariant
from pbft.core.group import Group
from pbft.core.messages import Batch, OperationResult, Request, SignedRequest
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, Now, SequenceNumber
from pbft.state.errors import StorageFailure
from pbft.state.index import DerivedIndex, apply_changes, open_index
from pbft.state.pages import state_leaves
from pbft.state.store import StateStore

INTERNAL_ERROR = encode(["error", "INTERNAL", ""])
"""Result of an operation or query that the application failed on: the same bytes whatever the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the state has executed. Before the first batch the history head is the group id."""

    last_executed: SequenceNumber
    history_head: Digest
    agreed_time: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRoot:
    """The state root at a checkpoint."""

    sequence: SequenceNumber
    state_root: Digest


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
        meta = store.read_meta()
        self._position = Position(
            last_executed=SequenceNumber(cast("int", meta.get("last_executed", 0))),
            history_head=Digest(cast("bytes", meta.get("history_head", group.group_id))),
            agreed_time=Milliseconds(cast("int", meta.get("agreed_time", 0))),
        )
        self._checkpoint = None
        if "checkpoint_root" in meta:
            self._checkpoint = CheckpointRoot(
                sequence=SequenceNumber(cast("int", meta["checkpoint_sequence"])),
                state_root=Digest(cast("bytes", meta["checkpoint_root"])),
            )
        open_index(store, self._application_tables, index)

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
        invariant(sequence == before.last_executed + 1, f"batch {sequence} executed after {before.last_executed}")
        after = Position(
            last_executed=sequence,
            history_head=next_history_head(before.history_head, sequence, batch.digest),
            agreed_time=max(before.agreed_time, batch.timestamp),
        )
        checkpoint: CheckpointRoot | None = None
        durable = self._group.is_checkpoint(sequence)
        with self._store.transaction(durable=durable):
            results, topics = self._run(batch, after)
            changes = self._store.changes(self._application_tables) if self._index is not None else []
            self._store.flush()
            if self._index is not None:
                apply_changes(self._store, self._index, changes)
            if durable:
                checkpoint = CheckpointRoot(sequence=sequence, state_root=self._root(after))
            self._write_position(after, checkpoint)
        self._position = after
        self._checkpoint = checkpoint or self._checkpoint
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

    def judge(self, device: PublicKey, request: Request) -> tuple[Verdict, ...]:
        """Tell for each operation of a request whether it ran already, or might run if the request were next."""
        first = request.first_client_sequence
        window = self._dedupe.open(self._store, device, request.session)
        window.acknowledge(request.ack_below)  # seen by this window alone: it is not saved
        return tuple(window.judge(ClientSequence(first + offset)) for offset in range(len(request.operations)))

    def query(self, device: PublicKey, query: bytes) -> tuple[SequenceNumber, bytes]:
        """Answer a read, with the sequence number whose state answered."""
        try:
            answer = self._application.query(self._reader, device, query)
        except StorageFailure:
            raise
        except Exception:  # noqa: BLE001 - a query may break the application, never the node
            answer = INTERNAL_ERROR
        return self._position.last_executed, answer

    def events(
        self, device: PublicKey, topic: bytes, start: EventIndex, limit: int
    ) -> tuple[SequenceNumber, tuple[bytes, ...] | None]:
        """Read events of a topic (None: it cannot be read), with the sequence number whose state answered."""
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
        store = self._store
        knew = self.knows(call.device)
        store.begin_operation()
        try:
            outcome = self._application.execute(store, call, operation)
            answer, remember, gained = outcome.result, outcome.remember, dict.fromkeys(outcome.topics)
            if type(answer) is not bytes:
                raise TypeError("a result is bytes")
            store.accept_operation()
        except StorageFailure:
            raise
        except MemoryError as error:
            # Not the operation's doing, which is bounded, but this machine's: another one would have managed.
            raise InvariantViolation("this machine has no memory left; the node stops rather than differ") from error
        except Exception:  # noqa: BLE001 - a query of death: every replica would stop at it, again after each restart
            store.drop_operation()
            answer, remember, gained = INTERNAL_ERROR, True, {}
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

    def knows(self, device: PublicKey) -> bool:
        """Whether the application knows the device."""
        try:
            return self._application.knows(self._store, device)
        except StorageFailure:
            raise
        except Exception:  # noqa: BLE001 - as for operations
            return False

    def _root(self, position: Position) -> Digest:
        return self._root_over(position, self._store.table_roots())

    def _root_over(self, position: Position, table_roots: dict[str, Digest]) -> Digest:
        return merkle_root(
            state_leaves(
                history_head=position.history_head,
                agreed_time=position.agreed_time,
                table_roots=table_roots,
                group_id=self._group.group_id,
                epoch=self._group.epoch,
                sequence=position.last_executed,
            )
        )

    def _write_position(self, position: Position, checkpoint: CheckpointRoot | None) -> None:
        values: dict[str, int | bytes | None] = {
            "last_executed": position.last_executed,
            "history_head": position.history_head,
            "agreed_time": position.agreed_time,
        }
        if checkpoint:
            values |= {"checkpoint_sequence": checkpoint.sequence, "checkpoint_root": checkpoint.state_root}
        self._store.write_meta(values)


class _ReadOnly:
    """What queries get: a row put by a query would enter this replica's state alone."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.scan = store.scan

    def get(self, table: str, key: Key) -> Row | None:
        return self._store.get(table, key)
