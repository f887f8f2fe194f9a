"""`quorate send --queue` and `quorate outbox`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from chatsvc.application.bodies import BadText, MessageText, parse_body
from chatsvc.application.names import RoomName
from chatsvc.application.operations import NONCE_BYTES_MAX
from chatsvc.application.texts import parse_thread
from clients.addressing import is_direct_room
from clients.console import COMMON, Common, Output, load_group, load_identity, report_lies, run
from clients.identity import default_identity_path
from clients.outbox import Draft, Entry, Outbox, State, outbox_path
from clients.outbox_delivery import Delivery, Waiting
from clients.sdk import Chat, ClientFailure, ExitCode, NotEnoughReplicas, OutcomeUnknown
from clients.sdk.port import room_name
from clients.transcripts.rendering import plain, room_title
from pbft.core.types import Milliseconds

WATCH_PAUSE_S = 1.0
"""Another program queues: only the file tells."""
AGAIN_PAUSE_S = 5.0
"""Before the group is tried again that could not be reached."""
RETRY_PAUSE_MAX_S = 60.0
"""The clock of this machine may be wrong: the group is asked at least so often."""


def queue_messages(
    room: str, lines: AsyncIterator[str], *, action: bool, reply_to: int | None, thread: str | None, common: Common
) -> int:
    """Put messages into the outbox, without any network: what `quorate send --queue` does."""

    async def body() -> None:
        load_identity(common)  # an outbox without the key to send it with would wait for ever
        output, name, title = Output(as_json=common.json), _room(room), _thread(thread)
        with _outbox(common) as box:
            async for line in lines:
                draft = Draft(
                    room=name,
                    body=_body(line),
                    action=action,
                    reply_to=reply_to,
                    thread=title,
                    nonce=secrets.token_bytes(NONCE_BYTES_MAX),
                )
                entry = box.append(draft, _now_ms())
                output.result(
                    _record(entry), f"queued as {entry.number} of the outbox; deliver it with: quorate outbox send"
                )

    return run(body)


def outbox(
    do: Literal["list", "send", "drop"] = "list",
    number: int | None = None,
    *,
    watch: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Show the messages that wait to be sent (`quorate send --queue`), deliver them, or
    drop one.

    Each is pending, ordered (f+1 replicas signed that it was), verified (and f+1 show it in the room), or refused.
    Delivery keeps their order and says nothing twice, also when it is killed and started again. What the group
    refuses for good is listed with the reason, and the next one goes on; what it refuses for now waits.

    Example: quorate outbox
    Example: quorate outbox send --watch
    Example: quorate outbox drop 3

    Parameters
    ----------
    do
        list, send, or drop: do not send that one any more.
    number
        Of the message that is to be dropped.
    watch
        Go on delivering what is queued later, and when the group can be reached again, until Ctrl-C.
    """

    async def body() -> int:
        output = Output(as_json=common.json)
        with _outbox(common) as box:
            if do == "list":
                for entry in box.entries():
                    output.result(_record(entry), _line(entry))
                await trio.lowlevel.checkpoint()
                return ExitCode.ACCEPTED
            with box.delivering():
                if do == "drop":
                    entry = box.drop(_number(number))
                    output.result(_record(entry), _line(entry))
                    await trio.lowlevel.checkpoint()
                    return ExitCode.ACCEPTED
                return await (_watch if watch else _send)(box, output, common)

    return run(body)


async def _send(box: Outbox, output: Output, common: Common) -> int:
    """One delivery. The exit code says how the messages fared that it was about."""
    refused: list[int] = []

    def told(entry: Entry) -> None:
        if entry.state is State.REFUSED:
            refused.append(entry.number)
        if entry.state is not State.ORDERED or entry.problem:
            output.result(_record(entry), _line(entry))

    signer = load_identity(common)
    async with Chat.connect(load_group(common).directory(), signer, timeout=common.timeout) as chat:
        try:
            waiting = await Delivery(chat, box, timeout_s=common.timeout, told=told).run()
        finally:
            report_lies(chat, output)
    if waiting is not None:
        output.remark(f"{_line(waiting.entry)}\nwaits until {_moment(waiting.retry_ms)}: {waiting.problem}")
    return ExitCode.REJECTED if refused or waiting is not None else ExitCode.ACCEPTED


async def _watch(box: Outbox, output: Output, common: Common) -> int:
    """Without end."""
    signer, directory = load_identity(common), load_group(common).directory()

    def told(entry: Entry) -> None:
        if entry.state is not State.ORDERED or entry.problem:
            output.result(_record(entry), _line(entry))

    while True:
        try:
            async with Chat.connect(directory, signer, timeout=common.timeout) as chat:
                delivery = Delivery(chat, box, timeout_s=common.timeout, told=told)
                while True:
                    waiting = await delivery.run() if box.first_pending() is not None else None
                    await trio.sleep(_pause_s(waiting))
        except (NotEnoughReplicas, OutcomeUnknown) as error:
            output.remark(f"{error}; trying again in {AGAIN_PAUSE_S:g} s")
            await trio.sleep(AGAIN_PAUSE_S)


def _pause_s(waiting: Waiting | None) -> float:
    if waiting is None:
        return WATCH_PAUSE_S
    return min(max((waiting.retry_ms - _now_ms()) / 1000, WATCH_PAUSE_S), RETRY_PAUSE_MAX_S)


@contextmanager
def _outbox(common: Common) -> Iterator[Outbox]:
    identity = common.identity or default_identity_path()
    with Outbox.open(outbox_path(identity, load_group(common).directory().group.group_id)) as box:
        yield box


def _number(number: int | None) -> int:
    if number is None:
        msg = "say which message is to be dropped, by its number: quorate outbox lists them"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    return number


def _room(text: str) -> RoomName:
    if text.startswith("@") and not is_direct_room(text):
        msg = (
            f"{text[:40]}: which conversation that is only the group knows, and queueing does not ask it: give "
            f"its own name, @ and 20 digits, which `quorate dm {text[1:40]}` shows"
        )
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    return room_name(text)


def _thread(text: str | None) -> str | None:
    try:
        return None if text is None else parse_thread(text).title
    except BadText as error:
        raise ClientFailure(str(error), exit_code=ExitCode.USAGE) from error


def _body(text: str) -> MessageText:
    try:
        return parse_body(text)
    except BadText as error:
        raise ClientFailure(str(error), exit_code=ExitCode.USAGE) from error


def _record(entry: Entry) -> dict[str, object]:
    place = entry.place
    return {
        "number": entry.number,
        "state": entry.state.value,
        "room": entry.draft.room,
        "body": entry.draft.body,
        "queued_ms": entry.queued_ms,
        "index": None if place is None else place.message,
        "sequence": None if place is None else place.sequence,
        "problem": entry.problem or None,
    }


def _line(entry: Entry) -> str:
    room = room_title(entry.draft.room)
    first, _, more = entry.draft.body.partition("\n")
    said = plain(first[:60]) + ("..." if more or len(first) > 60 else "")
    where = "" if entry.place is None else f" {entry.place.message}"
    problem = f" ({entry.problem})" if entry.problem else ""
    return f"{entry.number} {entry.state.value:8} {room}{where} {said}{problem}"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _now_ms() -> Milliseconds:
    return Milliseconds(time.time_ns() // 1_000_000)
