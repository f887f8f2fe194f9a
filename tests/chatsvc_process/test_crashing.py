"""Real nodes killed, or out of disk, in the middle of load: they rejoin, and no vote was ever cast twice
(protocol, pitfall 8; attacks 33, 37)."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from chatsvc.application.operations import Create, Post, Register, encode_operation
from chatsvc.groupfile import GroupFile, read_group_file
from crypto.signing import Ed25519Signer, Ed25519Verifier
from pbft.core.codec import Opener
from pbft.core.effects import RecordKind
from pbft.core.messages import Commit, CommitCertificate, Prepare, PrePrepare, Proposal, Signed
from pbft.core.types import ReplicaId
from pbft.node.ledger import Ledger
from tests.chatsvc_process.processes import PATIENCE_S, Running, node
from tests.node.network import Customer, client

BACKUP, PRIMARY = 2, 0
OPERATIONS_BETWEEN_KILLS = 15
CUSTOMERS = 3
FILE_BYTES_MAX = 300_000


# -- what ledgers say


Place = tuple[str, int, int]
"""Kind of vote, view, sequence number."""


@dataclass
class Votes:
    """What one replica signed, by its own ledger; or, by another's, what it is known to have signed."""

    digests: dict[Place, set[bytes]] = field(default_factory=dict)

    def add(self, kind: str, vote: PrePrepare | Prepare | Commit) -> None:
        self.digests.setdefault((kind, vote.view, vote.sequence), set()).add(vote.batch_digest)


NO_FRAMES = {RecordKind.BODY, RecordKind.REPAIRED, RecordKind.AMNESIA, RecordKind.REJOINED}


def votes_of(file: GroupFile, directory: Path, *, ledger_of: int, signer: int) -> Votes:
    """The votes of `signer` in the ledger of a replica, alone or in certificates."""
    identity = file.group.group_id + file.members[ledger_of].signing_key
    ledger = Ledger(directory / f"replica-{ledger_of}", identity, retained_sequences=1024)
    opener = Opener(file.group, Ed25519Verifier())
    votes = Votes()
    for record in ledger.records():
        if record.kind in NO_FRAMES:
            continue
        if record.kind is RecordKind.PREPARED:
            prepared = opener.open(opener.parse_prepared_certificate(record.data))
            if signer in {replica for replica, _ in prepared.prepares}:
                votes.add("PREPARE", prepared.pre_prepare.message)
            if prepared.pre_prepare.signer == signer:
                votes.add("PRE-PREPARE", prepared.pre_prepare.message)
            continue
        match opener.open_peer(record.data):
            case Proposal(pre_prepare=signed) if signed.signer == signer:
                votes.add("PRE-PREPARE", signed.message)
            case Signed(message=Prepare() | Commit() as vote) as signed if signed.signer == signer:
                votes.add("PREPARE" if isinstance(vote, Prepare) else "COMMIT", vote)
            case CommitCertificate() as certificate if signer in {replica for replica, _ in certificate.endorsements}:
                votes.add("COMMIT", certificate.commit)
            case _:
                pass
    ledger.close()
    return votes


def assert_voted_once(file: GroupFile, directory: Path, victim: int) -> int:
    """All that anybody knows of the victim's votes is in its own ledger, with one digest for each place.

    Returns how many votes others know of.
    """
    own = votes_of(file, directory, ledger_of=victim, signer=victim).digests
    assert own
    assert all(len(digests) == 1 for digests in own.values())
    known = 0
    for witness in file.group.others(ReplicaId(victim)):
        for place, digests in votes_of(file, directory, ledger_of=witness, signer=victim).digests.items():
            assert digests == own.get(place), f"{place} was sent before it was stored, or another was"
            known += 1
    return known


# -- load


