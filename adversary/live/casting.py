"""Who is played in a live group, by how many processes, and whose clock can be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adversary.behaviours.catalogue import LAYOUTS
from adversary.live.group import LiveError
from adversary.simulator.scenario import ClockStep, Liar

if TYPE_CHECKING:
    from adversary.live.stage import Stage

RETAINED_USUALLY = 1024


def cast(stage: Stage) -> None:
    """Arrange the seats of the attack's group as it says, before any process runs. Raises LiveError."""
    group, attack = stage.group, stage.attack
    if attack.cast and not all(0 <= liar.replica < attack.replicas for liar in attack.cast):
        msg = f"the attack casts a replica that a group of {attack.replicas} does not have"
        raise LiveError(msg)
    liars = tuple(sorted({liar.replica for liar in attack.cast}))
    for liar in attack.cast:
        seat = group.seats[liar.replica]
        seat.cast = (*seat.cast, (liar.strategy, liar.options))
        seat.accomplices = tuple(other for other in liars if other != liar.replica)
    for liar in attack.cast:
        if liar.strategy in LAYOUTS:
            _double(stage, liar)
    if attack.retained_sequences != RETAINED_USUALLY:
        for seat in group.seats:
            seat.retained_sequences = attack.retained_sequences
    for fault in attack.happens:
        if isinstance(fault, ClockStep):
            _unwind(stage, fault.replica, 0)
    for replica, ppm in enumerate(attack.drift_ppm):
        if ppm and replica < len(group.seats):
            _unwind(stage, replica, ppm)


def _unwind(stage: Stage, replica: int, drift_ppm: int) -> None:
    """Its clock can be put wrong from now on."""
    seat = stage.group.seats[replica]
    seat.clock = stage.group.path / f"clock-{replica}"
    seat.drift_ppm = drift_ppm or seat.drift_ppm
    seat.set_clock()


def _double(stage: Stage, liar: Liar) -> None:
    """Two processes with one key, seen by a half of the others each."""
    seat = stage.group.seats[liar.replica]
    seat.cast = tuple(part for part in seat.cast if part[0] not in LAYOUTS)
    sides = liar.options.get("sides") or ()
    first = sides[0] if isinstance(sides, tuple) and sides and isinstance(sides[0], tuple) else None
    seen = [peer for peer in range(stage.attack.replicas) if peer % 2 == 0] if first is None else first
    stage.group.add_twin(liar.replica, [int(peer) for peer in seen]).cast = seat.cast
