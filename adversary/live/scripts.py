"""What some attacks do beside the faults and liars that their data names: by attackers that are no replica, by
operators, and to certificates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from adversary.live.certificates import let_lapse, lose_links, renew
from adversary.live.customers import kill_with_words, replay
from adversary.live.operators import follow_the_primary, hide_a_twin, restart_too_many

if TYPE_CHECKING:
    from adversary.live.stage import Stage

Act = Callable[["Stage"], Awaitable[None]]
FAREWELL_SECONDS = 5.0


async def nothing(_stage: Stage) -> None:
    await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """`prepare`: before anything runs. `attack`: while it lasts, until cancelled. `recover`: before the healing."""

    prepare: Act = nothing
    attack: Act = nothing
    recover: Act = nothing
    networked: bool = False


async def attackers(stage: Stage, *names: str) -> None:
    """A process that attacks until this is cancelled. What it did is counted."""
    command = [sys.executable, "-m", "adversary.live.attackers", str(stage.group.path), *names]
    process = await trio.lowlevel.open_process(
        [*command, "--seed", str(stage.seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    stage.moment("attackers", "begin", ", ".join(names))
    try:
        await process.wait()
        stage.problems.append(f"the attackers ended by themselves, with exit code {process.returncode}")
    finally:
        with trio.CancelScope(shield=True):
            await _end(stage, process)


async def _end(stage: Stage, process: trio.Process) -> None:
    if process.stdin is None or process.stdout is None:
        return
    await process.stdin.aclose()
    said = b""
    with trio.move_on_after(FAREWELL_SECONDS):
        while data := await process.stdout.receive_some():
            said += data
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    await process.stdout.aclose()
    done: dict[str, int] = json.loads(said or b"{}")
    stage.figures |= done
    stage.took_place += sum(done.values())
    stage.moment("attackers", "end", ", ".join(f"{name} {count}" for name, count in done.items()))


def by(*names: str) -> Script:
    return Script(attack=partial(_by, names))


async def _by(names: tuple[str, ...], stage: Stage) -> None:
    await attackers(stage, *names)


SCRIPTS: Final[Mapping[str, Script]] = {
    "twins_lead": Script(attack=hide_a_twin),
    "replay": Script(attack=replay),
    "query_of_death": Script(attack=kill_with_words),
    "flood": by("flood"),
    "cbor_bombs": by("bombs", "slowloris", "litter"),
    "cert_expiry": Script(prepare=let_lapse, attack=lose_links, recover=renew, networked=True),
    "runaway_automation": Script(attack=restart_too_many),
    "cascade": Script(attack=follow_the_primary),
}
"""By the attack's name."""
