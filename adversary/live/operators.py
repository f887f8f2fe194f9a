"""Restarts of everybody, by somebody who means well, and crashes that follow whoever leads."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from adversary.live.group import LiveError, Seat

if TYPE_CHECKING:
    from adversary.live.stage import Stage
    from adversary.simulator.scenario import Cascade, Restarts
    from pbft.client.inspection import Report

SEEN_SECONDS = 10.0
ASKS_AGAIN_S = 0.1
HIDE_AFTER_SHARE = 0.4


async def primaries_of(stage: Stage, width: int, *, beyond: int) -> tuple[int, list[int]]:
    """The view that a quorum of those that run is in, above `beyond`, its primary and the next ones in line.

    Raises LiveError.
    """
    group = stage.group.file.group
    with trio.move_on_after(SEEN_SECONDS):
        while True:
            reports = (await stage.group.reports(stage.honest())).values()
            views = Counter(int(each["view"]) for each in reports if not each["in_view_change"])
            found = [view for view, count in views.items() if count >= group.quorum and view > beyond]
            if found:
                return found[0], [(found[0] + place) % group.size for place in range(width)]
            await trio.sleep(ASKS_AGAIN_S)
    msg = f"no quorum was in a view above {beyond} within {SEEN_SECONDS:g} s"
    raise LiveError(msg)


async def follow_the_primary(stage: Stage, fault: Cascade, over: float) -> None:
    """Kill whoever leads, again and again. Who was killed is back and level before the next one falls: a real process
    takes longer to start than a simulated one, and more than f would be down else.
    """
    group, view, count = stage.group, -1, 0
    while not count or trio.current_time() < over:
        began = trio.current_time()
        view, primaries = await primaries_of(stage, fault.width, beyond=view)
        seats = [group.seats[replica] for replica in primaries]
        for seat in seats:
            await group.kill(seat)
            stage.moment(f"replica {seat.replica}", "crashes", f"it leads view {view}, or is next", view=view)
        count += 1
        await trio.sleep(fault.down_ms / 1000)
        await bring_back(stage, seats)
        await trio.sleep_until(began + fault.every_ms / 1000)
    stage.figures["primaries_killed"] = count


async def bring_back(stage: Stage, seats: list[Seat]) -> None:
    """Start them, and wait until they have what the others have now."""
    group = stage.group
    await group.start(*seats)
    others = [seat for seat in stage.honest() if seat not in seats]
    here = max((each["last_executed"] for each in (await group.reports(others)).values()), default=0)
    await group.until(seats, lambda reports: _all_at(reports, here), within_s=SEEN_SECONDS)
    for seat in seats:
        stage.moment(f"replica {seat.replica}", "starts")


def _all_at(reports: dict[int, Report], least: int) -> bool:
    return all(int(report["last_executed"]) >= least for report in reports.values())


async def restart_all(stage: Stage, fault: Restarts, over: float) -> None:
    """Restart everybody as fast as the group can bear it; whoever asks for one too many is told to wait."""
    group = stage.group
    left = [group.seats[replica] for replica in fault.replicas]
    refused = 0
    async with trio.open_nursery() as nursery:
        while left:
            reason = await why_not(stage, left[0]) if fault.guarded else ""
            if not reason:
                seat = left.pop(0)
                await group.stop(seat)
                stage.moment(f"replica {seat.replica}", "is restarted")
                nursery.start_soon(_back_after, stage, seat, fault.down_ms / 1000)
                continue
            if not refused or trio.current_time() > over:
                stage.moment("automation", "is told to wait", reason)
            refused += 1
            await trio.sleep(ASKS_AGAIN_S)
    stage.figures["restarts_refused"] = refused
    if fault.guarded and not refused:
        stage.problems.append("nobody asked to restart one too many")


async def _back_after(stage: Stage, seat: Seat, seconds: float) -> None:
    await trio.sleep(seconds)
    await bring_back(stage, [seat])


async def why_not(stage: Stage, seat: Seat) -> str:
    """What speaks against restarting a replica now; empty if nothing does."""
    group = stage.group
    seats = group.seats[: group.file.group.size]
    reports = await group.reports(seats)
    top = max((each["last_executed"] for each in reports.values()), default=0)
    missing = [
        other.replica
        for other in seats
        if other is not seat and (other.number not in reports or reports[other.number]["last_executed"] < top)
    ]
    if len(missing) < group.file.group.faulty_max:
        return ""
    return f"replica {missing[0]} is down or behind already, and the group bears {group.file.group.faulty_max}"


async def hide_a_twin(stage: Stage) -> None:
    """The second of two leading twins is away for a while: the others choose a new leader, and what they show each
    other meanwhile has what each of the twins had told them.
    """
    group = stage.group
    await trio.sleep(stage.attack.until_ms / 1000 * HIDE_AFTER_SHARE)
    for twin in group.twins:
        group.pause(twin)
        stage.moment(f"replica {twin.replica}", "hides", "its second copy", view=0)
    try:
        await trio.sleep_forever()
    finally:
        for twin in group.twins:
            group.resume(twin)
