"""An attack: who does what and when, what is expected of the group, and what it is about. One JSON file each.

The same file runs in the simulator and, where `live` says so, against real processes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from adversary.simulator.scenario import Client, Fault, Liar, Network
from pbft.core.group import REPLICAS_MIN

FORMAT = 1

FAMILIES = ("primary", "votes", "view change", "replies", "transfer", "clients", "wire", "host")


class AttackError(Exception):
    """A file that is no attack. The text names the file, the field and what is wrong."""


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Talk(_Frozen, frozen=True):
    """What goes on in the chat meanwhile: so many people post so many messages each, spread over `for_ms`."""

    people: int = 3
    messages: int = 6
    for_ms: int = 3_000


class Expect(_Frozen, frozen=True, kw_only=True):
    """What a run must show to be as expected.

    `evidence`: codes of which at least one must be held in the end against one of the faulty; empty asks for none,
    and others may never be accused. `breaks`: invariants of which one must be reported broken; empty allows none.
    `culprits`: how many of the faulty evidence and forensics must name.
    """

    live: bool = True
    evidence: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    culprits: int = 0
    marks: tuple[str, ...] = ()
    """Rare states of the simulator that the run must come by: that the attack took place at all."""


class AboveF(_Frozen, frozen=True, kw_only=True):
    """The same with more than f faulty replicas: the break that follows must be reported."""

    cast: tuple[Liar, ...] = ()
    happens: tuple[Fault, ...] = ()
    expect: Expect
    story: str = ""


class Attack(_Frozen, frozen=True, kw_only=True):
    """`cast`: who is played by the adversary. `happens`: faults with their times. `until_ms`: when the faults end."""

    format: int = FORMAT
    number: int = 0
    name: str
    family: str
    title: str
    story: str
    live: bool = False
    replicas: int = 4
    parameters: dict[str, int] = {}
    retained_sequences: int = 1024
    network: Network = Network()
    talk: Talk = Talk()
    clients: tuple[Client, ...] = ()
    """People with a script of their own, beside those of `talk`."""
    cast: tuple[Liar, ...] = ()
    happens: tuple[Fault, ...] = ()
    until_ms: int = 4_000
    bound_ms: int = 60_000
    expect: Expect = Expect()
    above_f: AboveF | None = None


_DECODER = msgspec.json.Decoder(Attack)


def attack_from_json(data: bytes) -> Attack:
    """Raises AttackError."""
    try:
        attack = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise AttackError(str(error)) from error
    problem = _problem(attack)
    if problem is not None:
        raise AttackError(problem)
    return attack


def read_attack(path: Path) -> Attack:
    """Raises AttackError, naming the file."""
    try:
        return attack_from_json(path.read_bytes())
    except OSError as error:
        raise AttackError(f"{path}: {error.strerror}") from error
    except AttackError as error:
        raise AttackError(f"{path}: {error}") from error


def _problem(attack: Attack) -> str | None:
    if attack.format != FORMAT:
        return f"format {attack.format}: this version reads {FORMAT}"
    if attack.family not in FAMILIES:
        return f"family {attack.family!r}: one of {', '.join(FAMILIES)}"
    if attack.replicas < REPLICAS_MIN:
        return f"replicas: at least {REPLICAS_MIN}, not {attack.replicas}"
    return None
