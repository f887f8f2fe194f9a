"""Primaries fail under load; the next one takes over, and nothing that was accepted is lost or runs twice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pbft.client.inspection import Report
from pbft.core.group import Parameters
from pbft.core.types import View
from tests.e2e.processes import RunningGroup, running_group
from tests.e2e.talking import assert_sound, talking

LINES = 20
PARAMETERS = Parameters(checkpoint_interval=16)


def view_of(reports: list[Report], quorum: int) -> int | None:
    """The view that a quorum takes part in. Up to f others may have asked for a later one by themselves, and wait."""
    views = Counter(report["view"] for report in reports if not report["in_view_change"])
    return next((view for view, count in views.items() if count >= quorum), None)


async def until_in_view(group: RunningGroup, least: int = 0) -> int:
    """Until a quorum is in one view, this one or a later. Gives the view."""
    quorum = group.directory.group.quorum

    def settled(reports: list[Report]) -> bool:
        view = view_of(reports, quorum)
        return view is not None and view >= least

    view = view_of(await group.until(settled), quorum)
    assert view is not None
    return view


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
                view = await until_in_view(group)
                victim = group.directory.group.primary(View(view))
                await group.kill(victim)
                down.append(victim)
                await talker.more(LINES)
                assert group.directory.group.primary(View(await until_in_view(group, view + 1))) not in down
            with capsys.disabled():
                sys.stdout.write(f"[n = {replicas}: nothing was accepted for {talker.longest_gap_s:.2f} s at most] ")
            await group.start(*down)
            await group.until_caught_up()
            view = await until_in_view(group)
            await group.kill(*group.directory.group.replicas)
            await group.start(*group.directory.group.replicas)
            await talker.more(LINES)
            assert min(report["view"] for report in await group.until(bool)) >= view, "a view was forgotten"
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
            await until_in_view(group, 1)
            await group.until(lambda reports: reports[0]["view"] > 0)
        await assert_sound(group)
