"""An attack: who does what and when, what is expected of the group, and what it is about. One JSON file each.

The same file runs in the simulator and, where `live` says so, against real processes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from adversary.simulator.scenario import Client, Fault, Liar, Network

FORMAT = 1
PARAMETERS: Final = {
    "checkpoint_interval": 8,
    "pipeline_depth": 2,
    "batch_operations_max": 16,
    "client_window": 32,
    "view_change_timeout_ms": 400,
}
"""A group that has seen several checkpoints after a few seconds of talk. An attack may say otherwise."""

PATIENCE_FACTOR: Final = 3
"""How much longer people may wait on a real machine, which other things run on, than in virtual time, where an attack
gives no other figure."""
FAMILIES = ("primary", "votes", "view change", "replies", "transfer", "clients", "wire", "host", "own")
"""`own`: what somebody wrote for themselves."""
OF_LIVENESS: Final = frozenset({"progress", "floor"})
"""Invariants that say when something happens; all others say that something never does."""


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
    """The same where real processes share a real machine, as it is. 0: PATIENCE_FACTOR times `wait_ms`."""

    @property
    def must_be_safe(self) -> bool | None:
        """Whether no invariant of safety may break. None: one may, and need not."""
        kinds = self._kinds
        return None if kinds & OF_LIVENESS and kinds - OF_LIVENESS else not kinds - OF_LIVENESS

    @property
    def must_be_live(self) -> bool | None:
        """Whether everything must be accepted in the end. None: nobody asks, as after a break of safety."""
        kinds = self._kinds
        if kinds - OF_LIVENESS:
            return None
        return False if "progress" in kinds else (self.live or None)

    @property
    def _kinds(self) -> frozenset[str]:
        return frozenset(text.partition(":")[0] for text in self.breaks)

    def wait_ms_in(self, world: str) -> int:
        """How long anybody may wait in `simulator` or `live`. 0: as long as it takes."""
        return self.live_wait_ms or self.wait_ms * PATIENCE_FACTOR if world == "live" else self.wait_ms

    def record(self, world: str = "simulator") -> dict[str, Any]:
        """For JSON: all that a run is held against."""
        return {
            "safe": self.must_be_safe,
            "live": self.must_be_live,
            "evidence": list(self.evidence),
            "breaks": list(self.breaks),
            "culprits": self.culprits,
            "marks": list(self.marks),
            "wait_ms": self.wait_ms_in(world),
        }


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

    `parameters`: fields of pbft.core.group.Parameters, beside those of `PARAMETERS`. `seeds`: so many in a
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

    @property
    def in_parameters(self) -> dict[str, int]:
        """Of the group that it is run against in the simulator."""
        return PARAMETERS | self.parameters

    def played_above_f(self) -> Attack:
        """The attack as it is with more than f faulty replicas. Raises AttackError if nothing is said of that."""
        expect, more = self.expected(above_f=True), self.above_f
        assert more is not None  # noqa: S101 - expected() has looked
        given = {
            "story": more.story,
            "replicas": more.replicas,
            "parameters": more.parameters,
            "network": more.network,
            "talk": more.talk,
            "clients": more.clients,
            "until_ms": more.until_ms,
            "bound_ms": more.bound_ms,
            "seeds": more.seeds,
        }
        as_at_f: dict[str, Any] = {"story": "", "replicas": 0, "until_ms": 0, "bound_ms": 0}
        changes = {name: value for name, value in given.items() if value != as_at_f.get(name)}
        return replace(self, cast=more.cast, happens=more.happens, expect=expect, above_f=None, **changes)
