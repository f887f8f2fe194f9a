"""What others test with: a group in virtual time, as a fixture, under trio and without."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from adversary.behaviours.catalogue import UnknownBehaviour
from adversary.behaviours.playing import BehaviourFailed
from adversary.simulator.run import Simulation
from adversary.testing import (
    Accomplice,
    Behaviour,
    DoubleVoter,
    EquivocatingPrimary,
    InvariantBroken,
    Means,
    Network,
    NotInTime,
    Opening,
    PlainGroup,
    PlainPerson,
    Played,
    Puppet,
    Refused,
    SilentReplica,
    Twins,
)
from adversary.testing import group as group_module
from adversary.testing import (
    simulated_group as open_group,
)
from adversary.testing.opening import Openings
from chatsvc.application.results import ErrorCode
from pbft.core.effects import Effects, Input
from pbft.core.messages import Commit, Signed

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
Make = Callable[..., Opening]


async def test_a_chat_goes_on_under_a_primary_that_tells_two_stories(simulated_group: Make) -> None:
    group = await simulated_group(f=1, behaviours={0: EquivocatingPrimary()}, seed=7)
    alice = await group.client("alice")
    await alice.register()
    await alice.create("ubuntu")
    receipts = [await alice.post("ubuntu", f"line {number}") for number in range(4)]
    assert [receipt.index for receipt in receipts] == [0, 1, 2, 3]
    assert all(len(receipt.vouchers) > group.f for receipt in receipts)
    assert [message.body for message in await alice.history("ubuntu")] == [f"line {number}" for number in range(4)]
    await group.settled()
    assert group.culprits == {0}
    assert {proof.code for proof in group.evidence} & {"E1", "E3"}


async def test_a_crashed_replica_comes_back_to_the_same_state(simulated_group: Make) -> None:
    group = await simulated_group()
    alice = await group.client("alice")
    await alice.register()
    await alice.create("main")
    group.crash(2, power=True)
    for number in range(20):
        await alice.post("main", str(number))
    assert 2 not in group.roots()
    group.restart(2)
    await group.settled()
    assert len(group.roots()) == 4
    assert len(set(group.roots().values())) == 1
    assert group.evidence == ()


async def test_halves_stand_still_and_go_on_when_the_network_is_whole(simulated_group: Make) -> None:
    group = await simulated_group(seed=3)
    alice = await group.client("alice")
    await alice.register()
    await alice.create("main")
    group.partition({0, 1}, {2, 3})
    with pytest.raises(NotInTime, match="alice: post took longer than 5 s of virtual time"):
        await alice.post("main", "anybody?", timeout_s=5)
    group.heal()
    await group.settled()
    assert [message.body for message in await alice.history("main")] == ["anybody?"]


async def test_a_new_primary_takes_over_from_one_that_is_cut_off(simulated_group: Make) -> None:
    group = await simulated_group()
    alice = await group.client("alice")
    await alice.register()
    group.isolate(group.primary)
    await alice.create("main")
    assert (group.view, group.primary) == (1, 1)
    group.heal()
    await group.until(lambda: len(set(group.executed().values())) == 1)


async def test_a_replica_that_lost_its_disk_is_whole_again_after_a_while(simulated_group: Make) -> None:
    group = await simulated_group()
    alice = await group.client("alice")
    await alice.register()
    await alice.create("main")
    for number in range(30):
        await alice.post("main", str(number))
    group.damage(3, "lost_disk")
    group.restart(3)
    await group.advance(5)
    await group.settled()
    assert len(set(group.roots().values())) == 1


async def test_a_paused_replica_catches_up(simulated_group: Make) -> None:
    group = await simulated_group()
    alice = await group.client("alice")
    group.pause(1)
    await alice.register()
    group.resume(1)
    await group.settled()
    assert len(set(group.executed().values())) == 1


async def test_refusals_and_strangers(simulated_group: Make) -> None:
    group = await simulated_group()
    alice, bob = await group.client("alice"), await group.client("bob")
    await alice.register()
    await alice.create("main")
    await bob.register()
    with pytest.raises(Refused) as refused:
        await bob.post("main", "let me in")
    assert refused.value.code is ErrorCode.NOT_A_MEMBER
    with pytest.raises(Refused, match="NO_SUCH_ROOM"):
        await bob.history("attic")
    await bob.join("main")
    assert (await bob.post("main", "hello")).index == 0
    assert await group.client("bob") is bob
    with pytest.raises(ValueError, match="replica 4: there are 0 to 3"):
        group.crash(4)
    with pytest.raises(ValueError, match="replica 9: there are 0 to 3"):
        group.partition({0}, {9})


async def test_a_long_room_is_read_whole(simulated_group: Make) -> None:
    group = await simulated_group()
    alice = await group.client("alice")
    await alice.register()
    await alice.create("main")
    for number in range(250):
        alice.post_nowait("main", str(number))
    await group.settled()
    assert [message.body for message in await alice.history("main")] == [str(number) for number in range(250)]


def talk(group: PlainGroup, posts: int = 20) -> PlainPerson:
    alice = group.client("alice")
    alice.register()
    alice.create("main")
    for number in range(posts):
        alice.post("main", str(number))
    return alice


def two_generals(seed: int) -> str:
    with (
        pytest.raises(InvariantBroken) as broken,
        open_group(behaviours={0: EquivocatingPrimary(), 3: Accomplice()}, seed=seed) as group,
    ):
        talk(group)
    assert broken.value.invariant in {"agreement", "accepted kept"}
    return str(broken.value)


def test_more_liars_than_the_group_bears_break_it_and_the_failure_says_how_to_do_it_again() -> None:
    text = two_generals(7)
    assert "with seed=7" in text
    assert "faulty: 0, 3" in text
    assert two_generals(7) == text


def test_what_broke_stays_broken() -> None:
    with open_group(behaviours={0: EquivocatingPrimary(), 3: Accomplice()}, seed=7) as group:
        with pytest.raises(InvariantBroken):
            talk(group)
        with pytest.raises(InvariantBroken):
            group.advance(1)


class EagerCommitter(Behaviour):
    """A behaviour of one's own: commits twice to everything."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.told = 0

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        more = []
        for send in effects.send:
            vote = send.message.message if isinstance(send.message, Signed) else None
            if isinstance(vote, Commit):
                digest = type(vote.batch_digest)(bytes(reversed(vote.batch_digest)))
                lie = self._means.craft.commit(self._means.me, vote.sequence, digest, view=vote.view)
                more.append(replace(send, message=lie))
                self.told += 1
        return replace(effects, send=(*effects.send, *more))


