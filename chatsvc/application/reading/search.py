"""Searching the messages that the caller may read."""

from __future__ import annotations

from typing import Final

from chatsvc.application.answers import PAGE_BYTES_FULL, encode_page
from chatsvc.application.queries import SearchMessages
from chatsvc.application.reading.question import Answering, Question, SearchPort
from chatsvc.application.reading.values import SERIAL, fill, message_value, number
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MEMBERSHIPS
from chatsvc.application.search_language import SearchError, parse_search
from chatsvc.application.state import Refusal
from chatsvc.application.wire import Wire

__all__ = ["ANSWERING", "SearchPort"]


def _search(question: Question, query: SearchMessages) -> bytes:
    caller = question.caller
    try:
        plan = parse_search(query.text, me=None if caller is None else caller.account)
    except SearchError as error:
        raise Refusal(ErrorCode.BAD_QUERY, str(error)) from error
    found = question.messages.find(plan, _joined_rooms(question), query.before, query.limit)
    page, is_full = fill(
        (message_value(question.reader, room, index) for room, index in found), query.limit, PAGE_BYTES_FULL
    )
    return encode_page("found", page, number(page[-1], SERIAL) if is_full else None)


def _joined_rooms(question: Question) -> list[str]:
    """Rooms that the caller is in, private ones and others: to tell them apart would take longer than to search."""
    if question.caller is None:
        return []
    account = question.caller.account
    joined = question.reader.scan(MEMBERSHIPS, prefix=(account,), limit=question.limits.memberships_per_account)
    return [str(key[1]) for key, _ in joined]


ANSWERING: Final[dict[type[Wire], Answering]] = {SearchMessages: _search}
