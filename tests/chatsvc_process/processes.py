"""The project's own commands as processes, started and ended by tests."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
import trio
from cyclopts import App

from chatsvc.commands import add_commands
from chatsvc.founding import found_group
from chatsvc.groupfile import GroupFile, read_group_file
from pbft.core.group import Parameters

PATIENCE_S = 30.0


def make_group(directory: Path, *, replicas: int = 4) -> GroupFile:
    parameters = Parameters(checkpoint_interval=8, pipeline_depth=4)
    return read_group_file(
        found_group(
            directory, name="tested", replicas=replicas, host="127.0.0.1", base_port=None, parameters=parameters
        )
    )


def copy_of(file: GroupFile, directory: Path) -> Path:
    """The group as founded, in another directory, to be spoilt."""
    shutil.copytree(file.path.parent, directory)
    return directory


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "chatsvc", *map(str, arguments)]


@dataclass
class Finished:
    code: int
    errors: list[str]
    """Lines on stderr that are no log of a running node."""


def run(*arguments: object) -> Finished:
    """A command that ends by itself, in this process: as the real one, without the time that one takes to start."""
    app = App(name="quorate")
    add_commands(app, App.command)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), structlog.contextvars.bound_contextvars():
        try:
            with pytest.raises(SystemExit) as ended:
                app([*map(str, arguments)])
        finally:
            structlog.reset_defaults()
            structlog.contextvars.clear_contextvars()
            gc.unfreeze()
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, [line for line in errors.getvalue().splitlines() if "[info " not in line])


@dataclass
class Running:
    """A process and what it wrote to stderr so far."""

    process: trio.Process
    lines: list[str] = field(default_factory=list)
    _changed: trio.Event = field(default_factory=trio.Event)

    async def read(self) -> None:
        assert self.process.stderr is not None
        rest = b""
        with contextlib.suppress(trio.ClosedResourceError):
            async for chunk in self.process.stderr:
                *lines, rest = (rest + chunk).split(b"\n")
                self.lines += [line.decode() for line in lines]
                self._changed.set()
                self._changed = trio.Event()

    async def until(self, *words: str, count: int = 1) -> None:
        """Until so many lines with all the `words` in them were written."""
        with trio.fail_after(PATIENCE_S):
            while sum(all(word in line for word in words) for line in self.lines) < count:
                await self._changed.wait()

    async def wait(self) -> int:
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await self.wait()


@asynccontextmanager
async def started(
    *argv: str, stdin: int = subprocess.DEVNULL, before_exec: Callable[[], None] | None = None
) -> AsyncIterator[Running]:
    """A process, killed in the end if it still runs then."""
    process = await trio.lowlevel.open_process(
        argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=before_exec
    )
    running = Running(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.read)
            yield running
            if process.returncode is None:
                process.kill()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)


@asynccontextmanager
async def node(
    directory: Path, replica: int, *more: str, before_exec: Callable[[], None] | None = None
) -> AsyncIterator[Running]:
    """A node that listens."""
    argv = command("node", directory, "--replica", replica, *more)
    async with started(*argv, before_exec=before_exec) as running:
        await running.until("node up")
        yield running


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    """Its direct children, whichever of its threads started them."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


async def until_dead(pids: list[int]) -> None:
    with trio.fail_after(PATIENCE_S):
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
