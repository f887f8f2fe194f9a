"""A node whose state is lost, wrong or far behind fetches it from the others, over real links, and is whole again."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from pbft.core.effects import RecordKind
from pbft.core.types import ReplicaId
from pbft.node.node import Node
from tests.node.network import PATIENCE_S, Caller, Customer, client, running
from tests.state.exchange import scrub_all

OTHERS = (0, 1, 2)
STRAGGLER = 3


async def until_equal(file: GroupFile, replicas: range) -> None:
    """Until all vote and stand at the same sequence number with the same state."""
    callers: list[Caller] = [await client(file, replica, Ed25519Signer.generate()) for replica in replicas]
    with trio.fail_after(PATIENCE_S):
        while True:
            reports = [await caller.inspect() for caller in callers]
            stands = {(report["role"], report["last_executed"], report["state_root"]) for report in reports}
            if len(stands) == 1 and stands.pop()[0] == "voting":
                break
    for caller in callers:
        await trio.aclose_forcefully(caller.stream)


def was_repaired(nodes: Mapping[int, Node]) -> list[int]:
    return [
        number
        for number, node in nodes.items()
        if any(record.kind is RecordKind.REPAIRED for record in node._ledger.records())
    ]


async def talk(file: GroupFile, lines: int, replicas: tuple[int, ...] = OTHERS) -> None:
    async with Customer.of(file, replicas) as customer:
        for number in range(lines):
            await customer.say(f"line {number}", log=f"log {number % 7}")


async def test_a_node_that_starts_far_behind_fetches_the_state(group_file: GroupFile) -> None:
    async with running(group_file, OTHERS) as nodes:
        await talk(group_file, 40)
        async with running(group_file, [STRAGGLER]) as late:
            await until_equal(group_file, range(4))
            assert was_repaired(late) == [STRAGGLER]
            await talk(group_file, 20, (*OTHERS, STRAGGLER))
            await until_equal(group_file, range(4))
            assert late[STRAGGLER]._executor.recomputed_state_root() == nodes[0]._executor.state_root()
        assert was_repaired(nodes) == []


async def test_a_node_whose_state_is_gone_fetches_it(group_file: GroupFile) -> None:
    async with running(group_file, range(4)):
        await talk(group_file, 30, (*OTHERS, STRAGGLER))
        await until_equal(group_file, range(4))
    for path in group_file.replica_directory(ReplicaId(STRAGGLER)).glob("state.sqlite*"):
        path.unlink()
    async with running(group_file, range(4)) as nodes:
        await talk(group_file, 10)  # the others restarted too, and hold no checkpoint before the next one
        await until_equal(group_file, range(4))
        assert was_repaired(nodes) == [STRAGGLER]
        await talk(group_file, 20, (*OTHERS, STRAGGLER))
        await until_equal(group_file, range(4))
    async with running(group_file, range(4)) as nodes:  # what was fetched lasts
        await until_equal(group_file, range(4))
        await talk(group_file, 10, (*OTHERS, STRAGGLER))
        await until_equal(group_file, range(4))


async def test_pitfall_14_a_node_with_a_rotted_row_notices_and_mends_it(group_file: GroupFile) -> None:
    async with running(group_file, range(4)) as nodes:
        await talk(group_file, 10)
        await until_equal(group_file, range(4))
        executor = nodes[STRAGGLER]._executor
        rot = "UPDATE rows_lines SET row = x'820101' WHERE key = (SELECT max(key) FROM rows_lines)"
        executor._store.connection.execute(rot)
        scrub_all(executor)
        await talk(group_file, 20)
        await until_equal(group_file, range(4))
        assert was_repaired(nodes) == [STRAGGLER]
        assert any("differs from the one that a quorum certified" in alarm for alarm in nodes[STRAGGLER]._alarms)
        assert executor.recomputed_state_root() == nodes[0]._executor.recomputed_state_root()
