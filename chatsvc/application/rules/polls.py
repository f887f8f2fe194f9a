"""Polls: a question, options, and one vote for each account."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.bodies import BadText
from chatsvc.application.events import EventKind
from chatsvc.application.operations import ClosePoll, OpenPoll, Vote
from chatsvc.application.results import Applied, ErrorCode, Result
from chatsvc.application.rules.messages import moderates, standing_message
from chatsvc.application.rules.posting import Draft, checked_body, refuse_muted, say
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import POLLS, VOTES, MessageIndex, MessageKind, MessageRow, PollRow
from chatsvc.application.state import Refusal, Room, State
from chatsvc.application.texts import parse_option, parse_question


def open_poll(state: State, operation: OpenPoll) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    try:
        question = parse_question(operation.question)
        options = [parse_option(option) for option in operation.options]
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error
    if len(set(options)) < len(options):
        raise Refusal(ErrorCode.BAD_TEXT, "the options of a poll differ from each other")
    body = checked_body("\n".join((question, *options)))
    draft = Draft(MessageKind.POLL, body, None, operation.thread, operation.nonce, None)
    posted = say(state, room, caller, draft)
    _save(state, room, posted.index, PollRow([*options], [0] * len(options), None))
    return posted


def vote(state: State, operation: Vote) -> Result:
    """What somebody chose is kept, so that it can choose again, and told to itself only."""
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    refuse_muted(state, room)
    _, poll = _poll(state, room, operation.index)
    if poll.closed_ms is not None:
        raise Refusal(ErrorCode.POLL_CLOSED, "this poll is closed: its votes stand")
    if operation.option is not None and operation.option >= len(poll.options):
        raise Refusal(
            ErrorCode.NO_SUCH_OPTION, f"this poll has {len(poll.options)} options, numbered from 0 in what is sent"
        )
    key = (room.name, operation.index, caller.account)
    row = state.rows.get(VOTES, key)
    before = None if row is None else cast("int", row[0])
    if operation.option == before:
        return Applied()
    votes = _votes(poll)
    if before is not None:
        votes[before] -= 1
    if operation.option is None:
        state.rows.delete(VOTES, key)
    else:
        votes[operation.option] += 1
        state.rows.put(VOTES, key, (operation.option,))
    _save(state, room, operation.index, poll._replace(votes=[*votes]))
    state.happened(room, EventKind.VOTED, None, message=operation.index, data=votes)
    state.save(room)
    return Applied()


def close_poll(state: State, operation: ClosePoll) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    message, poll = _poll(state, room, operation.index)
    if message.author != caller.name and not moderates(room):
        raise Refusal(ErrorCode.NOT_ALLOWED, f"only {message.author}, who asked, and moderators may close this poll")
    if poll.closed_ms is not None:
        return Applied()
    _save(state, room, operation.index, poll._replace(closed_ms=state.call.time))
    state.happened(room, EventKind.POLL_CLOSED, caller, message=operation.index, data=_votes(poll))
    state.save(room)
    return Applied()


def _poll(state: State, room: Room, index: MessageIndex) -> tuple[MessageRow, PollRow]:
    message = standing_message(state, room, index)
    row = state.rows.get(POLLS, (room.name, index))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_POLL, f"message {index} in {room.title} is no poll")
    return message, PollRow.from_row(row)


def _votes(poll: PollRow) -> list[int]:
    """Return the votes for each option, for the caller to change."""
    return cast("list[int]", [*poll.votes])


def _save(state: State, room: Room, index: MessageIndex, poll: PollRow) -> None:
    state.rows.put(POLLS, (room.name, index), tuple(poll))


RULES: Final[Rules] = {OpenPoll: open_poll, Vote: vote, ClosePoll: close_poll}
