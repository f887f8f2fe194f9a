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
from chatsvc.application.state import Refusal, State
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
        if isinstance(decoded, Read):
            return Outcome(answer(rows, self._search, self._limits, call.device, decoded.query), remember=False)
        state = State(rows, call, self._limits)
        try:
            spending = check(state, decoded)
            result: Result = _RULES[type(decoded)](state, decoded)
        except Refusal as refusal:
            return Outcome(encode_result(refusal.rejected))
        spend(state, spending)
        return Outcome(encode_result(result), topics=tuple(dict.fromkeys(state.topics)))

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
