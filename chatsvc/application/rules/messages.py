"""Messages: posted, edited, deleted, reacted to, pinned."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.bodies import BadText, MessageText
from chatsvc.application.events import Content, EventKind, content_digest
from chatsvc.application.operations import Delete, Edit, MarkRead, Pin, Post, React
from chatsvc.application.results import Applied, ErrorCode, Result
from chatsvc.application.rules.mentions import find_mentions
from chatsvc.application.rules.posting import Draft, checked_body, note_spoken, refuse_hurried, refuse_muted, say
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import (
    LEFTOVERS,
    MEMBERSHIPS,
    MESSAGES,
    PINS,
    POLLS,
    REACTION_COUNTS,
    REACTIONS,
    VERSIONS,
    MembershipRow,
    MessageIndex,
    MessageKind,
    MessageRow,
    Role,
    VersionRow,
)
from chatsvc.application.state import Caller, Refusal, Room, State, find_message
from chatsvc.application.texts import parse_reaction
from pbft.core.application import Row, Rows

_MINUTE_MS = 60_000


def post(state: State, operation: Post) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    if operation.kind is MessageKind.POLL:
        raise Refusal(ErrorCode.BAD_BODY, "a poll is opened with its options, not posted as a message")
    draft = Draft(
        operation.kind,
        checked_body(operation.body),
        operation.reply_to,
        operation.thread,
        operation.nonce,
        operation.claimed_ms,
    )
    return say(state, room, caller, draft)


def edit(state: State, operation: Edit) -> Result:
    """Nobody is told: who is named now may have been told of the message before."""
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    refuse_muted(state, room)
    body = checked_body(operation.body)
    message = standing_message(state, room, operation.index)
    _refuse_to_edit(state, caller, message)
    if body == message.body:
        return Applied()
    refuse_hurried(state, room)
    if message.edits >= state.limits.edits_per_message:
        raise Refusal(
            ErrorCode.TOO_MANY, f"a message is edited at most {message.edits} times: delete it and write a new one"
        )
    mentions = [account.row.name for account in find_mentions(state, room, body)]
    said_ms = message.time if message.edited_ms is None else message.edited_ms
    before = VersionRow(MessageText(message.body), message.nonce, said_ms)
    state.rows.put(VERSIONS, (room.name, operation.index, message.edits), tuple(before))
    edited = message._replace(
        body=body,
        nonce=operation.nonce,
        mentions=[*mentions],
        edits=message.edits + 1,
        edited_ms=state.call.time,
    )
    _save(state, room, operation.index, edited)
    state.happened(
        room,
        EventKind.EDITED,
        caller,
        message=operation.index,
        data=[edited.edits],
        digest=content_digest(Content(body, operation.nonce)),
    )
    state.save(room)
    note_spoken(state, room, caller)
    return Applied()


def _refuse_to_edit(state: State, caller: Caller, message: MessageRow) -> None:
    if message.author != caller.name:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"only {message.author}, who wrote this message, may edit it")
    if message.kind == MessageKind.POLL.value:
        raise Refusal(ErrorCode.NOT_ALLOWED, "a poll is not edited, for votes were given for what it says")
    minutes = state.limits.edit_minutes
    if minutes and state.call.time > message.time + minutes * _MINUTE_MS:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"a message is edited within {minutes} minutes: write a new one")


def delete(state: State, operation: Delete) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    message = find_message(state.rows, room, operation.index)
    if message.author != caller.name and not moderates(room):
        raise Refusal(
            ErrorCode.NOT_ALLOWED, f"only {message.author}, who wrote this message, and moderators may delete it"
        )
    if message.deleted_by is not None:
        return Applied()
    forget_belongings(state.rows, room, operation.index, message)
    _save(
        state,
        room,
        operation.index,
        message._replace(body="", nonce=b"", mentions=[], deleted_by=caller.name),
    )
    state.happened(room, EventKind.DELETED, caller, message=operation.index)
    state.save(room)
    return Applied()


def forget_belongings(rows: Rows, room: Room, index: MessageIndex, message: MessageRow) -> None:
    """Remove what hangs on a message: its versions, reactions, votes and pin. The room is to be saved by the caller.

    Who reacted and voted is removed later, see `LEFTOVERS`.
    """
    versions = message.edits if message.deleted_by is None else 0
    for version in range(versions):
        rows.delete(VERSIONS, (room.name, index, version))
    leaves = False
    for table in (REACTION_COUNTS, POLLS):
        if rows.get(table, (room.name, index)) is not None:
            rows.delete(table, (room.name, index))
            leaves = True
    if leaves:
        rows.put(LEFTOVERS, (room.name, index), ())
    if room.row.pin_count and rows.get(PINS, (room.name, index)) is not None:
        rows.delete(PINS, (room.name, index))
        room.row = room.row._replace(pin_count=room.row.pin_count - 1)


def react(state: State, operation: React) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    refuse_muted(state, room)
    try:
        reaction = parse_reaction(operation.reaction)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error
    standing_message(state, room, operation.index)
    key = (room.name, operation.index, reaction, caller.account)
    if (state.rows.get(REACTIONS, key) is not None) == operation.on:
        return Applied()
    counts = _reaction_counts(state.rows.get(REACTION_COUNTS, (room.name, operation.index)))
    if operation.on and reaction not in counts and len(counts) >= state.limits.reactions_per_message:
        raise Refusal(
            ErrorCode.TOO_MANY, f"a message has at most {len(counts)} different reactions: use one of those it has"
        )
    count = counts.get(reaction, 0) + (1 if operation.on else -1)
    counts[reaction] = count
    if operation.on:
        state.rows.put(REACTIONS, key, (caller.name, state.call.time))
    else:
        state.rows.delete(REACTIONS, key)
    _save_reaction_counts(state.rows, room, operation.index, counts)
    kind = EventKind.REACTED if operation.on else EventKind.UNREACTED
    state.happened(room, kind, caller, message=operation.index, data=[reaction, count])
    state.save(room)
    return Applied()


def _reaction_counts(row: Row | None) -> dict[str, int]:
    return {} if row is None else dict(cast("list[tuple[str, int]]", row[0]))


def _save_reaction_counts(rows: Rows, room: Room, index: MessageIndex, counts: dict[str, int]) -> None:
    key = (room.name, index)
    if any(counts.values()):
        rows.put(REACTION_COUNTS, key, ([[reaction, count] for reaction, count in counts.items() if count],))
    else:
        rows.delete(REACTION_COUNTS, key)


def pin(state: State, operation: Pin) -> Result:
    caller = state.caller()
    room = state.open_room(operation.room, caller)
    if not (room.row.direct or moderates(room)):
        raise Refusal(ErrorCode.NOT_ALLOWED, f"in {room.title} only a {Role.MODERATOR.value} may pin messages")
    refuse_muted(state, room)
    standing_message(state, room, operation.index)
    key = (room.name, operation.index)
    if (state.rows.get(PINS, key) is not None) == operation.on:
        return Applied()
    most = state.limits.pins_per_room
    if operation.on and room.row.pin_count >= most:
        raise Refusal(
            ErrorCode.TOO_MANY, f"{room.title} has {most} pinned messages, the most it can: unpin one first"
        )
    if operation.on:
        state.rows.put(PINS, key, (caller.name, state.call.time))
    else:
        state.rows.delete(PINS, key)
    room.row = room.row._replace(pin_count=room.row.pin_count + (1 if operation.on else -1))
    state.happened(room, EventKind.PINNED if operation.on else EventKind.UNPINNED, caller, message=operation.index)
    state.save(room)
    return Applied()


def mark_read(state: State, operation: MarkRead) -> Result:
    """An index beyond the last message stands for all that were posted so far."""
    caller = state.caller()
    room = state.member_room(operation.room, caller)
    row = state.rows.get(MEMBERSHIPS, (caller.account, room.name))
    if row is None:
        raise KeyError(room.name)
    membership = MembershipRow.from_row(row)
    read = min(operation.index, room.row.message_count)
    if read > membership.read:
        state.rows.put(MEMBERSHIPS, (caller.account, room.name), tuple(membership._replace(read=read)))
    return Applied()


def standing_message(state: State, room: Room, index: MessageIndex) -> MessageRow:
    """Return a message that was not deleted. Raises Refusal."""
    message = find_message(state.rows, room, index)
    if message.deleted_by is not None:
        raise Refusal(ErrorCode.MESSAGE_DELETED, f"message {index} was deleted by {message.deleted_by}")
    return message


def moderates(room: Room) -> bool:
    """Whether the caller may do what moderators do there."""
    return room.role is not None and room.role.rank >= Role.MODERATOR.rank


def _save(state: State, room: Room, index: MessageIndex, message: MessageRow) -> None:
    state.rows.put(MESSAGES, (room.name, index), tuple(message))


RULES: Final[Rules] = {
    Post: post,
    Edit: edit,
    Delete: delete,
    React: react,
    Pin: pin,
    MarkRead: mark_read,
}
