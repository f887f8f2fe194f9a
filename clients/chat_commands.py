"""Commands that change the chat: each is an ordered operation."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Annotated

import trio
from cyclopts import Parameter

from clients.console import COMMON, Common, Output, with_chat
from clients.sdk import Chat, ClientFailure, ExitCode, Receipt


def vouched(receipt: Receipt) -> str:
    """What made it true."""
    replicas = " ".join(str(replica) for replica in receipt.vouchers)
    return f"ordered at {receipt.sequence}, vouched for by replicas {replicas} ({receipt.needed} needed)"


def _record(receipt: Receipt, **fields: object) -> dict[str, object]:
    return {
        **fields,
        "sequence": receipt.sequence,
        "batch_index": receipt.index,
        "vouchers": list(receipt.vouchers),
        "needed": receipt.needed,
    }


def register(name: str, *, common: Common = COMMON) -> int:
    """Give your key a name in this group. Names are taken once, whatever their case.

    Example: quorate register alice

    Parameters
    ----------
    name
        1 to 32 characters without spaces.
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.register(name)
        output.result(_record(done.receipt, name=done.value.name), f"{done.value.name}, {vouched(done.receipt)}")

    return with_chat(common, body)


def whoami(*, common: Common = COMMON) -> int:
    """Show the name that your key has in this group.

    Example: quorate whoami
    """

    async def body(chat: Chat, output: Output) -> None:
        account = await chat.whoami()
        device = chat.signer.public_key.hex()
        record = {"name": account.name, "device": device, "registered_ms": account.registered_ms}
        output.result(record, f"{account.name} (key {device[:16]}...)")

    return with_chat(common, body)


def create(room: str, *, topic: str = "", common: Common = COMMON) -> int:
    """Create a room and join it.

    Example: quorate create ubuntu --topic "Questions and answers"

    Parameters
    ----------
    room
        The room's name, with or without #.
    topic
        What the room is about.
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.create(room, topic)
        output.result(_record(done.receipt, room=done.value.room), f"#{done.value.room}, {vouched(done.receipt)}")

    return with_chat(common, body)


def join(room: str, *, common: Common = COMMON) -> int:
    """Join a room.

    Example: quorate join ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.join(room)
        output.result(_record(done.receipt, room=done.value.room), f"#{done.value.room}, {vouched(done.receipt)}")

    return with_chat(common, body)


def leave(room: str, *, common: Common = COMMON) -> int:
    """Leave a room. What you said there stays.

    Example: quorate leave ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.leave(room)
        output.result(_record(done.receipt, room=done.value.room), f"#{done.value.room}, {vouched(done.receipt)}")

    return with_chat(common, body)


def send(
    room: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    reply_to: int | None = None,
    action: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Say something in a room that you have joined. Says what made it true.

    Example: quorate send ubuntu "does anyone know how to mount a CD?"
    Example: fortune | quorate send ubuntu -

    Parameters
    ----------
    room
        The room's name, with or without #.
    text
        What to say, or - to say every line of stdin.
    reply_to
        Index of the message that this answers.
    action
        Say it as an action (/me).
    """

    async def body(chat: Chat, output: Output) -> None:
        async for line in _lines(text):
            done = await chat.post(room, line, action=action, reply_to=reply_to)
            record = _record(done.receipt, room=done.value.room, index=done.value.index)
            output.result(record, f"#{done.value.room} {done.value.index}, {vouched(done.receipt)}")

    return with_chat(common, body)


async def _lines(text: str) -> AsyncIterator[str]:
    """The text, or for - the lines of stdin as they come, without empty ones."""
    if text != "-":
        yield text
        return
    try:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"stdin is not UTF-8: {error.reason} at byte {error.start}"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE) from error
