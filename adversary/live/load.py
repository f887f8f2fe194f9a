"""Load for measuring: people who keep a number of messages under way each, in a process of their own.

python -m adversary.live.load DIR --seconds S

Says, as one JSON object, how much was accepted and how long nothing was.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import msgspec
import trio

from chatsvc.application.operations import Create, Join, Operation, Register, encode_operation
from chatsvc.closed_loop import OUTCOME_SECONDS, Loop
from chatsvc.groupfile import GroupFileError, read_group_file
from crypto.signing import Ed25519Signer
from pbft.client.directory import GroupDirectory
from pbft.client.driver import ReplicaClient, open_client
from pbft.client.errors import ClientError
from pbft.client.quorums import Accepted, Settings

PEOPLE = 8
WINDOW = 32
BODY = "x" * 200
WARM_UP_S = 1.0
READY = "ready"
"""The first line: people are registered, and wait for a line before they begin."""


class Measured(msgspec.Struct, frozen=True):
    """`longest_gap_ms`: the longest time in which nothing was accepted, though people waited."""

    accepted: int
    failed: int
    seconds: float
    longest_gap_ms: float
    p50_ms: float
    p99_ms: float


async def measure(directory: GroupDirectory, seconds: float) -> Measured:
    """Raises ClientError."""
    room = f"load-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        loops = []
        for number in range(PEOPLE):
            signer = Ed25519Signer.generate()
            client = await stack.enter_async_context(open_client(directory, signer, settings=Settings(bundle=4)))
            await client.wait_connected(directory.group.honest_minimum)
            await _do(client, Register(f"{room}-{number}"))
            await _do(client, Create(room=room, topic="") if number == 0 else Join(room))
            loops.append(Loop(client=client, signer=signer, room=room, body=BODY, number=number, journal=[]))
        sys.stdout.write(READY + "\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        for loop in loops:
            loop.start(WINDOW)
        await trio.sleep(WARM_UP_S)
        began = time.perf_counter()
        await trio.sleep(seconds)
        ended = time.perf_counter()
        for loop in loops:
            loop.running = False
    return _measured(loops, began, ended)


def _measured(loops: list[Loop], began: float, ended: float) -> Measured:
    said = [pair for loop in loops for pair in zip(loop.journal or (), loop.latencies_ms, strict=True)]
    within = sorted((when, took_ms) for (when, _), took_ms in said if began <= when <= ended)
    moments = [began, *(when for when, _ in within), ended]
    waits_ms = sorted(took_ms for _, took_ms in within) or [0.0]
    return Measured(
        accepted=len(within),
        failed=sum(loop.failed for loop in loops),
        seconds=round(ended - began, 3),
        longest_gap_ms=round(max(after - before for before, after in pairwise(moments)) * 1000, 1),
        p50_ms=round(waits_ms[len(waits_ms) // 2], 1),
        p99_ms=round(waits_ms[len(waits_ms) * 99 // 100], 1),
    )


async def _do(client: ReplicaClient, operation: Operation) -> None:
    outcome = await client.submit(encode_operation(operation), within_s=OUTCOME_SECONDS, repeatable=True)
    if not isinstance(outcome, Accepted):
        msg = f"{type(operation).__name__.lower()}: no outcome within {OUTCOME_SECONDS:g} s"
        raise ClientError(msg)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.live.load", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args(arguments)
    try:
        measured = trio.run(measure, read_group_file(given.directory).directory(), given.seconds)
    except (GroupFileError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
