"""Searching the messages that the caller may read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from chatsvc.application.answers import PAGE_BYTES_FULL, encode_page
from chatsvc.application.names import RoomName
from chatsvc.application.queries import SearchMessages
from chatsvc.application.reading.question import DIRECT_MARK, Answering, Question, SearchPort, joined_rooms
from chatsvc.application.reading.values import SERIAL, MessageValue, fill, message_value, number
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MEMBERS, MEMBERSHIPS, MESSAGES, ROOMS, MessageIndex, MessageRow, RoomRow
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
    found = question.messages.find(plan, _own_rooms(question), query.before, query.limit)
    page, is_full = fill(_shown(question, found), query.limit, PAGE_BYTES_FULL)
    goes_on = bool(page) and (is_full or len(found) == query.limit)
    return encode_page("found", page, number(page[-1], SERIAL) if goes_on else None)


def _shown(question: Question, found: Sequence[tuple[RoomName, MessageIndex]]) -> Iterator[MessageValue]:
    """Yield what was found but what the batch under execution, of which the index knows nothing yet, has taken away:
    deleted it, or put the caller out."""
    for name, index in found:
        row, message = question.reader.get(ROOMS, (name,)), question.reader.get(MESSAGES, (name, index))
        if row is None or message is None or MessageRow.from_row(message).deleted_by is not None:
            continue
        if not RoomRow.from_row(row).private or _is_member(question, name):
            yield message_value(question.reader, name, index)


def _own_rooms(question: Question) -> list[str]:
    """Rooms that the caller is in, private ones and others: to tell them apart would take longer than to search.

    As many conversations as there may be rooms, for others open any number of them.
    """
    if question.caller is None:
        return []
    account, limit = question.caller.account, question.limits.memberships_per_account
    talks = question.reader.scan(MEMBERSHIPS, prefix=(account,), start=(account, DIRECT_MARK), limit=limit)
    directs = [str(key[1]) for key, _ in talks if str(key[1]).startswith(DIRECT_MARK)]
    return [*directs, *joined_rooms(question, account)]


def _is_member(question: Question, room: str) -> bool:
    return question.caller is not None and question.reader.get(MEMBERS, (room, question.caller.account)) is not None


ANSWERING: Final[dict[type[Wire], Answering]] = {SearchMessages: _search}
