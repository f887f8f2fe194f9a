"""How much of its throughput a group keeps under attack: the same load fault-free and under attack, in turns."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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

REPLICAS = 4
ROUNDS = 2
"""Each round is one run without the attack and one with it."""
SETTLE_S = 0.5
OVERHEAD_SECONDS = 60.0
"""For starting and registering, before a run is given up."""
LINE_BYTES_MAX = 4096

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How an attack is carried out. `floor`: the share of the fault-free throughput that must be left."""

    about: str
    cast: tuple[tuple[int, str, Mapping[str, Any]], ...] = ()
    attackers: tuple[str, ...] = ()
    floor: float = 0.0


ATTACKS: Final[Mapping[str, Way]] = {
    "slow_primary": Way(
        about="the primary proposes just before the others lose patience", cast=((0, "slow_primary", {"hold": 800}),)
    ),
    "flood": Way(
        about="two people say all that they can, and so do strangers and forgers",
        attackers=("babblers", "strangers", "forgers"),
        floor=0.5,
    ),
    "everything": Way(about="the same, and questions without end, with long answers", attackers=("flood",)),
    "cbor_bombs": Way(
        about="frames that are to burst decoders, dripping connections, litter",
        attackers=("bombs", "slowloris", "litter"),
        floor=0.5,
    ),
    "vc_storm": Way(about="a backup calls for ever new views", cast=((3, "view_storm", {}),)),
    "reply_lie": Way(about="a backup lies to everybody", cast=((3, "reply_lie", {}),)),
}


@dataclass
class Kept:
    """What one attack left, each list in the order of the rounds."""

    name: str
    way: Way
    honest: list[Measured] = field(default_factory=list)
    attacked: list[Measured] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {"fault_free": [], "attacked": []})
    """Of an honest replica, for each accepted operation: what others on the machine do not change."""
    did: dict[str, int] = field(default_factory=dict)
    """What the attackers did, in all rounds together."""

    @property
    def share(self) -> float:
        """The median over the rounds of what was left."""
        return median(
            _rate(attacked) / max(_rate(honest), 1e-9)
            for honest, attacked in zip(self.honest, self.attacked, strict=True)
        )

    @property
    def share_by_cpu(self) -> float:
        """What would be left if only the replicas' CPU counted, at most all of it."""
        shares = [quiet / max(busy, 1e-9) for quiet, busy in zip(*self.cpu_us.values(), strict=True)]
        return min(1.0, median(shares)) if shares else 0.0

    @property
    def is_enough(self) -> bool:
        """On a shared machine throughput is what others leave, so either measure will do."""
        return max(self.share, self.share_by_cpu) >= self.way.floor

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "attack": self.name,
            "about": self.way.about,
            "kept_share": round(self.share, 3),
            "kept_share_by_cpu": round(self.share_by_cpu, 3),
            "floor": self.way.floor,
            "cpu_us_per_operation": {name: [round(each) for each in many] for name, many in self.cpu_us.items()},
            "accepted_per_s": {
                "fault_free": [round(_rate(each), 1) for each in self.honest],
                "attacked": [round(_rate(each), 1) for each in self.attacked],
            },
            "longest_gap_ms": {
                "fault_free": max(each.longest_gap_ms for each in self.honest),
                "attacked": max(each.longest_gap_ms for each in self.attacked),
            },
            "p99_ms": {
                "fault_free": max(each.p99_ms for each in self.honest),
                "attacked": max(each.p99_ms for each in self.attacked),
            },
            "failed": sum(each.failed for each in (*self.honest, *self.attacked)),
            "attackers": self.did,
        }


def _rate(measured: Measured) -> float:
    return measured.accepted / measured.seconds


def bench(
    directory: Path | None = None,
    names: Sequence[str] = (),
    *,
    seconds: float = 5.0,
    rounds: int = ROUNDS,
    tell: Tell = lambda _text: None,
) -> list[Kept]:
    """Measure what each named attack leaves of the throughput; all of them, if none is named.

    Groups are founded in `directory`, which is made if need be, and stay there; without one, they are removed.
    Raises KeyError for a name that there is not, and LiveError if a group or the load on it cannot be run.
    """
    chosen = {name: ATTACKS[name] for name in (names or ATTACKS)}
    with tempfile.TemporaryDirectory(prefix="quorate-") as made:
        where = Path(made) if directory is None else directory
        where.mkdir(parents=True, exist_ok=True)
        return [
            trio.run(partial(_kept, name, way, where, seconds=seconds, rounds=rounds, tell=tell))
            for name, way in chosen.items()
        ]


async def _kept(name: str, way: Way, where: Path, *, seconds: float, rounds: int, tell: Tell) -> Kept:
    kept = Kept(name, way)
    for number in range(rounds):
        for attacked in (False, True):
            home = where / f"{name}-{number}-{'attacked' if attacked else 'fault-free'}"
            async with live_group(home, replicas=REPLICAS, parameters={}, networked=False, seed=number) as group:
                measured = await _one(kept, group, seconds=seconds, attacked=attacked)
            (kept.attacked if attacked else kept.honest).append(measured)
            tell(f"{name}, {'attacked' if attacked else 'fault-free'}: {_rate(measured):,.0f} accepted/s")
    return kept


async def _one(kept: Kept, group: LiveGroup, *, seconds: float, attacked: bool) -> Measured:
    """Raises LiveError."""
    stage = Stage(attack=Attack(name=kept.name), group=group, seed=group.seed)
    if attacked:
        for replica, behaviour, options in kept.way.cast:
            group.seats[replica].cast = ((behaviour, options),)
    await group.start_all()
    async with trio.open_nursery() as nursery:
        begun = trio.Event()
        if attacked and kept.way.attackers:
            nursery.start_soon(_attack_from, begun, stage, kept.way.attackers)
        before = await group.reports(group.seats)
        measured = await _load(group, seconds, begun)
        after = await group.reports(group.seats)
        nursery.cancel_scope.cancel()
    spent = [
        after[seat.number]["cpu_s"] - before[seat.number]["cpu_s"]
        for seat in group.seats
        if not seat.cast and seat.number in before and seat.number in after
    ]
    operations = measured.accepted * (seconds + WARM_UP_S) / seconds
    if spent and operations:
        kept.cpu_us["attacked" if attacked else "fault_free"].append(sum(spent) / len(spent) / operations * 1e6)
    for name, count in stage.figures.items():
        if isinstance(count, int):
            kept.did[name] = kept.did.get(name, 0) + count
    if stage.problems:
        raise LiveError(stage.problems[0])
    return measured


async def _attack_from(begun: trio.Event, stage: Stage, names: Sequence[str]) -> None:
    """People are registered by then: the attack is on what they do, and not on how they come."""
    await begun.wait()
    await attackers(stage, names=names)


async def _load(group: LiveGroup, seconds: float, begun: trio.Event) -> Measured:
    command = [sys.executable, "-m", "adversary.live.load", str(group.path), "--seconds", str(seconds)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    said = b""
    try:
        with trio.move_on_after(OVERHEAD_SECONDS + seconds):
            while data := await _read(process):
                said += data
                if not begun.is_set() and said.startswith(READY.encode() + b"\n"):
                    begun.set()
                    await trio.sleep(SETTLE_S)
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
