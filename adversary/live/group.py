"""A group of real processes for one attack: who runs where, with which behaviours, and who sees whom."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from adversary.disk import Disk
from adversary.live.node import BEGINS_TO_LIE, LIES_TOLD
from adversary.network.proxy import HOST, Network, network_of
from chatsvc.founding import found_group
from chatsvc.groupfile import GROUP_FILE_NAME, GroupFile, Member, read_group_file, render_group_file
from pbft.client.directory import GroupDirectory
from pbft.client.inspection import Report, inspect_replica
from pbft.core.group import Parameters
from pbft.core.types import ReplicaId
from pbft.node.config import Endpoint

STOP_SECONDS = 10.0
NODE_UP: Final = "node up"
"""What a node's log says each time it has come up."""
TAIL_LINES = 4
"""Of a log, beside the exit that they explain."""
POLITELY: Final = frozenset({0, -signal.SIGTERM})
"""How a process ends that SIGTERM told to: by the signal itself while it is still starting."""
POLL_SECONDS = 0.05
INSPECT_SECONDS = 2.0
START_SECONDS = 30.0
LEFT_BEHIND: Final[dict[str, Any]] = {"process_group": 0}
"""What ends a process whose parent was killed, even one that is stopped: a group of its own in the parent's session.
Its standard input ends with the parent; and a stopped group that loses the last parent in its session is sent SIGHUP
and SIGCONT, as POSIX says of orphaned process groups.
"""
NOWHERE_PORT = 1
"""Ports from here on are closed: who dials them is refused."""


class LiveError(Exception):
    """The attack could not be carried out. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a process. `code` as `subprocess` has it: the number of a signal below zero."""

    replica: int
    code: int
    was_wanted: bool
    said: str
    """The end of its log then."""
    was_slow: bool = False
    """Whether it was told to end, and killed as it had not in time: this machine's fault, or its own."""

    def __str__(self) -> str:
        if self.was_slow:
            return f"replica {self.replica} did not end in time, and was killed; it said last: {self.said}"
        return f"replica {self.replica} ended by itself, with exit code {self.code}; it said last: {self.said}"


@dataclass
class Seat:
    """A process that runs, or may run, one replica. Twins are two seats of one replica."""

    number: int
    """Below the group's size it is the replica's; above it is a twin's."""
    replica: int
    view: Path
    """The group file that it is started with."""
    home: Path
    cast: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    accomplices: tuple[int, ...] = ()
    clock: Path | None = None
    drift_ppm: int = 0
    retained_sequences: int | None = None
    process: trio.Process | None = None
    is_paused: bool = False
    may_end_with: frozenset[int] = frozenset()
    """Exit codes of an end that was brought about; any other is its own."""
    exits: list[Exit] = field(default_factory=list)
    kept_down: set[int] = field(default_factory=set)
    """Faults, by id, while which it is not started."""
    kept_still: set[int] = field(default_factory=set)
    """Faults, by id, while which it is paused."""
    clock_steps: dict[int, int] = field(default_factory=dict)
    """By fault: how many milliseconds its clock is off."""

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def runs(self) -> bool:
        return self.is_up and not self.is_paused

    @property
    def disk(self) -> Disk:
        return Disk(self.home)

    @property
    def pid(self) -> int:
        if self.process is None:
            msg = f"replica {self.replica} does not run"
            raise LiveError(msg)
        return self.process.pid

    @property
    def is_twin(self) -> bool:
        return self.number != self.replica

    def set_clock(self) -> None:
        """As all faults together have it. A node that reads meanwhile finds either time, and never half of one."""
        if self.clock is not None:
            new = self.clock.with_suffix(".new")
            new.write_text(f"{sum(self.clock_steps.values())} {self.drift_ppm}")
            new.replace(self.clock)


