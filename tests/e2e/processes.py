"""Real processes for end-to-end tests: a group in a temporary directory, and the command line beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from chatsvc.founding import found_group
from chatsvc.groupfile import GroupFile, read_group_file
from pbft.client.directory import GroupDirectory
from pbft.client.inspection import Report, inspect_all
from pbft.core.group import Parameters

DEADLINE_S = 60.0
POLL_S = 0.05


@dataclass
class RunningGroup:
    """Replicas as processes of their own. Waiting polls their reports, up to a deadline that fails the test."""

    file: GroupFile
    processes: dict[int, trio.Process] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.file.path.parent

    @property
    def directory(self) -> GroupDirectory:
        return self.file.directory()

    def without(self, replica: int) -> GroupDirectory:
        """The group as seen by a client that cannot reach one replica: port 1 is closed."""
        contacts = list(self.directory.replicas)
        contacts[replica] = replace(contacts[replica], port=1)
        return replace(self.directory, replicas=tuple(contacts))

    async def start(self, *replicas: int, behaviour: str | None = None) -> None:
        for number in replicas:
            module = ["chatsvc", "node"] if behaviour is None else ["adversary.node"]
            more = [] if behaviour is None else ["--behaviour", behaviour]
            command = [sys.executable, "-m", *module, str(self.path), "--replica", str(number), *more]
            command.append("--until-stdin-closes")
            with (self.path / f"replica-{number}.log").open("ab") as log:
                self.processes[number] = await trio.lowlevel.open_process(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log
                )

    async def end(self, replica: int, number: signal.Signals) -> int:
        process = self.processes.pop(replica)
        process.send_signal(number)
        with trio.fail_after(DEADLINE_S):
            return await process.wait()

    async def until(self, holds: Callable[[list[Report]], bool]) -> list[Report]:
        """Reports of all running replicas, once they all answer and `holds` of them."""
        answers: list[Report | str] = []
        with trio.move_on_after(DEADLINE_S):
            while True:
                answers = await inspect_all(self.directory, timeout_s=5)
                reports = [answer for number, answer in enumerate(answers) if number in self.processes]
                if all(isinstance(report, dict) for report in reports):
                    ready = [report for report in reports if isinstance(report, dict)]
                    if holds(ready):
                        return ready
                await trio.sleep(POLL_S)
        raise AssertionError(f"not within {DEADLINE_S} s; last: {answers}\n{self.logs()}")

    async def until_equal(self) -> list[Report]:
        return await self.until(
            lambda reports: len({(report["last_executed"], report["state_root"]) for report in reports}) == 1
        )

    def logs(self) -> str:
        return "\n".join(
            f"-- replica {number}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for number, path in enumerate(sorted(self.path.glob("replica-*.log")))
        )


@asynccontextmanager
async def running_group(
    tmp_path: Path, *, replicas: int = 4, parameters: Parameters | None = None
) -> AsyncIterator[RunningGroup]:
    path = found_group(
        tmp_path / "group",
        name="test",
        replicas=replicas,
        host="127.0.0.1",
        base_port=None,
        parameters=parameters or Parameters(),
    )
    group = RunningGroup(read_group_file(path))
    try:
        yield group
    finally:
        with trio.CancelScope(shield=True):
            for number in list(group.processes):
                process = group.processes[number]
                process.kill()
                await process.wait()


async def quorate(
    *arguments: object, home: Path, stdin: bytes = b"", group: Path | None = None
) -> tuple[int, str, str]:
    """Run the command line with an empty home. Gives exit code, stdout and stderr."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("QUORATE_", "XDG_", "PYTEST_", "COV_"))
    }
    environment |= {"HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"}
    if group is not None:
        environment["QUORATE_GROUP"] = str(group)
    with trio.fail_after(120):
        done = await trio.run_process(
            [sys.executable, "-m", "clients.main", *map(str, arguments)],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def objects(stdout: str) -> list[dict[str, Any]]:
    """Every line of --json output: each must be one JSON object, and nothing else may be there."""
    return [json.loads(line) for line in stdout.splitlines()]
