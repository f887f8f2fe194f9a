"""Restarts of everybody, by somebody who means well, and crashes that follow whoever leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import trio

from adversary.live.group import NODE_UP, POLL_SECONDS, LiveError, Seat
from chatsvc.restarting import EXIT_REFUSED, RestartError, restart_one

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


async def restart_all(stage: Stage, fault: Restarts) -> None:
    """A script that has each replica restarted as `quorate restart` does it, and waits for none to be back: as soon
    as one is down, it asks for the next one, again and again until it is not refused.

    The process starts itself anew, so how long it is down is its own affair. Raises LiveError.
    """
    if not fault.guarded:
        msg = "restarts that ask nobody are more than the group can bear: they run in virtual time only"
        raise LiveError(msg)
    seats = [stage.group.seats[replica] for replica in fault.replicas]
    left = [*seats]
    ups = {seat.replica: _ups(stage, seat) for seat in seats}
    refused: Counter[int] = Counter()
    done: set[int] = set()
    async with trio.open_nursery() as nursery:
        while left:
            seat, answered = left[0], trio.Event()
            nursery.start_soon(_restart, stage, seat, refused, done, answered)
            before = refused[seat.replica]
            await _until_down(stage, seat, answered)
            if refused[seat.replica] == before:
                left.pop(0)
            else:
                await trio.sleep(ASKS_AGAIN_S)
    note_restarts(stage, ups, done, refused.total())


def note_restarts(stage: Stage, ups: Mapping[int, int], done: Collection[int], refusals: int) -> None:
    """Who was really restarted: whoever was `done`, or has come up more often since than `ups` says."""
    back = [each for each in ups if each in done or _ups(stage, stage.group.seats[each]) > ups[each]]
    stage.figures |= {"restarted": len(back), "restarts_refused": refusals}
    stage.missed += [f"replica {each} was not restarted" for each in ups if each not in back]
    if not refusals:
        stage.missed.append("nobody asked to restart one too many")


def _ups(stage: Stage, seat: Seat) -> int:
    """How often it has come up, as its log has it."""
    return sum(NODE_UP in line for line in stage.group.log_lines(seat))


async def _restart(stage: Stage, seat: Seat, refused: Counter[int], done: set[int], answered: trio.Event) -> None:
    """Once, as the command does it, with its guard: it was refused, or is `done`; `answered` in either case.

    Raises LiveError.
    """
    who = f"replica {seat.replica}"
    try:
        await restart_one(stage.group.file, seat.replica)
        done.add(seat.replica)
        stage.moment(who, "is back", "and level with the others")
    except RestartError as error:
        if error.code != EXIT_REFUSED:
            raise LiveError(str(error)) from error
        refused[seat.replica] += 1
        if refused[seat.replica] == 1:
            stage.moment("automation", "is told to wait", str(error))
    finally:
        answered.set()


async def _until_down(stage: Stage, seat: Seat, answered: trio.Event) -> None:
    """Until it answers no longer or began anew, if its restart was not refused meanwhile."""
    began = trio.current_time()
    while not answered.is_set():
        report = (await stage.group.reports([seat])).get(seat.number)
        if report is None or report["uptime_s"] < trio.current_time() - began:
            stage.moment(f"replica {seat.replica}", "is restarted")
            return
        with trio.move_on_after(POLL_SECONDS):
            await answered.wait()


async def hide_a_twin(stage: Stage, *, task_status: trio.TaskStatus[None]) -> None:
    """The second of two leading twins is away for a while: the others choose a new leader, and what they show each
    other meanwhile has what each of the twins had told them.
    """
    group = stage.group
    task_status.started()
    await trio.sleep(stage.attack.until_ms / 1000 * HIDE_AFTER_SHARE)
    for twin in group.twins:
        group.pause(twin)
        stage.moment(f"replica {twin.replica}", "hides", "its second copy", view=0)
    try:
        await trio.sleep_forever()
    finally:
        for twin in group.twins:
            group.resume(twin)
