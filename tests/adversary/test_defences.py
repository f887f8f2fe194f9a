"""Every named attack needs its defence: without it the group bears the attack no more, and the verdict says why."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from adversary.attacks import Expect, all_attacks, attack_named, run
from adversary.simulator.mutants import MUTANTS
from tests.adversary.defences import DEFENCES, HARDER, OWN, to_be_borne, without

COSTLY = {("censor_vip", "unfairness_not_judged"), ("bit_rot", "no_scrubbing")}
"""They take seconds."""
EACH = [(attack, missing.defence, missing.because) for attack, found in DEFENCES.items() for missing in found]


@pytest.mark.parametrize(
    ("attack", "defence", "because"),
    [pytest.param(*each, marks=[pytest.mark.slow] if each[:2] in COSTLY else []) for each in EACH],
    ids=["-".join(each[:2]) for each in EACH],
)
def test_a_group_without_its_defence_does_not_bear_the_attack(attack: str, defence: str, because: str) -> None:
    with without(defence).planted():
        outcome = run(to_be_borne(attack))
    assert not outcome.as_expected
    assert because in outcome.why_not


@pytest.mark.parametrize("attack", ["disk_full", "runaway_automation"])
def test_with_its_defence_the_group_bears_more_than_the_attack(attack: str) -> None:
    """Otherwise it would not be the defence that is missed."""
    outcome = run(HARDER[attack])
    assert outcome.as_expected, outcome.why_not


@pytest.mark.slow
@pytest.mark.parametrize(("attack", "defence"), [each[:2] for each in EACH])
def test_it_is_the_attack_that_it_does_not_bear(attack: str, defence: str) -> None:
    """Where nobody attacks, nobody misses the defence."""
    known = attack_named(attack)
    floor = Expect(wait_ms=known.expect.wait_ms)
    quiet = replace(known, cast=(), happens=(), clients=(), seeds=1, expect=floor, above_f=None)
    with without(defence).planted():
        outcome = run(quiet)
    assert outcome.as_expected, outcome.why_not


def test_every_attack_has_a_defence_and_every_defence_an_attack() -> None:
    assert set(DEFENCES) == {attack.name for attack in all_attacks()}
    assert set(OWN) <= {defence for _, defence, _ in EACH}
    assert not set(OWN) & set(MUTANTS)
