"""How long one replica takes to answer: python -m tests.chatsvc.reading_bench [MESSAGES]

One large public room, and 499 private ones that Alice is in. What is measured is a query's way through application
and database, all cached, without signatures and network: the median and the longest of some repetitions.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from chatsvc.application.answers import Found, decode_answer
from chatsvc.application.operations import Create, Join, Operation, Post, React, Register, encode_operation
from chatsvc.application.queries import (
    DigestMessages,
    ListRooms,
    ListUnread,
    Query,
    ReadHistory,
    SearchMessages,
    encode_query,
)
from chatsvc.application.schema import MessageIndex
from crypto.signing import PublicKey
from pbft.core.types import EventIndex
from pbft.state.executor import Executor
from tests.chatsvc.transfer_bench import chat_state, members
from tests.state.toy import request, run

ALICE, BOB = PublicKey(b"A" * 32), PublicKey(b"B" * 32)
PRIVATE_ROOMS = 499
BATCH = 64
BEGIN_MS = 1_700_000_000_000
"""2023-11-14 22:13 UTC."""
DAYS = 100
REPETITIONS = 15

HISTORY: dict[str, Query] = {
    "history, last 50": ReadHistory(room="big", limit=50),
    "history, last 200": ReadHistory(room="big", limit=200),
    "history, 200 in the middle": ReadHistory(room="big", before=MessageIndex(40_000), limit=200),
    "digests of 1000": DigestMessages(room="big", first=MessageIndex(1000)),
    "unread, a page of 200 rooms": ListUnread(),
    "rooms": ListRooms(),
}
SEARCHES = (
    "common",
    "common brown",
    "common -rare",
    "rare",
    "nowhere",
    '"quick brown fox"',
    "in:big",
    "in:big common before:2023-11-20",
    "in:big before:2023-11-20",
    "in:big after:2023-11-20 before:2023-11-21",
    "common before:2023-11-20",
    "after:2024-02-01 common",
    "from:alice common",
    "from:bob common",
    "from:bob",
    "in:private7",
    "in:private7 common",
    "has:link",
    "has:link before:2023-11-20",
    "mentions:bob",
    "mentions:me",
    "has:poll",
    "secret",
    "has:link from:bob in:big -common",
)


class Filler:
    """Executes operations in full batches, each a little later than the one before."""

    def __init__(self, executor: Executor, messages: int) -> None:
        self._executor = executor
        self._next = dict.fromkeys((ALICE, BOB), 0)
        self._now_ms = BEGIN_MS
        self._step_ms = DAYS * 86_400_000 * BATCH // messages

    def do(self, device: PublicKey, operations: list[Operation]) -> None:
        for start in range(0, len(operations), BATCH):
            part = operations[start : start + BATCH]
            first = self._next[device]
            self._next[device] += len(part)
            signed = request(device, first, *map(encode_operation, part), ack_below=first)
            self._now_ms += self._step_ms
            run(self._executor, signed, timestamp=self._now_ms)


def posts(messages: int) -> Iterator[tuple[PublicKey, list[Operation]]]:
    """Nine in ten go to the large room; among them links, mentions, reactions, and a word that is rare."""
    for start in range(0, messages, BATCH):
        numbers = range(start, min(start + BATCH, messages))
        if start // BATCH % 10:
            yield (
                (BOB if start // BATCH % 4 == 1 else ALICE),
                [Post(room="big", body=said(number)) for number in numbers],
            )
        else:
            rooms = (f"private{number // BATCH * 7 % PRIVATE_ROOMS}" for number in numbers)
            yield ALICE, [Post(room=room, body=f"secret {said(n)}") for n, room in zip(numbers, rooms, strict=True)]


def said(number: int) -> str:
    body = f"the quick brown fox says what is common in rooms like this one, the {number}th time"
    if number % 1000 == 3:
        body += " rare"
    if number % 50 == 5:
        body += f" see https://example.org/{number}"
    if number % 40 == 7:
        body += " @bob"
    return body


def fill(executor: Executor, messages: int) -> None:
    filler = Filler(executor, messages)
    filler.do(ALICE, [Register("alice"), Create("big", "")])
    filler.do(ALICE, [Create(f"private{number}", "", private=True) for number in range(PRIVATE_ROOMS)])

    filler.do(BOB, [Register("bob"), Join("big")])
    for device, operations in posts(messages):
        filler.do(device, operations)
    reacted = range(0, messages // 2, 20)
    filler.do(BOB, [React("big", MessageIndex(index), "+1") for index in reacted])


def timed(what: str, action: Callable[[], str]) -> None:
    took_ms: list[float] = []
    found = ""
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        found = action()
        took_ms.append(1000 * (time.perf_counter() - began))
    sys.stdout.write(f"{what:45} {median(took_ms):7.2f} {max(took_ms):7.2f}  {found}\n")


def asking(executor: Executor, device: PublicKey, query: Query) -> Callable[[], str]:
    data = encode_query(query)

    def ask() -> str:
        return _described(executor.query(device, data)[1])

    return ask


def _described(data: bytes) -> str:
    """Not decoded: that is the client's work."""
    return f"{len(data)} bytes"


def main(messages: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        executor, _ = chat_state(members(), Path(directory) / "state.sqlite")
        began = time.perf_counter()
        fill(executor, messages)
        sys.stdout.write(f"executed {messages} messages in {time.perf_counter() - began:.1f} s\n")
        sys.stdout.write(f"{'':45}  median longest ms\n")
        for what, query in HISTORY.items():
            timed(what, asking(executor, ALICE, query))
        for device, who in ((ALICE, "in 499 private rooms"), (BOB, "in none")):
            sys.stdout.write(f"searches, 50 a page, by one {who}\n")
            for text in SEARCHES:
                query = SearchMessages(text=text, limit=50)
                answer = decode_answer(executor.query(device, encode_query(query))[1])
                if not isinstance(answer, Found):
                    raise TypeError(f"{text}: {answer}")
                timed(f"  {text}: {len(answer.messages)}", asking(executor, device, query))
        timed(
            "events, 200 with content",
            lambda: f"{len(executor.events(BOB, b'big', EventIndex(9000), 200)[1] or ())} events",
        )
        executor.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