class Load:
    """Some customers, each with an operation under way at any time."""

    def __init__(self, file: GroupFile, replicas: Iterable[int]) -> None:
        self.done = 0
        self._file = file
        self._replicas = list(replicas)
        self._stopping = False
        self._changed = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(CUSTOMERS):
                nursery.start_soon(self._customer, number)

    async def _customer(self, number: int) -> None:
        async with Customer.of(self._file, self._replicas) as customer:
            await customer.order(encode_operation(Register(f"user{number}")))
            await customer.order(encode_operation(Create(f"room{number}", "")))
            while not self._stopping:
                results = await customer.order(encode_operation(Post(room=f"room{number}", body="hello")))
                assert len(set(results)) == 1, "all replicas say the same"
                self.done += 1
                self._changed.set()
                self._changed = trio.Event()

    async def more(self, count: int) -> None:
        """Until so many more operations were answered by all."""
        goal = self.done + count
        with trio.fail_after(PATIENCE_S):
            while self.done < goal:
                await self._changed.wait()

    def stop(self) -> None:
        self._stopping = True


async def until_equal(file: GroupFile, replicas: Iterable[int]) -> None:
    """Until all stand at the same sequence number with the same state."""
    async with contextlib.AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(await client(file, replica, Ed25519Signer.generate()))
            for replica in replicas
        ]
        with trio.fail_after(PATIENCE_S):
            while True:
                reports = [await caller.inspect() for caller in callers]
                if len({(report["last_executed"], report["state_root"]) for report in reports}) == 1:
                    assert not any(report["alarms"] or report["evidence"] for report in reports)
                    return
                await trio.sleep(0.02)  # other processes: only asking tells


@asynccontextmanager
async def nodes(directory: Path, replicas: Iterable[int]) -> AsyncIterator[list[Running]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node(directory, replica)) for replica in replicas]


@pytest.mark.parametrize("rounds", [2, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("victim", [PRIMARY, BACKUP], ids=["primary", "backup"])
async def test_pitfall_8_a_node_killed_under_load_rejoins_and_never_votes_twice(
    directory: Path, victim: int, rounds: int
) -> None:
    """Of three replicas, so that each has to vote for everything."""
    file = read_group_file(directory)
    others = [replica for replica in range(3) if replica != victim]
    load = Load(file, others)
    async with nodes(directory, others) as running:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            for _ in range(rounds):
                async with node(directory, victim) as process:
                    await load.more(OPERATIONS_BETWEEN_KILLS)
                    await process.end(signal.SIGKILL)
            async with node(directory, victim) as process:
                await load.more(OPERATIONS_BETWEEN_KILLS)
                load.stop()
                await until_equal(file, range(3))
                assert await process.end(signal.SIGTERM) == 0
        for each in running:
            assert await each.end(signal.SIGTERM) == 0
    assert assert_voted_once(file, directory, victim) > OPERATIONS_BETWEEN_KILLS


async def test_a_node_whose_disk_is_full_stops_and_the_others_go_on(directory: Path) -> None:
    file = read_group_file(directory)
    others = [replica for replica in file.group.replicas if replica != BACKUP]
    load = Load(file, others)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, resource.RLIM_INFINITY))

    async with nodes(directory, others) as running:
        async with trio.open_nursery() as nursery:
            async with node(directory, BACKUP, before_exec=limit) as process:
                for each in running:
                    await each.until("link up", f"peer={BACKUP}")
                nursery.start_soon(load.run)
                assert await process.wait() == 1
                await process.until("quorate: ")
            (line,) = [line for line in process.lines if line.startswith("quorate: ")]
            assert line.startswith(f"quorate: {directory}/replica-{BACKUP}/")
            assert "start the node again" in line
            assert "Traceback" not in "\n".join(process.lines)
            await load.more(OPERATIONS_BETWEEN_KILLS)
            async with node(directory, BACKUP):  # with room again
                await load.more(OPERATIONS_BETWEEN_KILLS)
                load.stop()
                await until_equal(file, file.group.replicas)
        for each in running:
            assert await each.end(signal.SIGTERM) == 0
    assert_voted_once(file, directory, BACKUP)
