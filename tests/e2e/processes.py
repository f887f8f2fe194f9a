"""Real processes for end-to-end tests: a group in a temporary directory, and the command line beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from adversary.disk import Disk
from adversary.network.proxy import Network, network_of
from adversary.network.route import CLIENTS
from chatsvc.founding import found_group
from chatsvc.groupfile import GroupFile, read_group_file
from pbft.client.directory import GroupDirectory
from pbft.client.inspection import Report, inspect_all
from pbft.core.group import Parameters
from pbft.core.types import ReplicaId

DEADLINE_S = 60.0
POLL_S = 0.05


@dataclass
class RunningGroup:
    """Replicas as processes of their own. Waiting polls their reports, up to a deadline that fails the test."""

    file: GroupFile
    network: Network | None = None
    processes: dict[int, trio.Process] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)

    @property
    def path(self) -> Path:
        return self.file.path.parent

    @property
    def directory(self) -> GroupDirectory:
        """How tests look at the replicas, whatever the network between them does."""
        return self.file.directory()

    @property
    def clients(self) -> GroupDirectory:
        """How clients reach the replicas."""
        return self.directory if self.network is None else read_group_file(self.network.view(CLIENTS)).directory()

    def disk(self, replica: int) -> Disk:
        return Disk(self.file.replica_directory(ReplicaId(replica)))

    def without(self, replica: int) -> GroupDirectory:
        """The group as seen by a client that cannot reach one replica: port 1 is closed."""
        contacts = list(self.directory.replicas)
        contacts[replica] = replace(contacts[replica], port=1)
        return replace(self.directory, replicas=tuple(contacts))

    async def start(self, *replicas: int, behaviour: str | None = None) -> None:
        for number in replicas:
            module = ["chatsvc", "node"] if behaviour is None else ["adversary.node"]
            more = [] if behaviour is None else ["--behaviour", behaviour]
            path = self.path if self.network is None else self.network.view(number)
            command = [sys.executable, "-m", *module, str(path), "--replica", str(number), *more]
            command.append("--until-stdin-closes")
            with (self.path / f"replica-{number}.log").open("ab") as log:
                self.processes[number] = await trio.lowlevel.open_process(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log
                )

    async def start_all(self) -> None:
        """All replicas, until each answers."""
        await self.start(*self.directory.group.replicas)
        await self.until(bool)

    async def end(self, replica: int, number: signal.Signals) -> int:
        self.processes[replica].send_signal(number)
        return await self.wait(replica)

    async def wait(self, replica: int) -> int:
        """Until the node has ended. Gives its exit code."""
        self.paused.discard(replica)
        with trio.fail_after(DEADLINE_S):
            return await self.processes.pop(replica).wait()

    async def kill(self, *replicas: int) -> None:
        """SIGKILL to all of them before any is waited for."""
        for replica in replicas:
            self.processes[replica].send_signal(signal.SIGKILL)
        for replica in replicas:
            await self.wait(replica)

    def pause(self, replica: int) -> None:
        """SIGSTOP: it holds its connections and its locks, and does nothing."""
        self.processes[replica].send_signal(signal.SIGSTOP)
        self.paused.add(replica)

    def resume(self, replica: int) -> None:
        self.processes[replica].send_signal(signal.SIGCONT)
        self.paused.discard(replica)

    async def until(self, holds: Callable[[list[Report]], bool]) -> list[Report]:
        """Reports of all replicas that run and are not paused, once they all answer and `holds` of them."""
        answers: list[Report | str] = []
        with trio.move_on_after(DEADLINE_S):
            while True:
                answers = await inspect_all(self.directory, timeout_s=5)
                reports = [
                    answer for number, answer in enumerate(answers) if number in self.processes.keys() - self.paused
                ]
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

    async def until_caught_up(self) -> None:
        """Until each that runs has executed what any had; the group may go on meanwhile."""
        here = max(report["last_executed"] for report in await self.until(bool))
        await self.until(lambda reports: min(report["last_executed"] for report in reports) >= here)

    def accused(self) -> set[str]:
        """Whom any replica keeps evidence against, running or not: "replica-3", "device-..."."""
        files = self.path.glob("replica-*/evidence/*.cbor")
        return {"-".join(file.name.split("-")[1:3]) for file in files}

    def log(self, replica: int) -> str:
        return (self.path / f"replica-{replica}.log").read_text(errors="replace")

    def logs(self) -> str:
        return "\n".join(
            f"-- replica {number}\n" + "\n".join(self.log(number).splitlines()[-15:])
            for number in self.directory.group.replicas
            if (self.path / f"replica-{number}.log").exists()
        )


@asynccontextmanager
async def running_group(
    tmp_path: Path,
    *,
    name: str = "test",
    replicas: int = 4,
    parameters: Parameters | None = None,
    networked: bool = False,
) -> AsyncIterator[RunningGroup]:
    """`networked`: its links and its clients' go through a network that can be disturbed."""
    path = found_group(
        tmp_path / "group",
        name=name,
        replicas=replicas,
        host="127.0.0.1",
        base_port=None,
        parameters=parameters or Parameters(),
    )
    file = read_group_file(path)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(network_of(file)) if networked else None
        group = RunningGroup(file, network)
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
