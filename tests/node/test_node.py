"""What stops a node: our own bugs and bad stores, plainly. What does not: anything a peer sends (pitfall 24)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from chatsvc.groupfile import GroupFile
from crypto.canonical import encode
from crypto.signing import Ed25519Signer
from pbft.core.codec import Opener
from pbft.core.effects import (
    Archived,
    ClientGone,
    Effects,
    Evidence,
    Input,
    Received,
    Record,
    RecordKind,
    ServeArchive,
    StateDamaged,
    TimerExpired,
)
from pbft.core.errors import InvariantViolation
from pbft.core.evidence import encode_evidence
from pbft.core.exchange import SHARED_PER_CULPRIT_MAX
from pbft.core.frames import wire_of
from pbft.core.handshake import encode_inspect
from pbft.core.messages import PeerMessage, Subscribe
from pbft.core.replica import Replica
from pbft.core.types import EventIndex, ReplicaId, SequenceNumber
from pbft.node import evidence as evidence_module
from pbft.node.archive import archived_frames
from pbft.node.evidence import EVIDENCE_PER_CULPRIT_MAX, EvidenceStore
from pbft.node.ledger import LedgerDamaged
from pbft.node.node import Machine, Node
from pbft.state.errors import StateError, StorageFailure
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group
from tests.harness.waiting import until
from tests.node.attacks import STATUS, craft_of
from tests.node.ledgers import open_ledger
from tests.node.logs import Logs
from tests.node.network import Customer, MakeMachine, client, link, node_of, running, welcomed
from tests.state.toy import op, request, run

HONEST = range(3)


class Wrapped:
    """A replica with some of its behaviour replaced."""

    def __init__(
        self,
        replica: Replica,
        *,
        step: Callable[[Input], Effects] | None = None,
        is_useless: Callable[[PeerMessage], bool] | None = None,
        describe: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self.step = step or replica.step
        self.is_useless = is_useless or replica.is_useless
        self.own_load = replica.own_load
        self.describe = cast("Callable[[], dict[str, Any]]", describe or replica.describe)


class Running:
    """A node that runs, and how it ended."""

    def __init__(self, node: Node) -> None:
        self.scope = trio.CancelScope()
        self._node = node
        self._ended = trio.Event()
        self._failure: Exception | None = None

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            try:
                await self._node.run(task_status=task_status)
            except (InvariantViolation, StateError, LedgerDamaged) as error:
                self._failure = error
        self._ended.set()

    async def failure(self) -> Exception | None:
        with trio.fail_after(10):
            await self._ended.wait()
        return self._failure


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def failing_on(kind: type, error: Exception) -> MakeMachine:
    """Fails at the first input of a kind."""

    def make(replica: Replica, _signer: Ed25519Signer) -> Machine:
        def step(given: Input) -> Effects:
            if isinstance(given, kind):
                raise error
            return replica.step(given)

        return Wrapped(replica, step=step)

    return make


# -- what stops it


@pytest.mark.parametrize(
    "error", [InvariantViolation("a bug"), StorageFailure("the disk"), LedgerDamaged("rot")], ids=str
)
async def test_our_own_failures_stop_the_node_plainly(group_file: GroupFile, error: Exception) -> None:
    async with trio.open_nursery() as nursery:
        with node_of(group_file, 0, failing_on(TimerExpired, error)) as node:
            running = Running(node)
            await nursery.start(running.run)
            assert await running.failure() is error


async def test_a_failure_while_a_question_is_answered_stops_the_node_plainly(group_file: GroupFile) -> None:
    """The state's disk fails just when somebody inspects the node: not the asker's fault."""
    error = StorageFailure("the disk")

    def make(replica: Replica, _signer: Ed25519Signer) -> Machine:
        return Wrapped(replica, describe=failing(error))

    async def ask() -> None:
        async with (await welcomed(group_file, 0))[0] as caller:
            await caller.send(encode_inspect(group_file.group.epoch))
            await caller.rest()

    async with trio.open_nursery() as nursery:
        with node_of(group_file, 0, make) as node:
            running = Running(node)
            await nursery.start(running.run)
            await ask()
            assert await running.failure() is error


async def test_a_failure_at_the_last_flush_is_told(group_file: GroupFile, monkeypatch: pytest.MonkeyPatch) -> None:
    error = StorageFailure("the disk")
    async with trio.open_nursery() as nursery:
        with node_of(group_file, 0) as node:
            running = Running(node)
            await nursery.start(running.run)
            monkeypatch.setattr(node._ledger, "append", failing(error))
            node._archive.append(Record(RecordKind.BODY, SequenceNumber(1), b""))
            running.scope.cancel()
            assert await running.failure() is error


async def test_a_taken_port_is_named_and_nothing_is_left_open(group_file: GroupFile) -> None:
    """Pytest turns the warning about a listener that was left open into a failure."""
    for endpoint in (group_file.members[0].replica_endpoint, group_file.members[0].client_endpoint):
        (taken,) = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
        async with taken:
            with node_of(group_file, 0) as node, pytest.raises(OSError, match="Address already in use") as caught:
                await node.run()
            assert str(endpoint) in str(caught.value)


# -- what does not


async def test_pitfall_24_an_exception_in_a_handler_closes_that_connection_only(
    group_file: GroupFile, logs: Logs
) -> None:
    def make(replica: Replica, _signer: Ed25519Signer) -> Machine:
        def is_useless(message: PeerMessage) -> bool:
            if message == vote:
                raise KeyError("a bug that a peer's message sets off")
            return replica.is_useless(message)

        return Wrapped(replica, is_useless=is_useless)

    vote = craft_of(group_file).prepare(3, 5, digest("batch"))
    async with running(group_file, HONEST, {0: make}), Customer.of(group_file, HONEST) as customer:
        async with await link(group_file, 3, 0) as caller:
            await caller.send(wire_of(group_file.group.epoch, STATUS), vote.wire)
            assert await caller.rest() == []
        assert [each["event"] for each in logs if each["log_level"] == "error"] == ["connection failed"]
        await customer.say("after")


async def test_a_client_is_gone_after_what_it_said(group_file: GroupFile) -> None:
    """A subscription that arrives together with the end of its connection must not outlive it."""
    seen: list[str] = []
    gone = trio.Event()

    def make(replica: Replica, _signer: Ed25519Signer) -> Machine:
        def step(given: Input) -> Effects:
            if isinstance(given, Received | ClientGone):
                seen.append(type(given).__name__)
            if isinstance(given, ClientGone):
                gone.set()
            return replica.step(given)

        return Wrapped(replica, step=step)

    subscribe = Subscribe(subscription=1, topic=b"log", start=EventIndex(0), bodies=True)
    async with running(group_file, [0], {0: make}):
        async with await client(group_file, 0, Ed25519Signer.generate()) as caller:
            await caller.send(wire_of(group_file.group.epoch, subscribe))
            await caller.stream.transport_stream.send_eof()
        with trio.fail_after(10):
            await gone.wait()
    assert seen == ["Received", "ClientGone"]


# -- evidence and archive


MEMBERS = make_group(4)
GROUP = MEMBERS.group
CRAFT = Craft(MEMBERS)


def store_in(directory: Path) -> EvidenceStore:
    return EvidenceStore(directory, Opener(GROUP, MEMBERS.verifier))


def proof(number: int, code: str = "E2", culprit: int = 1) -> Evidence:
    make = {"E2": CRAFT.prepare, "E3": CRAFT.commit}[code]
    pair = tuple(make(culprit, number + 1, digest(text)).wire for text in "xy")
    return Evidence(code=code, culprit=ReplicaId(culprit), statements=pair)


def proof_of_device(name: str, size: int = 1) -> Evidence:
    pair = [CRAFT.request(name, 0, text * size) for text in (b"x", b"y")]
    return Evidence(
        code="CLIENT-EQUIVOCATION", culprit=pair[0].device, statements=tuple(request.wire for request in pair)
    )


def test_evidence_is_kept_once_and_found_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in (1, 2, 1):
        store.add(proof(number))
    assert len(store) == len(list((tmp_path / "evidence").iterdir())) == 2
    again = store_in(tmp_path)
    again.add(proof(1))
    assert len(again) == 2


def test_evidence_is_summed_up_by_replica_and_code(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for code, culprit, number in (("E2", 1, 1), ("E2", 1, 2), ("E3", 1, 3), ("E3", 3, 4)):
        store.add(proof(number, code, culprit))
    store.add(proof_of_device("a"))
    for each in (store, store_in(tmp_path)):
        assert each.proven() == {"1": {"E2": 2, "E3": 1}, "3": {"E3": 1}}
        assert len(each) == 5


def test_what_proves_nothing_is_not_counted_and_not_told(tmp_path: Path) -> None:
    """Under the name of a proof: a forged signature, the proof of another code, and a true one about another."""
    store = store_in(tmp_path)
    store.add(proof(1))
    first, second = proof(2).statements
    forged = replace(proof(2), statements=(first, second[:-64] + bytes(64)))
    for evidence in (forged, replace(proof(3), code="E3"), replace(proof(4), culprit=ReplicaId(2))):
        store.add(evidence)
    again = store_in(tmp_path)
    assert again.proven() == {"1": {"E2": 1}}
    assert again.to_share() == (proof(1),)


def test_little_time_is_spent_on_what_is_kept_at_start_and_small_proofs_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_module, "VERIFIED_AT_START_BYTES_MAX", 3000)
    store = store_in(tmp_path)
    for number in range(3):
        store.add(replace(proof(number), code="E7", statements=(bytes(4000), b"%d" % number)))
    store.add(proof(1))
    assert store_in(tmp_path).proven() == {"1": {"E2": 1}}


def test_what_is_kept_is_found_again_to_be_told_up_to_a_bound(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    kept = [proof(number) for number in range(SHARED_PER_CULPRIT_MAX + 3)]
    for evidence in (*kept, proof_of_device("a")):
        store.add(evidence)
    told = store_in(tmp_path).to_share()
    assert len(told) == SHARED_PER_CULPRIT_MAX
    assert set(told) <= set(kept)


def test_files_that_are_no_evidence_stop_nothing(tmp_path: Path) -> None:
    """Of another group, of an older format, cut, a directory: each under a good name, and other things beside."""
    store = store_in(tmp_path)
    store.add(proof(1))
    (good,) = (tmp_path / "evidence").iterdir()
    foreign = encode_evidence(make_group(4, name="other").group, proof(2))
    others = {"0" * 24: good.read_bytes()[:-1], "1" * 24: foreign, "2" * 24: b"", "3" * 24: encode(["E2", 1, []])}
    for digest_part, data in others.items():
        (good.parent / f"E2-replica-1-{digest_part}.cbor").write_bytes(data)
    (good.parent / f"E3-replica-2-{'4' * 24}.cbor").mkdir()
    (good.parent / f"E3-replica-2-{'5' * 24}.cbor").symlink_to("/dev/zero")
    (good.parent / "E2-replica-x-0.cbor").write_bytes(b"")
    (good.parent / "notes.txt").write_text("a remark")
    again = store_in(tmp_path)
    assert again.to_share() == (proof(1),)
    again.add(proof(3))
    assert proof(3) in store_in(tmp_path).to_share()


async def test_a_liar_is_proven_told_of_and_not_forgotten(group_file: GroupFile) -> None:
    """Replica 3 signs a VIEW-CHANGE that is none, and tells one node alone. That one is started anew meanwhile."""
    craft = craft_of(group_file)
    change = craft.view_change(3, 1, craft.prepared(1, digest("x"), [1]))
    async with running(group_file, [0]) as nodes, await link(group_file, 3, 0) as liar:
        await liar.send(change.wire)
        assert await liar.rest() == []
        await until(lambda: nodes[0]._evidence.proven() == {"3": {"E7": 1}})
    async with running(group_file, [0, 1, 2]) as nodes:
        await until(lambda: all(node._evidence.proven() == {"3": {"E7": 1}} for node in nodes.values()))
        async with await client(group_file, 2, Ed25519Signer.generate()) as caller:
            assert (await caller.inspect())["proven"] == {"3": {"E7": 1}}


def test_evidence_is_bounded_for_each_culprit_and_none_takes_the_room_of_another(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(EVIDENCE_PER_CULPRIT_MAX + 2):
        for culprit in (1, 2):
            store.add(proof(number, culprit=culprit))
    store.add(proof(1, culprit=3))
    assert store.proven() == {
        "1": {"E2": EVIDENCE_PER_CULPRIT_MAX},
        "2": {"E2": EVIDENCE_PER_CULPRIT_MAX},
        "3": {"E2": 1},
    }
    assert store.dropped == 4
    assert [store.may_take("E2", culprit) for culprit in (1, 2, 3)] == [False, False, True]


def test_proofs_against_devices_have_few_bytes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are remembered by the next run, too."""
    monkeypatch.setattr(evidence_module, "CLIENT_EVIDENCE_BYTES_MAX", 10_000)
    store = store_in(tmp_path)
    for number in range(4):
        store.add(proof_of_device(f"device {number}", size=2000))
    assert (len(store), store.dropped) == (2, 2)
    again = store_in(tmp_path)
    again.add(proof_of_device("another", size=2000))
    assert (len(again), again.dropped) == (2, 1)


