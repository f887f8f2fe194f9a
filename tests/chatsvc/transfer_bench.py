"""How long state transfer takes: python -m tests.chatsvc.transfer_bench [MESSAGES]

Fills a state, fetches it into an empty one, then again after one message in a hundred changed; in one process,
without a network: what is measured is reading, encoding, decoding, verifying and writing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Create, Operation, Post, Register, encode_operation
from chatsvc.search_index import SearchIndex
from crypto.signing import PublicKey
from pbft.state.executor import Executor, open_state
from tests.harness.keys import Members, make_group
from tests.state.exchange import Exchange, certificate, scrub_all
from tests.state.toy import request, run

ROOMS = 20
LINE = "the quick brown fox jumps over the lazy dog and says what people say in rooms like this one, about {}"


def members() -> Members:
    return make_group(4, checkpoint_interval=4, pipeline_depth=2)


def chat_state(group: Members, path: Path | str = ":memory:") -> tuple[Executor, SearchIndex]:
    index = SearchIndex()
    return open_state(path, ChatApplication(index, ChatLimits()), group.group, index), index


class Speaker:
    """One device that says things in many rooms."""

    def __init__(self, executor: Executor, name: str, device: PublicKey) -> None:
        self._executor = executor
        self._device = device
        self._next = 0
        self.do(Register(name), *(Create(f"room{room}", "") for room in range(ROOMS)))

    def do(self, *operations: Operation) -> None:
        first, self._next = self._next, self._next + len(operations)
        signed = request(self._device, first, *map(encode_operation, operations), ack_below=first)
        run(self._executor, signed, timestamp=1_700_000_000_000 + first)

    def post(self, count: int, *, rooms: int = ROOMS) -> None:
        for start in range(0, count, 64):
            numbers = range(start, min(start + 64, count))
            self.do(*(Post(room=f"room{n // 64 % rooms}", body=LINE.format(n)) for n in numbers))

    def to_checkpoint(self) -> None:
        while self._executor.position.last_executed % 4:
            self.post(1)


def measure(what: str, holder: Executor, fetcher: Executor, group: Members) -> None:
    began = time.perf_counter()
    exchange = Exchange({1: holder, 2: holder, 3: holder}, fetcher, certificate(holder, group), members=group)
    progress = exchange.run(within_ms=600_000).transfer.progress
    took_s = time.perf_counter() - began
    wire = sum(exchange.bytes_by.values())
    sys.stdout.write(
        f"{what}: {took_s:.1f} s, {wire / 1e6:.2f} MB, {progress.pages_fetched} pages, "
        f"{len(exchange.fetches)} questions, {exchange.now_ms / 1000:.1f} s of the network's time\n"
    )


def main(messages: int) -> None:
    group = members()
    with tempfile.TemporaryDirectory() as directory:
        holder, _ = chat_state(group, Path(directory) / "holder.sqlite")
        fetcher, _ = chat_state(group, Path(directory) / "fetcher.sqlite")
        speaker = Speaker(holder, "alice", PublicKey(bytes(32)))
        began = time.perf_counter()
        speaker.post(messages)
        speaker.to_checkpoint()
        sys.stdout.write(f"executed {messages} messages in {time.perf_counter() - began:.1f} s\n")
        measure("to an empty state", holder, fetcher, group)
        speaker.post(messages // 100)
        speaker.to_checkpoint()
        measure("one message in a hundred more", holder, fetcher, group)
        began = time.perf_counter()
        fetcher.close()
        fetcher, _ = chat_state(group, Path(directory) / "fetcher.sqlite")
        sys.stdout.write(f"opening: {time.perf_counter() - began:.2f} s\n")
        began = time.perf_counter()
        damaged = scrub_all(fetcher)
        sys.stdout.write(f"scrubbing all: {time.perf_counter() - began:.2f} s, {len(damaged)} damaged\n")
        fetcher.close()
        holder.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
