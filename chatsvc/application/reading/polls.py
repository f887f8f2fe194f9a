"""Polls."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.answers import Poll
from chatsvc.application.queries import ShowPoll
from chatsvc.application.reading.question import Answering, Question
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import POLLS, VOTES, PollRow
from chatsvc.application.state import Refusal, find_message
from chatsvc.application.wire import Wire, encode_wire


def _poll(question: Question, query: ShowPoll) -> bytes:
    room = question.room(query.room)
    message = find_message(question.reader, room, query.index)
    row = question.reader.get(POLLS, (room.name, query.index))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_POLL, f"message {query.index} in {room.title} is no poll")
    poll, mine = PollRow.from_row(row), None
    if question.caller is not None:
        vote = question.reader.get(VOTES, (room.name, query.index, question.caller.account))
        mine = None if vote is None else cast("int", vote[0])
    answer = Poll(
        question=message.body.partition("\n")[0],
        options=tuple(cast("list[str]", poll.options)),
        votes=tuple(cast("list[int]", poll.votes)),
        closed_ms=poll.closed_ms,
        mine=mine,
    )
    return encode_wire(answer)


ANSWERING: Final[dict[type[Wire], Answering]] = {ShowPoll: _poll}
