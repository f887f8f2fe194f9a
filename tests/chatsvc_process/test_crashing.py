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
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.node.ledger import Ledger
from tests.chatsvc_process.processes import PATIENCE_S, Running, node
from tests.node.network import Customer, client

BACKUP, PRIMARY = 2, 0
ROUNDS = 3
MESSAGES_BETWEEN_KILLS = 12


# -- what ledgers say


Place = tuple[str, int, int]
"""Kind of vote, view, sequence number."""


@dataclass
class Votes:
    """What one replica signed, by its own ledger; or, by another's, what it is known to have signed."""

    digests: dict[Place, set[bytes]] = field(default_factory=dict)

    def add(self, kind: str, vote: PrePrepare | Prepare | Commit) -> None:
        self.digests.setdefault((kind, vote.view, vote.sequence), set()).add(vote.batch_digest)


def votes_of(file: GroupFile, directory: Path, *, ledger_of: int, signer: int) -> Votes:
    """The votes of `signer` in the ledger of a replica, alone or in certificates."""
    identity = file.group.group_id + file.members[ledger_of].signing_key
    ledger = Ledger(directory / f"replica-{ledger_of}", identity, retained_sequences=1024)
    opener = Opener(file.group, Ed25519Verifier())
    votes = Votes()
    for record in ledger.records():
        if record.kind is RecordKind.BODY:
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


def assert_voted_once(file: GroupFile, directory: Path, victim: int) -> None:
    """All that anybody knows of the victim's votes is in its own ledger, and there is one digest for each place."""
    own = votes_of(file, directory, ledger_of=victim, signer=victim).digests
    assert own
    assert all(len(digests) == 1 for digests in own.values())
    known = 0
    for witness in file.group.others(ReplicaId(victim)):
        for place, digests in votes_of(file, directory, ledger_of=witness, signer=victim).digests.items():
            assert digests == own.get(place), f"{place} was sent before it was stored, or another was"
            known += 1
    assert known


# -- load


async def furnished(customer: Customer) -> None:
    for operation in (Register("alice"), Create("room", "")):
        await customer.order(encode_operation(operation))


async def post(customer: Customer, count: int) -> None:
    for _ in range(count):
        results = await customer.order(encode_operation(Post(room="room", body="hello")))
        assert len(set(results)) == 1, "all replicas say the same"


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
                await trio.sleep(0.02)  # the nodes are other processes: only asking tells


@asynccontextmanager
async def nodes(directory: Path, replicas: Iterable[int]) -> AsyncIterator[list[Running]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node(directory, replica)) for replica in replicas]


async def crash_again_and_again(directory: Path, victim: int) -> None:
    """Kill -9 while operations are under way, start again, and again."""
    file = read_group_file(directory)
    others = [replica for replica in file.group.replicas if replica != victim]
    async with nodes(directory, others) as running, Customer.of(file, others) as customer:
        async with node(directory, victim) as process:
            await furnished(customer)
            await post(customer, 1)
            await process.end(signal.SIGKILL)
        for _ in range(ROUNDS):
            async with node(directory, victim) as process, trio.open_nursery() as nursery:
                nursery.start_soon(post, customer, MESSAGES_BETWEEN_KILLS)
                await until_executed(file, victim, more=MESSAGES_BETWEEN_KILLS // 2)
                await process.end(signal.SIGKILL)
                if victim == PRIMARY:  # without it nothing is ordered (there is no view change yet)
                    await nursery.start(again, directory, victim, nursery.cancel_scope)
        async with node(directory, victim) as process:
            await post(customer, 3)
            await until_equal(file, file.group.replicas)
            assert await process.end(signal.SIGTERM) == 0
        for each in running:
            assert await each.end(signal.SIGTERM) == 0
    assert_voted_once(file, directory, victim)
