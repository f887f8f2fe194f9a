"""What can be seen of real processes: that an attack took place, and the rare states that a run must come by.

A simulated run notes its marks as it comes by them. Here each has a sign that processes leave: in their logs, in what
they report of themselves, or in how they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from adversary.attacks.outcome import Proof
from adversary.behaviours.catalogue import LAYOUTS
from adversary.live.group import NODE_UP
from adversary.live.scripts import COUNTED, acts_of
from adversary.simulator.scenario import Crash, Network, SyncFails
from adversary.simulator.sights import PROVEN, alarm_says
from pbft.core.effects import IgnoreReason

if TYPE_CHECKING:
    from adversary.attacks.model import Attack
    from adversary.live.stage import Stage

DEATHS_MIN: Final = 2
"""So often at least has died what dies again and again: a real process takes longer to start than a simulated one."""
LINK_UP: Final = "link up"
FOUND_ROTTEN: Final = "is damaged on this replica"
"""Of an alarm about rows of the state."""
FETCHING: Final = "state transfer to "
"""What an alarm about one begins with. Most are over before anybody looks."""
BREAKS: Final = frozenset(
    {
        "accepted kept",
        "agreement",
        "equal roots",
        "exactly once",
        "floor",
        "honest evidence",
        "internal",
        "model",
        "order",
        "progress",
        "replies",
        "storage",
    }
)
"""Invariants that a live run can find broken."""

UNDER_ATTACK: Final = "accepted_under_attack"
"""A figure: how many operations were accepted from the attack's beginning to its end."""

Sign = Callable[["Stage", Sequence[Proof]], bool]


def _peak(name: str) -> Sign:
    return lambda stage, _proofs: stage.peak(name) > 0


def _ignored(reason: IgnoreReason) -> Sign:
    return _peak(f"ignored {reason.name}")


def _alarmed(mark: str) -> Sign:
    return lambda stage, _proofs: any(alarm_says(alarm.text)[1] == mark for alarm in stage.alarms)


def _alarm_holds(text: str) -> Sign:
    return lambda stage, _proofs: any(text in alarm.text for alarm in stage.alarms)


def _logged(text: str) -> Sign:
    def is_logged(stage: Stage, _proofs: Sequence[Proof]) -> bool:
        return any(text in line for seat in stage.honest() for line in stage.group.log_lines(seat))

    return is_logged


def _proven(code: str) -> Sign:
    return lambda _stage, proofs: any(proof.code == code for proof in proofs)


def _client_caught(_stage: Stage, proofs: Sequence[Proof]) -> bool:
    return any(holder.startswith("client ") for proof in proofs for holder in proof.held_by)


def _frames_waited(stage: Stage, _proofs: Sequence[Proof]) -> bool:
    """Messages that are dropped as useless say nothing: those come in any group, for everybody hears things twice."""
    full = (f"ignored {reason.name}" for reason in (IgnoreReason.POOL_FULL, IgnoreReason.DEVICE_FULL))
    shedding = ("slowed links", "shed", *full)
    return any(stage.peak(name) > 0 for name in shedding)


def _fetched(stage: Stage, _proofs: Sequence[Proof]) -> bool:
    """Of honest replicas; in the end all of them are whole and level, or the run is none that is live."""
    return bool(stage.transferred) or any(alarm.text.startswith(FETCHING) for alarm in stage.alarms)


def _died_again(stage: Stage, _proofs: Sequence[Proof]) -> bool:
    crashes = [fault for fault in stage.attack.happens if isinstance(fault, Crash)]
    return bool(crashes) and all(
        stage.deeds[f"deaths of replica {each.replica}"] >= min(1 + each.again, DEATHS_MIN) for each in crashes
    )


def _came_back(stage: Stage, _proofs: Sequence[Proof]) -> bool:
    """Whoever died was up again each time, and not at the beginning but where it stood."""
    crashed = {fault.replica for fault in stage.attack.happens if isinstance(fault, Crash)}
    return bool(crashed) and all(
        _ups(stage, replica) >= max(1, stage.deeds[f"deaths of replica {replica}"]) for replica in crashed
    )


def _ups(stage: Stage, replica: int) -> int:
    lines = stage.group.log_lines(stage.group.seats[replica])
    return sum(NODE_UP in line and "last_executed=0 " not in line for line in lines)


