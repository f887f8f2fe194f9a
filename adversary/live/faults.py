"""Carrying out on real processes what happens in an attack, and undoing it when its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import trio

from adversary.disk import WAL_SUFFIX, limit_file_size
from adversary.live.certificates import lose_links
from adversary.live.group import NODE_UP, LiveError, Seat
from adversary.live.operators import follow_the_primary, restart_all
from adversary.live.signs import FOUND_ROTTEN
from adversary.live.stage import ROT
from adversary.simulator.network import separates
from adversary.simulator.scenario import (
    Cascade,
    ClockStep,
    Crash,
    Damage,
    DiskFull,
    Fault,
    Lapse,
    Partition,
    Pause,
    Restarts,
    Route,
    Slow,
    SyncFails,
)
from chatsvc.founding import ledger_identity
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import LEDGER_NAME

if TYPE_CHECKING:
    from adversary.live.stage import Stage

START_SECONDS = 15.0
DISK_FULL_SECONDS = 15.0
"""Within which a node without room has stopped; what it says until then is durable already."""
DISK_FULL_CODES = frozenset({1})
"""How such a node ends: it says why, and stops in order."""
DISK_FULL_SAYS = ("free the disk or replace it", "Check the disk's space")
"""One of these, in the last line of its log."""
FAILURES_SAY = ("Traceback", "contradicts itself")
"""What stands in a log since the node came up that ended in another way."""
TORN_BYTES = 5000
ROTTEN_ROWS = 12
NOTICED = {
    "lost_ledger": "ledger begun again",
    "torn_ledger": "ledger begun again",
    "flipped_ledger": "ledger begun again",
    "lost_disk": "ledger begun again",
    ROT: FOUND_ROTTEN,
}
"""What a damaged replica's log says of it."""
SPOILT_RECORD = -3
"""Of the last records of the ledger: one that is needed."""
NETWORK_FAULTS = (Partition, Route, Slow, Lapse)


def stopped_for_its_disk(lines: Sequence[str]) -> bool:
    """Whether a node's log ends with what it says if its disk is full, and with nothing worse before it."""
    last = next((number for number in reversed(range(len(lines))) if NODE_UP in lines[number]), 0)
    since = lines[last:]
    return any(text in line for line in since[-1:] for text in DISK_FULL_SAYS) and not any(
        text in line for line in since for text in FAILURES_SAY
    )


