"""Several processes side by side: prefixed logs, one Ctrl-C for all."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

STOP_SECONDS = 10.0
COLOURS = (36, 33, 32, 35, 34, 31)
LINE_BYTES_MAX = 64 * 1024


def node_command(directory: Path, replica: int) -> list[str]:
    """The command line that runs one replica with this interpreter, for as long as the supervisor lives."""
    return [
        *(sys.executable, "-m", "chatsvc", "node", str(directory)),
        *("--replica", str(replica), "--until-stdin-closes"),
    ]


class Supervisor:
    """Runs commands until a signal, or until all of them have ended."""

    def __init__(self, commands: Mapping[str, Sequence[str]], *, colour: bool) -> None:
        self._commands = commands
        self._colour = colour
        self._failed = False

    async def run(self) -> int:
        """Gives the exit code: 0 if all ended well after a signal, 1 if one ended by itself."""
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_signals, stopping)
            async with trio.open_nursery() as children:
                for number, (name, command) in enumerate(self._commands.items()):
                    children.start_soon(self._child, number, name, command, stopping)
            nursery.cancel_scope.cancel()
        return 1 if self._failed else 0

    async def _watch_signals(self, stopping: trio.Event) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                stopping.set()

    async def _child(self, number: int, name: str, command: Sequence[str], stopping: trio.Event) -> None:
        # A session of its own, so that Ctrl-C reaches the children once: through us. And a pipe that closes when
        # we end, however that happens: by it a child notices even a SIGKILL that hit us.
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop, process, stopping)
            try:
                await self._copy_lines(number, name, process)
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
            if not stopping.is_set():
                self._failed = True
                self._print(number, name, f"stopped by itself with exit code {code}; the others go on")
            nursery.cancel_scope.cancel()

    async def _stop(self, process: trio.Process, stopping: trio.Event) -> None:
        await stopping.wait()
        process.terminate()
        await trio.sleep(STOP_SECONDS)
        process.kill()

    async def _copy_lines(self, number: int, name: str, process: trio.Process) -> None:
        if process.stdout is None:
            return
        rest = b""
        async for chunk in process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._print(number, name, line.decode(errors="replace"))
            rest = rest[-LINE_BYTES_MAX:]
        if rest:
            self._print(number, name, rest.decode(errors="replace"))

    def _print(self, number: int, name: str, text: str) -> None:
        label = f"\033[{COLOURS[number % len(COLOURS)]}m{name}\033[0m" if self._colour else name
        with contextlib.suppress(OSError):  # nobody reads on: no reason to stop the replicas
            sys.stderr.write(f"{label} | {text}\n")
            sys.stderr.flush()
