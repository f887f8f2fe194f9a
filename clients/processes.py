"""Replicas as processes of a command that starts, stops and kills them: the demo and the bench."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

STOP_SECONDS = 5.0


@dataclass(slots=True)
class Processes:
    """The replicas' processes, by number. Each writes its log to a file."""

    directory: Path
    running: dict[int, trio.Process] = field(default_factory=dict)

    async def start(self, replica: int, *, behaviour: str | None = None) -> None:
        module = ["chatsvc", "node"] if behaviour is None else ["adversary.node"]
        command = [sys.executable, "-m", *module, str(self.directory), "--replica", str(replica)]
        command.append("--until-stdin-closes")  # if this process is killed, nobody is left behind
        if behaviour is not None:
            command += ["--behaviour", behaviour]
        with (self.directory / f"replica-{replica}.log").open("ab") as log:
            self.running[replica] = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    async def stop(self, replica: int, number: signal.Signals) -> None:
        process = self.running.pop(replica)
        process.send_signal(number)
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()

    def log_tail(self, replica: int) -> str:
        lines = (self.directory / f"replica-{replica}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it wrote nothing"


@asynccontextmanager
async def processes_of(directory: Path) -> AsyncIterator[Processes]:
    """None at first; whatever was started is stopped in the end."""
    processes = Processes(directory)
    try:
        yield processes
    finally:
        with trio.CancelScope(shield=True):
            for replica in list(processes.running):
                await processes.stop(replica, signal.SIGTERM)