class Faults:
    """Of one attack. `run` ends when all of them are over, or have been ended by `heal`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._group = stage.group
        self._images: dict[int, Path] = {}
        self._starting: set[int] = set()
        self._last_up = 0.0
        self._started = trio.Event()

    async def run(self) -> None:
        """Each fault at its time. Raises LiveError."""
        async with trio.open_nursery() as nursery:
            for fault in self._stage.attack.happens:
                if fault.at_ms < self._stage.attack.until_ms:
                    nursery.start_soon(self._carry_out, fault)

    async def heal(self) -> None:
        """Whatever is stopped runs again, and whatever was cut is whole."""
        stage = self._stage
        stage.heal_network()
        for seat in self._group.seats:
            seat.kept_down.clear()
            seat.kept_still.clear()
            seat.clock_steps.clear()
            seat.set_clock()
            if seat.is_paused:
                self._group.resume(seat)
            if not seat.is_up:
                await self._group.start(seat)
                stage.moment(f"replica {seat.replica}", "starts")

    async def _carry_out(self, fault: Fault) -> None:
        stage = self._stage
        began = trio.current_time()
        if isinstance(fault, Damage) and fault.what == "stale":
            await trio.sleep_until(began + fault.image_ms / 1000)
            await self._take_image(fault)
        await trio.sleep_until(began + fault.at_ms / 1000)
        over = began + min(fault.at_ms + fault.for_ms, stage.attack.until_ms) / 1000
        match fault:
            case Partition() | Route() | Slow():
                await self._disturb(fault, over)
            case Pause():
                await self._pause(fault, over)
            case ClockStep():
                await self._step_clock(fault, over)
            case Crash():
                await self._crash(fault, over)
            case DiskFull():
                await self._fill_disk(fault, over)
            case Damage():
                await self._damage(fault, over)
            case Lapse():
                await lose_links(stage, fault.replica)
                stage.applied.add(fault.id)
                await trio.sleep_until(over)
            case Cascade():
                await follow_the_primary(stage, fault, over)
                stage.applied.add(fault.id)
            case Restarts():
                await restart_all(stage, fault)
                stage.applied.add(fault.id)
            case SyncFails():
                stage.problems.append("a sync that fails needs the simulator")
            case _:
                assert_never(fault)

    def _seat(self, replica: int) -> Seat:
        return self._group.seats[replica]

    # -- the network

    async def _disturb(self, fault: Partition | Route | Slow, over: float) -> None:
        stage, network = self._stage, self._group.network
        if network is None:
            msg = "the network was not put between the replicas"
            raise LiveError(msg)
        match fault:
            case Partition():
                stage.cuts[fault.id] = {
                    (source, to): "held" if fault.one_way else "refused"
                    for source in self._group.file.group.replicas
                    for to in self._group.file.group.replicas
                    if separates(fault, source, to)
                }
                stage.moment("", "partition", " | ".join(" ".join(map(str, side)) for side in fault.sides))
            case Route():
                stage.cuts[fault.id] = {(fault.source, fault.to): "held"}
                stage.moment("", "loses a route", f"from {fault.source} to {fault.to}")
            case Slow():
                stage.slowed[fault.id] = (fault.replica, fault.service_us / 1e6)
                stage.moment(f"replica {fault.replica}", "slows down", f"by {fault.service_us / 1000:g} ms")
        stage.recut()
        stage.applied.add(fault.id)
        await self._over(fault, over)
        stage.cuts.pop(fault.id, None)
        stage.slowed.pop(fault.id, None)
        stage.recut()
        stage.moment("", "heals")

    # -- processes

    async def _pause(self, fault: Pause, over: float) -> None:
        seat, stage = self._seat(fault.replica), self._stage
        seat.kept_still.add(fault.id)
        self._group.pause(seat)
        if seat.is_paused:
            stage.applied.add(fault.id)
        stage.moment(f"replica {fault.replica}", "pauses")
        await self._over(fault, over)
        seat.kept_still.discard(fault.id)
        if not seat.kept_still:
            self._group.resume(seat)
            stage.moment(f"replica {fault.replica}", "resumes")

    async def _step_clock(self, fault: ClockStep, over: float) -> None:
        seat, stage = self._seat(fault.replica), self._stage
        seat.clock_steps[fault.id] = fault.step_ms
        seat.set_clock()
        if seat.runs:
            stage.applied.add(fault.id)
        stage.moment(f"replica {fault.replica}", "clock jumps", f"by {fault.step_ms / 1000:g} s")
        await trio.sleep_until(over)
        seat.clock_steps.pop(fault.id, None)
        seat.set_clock()
        stage.moment(f"replica {fault.replica}", "clock is put right")

    async def _crash(self, fault: Crash, over: float) -> None:
        seat, stage = self._seat(fault.replica), self._stage
        for count in range(fault.again + 1):
            if count and stage.is_over:
                break  # a real process takes longer to start than a simulated one
            await self._take_down(seat, fault.id)
            stage.moment(f"replica {fault.replica}", "crashes")
            await trio.sleep_until(over if not count else trio.current_time() + fault.for_ms / 1000)
            await self._start(seat, fault.id)

    async def _take_down(self, seat: Seat, fault: int) -> None:
        """Kill it, and keep it down until this fault, and every other that keeps it down, is over."""
        was_up = seat.is_up
        seat.kept_down.add(fault)
        await self._group.kill(seat)
        if was_up:
            self._stage.applied.add(fault)
            self._stage.deeds[f"deaths of replica {seat.replica}"] += 1

    async def _start(self, seat: Seat, fault: int) -> None:
        seat.kept_down.discard(fault)
        if seat.kept_down or seat.is_up:
            return
        self._starting.add(seat.number)
        await self._group.start(seat)
        self._stage.moment(f"replica {seat.replica}", "starts")
        await self._group.until([seat], lambda _reports: True, within_s=START_SECONDS)
        self._starting.discard(seat.number)
        self._last_up = trio.current_time()
        self._started.set()
        self._started = trio.Event()

    async def _over(self, fault: Pause | Partition | Route | Slow, over: float) -> None:
        """Until the fault has had its time. A simulated process starts at once: where a real one has started
        meanwhile, the time in which both faults are felt counts from when it is up.
        """
        began = trio.current_time()
        await trio.sleep_until(over)
        while self._starting:
            await self._started.wait()
        if self._last_up > began:
            await trio.sleep_until(max(over, self._last_up + fault.for_ms / 1000))

    async def _fill_disk(self, fault: DiskFull, over: float) -> None:
        seat, stage = self._seat(fault.replica), self._stage
        log = seat.home / (LEDGER_NAME + WAL_SUFFIX)
        seat.may_end_with = DISK_FULL_CODES
        limit_file_size(seat.pid, log.stat().st_size if log.exists() else 0)
        stage.moment(f"replica {fault.replica}", "has no room on its disk")
        process = seat.process
        with trio.move_on_after(DISK_FULL_SECONDS):
            while process is not None and process.returncode is None:
                await process.wait()
        if process is None or process.returncode is None:
            stage.missed.append(f"replica {fault.replica} wrote nothing, so it did not notice that its disk is full")
            limit_file_size(seat.pid, None)
            seat.may_end_with = frozenset()
            return
        seat.kept_down.add(fault.id)
        code = await self._group.until_ended(seat, within_s=0)
        if code in DISK_FULL_CODES and stopped_for_its_disk(self._group.log_lines(seat)):
            stage.applied.add(fault.id)
            stage.deeds["nodes stopped by a full disk"] += 1
        stage.moment(f"replica {fault.replica}", "stops", self._group.log_tail(seat))
        await trio.sleep_until(over)
        await self._start(seat, fault.id)

    # -- disks

    async def _take_image(self, fault: Damage) -> None:
        seat = self._seat(fault.replica)
        await self._take_down(seat, fault.id)
        image = self._group.path / f"image-{fault.id}"
        await trio.to_thread.run_sync(seat.disk.keep_copy, image)
        self._images[fault.id] = image
        await self._start(seat, fault.id)

    async def _damage(self, fault: Damage, over: float) -> None:
        seat, stage = self._seat(fault.replica), self._stage
        stage.damaged.add(fault.replica)
        await self._take_down(seat, fault.id)
        disk, amount = seat.disk, fault.amount
        match fault.what:
            case "lost_ledger":
                work = disk.lose_ledger
            case "lost_state":
                work = disk.lose_state
            case "lost_disk":
                work = disk.lose_all
            case "torn_ledger":
                work = partial(disk.tear_ledger, max(amount, TORN_BYTES))
            case "flipped_ledger":
                work = partial(disk.spoil_record, disk.records()[SPOILT_RECORD])
            case "flipped_state":
                work = partial(self._rot, seat, amount)
            case "forgetful" | "forgetful_disk":
                stage.forgetful.add(fault.replica)
                work = partial(self._forget, seat, with_state=fault.what == "forgetful_disk")
            case "stale":
                stage.forgetful.add(fault.replica)
                work = partial(disk.go_back_to, self._images[fault.id])
            case _:
                msg = f"damage {fault.what!r} cannot be done to a real disk"
                raise LiveError(msg)
        await trio.to_thread.run_sync(work)
        stage.moment(f"replica {fault.replica}", "is damaged", fault.what.replace("_", " "))
        if fault.what in NOTICED:
            stage.to_be_noticed.append((seat, NOTICED[fault.what]))
        stage.applied.add(fault.id)
        await trio.sleep_until(over)
        await self._start(seat, fault.id)

    def _forget(self, seat: Seat, *, with_state: bool) -> None:
        """As if it had never run: nothing tells it that it forgot."""
        seat.disk.lose_ledger()
        if with_state:
            seat.disk.lose_state()
        group = self._group.file.group
        Ledger.create(seat.home, ledger_identity(group, group.members[seat.replica]))

    def _rot(self, seat: Seat, amount: int) -> None:
        if not seat.disk.spoil_rows(ROTTEN_ROWS, seed=self._stage.seed + amount):
            self._stage.missed.append(f"replica {seat.replica} had no rows yet that could rot")