class LiveGroup:
    """The seats of a group. `network`: between replicas, if it is to be disturbed."""

    def __init__(self, file: GroupFile, network: Network | None, *, seed: int) -> None:
        self.file = file
        self.network = network
        self.seed = seed
        self.seats = [
            Seat(
                number=number,
                replica=number,
                view=file.path if network is None else network.view(number),
                home=file.replica_directory(ReplicaId(number)),
            )
            for number in range(file.group.size)
        ]

    @property
    def path(self) -> Path:
        return self.file.path.parent

    @property
    def directory(self) -> GroupDirectory:
        return self.file.directory()

    def directory_for(self, person: int) -> GroupDirectory:
        """What a person dials. Where a replica has twins, the people share them out."""
        directory = self.directory
        if person % 2:
            contacts = list(directory.replicas)
            for twin in self.twins:
                own = read_group_file(twin.view).members[twin.replica].client_endpoint
                contacts[twin.replica] = replace(contacts[twin.replica], host=own.host, port=own.port)
            directory = replace(directory, replicas=tuple(contacts))
        return directory

    @property
    def twins(self) -> list[Seat]:
        return self.seats[self.file.group.size :]

    def seats_of(self, replica: int) -> list[Seat]:
        return [seat for seat in self.seats if seat.replica == replica]

    # -- who sees whom

    def add_twin(self, replica: int, seen_by_first: Collection[int]) -> Seat:
        """A second process with the same key and a copy of the files. These other replicas, and the people with even
        numbers, know the first one only, the others the second; the twins never meet.
        """
        home = self.path / f"twin-{replica}"
        home.mkdir()
        own = home / f"replica-{replica}"
        shutil.copytree(self.seats[replica].home, own)
        ports = [Endpoint(HOST, port) for port in _free_ports(2)]
        twin = Seat(number=len(self.seats), replica=replica, view=home / GROUP_FILE_NAME, home=own)
        members = list(read_group_file(self.seats[replica].view).members)
        second = replace(members[replica], replica_endpoint=ports[0], client_endpoint=ports[1])
        first_seen, second_seen = list(members), [*members]
        second_seen[replica] = second
        for peer in range(len(members)):
            if peer == replica:
                continue
            nowhere = replace(members[peer], replica_endpoint=Endpoint(HOST, NOWHERE_PORT + peer))
            (second_seen if peer in seen_by_first else first_seen)[peer] = nowhere
        self._write_view(twin.view, second_seen)
        self.seats[replica].view = self._write_view(self.path / f"group-for-first-{replica}.toml", first_seen)
        for seat in self.seats:
            if seat.replica != replica and seat.replica not in seen_by_first:
                seen = list(read_group_file(seat.view).members)
                seen[replica] = replace(seen[replica], replica_endpoint=ports[0])
                seat.view = self._write_view(seat.view.with_name(f"group-for-seat-{seat.number}.toml"), seen)
        self.seats.append(twin)
        return twin

    def _write_view(self, path: Path, members: Sequence[Member]) -> Path:
        path.write_text(render_group_file(self.file.group, tuple(members)))
        return path

    # -- processes

    async def start(self, *seats: Seat) -> None:
        """Those that do not run, and that no fault keeps down."""
        for seat in seats:
            if seat.is_up or seat.kept_down:
                continue
            await self.until_ended(seat, within_s=0)  # one that ended by itself is not forgotten
            seat.may_end_with = frozenset()
            command = [sys.executable, "-m", *self._command(seat)]
            with self.log_of(seat).open("ab") as log:
                seat.process = await trio.lowlevel.open_process(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, **LEFT_BEHIND
                )
            if seat.kept_still:
                self.pause(seat)

    def _command(self, seat: Seat) -> list[str]:
        who = [str(seat.view), "--replica", str(seat.replica)]
        if not seat.cast and seat.clock is None and seat.retained_sequences is None:
            return ["chatsvc", "node", *who, "--until-stdin-closes"]
        cast = [f"{name}={msgspec.json.encode(options).decode()}" for name, options in seat.cast]
        more = [part for each in cast for part in ("--behaviour", each)]
        more += [part for each in seat.accomplices for part in ("--accomplice", str(each))]
        more += [] if seat.clock is None else ["--clock", str(seat.clock)]
        more += [] if seat.retained_sequences is None else ["--retained", str(seat.retained_sequences)]
        return ["adversary.live.node", *who, *more, "--seed", str(self.seed)]

    async def start_all(self) -> None:
        """All seats, until each of the group's replicas answers. Raises LiveError."""
        await self.start(*self.seats)
        await self.until_answering(self.seats[: self.file.group.size])

    async def kill(self, seat: Seat) -> None:
        """SIGKILL."""
        await self._end(seat, signal.SIGKILL, frozenset({-signal.SIGKILL}))

    async def stop(self, seat: Seat) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        await self._end(seat, signal.SIGTERM, POLITELY)

    async def _end(self, seat: Seat, number: signal.Signals, codes: frozenset[int]) -> None:
        process = seat.process
        if process is None:
            return
        if seat.is_paused and process.returncode is None:
            process.send_signal(signal.SIGCONT)
        seat.is_paused = False
        if process.returncode is None:
            seat.may_end_with = codes
            process.send_signal(number)
        await self.until_ended(seat, within_s=STOP_SECONDS)

    async def until_ended(self, seat: Seat, *, within_s: float) -> int | None:
        """The exit code of a process that is to end, by itself if it does so in time."""
        process = seat.process
        if process is None:
            return None
        with trio.move_on_after(within_s):
            await process.wait()
        was_slow = process.returncode is None
        if was_slow:
            process.kill()
            await process.wait()
        if process.stdin is not None:
            await process.stdin.aclose()
        if seat.process is process and process.returncode is not None:
            seat.process = None
            self._note(seat, process.returncode, was_slow=was_slow)
        return process.returncode

    def _note(self, seat: Seat, code: int, *, was_slow: bool) -> None:
        said = " | ".join(self.log_lines(seat)[-TAIL_LINES:]) or "nothing"
        wanted = code in seat.may_end_with and not was_slow
        seat.exits.append(Exit(replica=seat.replica, code=code, was_wanted=wanted, said=said, was_slow=was_slow))

    def unwanted(self) -> list[Exit]:
        """Ends that nobody brought about, however long ago; of processes that were ended or started again since."""
        return [each for seat in self.seats for each in seat.exits if not each.was_wanted]

    def pause(self, seat: Seat) -> None:
        if seat.process is not None and seat.process.returncode is None:
            seat.process.send_signal(signal.SIGSTOP)
            seat.is_paused = True

    def resume(self, seat: Seat) -> None:
        if seat.process is not None and seat.is_paused:
            seat.process.send_signal(signal.SIGCONT)
        seat.is_paused = False

    async def close(self) -> None:
        """End all that runs: liars politely, for they then say how often they lied."""
        for seat in self.seats:
            if seat.process is not None and seat.process.returncode is None:
                self.resume(seat)
                seat.may_end_with = POLITELY
                seat.process.send_signal(signal.SIGTERM)
        for seat in self.seats:  # without a second signal: it would end a node in the middle of its farewell
            await self.until_ended(seat, within_s=STOP_SECONDS)

    # -- looking

    def log_of(self, seat: Seat) -> Path:
        name = f"replica-{seat.replica}" if seat.number < self.file.group.size else f"twin-{seat.replica}"
        return self.path / f"{name}.log"

    def lies(self) -> int:
        """How often played replicas did what an honest one would not have done, as those say that were ended."""
        lines = [line for seat in self.seats for line in self.log_lines(seat) if line.startswith(LIES_TOLD)]
        return sum(int(line.removeprefix(LIES_TOLD)) for line in lines)

    def has_lied(self, replica: int) -> bool:
        return any(BEGINS_TO_LIE in self.log_lines(seat) for seat in self.seats_of(replica))

    def log_lines(self, seat: Seat) -> list[str]:
        path = self.log_of(seat)
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def log_tail(self, seat: Seat) -> str:
        return (self.log_lines(seat) or ["it wrote nothing"])[-1]

    async def reports(self, seats: Iterable[Seat]) -> dict[int, Report]:
        """Of those that answer, by seat. Only the group's own replicas can be asked."""
        found: dict[int, Report] = {}
        directory = self.directory

        async def ask(seat: Seat) -> None:
            answer = await inspect_replica(directory, ReplicaId(seat.replica), timeout_s=INSPECT_SECONDS)
            if isinstance(answer, dict):
                found[seat.number] = answer

        async with trio.open_nursery() as nursery:
            for seat in seats:
                if seat.runs and seat.number < self.file.group.size:
                    nursery.start_soon(ask, seat)
        return found

    async def until(
        self, seats: Sequence[Seat], holds: Callable[[dict[int, Report]], bool], *, within_s: float
    ) -> dict[int, Report] | None:
        """The reports of these seats, once all of them answer and `holds` of them; None if not in time."""
        until = time.monotonic() + within_s
        while True:
            reports = await self.reports(seats)
            if len(reports) == len(seats) and holds(reports):
                return reports
            if time.monotonic() > until:
                return None
            await trio.sleep(POLL_SECONDS)

    async def until_answering(self, seats: Sequence[Seat]) -> None:
        """Raises LiveError."""
        if await self.until(seats, lambda _reports: True, within_s=START_SECONDS) is None:
            dead = next((seat for seat in seats if not seat.is_up), seats[0])
            msg = f"not all replicas answer within {START_SECONDS:g} s; replica {dead.replica} said last: "
            raise LiveError(msg + self.log_tail(dead))


def _free_ports(count: int) -> list[int]:
    import socket  # noqa: PLC0415 - for this alone

    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


@asynccontextmanager
async def live_group(
    directory: Path, *, replicas: int, parameters: Mapping[str, int], networked: bool, seed: int
) -> AsyncIterator[LiveGroup]:
    """A group that was just founded and does not run yet. Whatever was started of it is ended with it."""
    path = found_group(
        directory / "group",
        name="attacked",
        replicas=replicas,
        host=HOST,
        base_port=None,
        parameters=Parameters(**parameters),
    )
    file = read_group_file(path)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(network_of(file, seed=seed)) if networked else None
        group = LiveGroup(file, network, seed=seed)
        try:
            yield group
        finally:
            with trio.CancelScope(shield=True):
                await group.close()
