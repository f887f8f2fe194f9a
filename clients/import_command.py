"""`quorate import-irc`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chatsvc.application.results import ErrorCode
from clients.console import COMMON, Common, Output, load_group, load_identity, with_chat
from clients.irc_import import Importer
from clients.irc_log import LogError, read_log
from clients.sdk import Chat, ChatError, ClientFailure, ExitCode


def import_progress(output: Output, *, transient: bool = False) -> Progress:
    """A bar on stderr; quiet when stderr is no terminal. `transient`: gone when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=output.err,
        transient=transient,
        disable=not output.err.is_terminal,
    )


async def ensure_room(chat: Chat, room: str, topic: str) -> None:
    try:
        await chat.create(room, topic)
    except ChatError as error:
        if error.code is not ErrorCode.ROOM_EXISTS:
            raise


def import_irc(file: Path, *, room: str, limit: int | None = None, common: Common = COMMON) -> int:
    """Import an IRC log into a room, one user per nick, in the order of the log.

    The room is made if it is not there. Keys of the nicks are derived from yours. An import that was interrupted
    goes on where it stopped when it is run again.

    Example: quorate import-irc ubuntu-2016-12-19_20.txt --room ubuntu

    Parameters
    ----------
    file
        Lines as "[HH:MM] <nick> text"; a date in the file's name dates them.
    room
        The room, with or without #.
    limit
        Import only so many messages.
    """

    async def body(chat: Chat, output: Output) -> int:
        try:
            log = read_log(file)
        except LogError as error:
            raise ClientFailure(str(error), exit_code=ExitCode.USAGE) from error
        await ensure_room(chat, room, f"imported from {file.name}")
        lines = log.lines[:limit]
        opening = Importer.open(load_group(common).directory(), load_identity(common), room, timeout_s=common.timeout)
        async with opening as importer:
            await importer.look(chat)
            with import_progress(output) as bar:
                task = bar.add_task(f"#{room.removeprefix('#')}", total=len(lines))
                done = await importer.run(log, lines, lambda: bar.advance(task))
        record = {
            "file": str(file),
            "room": room.removeprefix("#"),
            "messages": done.messages,
            "already_there": done.found,
            "users": done.users,
            "events_passed_over": log.events,
            "refused": done.refused,
        }
        output.result(
            record,
            f"{file.name}: {done.messages} messages of {done.users} new users; {done.found} were there already, "
            f"{len(done.refused)} were refused, {log.events} joins and other events passed over",
        )
        for refusal in done.refused[:10]:
            output.remark(refusal)
        return ExitCode.REJECTED if done.refused else ExitCode.ACCEPTED

    return with_chat(common, body)
