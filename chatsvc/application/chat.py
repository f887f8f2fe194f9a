"""The chat: operations carried out on the rows, one after the other, equally at every replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Read, decode_operation
from chatsvc.application.reading import answer
from chatsvc.application.reading.events import events
from chatsvc.application.reading.search import SearchPort
from chatsvc.application.results import ErrorCode, Rejected, Result, encode_result
from chatsvc.application.rules import accounts, links, members, messages, polls, retention, rooms
from chatsvc.application.rules.allowances import check, spend
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import DEVICES, TABLES
from chatsvc.application.state import Refusal, State, caller_or_none
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey
from pbft.core.application import Call, EventItem, Outcome, Reader, Rows, TableSpec
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber

MALFORMED = Rejected(ErrorCode.MALFORMED, "these bytes are no operation of this service")

_RULES: Final[Rules] = {
    **accounts.RULES,
    **rooms.RULES,
    **members.RULES,
    **links.RULES,
    **messages.RULES,
    **polls.RULES,
}


class ChatApplication:
    """Implements `pbft.core.application.Application`. Holds nothing that changes: all state is in the rows."""

    def __init__(self, search: SearchPort, limits: ChatLimits) -> None:
        self._search = search
        self._limits = limits

    @property
    def tables(self) -> Sequence[TableSpec]:
        return TABLES

    def knows(self, rows: Reader, device: PublicKey) -> bool:
        return rows.get(DEVICES, (device,)) is not None

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        try:
            decoded = decode_operation(operation)
        except MalformedEncoding:
            return Outcome(encode_result(MALFORMED))
        state = State(rows, call, self._limits)
        if isinstance(decoded, Read):
            return Outcome(self._read(state, decoded), remember=False)
        try:
            spending = check(state, decoded)
            result: Result = _RULES[type(decoded)](state, decoded)
        except Refusal as refusal:
            return Outcome(encode_result(refusal.rejected))
        spend(state, spending)
        return Outcome(encode_result(result), topics=tuple(dict.fromkeys(state.topics)))

    def _read(self, state: State, operation: Read) -> bytes:
        """An ordered read takes a place in the order as any operation does, and costs as much, whatever it gives."""
        try:
            caller = caller_or_none(state.rows, state.call.device)
            # A revoked device is refused: it must not use up what is left to its account.
            spend(state, None if caller is None else check(state, operation))
        except Refusal as refusal:
            return encode_result(refusal.rejected)
        return answer(state.rows, self._search, self._limits, state.call.device, operation.query)

    def tidy(
        self,
        rows: Rows,
        sequence: SequenceNumber,  # noqa: ARG002 - what is forgotten depends on the time alone
        time: Milliseconds,
    ) -> None:
        """At a checkpoint: forget what rooms do not keep any longer."""
        retention.prune(rows, time)

    def query(self, reader: Reader, device: PublicKey, query: bytes) -> bytes:
        return answer(reader, self._search, self._limits, device, query)

    def events(
        self, reader: Reader, device: PublicKey, topic: bytes, start: EventIndex, limit: int
    ) -> Sequence[EventItem] | None:
        return events(reader, device, topic, start, limit)
