"""Named attacks: what they are, and what is expected of a group that suffers one.

from adversary.attacks import Attack, Expect, Liar, run
"""

from adversary.attacks.catalogue import all_attacks, attack_named
from adversary.attacks.model import AboveF, Attack, AttackError, Expect, Talk
from adversary.attacks.outcome import Moment, Outcome, Proof
from adversary.attacks.reading import read_attack
from adversary.attacks.running import run
from adversary.simulator.scenario import (
    Action,
    Cascade,
    Client,
    ClockStep,
    Crash,
    Damage,
    DiskFull,
    Lapse,
    Liar,
    Network,
    Partition,
    Pause,
    Restarts,
    Route,
    Slow,
    SyncFails,
)

__all__ = [
    "AboveF",
    "Action",
    "Attack",
    "AttackError",
    "Cascade",
    "Client",
    "ClockStep",
    "Crash",
    "Damage",
    "DiskFull",
    "Expect",
    "Lapse",
    "Liar",
    "Moment",
    "Network",
    "Outcome",
    "Partition",
    "Pause",
    "Proof",
    "Restarts",
    "Route",
    "Slow",
    "SyncFails",
    "Talk",
    "all_attacks",
    "attack_named",
    "read_attack",
    "run",
]
