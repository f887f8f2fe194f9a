#!/usr/bin/env python
"""Says again what it is asked to: `!echo hello`. Run it with QUORATE_GROUP set: echo_bot.py ROOM IDENTITY"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from chatsvc.application.results import ErrorCode
from chatsvc.groupfile import read_group_file
from clients.identity import read_identity, write_identity
from clients.sdk import Chat, ChatError, NotEnoughReplicas, OutcomeUnknown
from crypto.signing import Ed25519Signer
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory

COMMAND = "!echo "
AGAIN_S = 5.0

Bot = Callable[[Chat, str], Awaitable[None]]
"""Called with a connection and a room; it goes on until something goes wrong."""


async def echo(chat: Chat, room: str) -> None:
    """Answer what is said from now on."""
    me = (await chat.whoami()).name
    async with chat.subscribe(room, await chat.message_count(room)) as messages:
        async for message in messages:
            if message.author != me and message.body.startswith(COMMAND):
                await say(chat, room, message.body.removeprefix(COMMAND), reply_to=message.index)


async def say(chat: Chat, room: str, body: str, *, reply_to: int) -> None:
    """Say it once, however long the replicas do not answer. Raises ChatError for what will not do later either."""
    while True:
        try:
            await chat.post(room, body, reply_to=reply_to)
        except OutcomeUnknown as unknown:
            await until_known(chat, unknown)
        except ChatError as error:
            if error.retry_ms is None:
                raise
            await trio.sleep(max(1.0, error.retry_ms / 1000 - time.time()))
            continue
        return


async def until_known(chat: Chat, unknown: OutcomeUnknown) -> None:
    """Ask again under the same name: what was carried out already is not carried out twice."""
    while True:
        try:
            await chat.retry(unknown)
        except OutcomeUnknown as again:
            unknown = again
        else:
            return


async def serve(
    bot: Bot, directory: GroupDirectory, signer: Ed25519Signer, name: str, room: str, *, dial: Dial = dial_tcp
) -> None:
    """Give the bot its name and its room, and run it; connect again whenever the group cannot be reached.

    While a connection lasts, the SDK itself reaches for replicas that were gone.
    """
    while True:
        try:
            async with Chat.connect(directory, signer, dial=dial) as chat:
                await chat.register(name)
                try:
                    await chat.join(room)
                except ChatError as error:
                    if error.code is not ErrorCode.ALREADY_A_MEMBER:
                        raise
                await bot(chat, room)
        except* (NotEnoughReplicas, OutcomeUnknown) as group:
            sys.stderr.write(f"{group.exceptions[0]}; again in {AGAIN_S:g} s\n")
        await trio.sleep(AGAIN_S)


def main(bot: Bot, name: str) -> None:
    room, identity = sys.argv[1], Path(sys.argv[2])
    if not identity.exists():
        write_identity(identity, Ed25519Signer.generate())
    group = read_group_file(Path(os.environ["QUORATE_GROUP"]))
    trio.run(serve, bot, group.directory(), read_identity(identity), name, room)


if __name__ == "__main__":
    main(echo, "echo-bot")
