"""Fault-injection tests against a whole group in virtual time. See docs/testing.md.

async with simulated_group(f=1, behaviours={0: EquivocatingPrimary()}, seed=7) as group:
    alice = await group.client("alice")
    await alice.register()
"""

from adversary.behaviours.base import Behaviour, Means, Puppet
from adversary.simulator.scenario import Network
from adversary.testing.behaviours import (
    Accomplice,
    CensoringPrimary,
    DeafReplica,
    DoubleVoter,
    EquivocatingPrimary,
    ForgetfulReplica,
    LyingReplica,
    Played,
    RestlessReplica,
    SilentReplica,
    SlowPrimary,
    Twins,
)
from adversary.testing.group import InvariantBroken, NotInTime, SimulatedGroup
from adversary.testing.opening import Opening, simulated_group
from adversary.testing.people import Person, Receipt, Refused
from adversary.testing.plain import PlainGroup, PlainPerson

__all__ = [
    "Accomplice",
    "Behaviour",
    "CensoringPrimary",
    "DeafReplica",
    "DoubleVoter",
    "EquivocatingPrimary",
    "ForgetfulReplica",
    "InvariantBroken",
    "LyingReplica",
    "Means",
    "Network",
    "NotInTime",
    "Opening",
    "Person",
    "PlainGroup",
    "PlainPerson",
    "Played",
    "Puppet",
    "Receipt",
    "Refused",
    "RestlessReplica",
    "SilentReplica",
    "SimulatedGroup",
    "SlowPrimary",
    "Twins",
    "simulated_group",
]
