"""The timer of views: PBFT section 4.5.2, as a table of what comes when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pbft.core.effects import SetTimer, Timer
from pbft.core.output import Output
from pbft.core.types import Milliseconds
from pbft.core.view_timer import LEVEL_MAX, PROGRESS_PER_LEVEL, ViewTimer
from tests.harness.keys import make_group

BASE = 1000
GROUP = make_group(4, view_change_timeout_ms=BASE).group


class Run:
    """A timer, and what it asks its node for."""

    def __init__(self) -> None:
        self.timer = ViewTimer(GROUP)
        self.out = Output()

    def arm(self, at: int) -> None:
        self.timer.arm(self.out, Milliseconds(at))

    def expires(self, at: int) -> bool:
        return self.timer.expired(self.out, Milliseconds(at))

    @property
    def asked(self) -> list[int]:
        assert all(each == SetTimer(Timer.VIEW_CHANGE, each.at) for each in self.out.timers)
        return [each.at for each in self.out.timers]


@dataclass(frozen=True)
class Case:
    what: str
    before: tuple[Callable[[Run], object], ...]
    at: int
    over: bool
    asked: tuple[int, ...]


def armed(at: int) -> Callable[[Run], object]:
    return lambda run: run.arm(at)


def disarmed(run: Run) -> None:
    run.timer.disarm()


def expired(at: int) -> Callable[[Run], object]:
    return lambda run: run.expires(at)


CASES = (
    Case("on time", (armed(0),), BASE, True, (BASE,)),
    Case("never armed", (), 5 * BASE, False, ()),
    Case("stale: disarmed meanwhile", (armed(0), disarmed), BASE, False, (BASE,)),
    Case("stale: armed anew meanwhile", (armed(0), disarmed, armed(700)), BASE, False, (BASE, 1700)),
    Case("the one that was armed anew", (armed(0), disarmed, armed(700), expired(BASE)), 1700, True, (BASE, 1700)),
    Case("early", (armed(0),), BASE - 1, False, (BASE, BASE)),
    Case(
        "a busy replica moves it without a word",
        (armed(0), armed(10), armed(20), armed(30)),
        BASE,
        False,
        (BASE, 1030),
    ),
    Case("a little late", (armed(0),), BASE + BASE // 2, True, (BASE,)),
    Case("slept over it", (armed(0),), BASE + BASE // 2 + 1, False, (BASE, 2 * BASE + 1)),
    Case("slept for minutes", (armed(0),), 600_000, False, (BASE, 600_500)),
    Case("slept, and nothing came of it", (armed(0), expired(600_000)), 600_500, True, (BASE, 600_500)),
    Case("slept twice", (armed(0), expired(600_000)), 900_000, True, (BASE, 600_500)),
    Case(
        "slept again after progress",
        (armed(0), expired(600_000), disarmed, armed(600_100)),
        900_000,
        False,
        (BASE, 600_500, 900_500),
    ),
    Case(
        "slept again, and nothing came of it again",
        (armed(0), expired(600_000), disarmed, armed(600_100), expired(900_000)),
        900_500,
        True,
        (BASE, 600_500, 900_500),
    ),
    Case("armed again after it was over", (armed(0), expired(BASE), armed(BASE)), 2 * BASE, True, (BASE, 2 * BASE)),
    Case("armed again after a stale one", (armed(0), disarmed, expired(BASE), armed(5000)), 6000, True, (BASE, 6000)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_when_it_is_over(case: Case) -> None:
    run = Run()
    for act in case.before:
        act(run)
    assert run.expires(case.at) is case.over
    assert tuple(run.asked) == case.asked


def test_the_timeout_doubles_with_each_failed_view_up_to_a_cap() -> None:
    run = Run()
    durations = []
    for _ in range(LEVEL_MAX + 4):
        durations.append(run.timer.duration)
        run.timer.leave_view()
    assert durations[: LEVEL_MAX + 1] == [BASE << level for level in range(LEVEL_MAX + 1)]
    assert set(durations[LEVEL_MAX:]) == {BASE << LEVEL_MAX}
    run.arm(0)
    assert run.asked == [BASE << LEVEL_MAX]


def test_leaving_a_view_disarms_it() -> None:
    run = Run()
    run.arm(0)
    run.timer.leave_view()
    assert not run.timer.is_armed
    assert not run.expires(BASE)


def test_a_view_in_which_something_was_ordered_has_not_failed() -> None:
    run = Run()
    run.timer.leave_view()
    run.timer.on_progress()
    run.timer.leave_view()
    assert run.timer.level == 1
    run.timer.leave_view()
    assert run.timer.level == 2, "nothing came of this one"


def test_it_shrinks_back_with_progress_and_the_node_is_woken_earlier() -> None:
    run = Run()
    for _ in range(3):
        run.timer.leave_view()
    levels = []
    for count in range(4 * PROGRESS_PER_LEVEL):
        if count % PROGRESS_PER_LEVEL == 0:
            levels.append(run.timer.level)
        run.timer.on_progress()
    assert levels == [3, 2, 1, 0]
    assert run.timer.level == 0
    late = Run()
    late.timer.leave_view()
    late.arm(0)
    for _ in range(PROGRESS_PER_LEVEL):
        late.timer.on_progress()
    late.arm(100)
    assert late.asked == [2 * BASE, BASE + 100], "the earlier one is asked for, though a later one is under way"
