"""What came of an attack, in either world: verdict, proofs, and the moments that a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from adversary.attacks.model import Attack, Expect

FORENSICS: Final = "forensics"
"""Who holds what nobody knew alone: the ledgers of the correct replicas, compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Evidence that correct replicas, clients or forensics hold."""

    code: str
    culprit: int | str
    """A replica, or a device's key in hexadecimal."""
    held_by: tuple[str, ...]
    """For people: `replica 2`, `client alice`, `forensics`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened: a message on its way, or what became of somebody. `at_ms` from the start of the run.

    A message has `source` and `to`, the rest `source` alone. Places are `replica 2`, `client ann`.
    """

    at_ms: float
    source: str
    to: str = ""
    what: str
    """PRE-PREPARE, COMMIT, ...; or crashes, partition, proves, accepted, executes, breaks, ..."""
    text: str = ""
    view: int | None = None
    sequence: int | None = None
    digest: str = ""
    """The first digits of what a message is about: equal ones vote for one thing."""
    lie: bool = False
    """Whether no correct replica would have sent it."""
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`safe`: no invariant of safety broke. `live`: every operation was accepted in the end, within the bound."""

    attack: Attack
    world: str
    """`simulator` or `live`."""
    seed: int
    replicas: int
    above_f: bool
    faulty: tuple[int, ...]
    safe: bool
    live: bool
    breaks: str = ""
    """The invariant that broke, by its name."""
    breaks_text: str = ""
    proofs: tuple[Proof, ...] = ()
    culprits: tuple[int, ...] = ()
    """Replicas that evidence or forensics name."""
    as_expected: bool
    why_not: str = ""
    """What differs from what was expected."""
    is_worth_another_try: bool = False
    """Whether all that differs is that the attack did not come about as it should have, or left no evidence: with
    real processes that depends on who is faster."""
    earlier_tries: tuple[tuple[int, str], ...] = ()
    """The seeds of tries before this one, and what each of them lacked."""
    missed: tuple[str, ...] = ()
    """Marks that it should have come by, and did not."""
    figures: dict[str, int | float | str] = field(default_factory=dict)
    """By name with the unit last: operations_accepted, view_changes, longest_gap_ms, ..."""
    moments: tuple[Moment, ...] = ()
    replay: str = ""
    """The command that does the same again."""

    @property
    def expect(self) -> Expect:
        """What it is held against."""
        return self.attack.expected(above_f=self.above_f)

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.attack.name,
            "world": self.world,
            "seed": self.seed,
            "replicas": self.replicas,
            "above_f": self.above_f,
            "faulty": list(self.faulty),
            "verdict": {
                "safe": self.safe,
                "live": self.live,
                "evidence": [
                    {"code": each.code, "culprit": each.culprit, "held_by": list(each.held_by)}
                    for each in self.proofs
                ],
            },
            "expected": self.expect.record(self.world),
            "as_expected": self.as_expected,
            "why_not": self.why_not,
            "earlier_tries": [{"seed": seed, "why_not": why_not} for seed, why_not in self.earlier_tries],
            "breaks": self.breaks,
            "breaks_text": self.breaks_text,
            "culprits": list(self.culprits),
            "figures": self.figures,
            "replay": self.replay,
        }
