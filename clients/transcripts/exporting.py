"""Reading a room with what proves it: history, and digests of it that f+1 replicas sign.

Both are read one after the other, and the room may change between: what does not fit is read again.
"""

from __future__ import annotations

from collections.abc import Callable

from chatsvc.application import answers
from chatsvc.application.names import RoomName
from chatsvc.application.queries import DIGESTS_MAX, DigestMessages
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageIndex
from chatsvc.application.wire import encode_wire
from clients.sdk import Chat, ChatError, ClientFailure, ExitCode
from clients.sdk.port import room_name
from clients.transcripts.proof import MESSAGES_MAX, Form, Part, Proof
from crypto.digest import DIGEST_BYTES

ROUNDS_MAX = 8
"""How often a stretch of messages is read again because it was changed meanwhile."""
PART_ROUNDS_MAX = 3
"""How often digests are asked for again because some of the signatures were not kept."""


async def export(
    chat: Chat,
    room: str,
    form: Form,
    *,
    first: int | None = None,
    last: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Proof:
    """Read the messages `first` to `last` of a room, all that are kept unless told otherwise, and their proof.

    `progress` is told how many messages are done, of how many. Raises as `Chat` does, and ClientFailure for a room
    that changes faster than it can be read.
    """
    details = await chat.room(room)
    start = max(details.first_message, 0 if first is None else first)
    end = details.message_count if last is None else min(last + 1, details.message_count)
    if end <= start:
        raise ChatError(ErrorCode.NO_SUCH_MESSAGE, f"{room} has no messages there: it has {_held(details)}")
    if end - start > MESSAGES_MAX:
        msg = f"{end - start} messages, at most {MESSAGES_MAX} go into one transcript: export it in pieces"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    messages: list[answers.Message] = []
    parts: list[Part] = []
    at = start
    while at < end:
        stretch, part = await _stretch(chat, room_name(room), at, min(at + DIGESTS_MAX, end))
        messages += stretch
        parts.append(part)
        at += len(stretch)
        progress(len(messages), end - start)
    return Proof(
        form=form,
        group_id=chat.client.group.group_id,
        room=RoomName(details.header.room),
        first=MessageIndex(start),
        messages=tuple(map(encode_wire, messages)),
        parts=tuple(parts),
    )


async def receipt(chat: Chat, room: str, index: int) -> Proof:
    """Read one message and its proof. Raises as `export` does, and ChatError for a message that is not there."""
    return await export(chat, room, Form.RECEIPT, first=index, last=index)


async def _stretch(chat: Chat, room: RoomName, first: int, end: int) -> tuple[list[answers.Message], Part]:
    """The messages `first` .. `end` - 1 as one signed answer has them."""
    found: dict[int, answers.Message] = {}
    wrong = [*range(first, end)]
    for _ in range(ROUNDS_MAX):
        for start, stop in _runs(wrong):
            for message in await chat.history(room, after=start - 1, limit=stop - start):
                found[message.index] = message
        digests, part = await _digests(chat, room, first, end - first)
        if digests.first != first:
            break
        signed = len(digests.digests) // DIGEST_BYTES
        wrong = [
            index
            for index in range(first, end)
            if index - first >= signed or index not in found or found[index].digest != _digest(digests, index)
        ]
        if not wrong:
            return [found[index] for index in range(first, end)], part
    msg = f"messages {first} to {end - 1} were changed or forgotten again and again while they were read: try again"
    raise ClientFailure(msg)


def _runs(indexes: list[int]) -> list[tuple[int, int]]:
    """What follows each other, as beginnings and ends."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _digest(digests: answers.Digests, index: int) -> bytes:
    at = (index - digests.first) * DIGEST_BYTES
    return digests.digests[at : at + DIGEST_BYTES]


async def _digests(chat: Chat, room: RoomName, first: int, count: int) -> tuple[answers.Digests, Part]:
    query = DigestMessages(room=room, first=MessageIndex(first), limit=count)
    for _ in range(PART_ROUNDS_MAX):
        value, answer = await chat.ask_to_keep(query)
        if not isinstance(value, answers.Digests):
            raise ClientFailure("the replicas answer something else than digests", exit_code=ExitCode.DISAGREE)
        if len(answer.statements) >= chat.client.group.honest_minimum:
            return value, Part(operation=answer.client_sequence, statements=answer.statements)
    raise ClientFailure("the replicas' signatures could not be kept: too much is under way; try again")


def _held(details: answers.RoomDetails) -> str:
    if details.first_message == details.message_count:
        return "none at all"
    return f"{details.first_message} to {details.message_count - 1}"
