"""Processes of a live group: what is known of their ends, and that none outlives its runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from adversary.attacks.model import Attack, AttackError
from adversary.live.customers import replay
from adversary.live.group import LiveGroup
from adversary.live.scripts import attackers
from adversary.live.signals import until_told_to_end
from adversary.live.stage import Stage
from tests.chatsvc_process.processes import make_group

RUNNER = """
import sys, trio
from pathlib import Path
from adversary.live.group import LiveGroup
from chatsvc.groupfile import read_group_file

async def main():
    group = LiveGroup(read_group_file(Path(sys.argv[1])), None, seed=1)
    await group.start(group.seats[0])
    group.pause(group.seats[0])
    print(group.seats[0].pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_every_end_is_kept_and_who_brought_it_about(tmp_path: Path) -> None:
    """A process that ends by itself is started again, and not forgotten."""
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    seat = group.seats[0]
    await group.start(seat)
    await group.kill(seat)
    assert not group.unwanted()
    await group.start(seat)
    assert seat.process is not None
    os.kill(seat.pid, signal.SIGKILL)
    await seat.process.wait()
    await group.start(seat)
    await group.close()
    (end,) = group.unwanted()
    assert (end.replica, end.code) == (0, -signal.SIGKILL)
    assert "replica 0 ended by itself, with exit code -9" in str(end)
    assert [each.was_wanted for each in seat.exits] == [True, False, True]


STUBBORN = "trap '' TERM; echo up; while :; do read _; done"


async def test_who_is_slow_to_end_and_killed_for_it_has_broken_nothing(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    seat = group.seats[0]
    seat.process = await trio.lowlevel.open_process(
        ["sh", "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert seat.process.stdout is not None
    assert await seat.process.stdout.receive_some() == b"up\n"
    seat.process.terminate()
    await group.until_ended(seat, within_s=0)
    stage = Stage(attack=Attack(name="slow"), group=group, seed=1)
    stage.note_exits()
    assert stage.problems == ["replica 0 did not end in time, and was killed; it said last: nothing"]
    assert not stage.breaks


async def _swallow(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass


async def test_attackers_have_started_once_they_attack(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    stage = Stage(attack=Attack(name="litter"), group=group, seed=1)
    async with trio.open_nursery() as nursery:
        for member in group.file.members:
            for endpoint in (member.replica_endpoint, member.client_endpoint):
                listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
                nursery.start_soon(trio.serve_listeners, _swallow, listeners)
        with trio.fail_after(30):
            await nursery.start(partial(attackers, stage, names=("litter",)))
        assert [moment.what for moment in stage.moments] == ["begin"]
        nursery.cancel_scope.cancel()
    assert stage.deeds["litter"] > 0
    assert not stage.problems


async def test_attackers_that_cannot_begin_hold_nobody_up(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    group.file.path.unlink()
    stage = Stage(attack=Attack(name="litter"), group=group, seed=1)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(attackers, stage, names=("litter",)))
    assert not stage.moments
    assert stage.problems[0] == "the attackers ended by themselves, with exit code 1"


async def test_a_message_whose_order_nobody_waits_for_any_longer_was_said_all_the_same(tmp_path: Path) -> None:
    """It may be in the room in the end."""
    stage = Stage(attack=Attack(name="own"), group=LiveGroup(make_group(tmp_path / "group"), None, seed=1), seed=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(replay, stage, task_status=trio.TASK_STATUS_IGNORED))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (said,) = stage.journal.said
    assert (said.who, said.body, said.accepted_at) == ("victim", "once", None)


async def test_who_is_kept_down_by_one_fault_is_not_started_by_another(tmp_path: Path) -> None:
    group = LiveGroup(make_group(tmp_path / "group"), None, seed=1)
    seat = group.seats[0]
    seat.kept_down |= {1, 2}
    await group.start(seat)
    assert not seat.is_up
    seat.kept_down.clear()
    seat.kept_still.add(3)
    await group.start(seat)
    assert seat.is_paused, "it was to be held still all the while"
    await group.kill(seat)


def test_a_stopped_process_does_not_outlive_a_runner_that_is_killed(tmp_path: Path) -> None:
    path = make_group(tmp_path / "group").path
    command = [sys.executable, "-c", RUNNER, str(path)]
    # In a session of its own, as from a terminal: what then inherits the child is of another.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        assert _runs(pid)
        runner.kill()
    try:
        trio.run(_until_gone, pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _until_gone(pid: int) -> None:
    with trio.fail_after(20):
        while _runs(pid):  # noqa: ASYNC110 - nobody tells of the end of another's child
            await trio.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether it is there, and not only as what nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}


async def _told(cleaned: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        await trio.sleep_forever()
    finally:
        cleaned.append("up")


def test_who_is_told_to_end_cleans_up_first() -> None:
    cleaned: list[str] = []
    with pytest.raises(SystemExit) as ended:
        trio.run(until_told_to_end, lambda: _told(cleaned))
    assert (ended.value.code, cleaned) == (128 + signal.SIGTERM, ["up"])


async def _fails() -> None:
    raise AttackError("no such thing")


def test_what_goes_wrong_meanwhile_is_told_as_it_is() -> None:
    with pytest.raises(AttackError, match="no such thing"):
        trio.run(until_told_to_end, _fails)
