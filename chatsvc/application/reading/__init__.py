"""Answering queries from the rows.

A query that is ordered like an operation runs in the middle of a batch, where `Reader.scan` does not show what the
batch has written so far and `Reader.get` does. Messages are therefore completed by `get`; listings and searches then
speak of the state before the batch.
"""

from __future__ import annotations

from typing import Final

from chatsvc.application.limits import ChatLimits
from chatsvc.application.queries import decode_query
from chatsvc.application.reading import messages, people, polls, rooms, search
from chatsvc.application.reading.question import Answering, Question
from chatsvc.application.reading.search import SearchPort
from chatsvc.application.results import ErrorCode, Rejected, encode_result
from chatsvc.application.state import Refusal, caller_or_none
from chatsvc.application.wire import Wire
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey
from pbft.core.application import Reader

NO_QUERY = Rejected(ErrorCode.BAD_QUERY, "these bytes are no query of this service")

_ANSWERING: Final[dict[type[Wire], Answering]] = {
    **rooms.ANSWERING,
    **people.ANSWERING,
    **messages.ANSWERING,
    **polls.ANSWERING,
    **search.ANSWERING,
}


def answer(reader: Reader, index: SearchPort, limits: ChatLimits, device: PublicKey, data: bytes) -> bytes:
    """Return the answer to the query that `data` encodes; for any bytes whatever."""
    try:
        query = decode_query(data)
    except MalformedEncoding:
        return encode_result(NO_QUERY)
    try:
        question = Question(reader, index, limits, device, caller_or_none(reader, device))
        return _ANSWERING[type(query)](question, query)
    except Refusal as refusal:
        return encode_result(refusal.rejected)
