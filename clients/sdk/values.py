"""What the SDK gives back, and what it raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from chatsvc.application.results import ErrorCode
from pbft.client.errors import ClientError, ExitCode
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

T_co = TypeVar("T_co", covariant=True)

ClientFailure = ClientError
"""Base of everything raised here on purpose; its `exit_code` is that of a command that ends by it."""


class ChatError(ClientError):
    """The chat says no, in f+1 voices. Nothing was changed."""

    exit_code = ExitCode.REJECTED

    def __init__(self, code: ErrorCode, detail: str, *, retry_ms: Milliseconds | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_ms = retry_ms
        """From this moment on, by the group's time, the same may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What makes it true: ordered at `sequence`, place `index`, as `vouchers` have signed; `needed` would do."""

    sequence: SequenceNumber
    index: int
    vouchers: tuple[ReplicaId, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class Done(Generic[T_co]):
    """An operation was carried out."""

    value: T_co
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T_co]):
    """An answer as of `sequence`. `ordered`: it has a place in the order of all writes, hence is linearizable."""

    value: T_co
    sequence: SequenceNumber
    vouchers: tuple[ReplicaId, ...]
    needed: int
    ordered: bool