SIGNS: Final[Mapping[str, Sign]] = {
    "a false page refused": _alarmed("a false page refused"),
    "a liar blamed in state transfer": lambda stage, _proofs: any(
        alarm_says(alarm.text)[2] is not None for alarm in stage.alarms
    ),
    "client caught a liar": _client_caught,
    "a false REPLY proven (E9)": _proven("E9"),
    "crash between two effects": _died_again,
    "damaged state put aside": _logged("state put aside"),
    "duplicate request answered from the cache": _ignored(IgnoreReason.ALREADY_EXECUTED),
    "frames left waiting by a busy replica": _frames_waited,
    "full disk stopped a node": lambda stage, _proofs: stage.deeds["nodes stopped by a full disk"] > 0,
    "ledger begun again": _logged("ledger begun again"),
    "malformed frame refused": _peak("malformed frames"),
    "mute replica voted again": _alarm_holds("this replica votes again"),
    "primary dismissed as slow": _alarmed("primary dismissed as slow"),
    "primary dismissed as unfair": _alarmed("primary dismissed as unfair"),
    "proposal from the future refused": _ignored(IgnoreReason.TIMESTAMP_OUT_OF_RANGE),
    "restart of one too many refused": lambda stage, _proofs: bool(stage.figures.get("restarts_refused")),
    "restart with votes to send again": _came_back,
    "rot found by scrubbing": _alarm_holds(FOUND_ROTTEN),
    "state transfer finished": _fetched,
    "state transfer started": _fetched,
    "two proposals for one slot": _ignored(IgnoreReason.CONFLICTING_PROPOSAL),
    "view change": _peak("view"),
    "view timeout doubled": _peak("timeout doublings"),
    **{mark: _proven(code) for code, mark in PROVEN.items()},
}
"""By mark: whether a live run has come by it."""


def why_not_live(attack: Attack) -> str | None:
    """What the attack asks for that nobody could see of real processes, or do to them."""
    for fault in attack.happens:
        if isinstance(fault, SyncFails):
            return "happens: a sync that fails needs the simulator; leave --live out"
    for mark in attack.expect.marks:
        if mark not in SIGNS:
            return f"expect.marks: {mark!r} is seen in the simulator only; with real processes: {', '.join(SIGNS)}"
    for invariant in attack.expect.breaks:
        if invariant not in BREAKS:
            return (
                f"expect.breaks: whether {invariant!r} breaks is told in the simulator only; with real processes: "
                f"{', '.join(sorted(BREAKS))}"
            )
    return None


def not_seen(stage: Stage, proofs: Sequence[Proof]) -> list[str]:
    """Marks that the run should have come by and did not."""
    return [mark for mark in stage.attack.expect.marks if not SIGNS[mark](stage, proofs)]


def not_done(stage: Stage) -> Iterator[str]:
    """What the attack says and nobody did: a liar that told the truth, a fault that did not come about, an attacker
    that did nothing."""
    attack, group = stage.attack, stage.group
    for replica in sorted({liar.replica for liar in attack.cast}):
        strategies = [liar.strategy for liar in attack.cast if liar.replica == replica]
        if any(name not in LAYOUTS for name in strategies) and not group.has_lied(replica):
            yield f"replica {replica} was to be {' and '.join(strategies)}, and told no lie"
        if any(name in LAYOUTS for name in strategies) and not _both_spoke(stage, replica):
            yield f"replica {replica} was to be there twice, and one of the two spoke to nobody"
    for fault in attack.happens:
        if fault.at_ms < attack.until_ms and fault.id not in stage.applied:
            yield f"{type(fault).__name__.lower()} at {fault.at_ms} ms was not carried out"
    for name in sorted({client.behaves for client in attack.clients} & COUNTED):
        if not stage.deeds[name]:
            yield f"nobody came to {name.replace('_', ' ')}"
    if acts_of(attack) and attack.talk.messages and stage.figures.get(UNDER_ATTACK) == 0:
        yield "nothing was accepted from when the attackers began until they ended"
    disturbed = attack.network != Network() or any(attack.drift_ppm)
    if not attack.cast and not attack.happens and not disturbed and not +stage.deeds:
        yield "nothing was done that an honest group does not do"


def _both_spoke(stage: Stage, replica: int) -> bool:
    seats = stage.group.seats_of(replica)
    return len(seats) > 1 and all(any(LINK_UP in line for line in stage.group.log_lines(seat)) for seat in seats)
