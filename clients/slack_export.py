"""Reading a Slack export: a folder with `channels.json`, `users.json`, and for each channel one file of each day.

What is needed of a record is checked; what is not, whatever it is, is passed over. Errors name file and record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from chatsvc.application.names import NAME_BYTES_MAX, NAME_CHARACTERS_MAX, BadName, is_name_character, parse_account

FILE_BYTES_MAX = 64 * 1024 * 1024
FILES_MAX = 50_000
MESSAGES_MAX = 2_000_000
TIME_MS_MAX = 253_402_300_799_999
SUFFIX_CHARACTERS = 6
"""Kept free at the end of a name, for a suffix where somebody has it already."""

_PASSED_OVER = (
    "channel_join", "channel_leave", "channel_topic", "channel_purpose", "channel_name", "channel_archive",
    "channel_unarchive", "channel_convert_to_private", "group_join", "group_leave", "group_topic", "group_purpose",
    "group_name", "group_archive", "group_unarchive", "pinned_item", "unpinned_item", "tombstone", "bot_add",
    "bot_remove", "reminder_add", "reply_broadcast", "sh_room_created", "huddle_thread",
    "channel_posting_permissions",
)  # fmt: skip
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.json")
_TS = re.compile(r"(\d{1,12})\.(\d{1,6})")

R = TypeVar("R", bound=msgspec.Struct)
Text = Annotated[str, Meta(max_length=200_000)]
Short = Annotated[str, Meta(max_length=1_000)]


class ExportError(Exception):
    """The export cannot be read. The text names the file, the record and what is wrong with it."""


class _Profile(msgspec.Struct):
    display_name: Short | None = None
    real_name: Short | None = None


class _User(msgspec.Struct):
    id: Short
    name: Short | None = None
    profile: _Profile = msgspec.field(default_factory=_Profile)


class _Topic(msgspec.Struct):
    value: Text = ""


class _Channel(msgspec.Struct):
    id: Short
    name: Short
    topic: _Topic = msgspec.field(default_factory=_Topic)
    purpose: _Topic = msgspec.field(default_factory=_Topic)


class _File(msgspec.Struct):
    title: Text | None = None
    name: Text | None = None
    permalink: Text | None = None
    url_private: Text | None = None


class _Reaction(msgspec.Struct):
    name: Short
    users: list[Short] = msgspec.field(default_factory=list)


class _Record(msgspec.Struct):
    ts: Short
    type: Short = "message"
    subtype: Short | None = None
    user: Short | None = None
    bot_id: Short | None = None
    username: Short | None = None
    text: Text | None = None
    thread_ts: Short | None = None
    files: list[_File] | None = None
    reactions: list[_Reaction] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackMessage:
    """`where`: file and record. `user`: Slack's id. `ts`: unique in its channel, and when it was said."""

    where: str
    ts: str
    user: str
    text: str
    action: bool
    thread_ts: str | None
    """Of the message that began the thread, for replies and for that message itself."""
    links: tuple[tuple[str, str], ...]
    """Files: what they are called, and where they are."""
    reactions: tuple[tuple[str, tuple[str, ...]], ...]
    """Names without colons, and the users."""

    @property
    def said_ms(self) -> int:
        return ts_ms(self.ts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    id: str
    name: str
    topic: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Of one channel, in the order in which they were said. `events`: joins and the like, passed over."""

    messages: tuple[SlackMessage, ...]
    events: int


@dataclass(slots=True, kw_only=True)
class Export:
    """`names`: what people are called, by Slack's id; each name an account can have, no two alike."""

    channels: tuple[Channel, ...]
    names: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    @property
    def channel_names(self) -> Mapping[str, str]:
        return {channel.id: channel.name for channel in self.channels}

    def name_person(self, user: str, *candidates: str | None) -> None:
        """Find a name for somebody, of what Slack calls them, the first that is not empty."""
        if user in self.names:
            return
        likely = (account_name(each or "") for each in (*candidates, user, "slack"))
        wanted = next(name for name in likely if name)
        name, number = wanted, 1
        while parse_account(name).key in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(parse_account(name).key)
        self.names[user] = name


def read_export(directory: Path) -> Export:
    """Read who and what there is, without the messages. Raises ExportError."""
    path = directory / "channels.json"
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file; give the folder that the export was unpacked to")
    channels = []
    for where, channel in _records(path, _Channel):
        if "/" in channel.name or channel.name.startswith("."):
            raise ExportError(f"{where}: 'name' cannot be the name of a folder: {channel.name[:80]!r}")
        topic = channel.topic.value or channel.purpose.value
        channels.append(Channel(id=channel.id, name=channel.name, topic=topic, folder=directory / channel.name))
    export = Export(channels=tuple(channels))
    for _, user in _records(directory / "users.json", _User):
        export.name_person(user.id, user.profile.display_name, user.name, user.profile.real_name)
    return export


def read_channel(export: Export, channel: Channel) -> Messages:
    """Read a channel's messages, and name those who are in no list of users. Raises ExportError."""
    found: dict[str, SlackMessage] = {}
    events = 0
    days = sorted(path for path in channel.folder.glob("*.json") if _DAY.fullmatch(path.name))
    if len(days) > FILES_MAX:
        raise ExportError(f"{channel.folder}: {len(days)} files, at most {FILES_MAX} are read")
    for path in days:
        for where, record in _records(path, _Record):
            if record.type != "message" or record.subtype in _PASSED_OVER:
                events += 1
                continue
            message = _message(export, where, record)
            if message is None:
                events += 1
            else:
                found.setdefault(message.ts, message)
    if len(found) > MESSAGES_MAX:
        raise ExportError(f"{channel.folder}: {len(found)} messages, at most {MESSAGES_MAX} are read")
    ordered = sorted(found.values(), key=lambda message: _ts_key(message.ts))
    return Messages(messages=tuple(ordered), events=events)


def _message(export: Export, where: str, record: _Record) -> SlackMessage | None:
    """None for a message that says nothing."""
    for name, ts in (("ts", record.ts), ("thread_ts", record.thread_ts or record.ts)):
        if not _TS.fullmatch(ts) or ts_ms(ts) > TIME_MS_MAX:
            raise ExportError(f"{where}: '{name}' is no time as Slack writes it (1482148800.000100): {ts[:40]!r}")
    user = record.user or record.bot_id or (record.username and f"name:{record.username}")
    if not user:
        raise ExportError(f"{where}: it does not say who said it: there is no 'user', 'bot_id' or 'username'")
    export.name_person(user, record.username, user.removeprefix("name:"))
    links = []
    for file in record.files or []:
        url = file.permalink or file.url_private
        if url:
            links.append((file.title or file.name or "file", url))
    if not (record.text or links):
        return None
    return SlackMessage(
        where=where,
        ts=record.ts,
        user=user,
        text=record.text or "",
        action=record.subtype == "me_message",
        thread_ts=record.thread_ts,
        links=tuple(links),
        reactions=tuple((reaction.name, tuple(reaction.users)) for reaction in record.reactions),
    )


def _records(path: Path, kind: type[R]) -> list[tuple[str, R]]:
    """The records of a file, and what each is called in errors."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ExportError(f"{path}: {path.stat().st_size} bytes, at most {FILE_BYTES_MAX} are read")
        values: list[Any] = msgspec.json.decode(path.read_bytes(), type=list[Any])
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExportError(f"{path}: it is no JSON list: {error}") from error
    records = []
    for number, value in enumerate(values, 1):
        where = f"{path}: record {number}"
        try:
            records.append((where, msgspec.convert(value, kind)))
        except msgspec.ValidationError as error:
            raise ExportError(f"{where}: {error}") from error
    return records


def ts_ms(ts: str) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    seconds, micros = _ts_key(ts)
    return seconds * 1000 + micros // 1000


def _ts_key(ts: str) -> tuple[int, int]:
    seconds, _, fraction = ts.partition(".")
    return int(seconds), int(fraction.ljust(6, "0"))


def account_name(text: str) -> str:
    """Return what an account can be called that is like `text`; empty if nothing is left of it."""
    allowed = "".join(character if is_name_character(character) else "_" for character in text.strip())
    name = allowed.strip("_")[: NAME_CHARACTERS_MAX - SUFFIX_CHARACTERS]
    while len(name.encode()) > NAME_BYTES_MAX - SUFFIX_CHARACTERS:
        name = name[:-1]
    try:
        return parse_account(name).display
    except BadName:
        return ""