def test_evidence_that_cannot_be_written_is_a_failure_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    monkeypatch.setattr(evidence_module, "atomic_write", failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageFailure, match=r"E2-.*\.cbor: No space left on device; free the disk"):
        store.add(proof(1))


def test_an_archived_record_that_rotted_while_the_node_ran_is_damage(tmp_path: Path, group_file: GroupFile) -> None:
    craft = craft_of(group_file)
    certificate = craft.commit_certificate(1, digest("batch"), [0, 1, 2])
    ledger = open_ledger(tmp_path)
    ledger.append([Record(RecordKind.COMMITTED, SequenceNumber(1), certificate.wire)])
    ledger._database.execute("UPDATE records SET data = zeroblob(length(data))")
    with node_of(group_file, 0) as node:
        opener = node._opener
    first = last = SequenceNumber(1)
    serve = ServeArchive(to=ReplicaId(1), what=Archived.BODIES, first=first, last=last)
    with pytest.raises(LedgerDamaged, match="record 1 was changed while the node ran"):
        archived_frames(ledger, opener, serve)
    ledger.close()


def test_a_rotted_row_is_found_while_the_node_runs_and_the_core_is_told(
    group_file: GroupFile, device: Ed25519Signer
) -> None:
    with node_of(group_file, 0) as node:
        executor = node._executor
        for number in range(8):
            run(executor, request(device.public_key, number, op("say", "log", f"line {number}")))
        rot = "UPDATE rows_lines SET row = x'820101' WHERE key = (SELECT max(key) FROM rows_lines)"
        executor._store.connection.execute(rot)
        told: list[object] = []
        pages = sum(len(executor._store.digests.stored(table)) for table in executor._store.rows_tables)
        for _ in range(pages):
            node._scrub(node._clock.now())
            told += node._inbox.take()
    (damaged,) = told
    assert isinstance(damaged, StateDamaged)
    assert "of table lines is damaged on this replica's disk" in damaged.what
