"""Restarts of too many at once, by somebody who means well, and crashes that follow whoever leads."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from adversary.live.group import LiveError, Seat

if TYPE_CHECKING:
    from adversary.live.stage import Stage

SEEN_SECONDS = 10.0
HIDE_AFTER_SHARE = 0.4
UNDER_A_LEADER_S = 0.3
"""How long a new primary leads before it is hit."""


async def primary_of(stage: Stage, *, beyond: int = -1) -> tuple[int, int]:
    """The view that a quorum of those that run is in, above `beyond`, and its primary. Raises LiveError."""
    group = stage.group

    def agreed(reports: dict[int, dict[str, object]]) -> tuple[int, int] | None:
        views = Counter(
            (int(str(each["view"])), int(str(each["primary"])))
            for each in reports.values()
            if not each["in_view_change"]
        )
        found = [pair for pair, count in views.items() if count >= group.file.group.quorum and pair[0] > beyond]
        return found[0] if found else None

    with trio.move_on_after(SEEN_SECONDS):
        while True:
            pair = agreed(await group.reports(stage.honest()))
            if pair is not None:
                return pair
            await trio.sleep(0.02)
    msg = f"no quorum was in a view above {beyond} within {SEEN_SECONDS:g} s"
    raise LiveError(msg)


async def follow_the_primary(stage: Stage) -> None:
    """Kill whoever leads, again and again; f of them are down at a time, at most, and the first one comes back."""
    group, view = stage.group, -1
    down: list[Seat] = []
    while True:
        view, primary = await primary_of(stage, beyond=view)
        seat = group.seats[primary]
        if len(down) == group.file.group.faulty_max:
            back = down.pop(0)
            await group.start(back)
            # It must follow before the next one falls, else more than f are missing.
            here = max(each["last_executed"] for each in (await group.reports(stage.honest())).values())
            await group.until([back], lambda reports: _all_at(reports, here), within_s=SEEN_SECONDS)  # noqa: B023
            stage.moment(f"replica {back.replica}", "starts again")
        await trio.sleep(UNDER_A_LEADER_S)
        with trio.CancelScope(shield=True):
            await group.kill(seat)
        stage.took_place += 1
        stage.moment(f"replica {primary}", "crashes", f"the primary of view {view}", view=view)
        down.append(seat)


def _all_at(reports: dict[int, dict[str, int]], least: int) -> bool:
    return min(report["last_executed"] for report in reports.values()) >= least


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


async def restart_too_many(stage: Stage) -> None:
    """To be refused beyond f."""
    await trio.sleep(stage.attack.until_ms)
