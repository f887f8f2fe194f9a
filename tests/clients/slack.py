"""A small Slack export, made up."""

from __future__ import annotations

import json
from pathlib import Path

USERS = [
    {"id": "U1", "name": "ada", "profile": {"display_name": "Ada L", "real_name": "Ada Lovelace"}},
    {"id": "U2", "name": "bob", "profile": {"display_name": "", "real_name": "Bob"}},
    {"id": "U3", "name": "bob", "deleted": True},
]
CHANNELS = [
    {"id": "C1", "name": "general", "topic": {"value": "All of\nus"}, "purpose": {"value": ""}, "members": ["U1"]},
    {"id": "C2", "name": "random"},
]
GENERAL = {
    "2020-01-01.json": [
        {"type": "message", "subtype": "channel_join", "user": "U1", "ts": "1577872800.000100", "text": "joined"},
        {
            "type": "message", "user": "U1", "ts": "1577872801.000200", "thread_ts": "1577872801.000200",
            "text": "hello <@U2> &amp; <!here>: see <https://example.org|the page> in <#C2|random>",
            "reactions": [{"name": "wave", "users": ["U2", "U3"], "count": 2}], "edited": {"user": "U1"},
        },
        {"type": "message", "user": "U2", "ts": "1577872803.000000", "text": "apart"},
        {"type": "message", "user": "U2", "ts": "1577872802.000000", "thread_ts": "1577872801.000200", "text": "hi"},
    ],
    "2020-01-02.json": [
        {"type": "message", "user": "U3", "subtype": "me_message", "ts": "1577959200.000000", "text": "waves"},
        {
            "type": "message", "subtype": "bot_message", "bot_id": "B1", "username": "Build bot",
            "ts": "1577959201.000000", "text": "",
            "files": [{"title": "log.txt", "permalink": "https://example.org/log"}],
        },
        {"type": "message", "user": "U1", "ts": "1577959202.000000", "thread_ts": "1577000000.000", "text": "late"},
        {"type": "message", "user": "U1", "ts": "1577959203.000000", "text": "x" * 5000 + "\u0007"},
    ],
}  # fmt: skip


def write_export(directory: Path) -> Path:
    directory.mkdir()
    (directory / "users.json").write_text(json.dumps(USERS))
    (directory / "channels.json").write_text(json.dumps(CHANNELS))
    for channel in ("general", "random"):
        (directory / channel).mkdir()
    for name, records in GENERAL.items():
        (directory / "general" / name).write_text(json.dumps(records))
    return directory
