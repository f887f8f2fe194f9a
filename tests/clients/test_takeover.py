"""What the bench makes of a primary that was killed. Time is trio's MockClock's."""

from __future__ import annotations

import time
from typing import cast

import pytest
from trio.testing import MockClock

from clients.load import Loop
from clients.sdk import ClientFailure, ExitCode
from clients.takeover import ECHO_SECONDS, RESUME_SECONDS, gap, until_resumed
from pbft.client.driver import ReplicaClient


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([1.0, 9.9, 12.5, 12.6], 2.5),
        ([9.9, 10.01, 10.02, 13.0, 13.5], 3.0),
        ([10.5], 0.5),
        ([10.1, 10.15, 10.2], 0.1),
    ],
    ids=["a plain pause", "replies that were under way do not end it", "one only", "hardly any"],
)
def test_the_gap_ends_with_the_longest_pause_after_the_kill(moments: list[float], expected: float) -> None:
    assert gap(moments, killed_at=10.0) == pytest.approx(expected)


def loop_with(*moments: float) -> Loop:
    nobody = cast("ReplicaClient", None)  # these loops have run already
    journal = [(moment, b"nonce") for moment in moments]
    return Loop(client=nobody, room="room", body="x", number=0, journal=journal)


async def test_replies_that_were_under_way_are_no_sign_that_another_took_over(autojump_clock: MockClock) -> None:
    killed_at = time.perf_counter()
    loops = [loop_with(killed_at - 1, killed_at + ECHO_SECONDS / 2), loop_with()]
    with pytest.raises(ClientFailure, match=f"in {RESUME_SECONDS:g} s after replica 0.* 2 operations") as failure:
        await until_resumed(loops, killed_at, 0)
    assert failure.value.exit_code is ExitCode.UNKNOWN


async def test_a_later_acceptance_is(autojump_clock: MockClock) -> None:
    killed_at = time.perf_counter()
    await until_resumed([loop_with(), loop_with(killed_at + 2 * ECHO_SECONDS)], killed_at, 0)
