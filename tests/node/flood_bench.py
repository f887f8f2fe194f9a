"""What is left for honest clients while somebody floods the group: `python -m tests.node.flood_bench [KIND ...]`.

Founds a group, runs it, and measures the load of honest clients with each kind of flood. The flood comes from another
address of this machine and from a process of lower priority: what it costs is to be the replicas' work, not its own.
Where the machine is shared, compare the replicas' CPU for each operation that was accepted: as long as that is no
more than twice what it is without a flood, a replica that is as fast as its CPU keeps half of its throughput.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from chatsvc.application.operations import Create, Post, Register, encode_operation
from chatsvc.application.queries import SearchMessages, encode_query
from chatsvc.founding import found_group
from chatsvc.groupfile import GroupFile, read_group_file
from clients.load import LoadPlan, run_load
from clients.takeover import start_all
from crypto.signing import Ed25519Signer
from pbft.client.connection import Dial
from pbft.client.directory import ReplicaContact
from pbft.client.driver import open_client
from pbft.core.frames import sign_request, wire_of
from pbft.core.group import Parameters
from pbft.core.handshake import encode_inspect, framed
from pbft.core.messages import Fetch, Query, Request
from pbft.core.types import ClientSequence, ReplicaId, SequenceNumber, SessionNumber
from tests.harness.craft import digest
from tests.node.attacks import STATUS, craft_of
from tests.node.network import Caller, client, link, welcomed

SOURCE = "127.0.0.2"
DEVICES = 16
REQUESTS = 1500
"""Signed before the flood begins, for each device."""
PEER = ReplicaId(3)
"""Who floods when a replica does: it does not run, the flood has its keys."""
Body = Callable[[GroupFile], Awaitable[None]]


def blob(file: GroupFile, signer: Ed25519Signer, session: int) -> bytes:
    """Requests of one device, all good, one after another."""
    frames = []
    for number in range(REQUESTS):
        operation = encode_operation(Post(room="flood", body="x" * 200, nonce=number.to_bytes(12, "big")))
        request = Request(
            session=SessionNumber(session),
            first_client_sequence=ClientSequence(number),
            ack_below=ClientSequence(number),
            operations=(operation,),
        )
        frames.append(framed(sign_request(file.group, signer, request).wire))
    return b"".join(frames)


async def pour(file: GroupFile, to: int, signer: Ed25519Signer, data: bytes) -> None:
    """Again and again, as fast as the node takes it; nobody reads what it answers, until it closes."""
    while True:
        async with await client(file, to, signer, source=SOURCE) as caller, trio.open_nursery() as nursery:
            nursery.start_soon(drain, caller)
            await caller.raw(data)
            nursery.cancel_scope.cancel()


async def drain(caller: Caller) -> None:
    while await caller.frame() is not None:
        pass


async def everywhere(file: GroupFile, signers: list[Ed25519Signer], blobs: list[bytes], *, to: list[int]) -> None:
    async with trio.open_nursery() as nursery:
        for (signer, data), replica in itertools.product(zip(signers, blobs, strict=True), to):
            nursery.start_soon(again, partial(pour, file, replica, signer, data))
        ready()


async def again(body: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await body()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, AssertionError, ExceptionGroup):
            await trio.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - a pause, not a secret


def ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def strangers(file: GroupFile) -> None:
    signers = [Ed25519Signer.generate() for _ in range(DEVICES)]
    await everywhere(file, signers, [blob(file, each, 1) for each in signers], to=[*file.group.replicas])


async def registered(file: GroupFile, devices: int = DEVICES) -> None:
    signers = [Ed25519Signer.generate() for _ in range(devices)]
    for number, signer in enumerate(signers):
        async with open_client(file.directory(), signer) as member:
            await member.wait_connected(file.group.quorum)
            await member.submit(encode_operation(Register(name=f"flood-{os.getpid()}-{number}")), within_s=20)
            if not number:
                await member.submit(encode_operation(Create(room="flood", topic="")), within_s=20)
    await everywhere(file, signers, [blob(file, each, 2**40) for each in signers], to=[*file.group.replicas])


async def queries(file: GroupFile) -> None:
    query = encode_query(SearchMessages(text="x", limit=50))
    frame = framed(wire_of(file.group.epoch, Query(query_id=1, minimum_sequence=SequenceNumber(0), query=query)))
    signers = [Ed25519Signer.generate() for _ in range(DEVICES)]
    await everywhere(file, signers, [frame * 20_000] * DEVICES, to=[*file.group.replicas])


async def handshakes(file: GroupFile) -> None:
    async def knock(to: int) -> None:
        while True:
            caller, _ = await welcomed(file, to, source=SOURCE)
            await trio.aclose_forcefully(caller.stream)

    async with trio.open_nursery() as nursery:
        for to in [*file.group.replicas] * 8:
            nursery.start_soon(again, partial(knock, to))
        ready()


async def inspections(file: GroupFile) -> None:
    data = framed(encode_inspect(file.group.epoch)) * 16

    async def ask(to: int) -> None:
        while True:
            caller, _ = await welcomed(file, to, source=SOURCE)
            async with caller:
                await caller.raw(data)
                for _ in range(16):
                    await caller.frame()

    async with trio.open_nursery() as nursery:
        for to in [*file.group.replicas] * 8:
            nursery.start_soon(again, partial(ask, to))
        ready()


async def peer_storm(file: GroupFile, frames: list[bytes]) -> None:
    data = b"".join(map(framed, frames))
    data *= max(1, 2_000_000 // len(data))

    async def storm(to: int) -> None:
        async with await link(file, PEER, to) as caller:
            while True:
                await caller.stream.send_all(data)

    async with trio.open_nursery() as nursery:
        for to in file.group.others(PEER):
            nursery.start_soon(again, partial(storm, to))
        ready()


async def peer_votes(file: GroupFile) -> None:
    """Well signed, inside the window, and good for nothing."""
    craft = craft_of(file)
    frames = [craft.prepare(PEER, each, digest(f"{each}")).wire for each in range(1, 400)]
    changes = [craft.checkpoint(PEER, 128 * each, digest("root")).wire for each in range(1, 64)]
    await peer_storm(file, frames + changes)


async def peer_questions(file: GroupFile) -> None:
    wanted = Fetch(wanted=tuple((SequenceNumber(each), digest(f"{each}")) for each in range(1, 9)))
    await peer_storm(file, [wire_of(file.group.epoch, STATUS), wire_of(file.group.epoch, wanted)])


async def nothing(_file: GroupFile) -> None:
    ready()
    await trio.sleep_forever()


KINDS: dict[str, Body] = {
    "nothing": nothing,
    "strangers": strangers,
    "registered": registered,
    "one-device": partial(registered, devices=1),
    "queries": queries,
    "handshakes": handshakes,
    "inspections": inspections,
    "peer-nothing": nothing,
    "peer-votes": peer_votes,
    "peer-questions": peer_questions,
}


@asynccontextmanager
async def flooding(directory: Path, kind: str) -> AsyncIterator[None]:
    """A process that floods, once it has said that it does."""
    command = [sys.executable, "-m", "tests.node.flood_bench", "--flood", str(directory), kind]
    process = await trio.lowlevel.open_process(command, stdout=-1, preexec_fn=partial(os.nice, 10))
    try:
        assert process.stdout is not None
        assert await process.stdout.receive_some(), "the flood ended before it began"
        yield
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


def from_address(number: int) -> Dial:
    """Honest people sit in different places."""

    async def dial(contact: ReplicaContact) -> trio.abc.Stream:
        raw = trio.socket.socket()
        await raw.bind((f"127.0.1.{1 + number}", 0))
        await raw.connect((contact.host, contact.port))
        return trio.SocketStream(raw)

    return dial


async def measure(kind: str, plan: LoadPlan) -> str:
    """Operations of honest clients that were accepted, a second, and what they cost the replicas."""
    from clients.processes import processes_of  # noqa: PLC0415 - what floods does without

    with TemporaryDirectory() as place:
        directory = Path(place) / "group"
        path = found_group(
            directory, name="flooded", replicas=4, host="127.0.0.1", base_port=None, parameters=Parameters()
        )
        file = read_group_file(path)
        async with processes_of(directory) as processes:
            await start_all(file, processes)
            if kind.startswith("peer-"):
                await processes.stop(PEER, signal.SIGTERM)
            async with flooding(directory, kind):
                result = await run_load(file.directory(), plan, lambda _: None, dial_of=from_address)
    costs = [cost for cost in result.replica_cpu_us if cost is not None]
    cpu = f"{min(costs):5.0f} to {max(costs):5.0f} us" if costs else "no answer"
    rate = result.accepted / result.seconds
    return f"{rate:8.0f} accepted/s  {cpu} of CPU at each replica  p95 {result.percentile(0.95)} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flood", nargs=2, metavar=("DIR", "KIND"), help="be the flood")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="all if none is named")
    given = parser.parse_args()
    if given.flood:
        directory, kind = given.flood
        trio.run(KINDS[kind], read_group_file(Path(directory)))
        return
    plan = LoadPlan(clients=given.clients, window=given.window, bundle=1, seconds=given.seconds, body_bytes=200)
    for kind in given.kinds or KINDS:
        sys.stdout.write(f"{kind:16} {trio.run(measure, kind, plan)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
