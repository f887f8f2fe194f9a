"""How much of its throughput a group keeps under attack: the same load fault-free and under attack, in turns."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import trio

from adversary.attacks.model import Attack
from adversary.live.group import LiveError, LiveGroup, live_group
from adversary.live.load import READY, WARM_UP_S, Measured
from adversary.live.scripts import attackers
from adversary.live.stage import Stage
from chatsvc.groupfile import GroupFileError
from pbft.client.errors import ClientError
from pbft.client.inspection import Report
from pbft.core.group import Parameters

REPLICAS = 4
FAULTY = 1
ROUNDS = 3
"""Each round is one run without the attack and one with it, one after the other: whatever else the machine does meets
both."""
SETTLE_S = 0.5
OVERHEAD_SECONDS = 60.0
"""For starting and registering, before a run is given up."""
LINE_BYTES_MAX = 4096
RECOVERY_MS = 1_000
"""What a failed view costs beside its timeout, on a machine that is shared."""
LIES = "lies_told"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How an attack is carried out. `floor`: the share of the fault-free throughput that must be left.

    `deeds`: what must have been done, each at least once, so that there was an attack to be measured.
    """

    about: str
    cast: tuple[tuple[int, str, Mapping[str, Any]], ...] = ()
    attackers: tuple[str, ...] = ()
    deeds: tuple[str, ...] = (LIES,)
    floor: float = 0.0


ATTACKS: Final[Mapping[str, Way]] = {
    "slow_primary": Way(
        about="the primary proposes just before the others lose patience", cast=((0, "slow_primary", {"hold": 800}),)
    ),
    "flood": Way(
        about="two people say all that they can, and so do strangers and forgers",
        attackers=("babblers", "strangers", "forgers"),
        deeds=("flood_operations", "stranger_operations", "forged_requests"),
        floor=0.5,
    ),
    "everything": Way(
        about="the same, and questions without end, with long answers",
        attackers=("flood",),
        deeds=("flood_operations", "stranger_operations", "forged_requests", "queries"),
    ),
    "cbor_bombs": Way(
        about="frames that are to burst decoders, dripping connections, litter",
        attackers=("bombs", "slowloris", "litter"),
        deeds=("bombs", "slow_bytes", "litter"),
        floor=0.5,
    ),
    "vc_storm": Way(about="a backup calls for ever new views", cast=((3, "view_storm", {}),)),
    "reply_lie": Way(about="a backup lies to everybody", cast=((3, "reply_lie", {}),)),
}


def stop_bound_ms(faulty: int, view_change_timeout_ms: int) -> int:
    """The longest time in which nothing may be accepted, however the faulty behave: the timeouts of as many failed
    views, each twice the one before, and a second for each. docs/bounds.md says why.
    """
    return sum(view_change_timeout_ms * 2**failed + RECOVERY_MS for failed in range(faulty))


