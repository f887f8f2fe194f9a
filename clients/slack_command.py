"""`quorate import-slack`."""

from __future__ import annotations

from pathlib import Path

from clients.console import COMMON, Common, Output, load_group, load_identity, with_chat
from clients.import_command import ensure_room, import_progress
from clients.imported_users import ImportedUsers
from clients.sdk import Chat, ClientFailure, ExitCode
from clients.slack_export import Channel, Export, ExportError, read_channel, read_export
from clients.slack_import import TAKEN_SUFFIX, ChannelImport, Imported, room_of, topic_of

REFUSALS_SHOWN = 10


def import_slack(directory: Path, *, channel: str | None = None, common: Common = COMMON) -> int:
    """Import a Slack export: a room for each channel, a user for each person, in the order of what was said.

    Threads stay threads, reactions reactions; files become links to where Slack has them. Joins and the like are
    passed over. Keys of the people are derived from yours. An import that was interrupted goes on where it
    stopped when it is run again.

    Example: quorate import-slack ~/Downloads/acme-export --channel general

    Parameters
    ----------
    directory
        The folder that the export was unpacked to, with channels.json and users.json.
    channel
        Import this channel only.
    """

    async def body(chat: Chat, output: Output) -> int:
        try:
            export = read_export(directory)
            chosen = _chosen(export, directory, channel)
            total = Imported()
            opening = ImportedUsers.open(
                load_group(common).directory(),
                load_identity(common),
                taken_suffix=TAKEN_SUFFIX,
                timeout_s=common.timeout,
            )
            async with opening as users:
                for each in chosen:
                    done = await _import_channel(chat, output, export, each, users)
                    total.refused += done.refused
        except ExportError as error:
            raise ClientFailure(str(error), exit_code=ExitCode.USAGE) from error
        for refusal in total.refused[:REFUSALS_SHOWN]:
            output.remark(refusal)
        return ExitCode.REJECTED if total.refused else ExitCode.ACCEPTED

    return with_chat(common, body)


def _chosen(export: Export, directory: Path, channel: str | None) -> tuple[Channel, ...]:
    if channel is None:
        return export.channels
    wanted = channel.removeprefix("#")
    found = tuple(each for each in export.channels if each.name == wanted)
    if not found:
        names = ", ".join(each.name for each in export.channels[:20])
        raise ExportError(f"{directory / 'channels.json'}: there is no channel {wanted!r}; there are {names}")
    return found


async def _import_channel(
    chat: Chat, output: Output, export: Export, channel: Channel, users: ImportedUsers
) -> Imported:
    messages = read_channel(export, channel)
    room, before = room_of(channel), users.introduced
    await ensure_room(chat, room, topic_of(channel.topic))
    run = ChannelImport(export, channel, users, room)
    await run.look(chat)
    with import_progress(output) as bar:
        task = bar.add_task(f"#{room}", total=len(messages.messages))
        done = await run.run(messages, lambda: bar.advance(task))
    record = {
        "channel": channel.name,
        "room": room,
        "messages": done.messages,
        "already_there": done.found,
        "reactions": done.reactions,
        "users": users.introduced - before,
        "events_passed_over": messages.events,
        "refused": done.refused,
    }
    output.result(
        record,
        f"#{room}: {done.messages} messages and {done.reactions} reactions of {users.introduced - before} new users; "
        f"{done.found} were there already, {len(done.refused)} were refused, {messages.events} events passed over",
    )
    return done
