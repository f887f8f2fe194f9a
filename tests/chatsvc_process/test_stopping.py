"""How nodes and `up` end: by signal, with their parent, and all together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.chatsvc_process.processes import children_of, command, is_alive, node, started, until_dead

PLAIN_SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", PLAIN_SIGNALS)
async def test_a_node_stops_cleanly_on_a_signal(directory: Path, number: signal.Signals) -> None:
    async with node(directory, 0) as running:
        assert await running.end(number) == 0
        await running.until(f"signal={number.name}")
    assert "Traceback" not in "\n".join(running.lines)
    async with node(directory, 0) as again:
        assert await again.end(number) == 0


async def test_a_node_stops_when_its_standard_input_ends_if_told_so(directory: Path) -> None:
    argv = command("node", directory, "--replica", 0, "--until-stdin-closes")
    async with started(*argv, stdin=subprocess.PIPE) as running:
        await running.until("node up")
        assert running.process.stdin is not None
        await running.process.stdin.send_all(b"not the end yet\n")
        await running.process.stdin.aclose()
        assert await running.wait() == 0
        await running.until("standard input closed")


async def test_a_node_goes_on_when_its_standard_input_ends_otherwise(directory: Path) -> None:
    async with node(directory, 0) as running:  # from /dev/null, which is at its end already
        assert running.process.returncode is None
        assert await running.end(signal.SIGTERM) == 0


async def test_a_node_outlives_the_reader_of_its_log(directory: Path) -> None:
    """`quorate node ... 2>&1 | head`: each line it can no longer write must not close a link, or the node."""
    async with node(directory, 0) as running:
        assert running.process.stderr is not None
        await trio.aclose_forcefully(running.process.stderr)
        async with node(directory, 1) as other:
            await other.until("link up", "peer=0")
        assert running.process.returncode is None
        assert await running.end(signal.SIGTERM) in {0, 120}  # 120: Python could not flush stderr


# -- up


@pytest.mark.parametrize("number", PLAIN_SIGNALS)
async def test_up_stops_all_its_children_on_one_signal(directory: Path, number: signal.Signals) -> None:
    async with started(*command("up", directory)) as running:
        await running.until("node up", count=4)
        children = children_of(running.process.pid)
        assert len(children) == 4
        assert await running.end(number) == 0
        assert not [child for child in children if is_alive(child)]
        await running.until("stopping", count=4)
    assert "Traceback" not in "\n".join(running.lines)


async def test_children_do_not_outlive_an_up_that_was_killed(directory: Path) -> None:
    async with started(*command("up", directory)) as running:
        await running.until("node up", count=4)
        children = children_of(running.process.pid)
        assert len(children) == 4
        try:
            await running.end(signal.SIGKILL)
            await until_dead(children)
        finally:
            for child in filter(is_alive, children):
                os.kill(child, signal.SIGKILL)


async def test_up_tells_of_a_replica_that_stops_by_itself_and_goes_on(directory: Path) -> None:
    (directory / "replica-2" / "signing.key").unlink()
    async with started(*command("up", directory)) as running:
        await running.until("replica 2 | stopped by itself with exit code 1; the others go on")
        await running.until("node up", count=3)
        assert await running.end(signal.SIGINT) == 1
    assert any(line.startswith("replica 2 | quorate: ") and "signing.key" in line for line in running.lines)


async def test_up_ends_when_no_replica_runs(directory: Path) -> None:
    for replica in range(4):
        (directory / f"replica-{replica}" / "signing.key").unlink()
    async with started(*command("up", directory)) as running:
        assert await running.wait() == 1


async def test_up_kills_a_child_that_does_not_stop(tmp_path: Path) -> None:
    """And prints a last line that has no end."""
    stubborn = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "sys.stdout.write('ready\\nhalf a line'); sys.stdout.flush(); signal.pause()"
    )
    supervisor = (
        "import sys, trio; from chatsvc import supervisor; supervisor.STOP_SECONDS = 0.2; "
        "sys.exit(trio.run(supervisor.Supervisor({'child': [sys.executable, '-c', sys.argv[1]]}, colour=False).run))"
    )
    async with started(sys.executable, "-c", supervisor, stubborn) as running:
        await running.until("child | ready")
        children = children_of(running.process.pid)
        assert len(children) == 1
        assert await running.end(signal.SIGTERM) == 0
        assert not [child for child in children if is_alive(child)]
        await running.until("child | half a line")
