"""An attack: who does what and when, what is expected of the group, and what it is about. One JSON file each.

The same file runs in the simulator and, where `live` says so, against real processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from adversary.simulator.broken import INVARIANTS
from adversary.simulator.marks import MARKS
from adversary.simulator.scenario import Client, Fault, Liar, Network
from pbft.core.group import REPLICAS_MIN

FORMAT = 1

FAMILIES = ("primary", "votes", "view change", "replies", "transfer", "clients", "wire", "host", "own")
"""`own`: what somebody wrote for themselves."""


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
    `progress: halt` asks for the text as well. `culprits`: how many of the faulty evidence and forensics must name.
    """

    live: bool = True
    evidence: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    culprits: int = 0
    marks: tuple[str, ...] = ()
    """Rare states that the run must come by: that the attack took place at all. Not all of them can be seen of real
    processes: `adversary.live.signs`."""
    wait_ms: int = 0
    """How long anybody may wait for an operation, also while the attack lasts: more is a broken `floor`. 0: as long
    as it takes."""
    live_wait_ms: int = 0
    """The same where real processes share a real machine. 0: as in the simulator."""


class AboveF(_Frozen, frozen=True, kw_only=True):
    """The same with more than f faulty replicas: the break that follows must be reported.

    What is not given is as at f; `cast` and `happens` always are.
    """

    cast: tuple[Liar, ...] = ()
    happens: tuple[Fault, ...] = ()
    expect: Expect
    story: str = ""
    replicas: int = 0
    parameters: dict[str, int] | None = None
    network: Network | None = None
    talk: Talk | None = None
    clients: tuple[Client, ...] | None = None
    until_ms: int = 0
    bound_ms: int = 0
    seeds: int = 1
    """Not as at f: what breaks above f, breaks the first time."""


class Attack(_Frozen, frozen=True, kw_only=True):
    """`cast`: who is played by the adversary. `happens`: faults with their times. `until_ms`: when the faults end.

    `parameters`: fields of pbft.core.group.Parameters, beside those of `running.PARAMETERS`. `seeds`: so many in a
    row are tried until the attack has taken place and shown what it must; none may break what must hold.
    """

    format: int = FORMAT
    number: int = 0
    name: str
    family: str = "own"
    title: str = ""
    story: str = ""
    live: bool = False
    replicas: int = 4
    parameters: dict[str, int] = {}
    retained_sequences: int = 1024
    service_us: int = 500
    message_us: int = 0
    drift_ppm: tuple[int, ...] = ()
    real_signatures: bool = False
    """Whether the simulator signs with Ed25519 as a live group does; it is slower."""
    network: Network = Network()
    talk: Talk = Talk()
    clients: tuple[Client, ...] = ()
    """People with a script of their own, beside those of `talk`."""
    cast: tuple[Liar, ...] = ()
    happens: tuple[Fault, ...] = ()
    until_ms: int = 4_000
    bound_ms: int = 60_000
    seeds: int = 1
    expect: Expect = Expect()
    above_f: AboveF | None = None

    def expected(self, *, above_f: bool) -> Expect:
        """Raises AttackError if nothing is said of more than f."""
        if not above_f:
            return self.expect
        if self.above_f is None:
            raise AttackError(f"{self.name} says nothing of more than f faulty replicas")
        return self.above_f.expect


def attack_from_json(data: bytes) -> Attack:
    """What happens, and what people do, need not be numbered. Raises AttackError."""
    try:
        fields = msgspec.json.decode(data)
        if isinstance(fields, dict):
            _number(fields)
        attack = msgspec.convert(fields, Attack)
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


def _number(fields: dict[str, Any]) -> None:
    """Everything that happens has an id, by which its dice are named; where it matters to nobody it is left out."""
    for part in (fields, fields.get("above_f")):
        if isinstance(part, dict):
            _count(part.get("happens"), 1)
            clients = part.get("clients")
            for number, client in enumerate(clients if isinstance(clients, list) else ()):
                if isinstance(client, dict):
                    _count(client.get("actions"), 1_000 * (number + 1))


def _count(items: Any, first: int) -> None:
    for number, item in enumerate(items if isinstance(items, list) else (), start=first):
        if isinstance(item, dict):
            item.setdefault("id", number)


def _expectations(attack: Attack) -> Iterator[Expect]:
    yield attack.expect
    if attack.above_f is not None:
        yield attack.above_f.expect


def _problem(attack: Attack) -> str | None:
    if attack.format != FORMAT:
        return f"format {attack.format}: this version reads {FORMAT}"
    if attack.family not in FAMILIES:
        return f"family {attack.family!r}: one of {', '.join(FAMILIES)}"
    if attack.replicas < REPLICAS_MIN:
        return f"replicas: at least {REPLICAS_MIN}, not {attack.replicas}"
    if not attack.name.replace("_", "").isalnum():
        return f"name {attack.name!r}: letters, digits and underscores"
    if attack.seeds < 1:
        return f"seeds: at least 1, not {attack.seeds}"
    for expect in _expectations(attack):
        for text in expect.breaks:
            if text.partition(":")[0] not in INVARIANTS:
                return f"expect.breaks: no invariant {text!r}; there are {', '.join(INVARIANTS)}"
        for mark in expect.marks:
            if mark not in MARKS:
                return f"expect.marks: no mark {mark!r}; they are listed in adversary/simulator/marks.py"
    return None
