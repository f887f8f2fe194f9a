"""Where a state stands, and how that is stored beside its rows."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.digest import DIGEST_BYTES, Digest
from pbft.core.group import Group
from pbft.core.types import Milliseconds, SequenceNumber
from pbft.state.errors import StorageGuard
from pbft.state.opening import Meta, MetaValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the state has executed. Before the first batch the history head is the group id."""

    last_executed: SequenceNumber
    history_head: Digest
    agreed_time: Milliseconds
    is_whole: bool = True
    """False while pages are being fetched: the state is none, and stands nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRoot:
    """The state root at a checkpoint."""

    sequence: SequenceNumber
    state_root: Digest


def beginning(group: Group, *, is_whole: bool = True) -> Position:
    """Where a state begins, or where one that is not whole is taken to stand."""
    return Position(
        last_executed=SequenceNumber(0),
        history_head=group.group_id,
        agreed_time=Milliseconds(0),
        is_whole=is_whole,
    )


def position_meta(position: Position, checkpoint: CheckpointRoot | None) -> Meta:
    """As stored. Without a checkpoint, none is known."""
    return {
        "last_executed": position.last_executed,
        "history_head": position.history_head,
        "agreed_time": position.agreed_time,
        "transferring": 0 if position.is_whole else 1,
        "checkpoint_sequence": checkpoint.sequence if checkpoint else None,
        "checkpoint_root": checkpoint.state_root if checkpoint else None,
    }


def read_position(meta: Meta, group: Group, guard: StorageGuard) -> tuple[Position, CheckpointRoot | None]:
    """Raise StateDamaged for what was never written."""
    if "last_executed" not in meta:
        return beginning(group), None
    position = Position(
        last_executed=SequenceNumber(_number(meta, "last_executed", guard)),
        history_head=_digest(meta, "history_head", guard),
        agreed_time=Milliseconds(_number(meta, "agreed_time", guard)),
        is_whole=meta.get("transferring") == 0,
    )
    if meta.get("checkpoint_root") is None:
        return position, None
    sequence = SequenceNumber(_number(meta, "checkpoint_sequence", guard))
    return position, CheckpointRoot(sequence=sequence, state_root=_digest(meta, "checkpoint_root", guard))


def _number(meta: Meta, name: str, guard: StorageGuard) -> int:
    value: MetaValue = meta.get(name)
    if type(value) is not int or value < 0:
        raise guard.damage(f"{name} is unreadable")
    return value


def _digest(meta: Meta, name: str, guard: StorageGuard) -> Digest:
    value: MetaValue = meta.get(name)
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        raise guard.damage(f"{name} is unreadable")
    return Digest(value)
