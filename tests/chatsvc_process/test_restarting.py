"""`quorate restart` and `quorate renew`, on real processes (attacks 39 and 40)."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio

from chatsvc.expiry import expiry_warnings
from chatsvc.groupfile import GroupFileError, read_group_file
from chatsvc.process import _lock, holder_of
from chatsvc.renewing import renew_certificate
from chatsvc.restarting import RestartError, _alone, _hang_up, restart_one
from crypto.tls import days_left, make_tls_identity, read_tls_certificate, write_tls_identity
from pbft.client.inspection import inspect_replica
from pbft.core.types import ReplicaId
from tests.chatsvc_process.processes import PATIENCE_S, Running, command, node, run, started


async def test_a_replica_restarts_unless_more_would_be_missing_than_the_group_stands(directory: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(directory, each)) for each in range(4)]
        assert [holder_of(directory / f"replica-{each}") for each in range(4)] == [each.process.pid for each in nodes]
        async with started(*command("restart", directory, "--replica", 1)) as restarting:
            assert await restarting.wait() == 0
            await restarting.until("replica 1 is back")
        assert len(starts(nodes[1])) == 2
        assert holder_of(directory / "replica-1") == nodes[1].process.pid, (
            "the process goes on: nobody has to start it"
        )
        assert await nodes[3].end(signal.SIGTERM) == 0
        async with started(*command("restart", directory, "--replica", 0)) as refused:
            assert await refused.wait() == 3
            await refused.until("replica 0 is not restarted", "replica 3 does not answer")
        assert len(starts(nodes[0])) == 1
        async with started(*command("restart", directory, "--replica", 3)) as absent:
            assert await absent.wait() == 1
            await absent.until("no process runs this replica")


@pytest.mark.slow
async def test_all_replicas_restart_one_after_another_the_primary_last(directory: Path) -> None:
    async with started(*command("up", directory)) as up:
        await up.until("node up", count=4)
        async with started(*command("restart", directory, "--all")) as restarting:
            assert await restarting.wait() == 0
            told = [line for line in restarting.lines if "is back" in line]
        assert told == [f"replica {each} is back" for each in (1, 2, 3, 0)]
        assert len(starts(up)) == 8
        assert await up.end(signal.SIGINT) == 0


async def test_a_replica_that_is_told_to_begin_again_while_it_starts_does_so_later(directory: Path) -> None:
    async with node(directory, 1) as running:
        os.kill(running.process.pid, signal.SIGHUP)
        os.kill(running.process.pid, signal.SIGHUP)
        await running.until("node up", count=2)
        assert await running.end(signal.SIGTERM) == 0


async def test_sighup_right_after_the_lock_is_taken_does_not_end_the_process(directory: Path) -> None:
    async with started(*command("node", directory, "--replica", 1)) as running:
        while holder_of(directory / "replica-1") is None:  # noqa: ASYNC110 - a lock tells nobody
            await trio.sleep(0.005)
        os.kill(running.process.pid, signal.SIGHUP)
        await running.until("stopping", "SIGHUP")
        await running.until("node up", count=len(starts(running)) + 1)
        assert await running.end(signal.SIGTERM) == 0


async def test_of_two_restarts_at_once_one_is_refused(directory: Path) -> None:
    """Each would take the other's replica for one that is well."""
    async with node(directory, 0):
        with _alone(directory):
            refused = await trio.to_thread.run_sync(partial(run, "restart", directory, "--replica", 0))
        assert refused.code == 3
        assert "another restart is under way" in refused.errors[0]


