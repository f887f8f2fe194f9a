"""Saying something: what texts and polls have in common."""

from __future__ import annotations

from typing import NamedTuple

from chatsvc.application.bodies import BadText, MessageText, TextTooLong, parse_body
from chatsvc.application.events import Content, content_digest
from chatsvc.application.results import ErrorCode, Posted
from chatsvc.application.rules.allowances import seconds
from chatsvc.application.rules.mentions import find_mentions, tell_of
from chatsvc.application.schema import (
    MESSAGES,
    THREAD_MESSAGES,
    THREADS,
    MessageIndex,
    MessageKind,
    MessageRow,
    Role,
    ThreadRow,
)
from chatsvc.application.state import Caller, Refusal, Room, State, find_message
from chatsvc.application.texts import ThreadTitle, parse_thread
from pbft.core.types import EventIndex, Milliseconds


class Draft(NamedTuple):
    """What is to be said."""

    kind: MessageKind
    body: MessageText
    reply_to: MessageIndex | None
    thread: str | None
    nonce: bytes
    claimed_ms: Milliseconds | None


class _Thread(NamedTuple):
    key: str
    row: ThreadRow
    is_new: bool


def checked_body(text: str) -> MessageText:
    try:
        return parse_body(text)
    except BadText as error:
        code = ErrorCode.BODY_TOO_LONG if isinstance(error, TextTooLong) else ErrorCode.BAD_BODY
        raise Refusal(code, str(error)) from error


def refuse_muted(state: State, room: Room) -> None:
    """Raise Refusal when the caller, a member, may only read."""
    if room.member is not None and room.member.muted_until_ms > state.call.time:
        until_ms = room.member.muted_until_ms
        raise Refusal(
            ErrorCode.MUTED,
            f"you are muted in {room.title} for another {seconds(until_ms - state.call.time)}: you can only read",
            retry_ms=until_ms,
        )


def say(state: State, room: Room, caller: Caller, draft: Draft) -> Posted:
    """Add a message of the caller, a member, to an open room. Raises Refusal before anything is changed."""
    refuse_muted(state, room)
    refuse_hurried(state, room)
    replied_to = None if draft.reply_to is None else find_message(state.rows, room, draft.reply_to)
    thread = None
    if draft.thread is not None:
        thread = _thread(state, room, _title(draft.thread))
    elif replied_to is not None and replied_to.thread is not None:
        thread = _thread(state, room, _title(replied_to.thread))
    mentioned = find_mentions(state, room, draft.body)

    index = MessageIndex(room.row.message_count)
    message = MessageRow(
        kind=draft.kind.value,
        author=caller.name,
        body=draft.body,
        reply_to=draft.reply_to,
        thread=None if thread is None else thread.row.title,
        mentions=[account.row.name for account in mentioned],
        nonce=draft.nonce,
        time=state.call.time,
        claimed_ms=draft.claimed_ms,
        sequence=state.call.sequence,
        batch_index=state.call.index,
        serial=state.take_serial(),
        event=EventIndex(room.row.event_count),
        digest=content_digest(Content(draft.body, draft.nonce)),
        private=room.row.private,
        edits=0,
        edited_ms=None,
        deleted_by=None,
    )
    state.rows.put(MESSAGES, (room.name, index), tuple(message))
    state.posted(room)
    if thread is not None:
        _add_to_thread(state, room, thread, index)
    state.save(room)
    note_spoken(state, room, caller)
    if mentioned or replied_to is not None or room.row.direct:
        author = None if replied_to is None or replied_to.deleted_by is not None else replied_to.author
        tell_of(state, room, caller, index, mentioned=mentioned, replied_to=author)
    return Posted(room.name, index)


def refuse_hurried(state: State, room: Room) -> None:
    """Raise Refusal when the caller has to wait, in slow mode."""
    if not room.row.slow_s or room.member is None or room.role is not Role.MEMBER:
        return
    next_ms = Milliseconds(room.member.spoke_ms + 1000 * room.row.slow_s)
    if next_ms > state.call.time:
        raise Refusal(
            ErrorCode.SLOW_MODE,
            f"in {room.title} members wait {seconds(1000 * room.row.slow_s)} between two messages:"
            f" try again in {seconds(next_ms - state.call.time)}",
            retry_ms=next_ms,
        )


def note_spoken(state: State, room: Room, caller: Caller) -> None:
    """From now on the caller waits, in slow mode."""
    if room.row.slow_s and room.member is not None:
        state.save_member(room.name, caller.account, room.member._replace(spoke_ms=state.call.time))


def _title(text: str) -> ThreadTitle:
    try:
        return parse_thread(text)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error


def _thread(state: State, room: Room, title: ThreadTitle) -> _Thread:
    row = state.rows.get(THREADS, (room.name, title.key))
    if row is not None:
        return _Thread(title.key, ThreadRow.from_row(row), is_new=False)
    most = state.limits.threads_per_room
    if room.row.thread_count >= most:
        raise Refusal(ErrorCode.TOO_MANY, f"{room.title} has {most} threads, the most it can: use one of them")
    return _Thread(title.key, ThreadRow(title.title, 0, Milliseconds(0)), is_new=True)


def _add_to_thread(state: State, room: Room, thread: _Thread, index: MessageIndex) -> None:
    """The room is to be saved by the caller."""
    position = thread.row.message_count
    state.rows.put(THREAD_MESSAGES, (room.name, thread.key, position), (index,))
    row = thread.row._replace(message_count=position + 1, last_ms=state.call.time)
    state.rows.put(THREADS, (room.name, thread.key), tuple(row))
    if thread.is_new:
        room.row = room.row._replace(thread_count=room.row.thread_count + 1)