@pytest.mark.parametrize(
    "wanted",
    [
        DoubleVoter(),
        "double_votes",
        ("double_votes", {}),
        ["double_votes", "reply_lie"],
        EagerCommitter,
        [SilentReplica(start_ms=60_000), EagerCommitter],
        Twins(),
    ],
    ids=repr,
)
def test_all_ways_to_say_who_misbehaves(wanted: object) -> None:
    with open_group(behaviours={1: wanted}, seed=5) as group:  # type: ignore[dict-item]
        talk(group, 6)
        group.settled()
        assert group.faulty == (1,)
        assert group.culprits <= {1}
        if not isinstance(wanted, Twins):
            assert group.culprits == {1}


@pytest.mark.parametrize("name", sorted(kind.__name__ for kind in Played.__subclasses__()))
def test_friendly_names_are_behaviours_that_a_group_bears(name: str) -> None:
    kind = next(kind for kind in Played.__subclasses__() if kind.__name__ == name)
    with open_group(behaviours={0: kind()}, seed=2) as group:
        alice = talk(group, 1)
        group.settled()
        assert [message.body for message in alice.history("main")] == ["0"]
        assert group.culprits <= {0}


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(UnknownBehaviour, match="no behaviour 'grumpy'"):
        open_group(behaviours={0: "grumpy"}).open()
    with pytest.raises(UnknownBehaviour, match="halves_of"):
        EquivocatingPrimary(halves_of="what")
    with pytest.raises(ValueError, match="no replica 4"):
        open_group(behaviours={4: "silent"}).open()
    with pytest.raises(ValueError, match="3 replicas: a simulated group has 4 to 13"):
        open_group(replicas=3).open()


def test_what_no_group_can_be_is_said_at_once() -> None:
    for wanted, why in (
        ({"f": 0}, "f=0: a simulated group bears at least one"),
        ({"parameters": {"x": 1}}, "parameters: no 'x'; there are checkpoint_interval"),
        ({"parameters": {"client_window": "x"}}, "parameters.client_window: a number, not 'x'"),
        ({"parameters": {"client_window": 0}}, "parameters.client_window: from 1 to"),
        ({"parameters": {"pipeline_depth": 8}}, "parameters: pipeline_depth"),
    ):
        with pytest.raises(ValueError, match=why):
            open_group(**wanted).open()