STOP_MS_MAX: Final = stop_bound_ms(FAULTY, Parameters().view_change_timeout_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`cpu_us`: of an honest replica, for each accepted operation; None where that is not known."""

    measured: Measured
    cpu_us: float | None = None
    did: Mapping[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Accepted operations a second."""
        return self.measured.accepted / self.measured.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The same load without the attack and with it."""

    quiet: Run
    attacked: Run

    @property
    def share(self) -> float:
        return self.attacked.rate / self.quiet.rate if self.quiet.rate else 0.0

    @property
    def share_by_cpu(self) -> float | None:
        """What would be left if the replicas' CPU alone counted, at most all of it."""
        quiet, attacked = self.quiet.cpu_us, self.attacked.cpu_us
        return min(1.0, quiet / attacked) if quiet and attacked else None


@dataclass
class Kept:
    """What one attack left, round by round; at least one."""

    name: str
    way: Way
    rounds: list[Round] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The median over the rounds of what was left of the throughput: what an attack is judged by."""
        return median(each.share for each in self.rounds)

    @property
    def share_by_cpu(self) -> float | None:
        """For information: it tells the attackers' appetite for CPU, and the machine's other work, from the rest."""
        shares = [each.share_by_cpu for each in self.rounds]
        known = [share for share in shares if share is not None]
        return median(known) if known else None

    @property
    def longest_gap_ms(self) -> float:
        """Under attack, in all rounds."""
        return max(each.attacked.measured.longest_gap_ms for each in self.rounds)

    @property
    def why_not_enough(self) -> str:
        """Empty if the attack left what it must: its share, and never nothing for longer than the bound."""
        if not all(each.attacked.measured.accepted for each in self.rounds):
            return "nothing was accepted under attack"
        if self.share < self.way.floor:
            return f"{self.share:.0%} of the throughput was left, and {self.way.floor:.0%} must be"
        if self.longest_gap_ms > STOP_MS_MAX:
            return f"nothing was accepted for {self.longest_gap_ms:.0f} ms, and {STOP_MS_MAX} is the bound"
        return ""

    @property
    def why_no_attack(self) -> str:
        """Empty if the attackers did what they are there for, in every round."""
        for number, each in enumerate(self.rounds, start=1):
            for deed in self.way.deeds:
                if not each.attacked.did.get(deed):
                    return f"in round {number} the attackers did nothing that counts as {deed}"
        return ""

    @property
    def did(self) -> dict[str, int]:
        """What the attackers did, in all rounds together."""
        names = sorted({name for each in self.rounds for name in each.attacked.did})
        return {name: sum(each.attacked.did.get(name, 0) for each in self.rounds) for name in names}

    def record(self) -> dict[str, Any]:
        """For `--json`; lists are in the order of the rounds."""
        by_cpu = self.share_by_cpu
        return {
            "attack": self.name,
            "about": self.way.about,
            "kept_share": round(self.share, 3),
            "kept_shares": [round(each.share, 3) for each in self.rounds],
            "kept_share_by_cpu": None if by_cpu is None else round(by_cpu, 3),
            "floor": self.way.floor,
            "is_enough": not self.why_not_enough,
            "why_not_enough": self.why_not_enough,
            "took_place": not self.why_no_attack,
            "cpu_us_per_operation": self._both(lambda run: None if run.cpu_us is None else round(run.cpu_us)),
            "accepted_per_s": self._both(lambda run: round(run.rate, 1)),
            "longest_gap_ms": self._both(lambda run: run.measured.longest_gap_ms),
            "longest_gap_ms_bound": STOP_MS_MAX,
            "p99_ms": self._both(lambda run: run.measured.p99_ms),
            "failed": self._both(lambda run: run.measured.failed),
            "attackers": self.did,
        }

    def _both(self, value: Callable[[Run], float | None]) -> dict[str, list[float | None]]:
        return {
            "fault_free": [value(each.quiet) for each in self.rounds],
            "attacked": [value(each.attacked) for each in self.rounds],
        }


def home_of(where: Path, name: str, number: int, *, attacked: bool) -> Path:
    """The directory of one run's group."""
    return where / f"{name}-{number}-{'attacked' if attacked else 'fault-free'}"


def bench(
    directory: Path | None = None,
    names: Sequence[str] = (),
    *,
    seconds: float = 5.0,
    rounds: int = ROUNDS,
    tell: Tell = lambda _text: None,
) -> Iterator[Kept]:
    """Measure what each named attack leaves of the throughput; all of them, if none is named. Each as it is done.

    Groups are founded in `directory`, which is made if need be, and stay there; without one, they are removed.
    Raises KeyError for a name that there is not, and LiveError if a group or the load on it cannot be run.
    """
    chosen = {name: ATTACKS[name] for name in (names or ATTACKS)}
    with tempfile.TemporaryDirectory(prefix="quorate-") as made:
        where = Path(made) if directory is None else directory
        where.mkdir(parents=True, exist_ok=True)
        for name, way in chosen.items():
            yield _kept(name, way, where, seconds=seconds, rounds=rounds, tell=tell)


def _kept(name: str, way: Way, where: Path, *, seconds: float, rounds: int, tell: Tell) -> Kept:
    """Raises LiveError."""
    kept = Kept(name, way)
    for number in range(rounds):
        runs: list[Run] = []
        for attacked in (False, True):
            what = f"{name}, round {number + 1} of {rounds}, {'attacked' if attacked else 'fault-free'}"
            tell(what)
            home = home_of(where, name, number, attacked=attacked)
            failures: list[str] = []
            try:
                run = trio.run(partial(_run, name, way, home, number, seconds=seconds, attacked=attacked))
                runs.append(run)
                tell(f"{what}: {run.rate:,.0f} accepted/s")
            except* (LiveError, ClientError, GroupFileError, OSError) as failed:
                failures.append(str(_first(failed)))
            if failures:
                msg = f"{what}: {failures[0]}"
                raise LiveError(msg)
        quiet, under_attack = runs
        if not quiet.measured.accepted:
            msg = f"{name}, round {number + 1} of {rounds}: nothing was accepted though nobody attacked"
            raise LiveError(msg)
        kept.rounds.append(Round(quiet=quiet, attacked=under_attack))
    return kept


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(name: str, way: Way, home: Path, seed: int, *, seconds: float, attacked: bool) -> Run:
    """Raises LiveError and what a group's processes and files can raise, perhaps in groups."""
    async with live_group(home, replicas=REPLICAS, parameters={}, networked=False, seed=seed) as group:
        stage = Stage(attack=Attack(name=name), group=group, seed=seed)
        measured, cpu_us = await _measured(stage, way if attacked else None, seconds=seconds)
        if stage.problems:
            raise LiveError(stage.problems[0])
    did = {what: count for what, count in stage.figures.items() if isinstance(count, int)}
    if attacked and way.cast:
        did[LIES] = group.lies()  # which those who are played say when they end
    return Run(measured=measured, cpu_us=cpu_us, did=did)


async def _measured(stage: Stage, way: Way | None, *, seconds: float) -> tuple[Measured, float | None]:
    """And the CPU of an honest replica for each accepted operation, in microseconds. Raises LiveError."""
    group = stage.group
    for replica, behaviour, options in () if way is None else way.cast:
        group.seats[replica].cast = ((behaviour, options),)
    await group.start_all()
    before: dict[int, Report] = {}
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            """People are registered by then: the attack is on what they do, and not on how they come."""
            if way is not None and way.attackers:
                await nursery.start(partial(attackers, stage, names=way.attackers))
            await trio.sleep(SETTLE_S)
            before.update(await group.reports(group.seats))

        measured = await _load(group, seconds, begin)
        after = await group.reports(group.seats)
        nursery.cancel_scope.cancel()
    spent = [
        after[seat.number]["cpu_s"] - before[seat.number]["cpu_s"]
        for seat in group.seats
        if not seat.cast and seat.number in before and seat.number in after
    ]
    operations = measured.accepted * (seconds + WARM_UP_S) / seconds
    return measured, sum(spent) / len(spent) / operations * 1e6 if spent and operations else None


async def _load(group: LiveGroup, seconds: float, begin: Callable[[], Awaitable[None]]) -> Measured:
    """`begin` is awaited once people are there, and before they say anything. Raises LiveError."""
    command = [sys.executable, "-m", "adversary.live.load", str(group.path), "--seconds", str(seconds)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    said = b""
    try:
        with trio.move_on_after(OVERHEAD_SECONDS + seconds):
            while data := await _read(process):
                said += data
                if said == READY.encode() + b"\n":
                    await begin()
                    await _write(process, b"\n")
            await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            for end in (process.stdin, process.stdout):
                if end is not None:
                    await end.aclose()
    try:
        return msgspec.json.decode(said.partition(b"\n")[2], type=Measured)
    except msgspec.DecodeError as error:
        msg = f"the load ended with exit code {process.returncode}, having said {said[-200:]!r}"
        raise LiveError(msg) from error


async def _read(process: trio.Process) -> bytes | bytearray:
    return b"" if process.stdout is None else await process.stdout.receive_some(LINE_BYTES_MAX)


async def _write(process: trio.Process, data: bytes) -> None:
    if process.stdin is not None:
        await process.stdin.send_all(data)
