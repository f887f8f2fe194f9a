# Letters that look alike are what is tested here.
# ruff: noqa: RUF001
"""Prints one digest of what a fixed history of operations gives and leaves behind.

    python -m tests.chatsvc.replay

The same on every Python, whatever PYTHONHASHSEED, the locale and the time zone are.
"""

from __future__ import annotations

import sys
from hashlib import sha256

from chatsvc.application.operations import (
    Create,
    Join,
    Leave,
    Operation,
    Post,
    React,
    Read,
    Register,
    SetDisplay,
    encode_operation,
)
from chatsvc.application.queries import (
    ListMembers,
    ListRooms,
    ListThreads,
    Query,
    ReadHistory,
    SearchMessages,
    ShowRoom,
    encode_query,
)
from chatsvc.application.schema import MessageIndex
from crypto.canonical import encode
from tests.chatsvc.fakes import Service, device_of, replay_sample, sample_messages

NAMES = [
    "|trey|",
    "Straße",
    "STRASSE",
    "Σίσυφος",
    "ΣΊΣΥΦΟΣ",
    "İstanbul",
    "istanbul",
    "ıI",
    "Zoe\u0308",
    "ZOË",
    "ﬁ",
    "K\u212a",
    "日本語",
    "ｶﾞ",
    "\U0001fae8",
    "\U00011f04",
    "\U0001e030",
    "\u1c89",
    "\ua7cb",
    "a\u200db",
    "a b",
    "ß" * 20,
    "\u0345",
    "\u1e9e",
]
BODIES = [
    "東京都に住む",
    "new\U0001e030 \U0001fae8 letters",
    "\u0130I\u0131i \u1e9e",
    "e\u0301\u0323 ｶﾞ ①",
    "\u1c89\ua7cb ok",
    "x\u200dy",
]
SEARCHES = [
    "the -to",
    "boot",
    "in:ubuntu -from:ubottu flash",
    "東京都",
    "ss",
    "letters",
    "i",
    "\u1c89",
    "after:2016-12-19 in:ubuntu",
]


def operations() -> list[tuple[str, Operation]]:
    done: list[tuple[str, Operation]] = []
    for number, name in enumerate(NAMES):
        device = f"device {number}"
        done += [
            (device, Register(name)),
            (device, Create(name, name)),
            (device, Create(name.lower(), "")),
            (device, Join("ubuntu")),
            *((device, Post(room="ubuntu", body=body)) for body in BODIES),
            (device, SetDisplay(name)),
            (device, Post(room="ubuntu", body=f"@{name} and @{name.upper()}'s", thread=name)),
            (device, React("ubuntu", MessageIndex(number), name)),
        ]
    done += [(f"device {number}", Leave("ubuntu")) for number in range(0, len(NAMES), 3)]
    return done


def queries() -> list[Query]:
    searches = [SearchMessages(text=text, limit=100) for text in SEARCHES]
    more = [ListThreads(room="ubuntu")]
    return [ListRooms(), ShowRoom("ubuntu"), ListMembers(room="ubuntu"), ReadHistory(room="ubuntu"), *more, *searches]


def replay() -> str:
    """Return a digest over all results, answers and rows."""
    service = Service()
    digest = sha256()
    replay_sample(service, sample_messages())
    for device, operation in operations():
        digest.update(service.execute(device_of(device), encode_operation(operation)).result)
    for query in queries():
        digest.update(service.execute(device_of("device 0"), encode_operation(Read(encode_query(query)))).result)
    for change in service.rows.all_rows():
        digest.update(encode([change.table, change.key, change.row]))
    service.close()
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(f"{replay()}\n")
