"""Primaries fail under load; the next one takes over, and nothing that was accepted is lost or runs twice."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pbft.client.inspection import Report
from pbft.core.group import Parameters
from tests.e2e.built import needs_view_change
from tests.e2e.processes import RunningGroup, running_group
from tests.e2e.talking import assert_sound, talking

LINES = 20
PARAMETERS = Parameters(checkpoint_interval=16)

pytestmark = needs_view_change


def agree(reports: list[Report]) -> bool:
    """Whether all are in one view, and none is leaving it."""
    return len({report["view"] for report in reports}) == 1 and not any(
        report["in_view_change"] for report in reports
    )


def primary_of(reports: list[Report]) -> int:
    return int(reports[0]["primary"])


@pytest.mark.parametrize(
    ("replicas", "kills"),
    [(4, 1), pytest.param(4, 5, marks=pytest.mark.slow), pytest.param(7, 2, marks=pytest.mark.slow)],
)
async def test_primaries_are_killed_one_after_the_other(
    tmp_path: Path, replicas: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """At most f of them are down at the same time: the one that was killed longest ago comes back. In the end all are
    killed at once, and go on in the view that they were in."""
    async with running_group(tmp_path, replicas=replicas, parameters=PARAMETERS) as group:
        await group.start_all()
        down: list[int] = []
        async with talking(group.clients) as talker:
            await talker.more(LINES)
            for _ in range(kills):
                if len(down) == group.directory.group.faulty_max:
                    await group.start(down.pop(0))
                    await group.until_caught_up()
                before = await group.until(agree)
                victim = primary_of(before)
                await group.kill(victim)
                down.append(victim)
                await talker.more(LINES)
                reports = await group.until(agree)
                assert reports[0]["view"] > before[0]["view"]
                assert primary_of(reports) not in down
            with capsys.disabled():
                sys.stdout.write(f"[n = {replicas}: nothing was accepted for {talker.longest_gap_s:.2f} s at most] ")
            await group.start(*down)
            await group.until_caught_up()
            view = (await group.until(agree))[0]["view"]
            await group.kill(*group.directory.group.replicas)
            await group.start(*group.directory.group.replicas)
            await talker.more(LINES)
            assert min(report["view"] for report in await group.until(agree)) >= view, "a view was forgotten"
        await assert_sound(group)


async def pause(group: RunningGroup, primary: int) -> None:
    group.pause(primary)


async def isolate(group: RunningGroup, primary: int) -> None:
    assert group.network is not None
    group.network.isolate(primary)


async def silence(group: RunningGroup, primary: int) -> None:
    """It hears everybody, and nobody hears it."""
    assert group.network is not None
    group.network.change([(primary, peer) for peer in group.network.replicas if peer != primary], held=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [pause, isolate, silence])
async def test_a_primary_that_is_cut_off_is_replaced_and_follows_when_it_is_back(
    tmp_path: Path, fault: Callable[[RunningGroup, int], Awaitable[None]]
) -> None:
    async with running_group(tmp_path, parameters=PARAMETERS, networked=True) as group:
        await group.start_all()
        assert group.network is not None
        async with talking(group.clients) as talker:
            await talker.more(LINES)
            await fault(group, 0)
            await talker.more(LINES)
            if fault is pause:
                group.resume(0)
            group.network.heal()
            await group.until_caught_up()
            reports = await group.until(agree)
            assert reports[0]["view"] > 0
        await assert_sound(group)
