"""What it costs when the primary is killed under load: how long nothing is accepted, and whether anything is lost."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from chatsvc.closed_loop import Loop
from chatsvc.groupfile import GroupFile
from clients.load import WARM_UP_S, LoadPlan, end_loops, open_loops
from clients.processes import Processes
from clients.sdk import Chat, ClientFailure, ExitCode
from pbft.client.directory import GroupDirectory
from pbft.client.inspection import Report, inspect_all

START_SECONDS = 20.0
RESUME_SECONDS = 30.0
ECHO_SECONDS = 1.0
"""What was ordered before the kill is accepted within this after it; later ones show that the group orders again."""
POLL_SECONDS = 0.05
READ_SECONDS = 60.0
MESSAGES_MAX = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """`gap_s`: from the kill to the end of the longest time after it in which nothing was accepted."""

    killed: int
    view_before: int
    view_after: int
    gap_s: float
    accepted_before: int
    accepted_after: int
    lost: int
    executed_twice: int
    rejected: int
    """Operations that the chat refused; they changed nothing."""
    unknown: int
    """Operations whose outcome nobody was told; they ran once or not at all."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "killed": self.killed,
            "gap_s": round(self.gap_s, 3),
            "accepted_before": self.accepted_before,
            "accepted_after": self.accepted_after,
            "lost": self.lost,
            "executed_twice": self.executed_twice,
            "rejected": self.rejected,
            "unknown": self.unknown,
            "view_before": self.view_before,
            "view_after": self.view_after,
        }


async def start_all(file: GroupFile, processes: Processes) -> None:
    """Start all replicas and wait until they answer. Raises ClientFailure, also if some run already."""
    directory = file.directory()
    running = [number for number, answer in enumerate(await _inspect(directory)) if isinstance(answer, dict)]
    if running:
        msg = f"replica {running[0]} runs already; this command starts the replicas itself, to kill one of them"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    for replica in directory.group.replicas:
        await processes.start(replica)
    silent: list[int] = []
    with trio.move_on_after(START_SECONDS):
        while True:
            answers = await _inspect(directory)
            silent = [number for number, answer in enumerate(answers) if isinstance(answer, str)]
            if not silent:
                return
            await trio.sleep(POLL_SECONDS)
    msg = f"the replicas did not start within {START_SECONDS:g} s; " + (
        f"replica {silent[0]} said last: {processes.log_tail(silent[0])}" if silent else "none was heard"
    )
    raise ClientFailure(msg, exit_code=ExitCode.UNKNOWN)


async def run_takeover(
    file: GroupFile, processes: Processes, plan: LoadPlan, progress: Callable[[float], None]
) -> Takeover:
    """Kill the primary in the middle of the load. Raises ClientFailure, also if nothing is accepted afterwards.

    `progress` is told the seconds passed so far.
    """
    directory = file.directory()
    async with open_loops(directory, plan, journal=True) as loops:
        for loop in loops:
            loop.start(plan.window)
        await trio.sleep(WARM_UP_S)
        await _pass(plan.seconds / 2, progress, since=0)
        view, primary = _view_and_primary(await _inspect(directory))
        killed_at = time.perf_counter()
        await processes.stop(primary, signal.SIGKILL)
        await until_resumed(loops, killed_at, primary)
        await _pass(plan.seconds / 2, progress, since=plan.seconds / 2)
        await end_loops(loops)
        after, _ = _view_and_primary(await _inspect(directory))
        moments = sorted(moment for loop in loops for moment, _ in loop.journal or ())
        accepted = {nonce for loop in loops for _, nonce in loop.journal or ()}
        chat = Chat(loops[0].client, loops[0].signer, timeout=READ_SECONDS)
        there = Counter(message.nonce for message in await chat.history(loops[0].room, limit=MESSAGES_MAX))
    return Takeover(
        killed=primary,
        view_before=view,
        view_after=after,
        gap_s=gap(moments, killed_at),
        accepted_before=sum(moment <= killed_at for moment in moments),
        accepted_after=sum(moment > killed_at for moment in moments),
        lost=len(accepted - there.keys()),
        executed_twice=sum(count > 1 for count in there.values()),
        rejected=sum(loop.rejected for loop in loops),
        unknown=without_outcome(loops),
    )


def gap(moments: Sequence[float], killed_at: float) -> float:
    """From the kill to the end of the longest pause after it. `moments`: of all acceptances, sorted; one is later.

    Replies to what was ordered before may still come in just after the kill: they do not end it.
    """
    later = [killed_at, *(moment for moment in moments if moment > killed_at)]
    _, end = max((after - before, after) for before, after in itertools.pairwise(later))
    return end - killed_at


def without_outcome(loops: Sequence[Loop]) -> int:
    """Operations of which nobody said whether they ran."""
    return sum(loop.unknown + loop.outstanding for loop in loops)


async def _pass(seconds: float, progress: Callable[[float], None], *, since: float) -> None:
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        progress(since + passed)
        await trio.sleep(min(0.25, seconds - passed))


async def until_resumed(loops: Sequence[Loop], killed_at: float, primary: int) -> None:
    """Until something is accepted that was not under way when the primary was killed. Raises ClientFailure."""
    with trio.move_on_after(RESUME_SECONDS):
        while True:
            if any(loop.journal and loop.journal[-1][0] > killed_at + ECHO_SECONDS for loop in loops):
                return
            await trio.sleep(POLL_SECONDS)
    accepted = sum(len(loop.journal or ()) for loop in loops)
    msg = (
        f"nothing was accepted in {RESUME_SECONDS:g} s after replica {primary}, the primary, was killed: no other "
        f"took over. {accepted} operations had been accepted before"
    )
    raise ClientFailure(msg, exit_code=ExitCode.UNKNOWN)


async def _inspect(directory: GroupDirectory) -> list[Report | str]:
    return await inspect_all(directory, timeout_s=5)


def _view_and_primary(answers: Sequence[Report | str]) -> tuple[int, int]:
    """The view that most of those that answer are in, and its primary."""
    views = Counter((answer["view"], answer["primary"]) for answer in answers if isinstance(answer, dict))
    if not views:
        msg = "no replica answers"
        raise ClientFailure(msg, exit_code=ExitCode.UNKNOWN)
    ((view, primary), _), *_ = views.most_common(1)
    return int(view), int(primary)