def test_only_damages_that_there_are_are_done() -> None:
    with open_group() as group:
        for what in ("coffee", "stale"):
            with pytest.raises(ValueError, match=f"damage: no '{what}'; there are lost_ledger"):
                group.damage(0, what)
        assert set(group.executed()) == {0, 1, 2, 3}


def test_a_closed_group_says_that_it_is_closed() -> None:
    with open_group() as group:
        alice = group.client("alice")
        alice.register()
    for use in (
        lambda: group.client("alice"),
        lambda: group.crash(0),
        lambda: group.partition({0}, {1}),
        lambda: group.advance(1),
        group.heal,
        group.roots,
        lambda: alice.post("main", "too late"),
        lambda: alice.post_nowait("main", "too late"),
    ):
        with pytest.raises(RuntimeError, match="this group is closed"):
            use()
    assert group.evidence == ()


def test_a_group_that_nobody_awaited_says_so() -> None:
    forgotten: Any = open_group()
    with pytest.raises(AttributeError, match="no 'client' yet, this group is not open: `await` it"):
        forgotten.client("alice")


def test_every_group_of_a_test_is_closed_and_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Simulation) -> None:
        raise OSError(f"seed {run.scenario.seed}")

    monkeypatch.setattr(group_module, "final_checks", fail)
    openings = Openings()
    groups = [openings.make(seed=seed).open() for seed in (1, 2)]
    openings.make()
    with pytest.raises(ExceptionGroup) as wrong:
        openings.close()
    assert [str(each) for each in wrong.value.exceptions] == [
        "seed 1",
        "seed 2",
        "a group was asked for and never opened: `await simulated_group(...)`",
    ]
    for group in groups:
        with pytest.raises(RuntimeError, match="is closed"):
            group.roots()


def test_a_group_that_could_not_be_was_not_forgotten() -> None:
    openings = Openings()
    with pytest.raises(ValueError, match="f=0"):
        openings.make(f=0).open()
    openings.close()


def story(seed: int) -> tuple[tuple[str, ...], dict[int, str]]:
    with open_group(f=2, seed=seed, network=Network(loss=100, jitter_us=20_000)) as group:
        alice = group.client("alice")
        alice.register()
        alice.create("main")
        group.crash(0)
        alice.post("main", "hello")
        group.restart(0)
        group.settled()
        return group.trace, group.roots()


def test_the_same_calls_do_the_same_and_another_seed_another() -> None:
    assert story(1) == story(1)
    assert story(1)[0] != story(2)[0]


def test_real_signatures_are_verified() -> None:
    with open_group(real_signatures=True) as group:
        alice = group.client("alice")
        assert alice.register().sequence == 1


async def test_others_have_their_turn_and_may_cancel(simulated_group: Make) -> None:
    group = await simulated_group()
    with trio.move_on_after(0.01) as scope:
        await group.advance(10_000_000)
    assert scope.cancelled_caught
    await group.settled()


async def test_a_plain_group_says_that_it_is_none_for_trio() -> None:
    with open_group() as group, pytest.raises(RuntimeError, match="async with"):
        group.advance(1)


def test_without_pytest_trio_too() -> None:
    async def main() -> int:
        async with open_group(seed=1) as group:
            alice = await group.client("alice")
            return (await alice.register()).sequence

    assert trio.run(main) == 1


def test_a_group_that_was_left_open_is_closed_with_the_test(simulated_group: Make) -> None:
    left = simulated_group().open()
    again = simulated_group()
    again.open()
    with pytest.raises(RuntimeError, match="opened before"):
        again.open()
    left.close()
    left.close()


def test_the_plugin_loads_nothing_heavy_before_it_is_used() -> None:
    code = "import sys, adversary.pytest_plugin; print(any(name.startswith('pbft') for name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)


def test_the_examples_of_the_documentation_pass(tmp_path: Path) -> None:
    """In a directory of their own, as others have them: with the plugins found by their entry points."""
    for number, text in enumerate(examples()):
        (tmp_path / f"test_example_{number}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{sum(text.count('def test_') for text in examples())} passed" in ran.stdout
    assert len(examples()) >= 4


class Clumsy(Behaviour):
    """Of a test, with a mistake in it."""

    def rewrite(self, _puppet: Puppet, _given: Input, effects: Effects) -> Effects:
        return effects.nothing_of_the_kind  # type: ignore[attr-defined, no-any-return]


def test_a_mistake_in_a_behaviour_of_the_test_is_told() -> None:
    said = pytest.raises(BehaviourFailed, match=r"replica 3 \(Clumsy\).*nothing_of_the_kind")
    with said, open_group(behaviours={3: Clumsy()}):
        pass