async def test_who_looks_for_the_holder_does_not_keep_a_node_from_starting(directory: Path) -> None:
    descriptor = os.open(directory / "replica-0" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as `holder_of` does for a moment
    assert holder_of(directory / "replica-0") is None, "nor another one who looks"
    os.close(descriptor)


async def test_a_replica_that_does_not_listen_yet_is_not_restarted(directory: Path) -> None:
    file = read_group_file(directory)
    with _lock(directory / "replica-0"):
        with pytest.raises(RestartError, match="starting or stopping") as refused:
            await restart_one(file, 0)
        assert refused.value.code == 3


def starts(running: Running) -> list[str]:
    return [line for line in running.lines if "node up" in line]


def test_restart_wants_to_know_which(directory: Path) -> None:
    assert run("restart", directory).code == 2
    assert run("restart", directory, "--replica", 7).code == 2
    assert run("restart", directory, "--all").code == 1, "none runs"


async def test_a_certificate_that_has_expired_is_renewed_and_the_group_goes_on(directory: Path) -> None:
    file = read_group_file(directory)
    home = file.replica_directory(ReplicaId(1))
    lapsed = make_tls_identity("replica-1.quorate", valid_days=1, now=datetime.now(UTC) - timedelta(days=2))
    write_tls_identity(home, lapsed, overwrite=True)
    old = file.members[1].certificate_der.hex()
    file.path.write_text(file.path.read_text().replace(old, lapsed.certificate_der.hex()))
    file = read_group_file(directory)
    (warning,) = expiry_warnings(file, datetime.now(UTC))
    assert "replica 1 has expired" in warning
    assert f"quorate renew {directory} --replica 1" in warning
    async with node(directory, 0) as other, node(directory, 1):
        await other.until("link down", "peer=1", "expired")
        answer = await inspect_replica(file.directory(), ReplicaId(1), timeout_s=10)
        assert isinstance(answer, str)
        assert "quorate renew" in answer
    key = (home / "signing.key").read_bytes()
    assert run("renew", directory, "--replica", 1).code == 0
    renewed = read_group_file(directory)
    assert renewed.group.group_id == file.group.group_id, "the group is the same"
    assert (home / "signing.key").read_bytes() == key
    assert read_tls_certificate(home / "tls.pem") == renewed.members[1].certificate_der
    assert days_left(renewed.members[1].certificate_der, datetime.now(UTC)) > 3000
    assert expiry_warnings(renewed, datetime.now(UTC)) == []
    async with node(directory, 0) as other, node(directory, 1):
        await other.until("link up", "peer=1")


def test_renewing_may_be_repeated_after_it_was_cut_off(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_group_file(directory)

    def cut_off(*_: object, **__: object) -> None:
        raise OSError("power lost")

    with monkeypatch.context() as patch:
        patch.setattr("chatsvc.renewing.atomic_write", cut_off)
        with pytest.raises(OSError, match="power lost"):
            renew_certificate(file, ReplicaId(2))
    assert read_group_file(directory).members == file.members
    renewed = renew_certificate(file, ReplicaId(2))
    assert read_tls_certificate(directory / "replica-2" / "tls.pem") == renewed.members[2].certificate_der


def test_only_where_the_replica_lives_its_certificate_is_renewed(directory: Path) -> None:
    (directory / "replica-2").rename(directory / "elsewhere")
    with pytest.raises(GroupFileError, match="run this on the machine of replica 2"):
        renew_certificate(read_group_file(directory), ReplicaId(2))
    assert run("renew", directory, "--replica", 2).code == 1
    assert run("renew", directory, "--replica", 4).code == 2


def test_renewing_leaves_no_private_key_behind(directory: Path) -> None:
    home = read_group_file(directory).replica_directory(ReplicaId(2))
    old = (home / "tls.pem").read_bytes()
    abandoned = home / ".tls.pem.0123456789abcdef.tmp"
    abandoned.write_bytes(old)
    renew_certificate(read_group_file(directory), ReplicaId(2))
    with_keys = {path.name: path.read_bytes() for path in home.iterdir() if b"PRIVATE KEY" in path.read_bytes()}
    assert with_keys.keys() == {"tls.pem"}
    assert with_keys["tls.pem"] != old


def test_only_the_process_that_holds_the_lock_is_told_to_begin_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_group_file(directory)
    told = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: told.set())
    try:
        absent = RestartError("absent", 1)
        for _ in range(2):
            with pytest.raises(RestartError, match="absent"):
                _hang_up(os.getpid(), file, 0, absent)
            assert not told.is_set()
            with _lock(directory / "replica-0"):
                _hang_up(os.getpid(), file, 0, absent)
            # Another thread of this process may get the signal, which does not wake this one: it has to look.
            assert any(told.wait(0.05) for _ in range(int(PATIENCE_S / 0.05)))
            told.clear()
            monkeypatch.delattr(os, "pidfd_open", raising=False)  # not every system has it
    finally:
        signal.signal(signal.SIGHUP, before)
