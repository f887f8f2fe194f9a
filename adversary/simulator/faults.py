"""Carrying out a scenario's faults, and undoing them when their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from adversary.simulator.operators import Operators
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
from adversary.simulator.storage import Image

if TYPE_CHECKING:
    from adversary.simulator.host import Host
    from adversary.simulator.run import Simulation

FAULT = 0


class Faults:
    """Of one run. Replicas outside the core go for good when the others are healed."""

    def __init__(self, run: Simulation) -> None:
        self._run = run
        self._images: dict[int, Image] = {}
        self._over = False
        self._operators = Operators(run)
        self._lapsed: set[int] = set()

    def schedule(self) -> None:
        run = self._run
        for fault in run.scenario.faults:
            if fault.at_ms >= run.scenario.heal_ms:
                continue
            run.at(fault.at_ms * 1000, FAULT, fault.id, lambda fault=fault: self._begin(fault))  # type: ignore[misc]
            run.at(
                (fault.at_ms + fault.for_ms) * 1000,
                FAULT,
                fault.id,
                lambda fault=fault: self._end(fault),  # type: ignore[misc]
            )
            if isinstance(fault, Damage) and fault.what == "stale":
                run.at(fault.image_ms * 1000, FAULT, fault.id, lambda fault=fault: self._take_image(fault))  # type: ignore[misc]

    def heal(self) -> None:
        """End all faults; start every host of the core that is down, and end those outside."""
        run = self._run
        self._over = True
        self._operators.stop()
        core = set(run.scenario.core)
        for host in run.hosts:
            host.fuse = None
            host.clock.step_ms = 0
            host.service_us = run.scenario.service_us
            host.disk.mend()
            if host.me not in core:
                if not self._lies(host):
                    self._kill(host)
                    host.mode = "gone"
            elif host.mode == "paused":
                host.resume()
            elif host.mode in {"down", "stopped"}:
                run.start(host)
            if host.number in self._lapsed:
                run.meet_again(host)
        self.reconnect()

    def _lies(self, host: Host) -> bool:
        return any(liar.replica == host.me for liar in self._run.scenario.liars)

    def inflict(self, fault: Fault) -> None:
        """Something that no scenario foresaw."""
        self._begin(fault)

    def _begin(self, fault: Fault) -> None:
        run = self._run
        run.note(f"begin {fault.id} {type(fault).__name__}")
        match fault:
            case Partition() | Route():
                run.links.begin(fault)
            case Lapse():
                run.links.begin(fault)
                self._lapsed.add(fault.replica)
                run.lost(run.hosts[fault.replica])
            case Crash():
                self._crash(run.hosts[fault.replica], fault)
            case Pause():
                run.hosts[fault.replica].pause()
            case Slow():
                run.hosts[fault.replica].service_us = fault.service_us
            case ClockStep():
                run.hosts[fault.replica].clock.step_ms += fault.step_ms
            case DiskFull():
                run.hosts[fault.replica].fill_disk()
            case SyncFails():
                run.hosts[fault.replica].fail_sync(kept=fault.kept)
            case Damage():
                self._damage(run.hosts[fault.replica], fault)
            case Cascade() | Restarts():
                self._operators.begin(fault)
            case _:
                assert_never(fault)

    def _end(self, fault: Fault) -> None:
        run = self._run
        if self._over:
            return
        run.note(f"end {fault.id}")
        match fault:
            case Partition() | Route():
                run.links.end(fault)
                run.marks.reach("partition healed")
                self.reconnect()
            case Lapse():
                run.links.end(fault)
                self._lapsed.discard(fault.replica)
                run.meet_again(run.hosts[fault.replica])
                self.reconnect()
            case Cascade() | Restarts():
                self._operators.end(fault)
            case Pause():
                run.hosts[fault.replica].resume()
            case Slow():
                run.hosts[fault.replica].service_us = run.scenario.service_us
            case ClockStep():
                run.hosts[fault.replica].clock.step_ms -= fault.step_ms
            case DiskFull() | Crash() | SyncFails() | Damage():
                host = run.hosts[fault.replica]
                if isinstance(fault, DiskFull):
                    host.disk.mend()
                again = isinstance(fault, Crash) and fault.again > 0 and fault.fuse > 0
                host.fuse = None
                if host.mode in {"down", "stopped"}:
                    self._restart(host, fault if again else None)
            case _:
                assert_never(fault)

    def _restart(self, host: Host, crash_again: Fault | None) -> None:
        run = self._run
        if isinstance(crash_again, Crash):
            host.fuse, host.power_fuse = crash_again.fuse, crash_again.power
            later = msgspec.structs.replace(crash_again, again=crash_again.again - 1)
            run.at(run.now_us + crash_again.for_ms * 1000, FAULT, crash_again.id, lambda: self._end(later))
        run.start(host)

    def _crash(self, host: Host, fault: Crash) -> None:
        if fault.fuse:
            host.fuse, host.power_fuse = fault.fuse, fault.power
        else:
            self._kill(host, power=fault.power)

    def _kill(self, host: Host, *, power: bool = False) -> None:
        if host.mode in {"up", "paused"}:
            host.die(power=power)

    def _take_image(self, fault: Damage) -> None:
        self._images[fault.id] = self._run.hosts[fault.replica].disk.image()

    def _damage(self, host: Host, fault: Damage) -> None:
        if host.mode == "gone":
            return
        before = host.die()
        host.note_damage(fault.what)
        host.disk.damage(fault.what, fault.amount, before, self._images.get(fault.id))

    def reconnect(self) -> None:
        run = self._run
        for host in run.hosts:
            for other in run.hosts:
                if host.is_up and other.is_up and host.me != other.me:
                    run.connect(host, other)
