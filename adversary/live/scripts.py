"""What is done in some attacks beside their liars and faults: by attackers that are no replica, mostly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from adversary.live.attackers import BEGUN, DEEDS
from adversary.live.customers import kill_with_words, replay
from adversary.live.group import LEFT_BEHIND, LiveError
from adversary.live.operators import hide_a_twin

if TYPE_CHECKING:
    from adversary.attacks.model import Attack
    from adversary.live.stage import Stage


class Act(Protocol):
    """What lasts until it is cancelled. It says that it has started once it has begun to attack: people speak, faults
    come and time counts from then on."""

    def __call__(self, stage: Stage, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


FAREWELL_SECONDS = 20.0
"""They have the lowest priority."""


async def attackers(stage: Stage, *, names: Sequence[str], task_status: trio.TaskStatus[None]) -> None:
    """A process that attacks until this is cancelled. What it did is counted."""
    command = [sys.executable, "-m", "adversary.live.attackers", str(stage.group.path), *names]
    process = await trio.lowlevel.open_process(
        [*command, "--seed", str(stage.seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **LEFT_BEHIND,
    )
    try:
        if await _has_begun(process):
            stage.moment("attackers", "begin", ", ".join(names))
        task_status.started()
        await process.wait()
        stage.problems.append(f"the attackers ended by themselves, with exit code {process.returncode}")
    finally:
        with trio.CancelScope(shield=True):
            await _end(stage, process, names)


async def _has_begun(process: trio.Process) -> bool:
    """Once it says so; False if it has ended without."""
    said = b""
    while process.stdout is not None and not said.endswith(b"\n"):
        data = await process.stdout.receive_some()
        if not data:
            return False
        said += data
    return True


def _wanted(names: Sequence[str]) -> set[str]:
    return {deed for name in names for deed in DEEDS[name]}


async def _end(stage: Stage, process: trio.Process, names: Sequence[str]) -> None:
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
    tally = said.decode(errors="replace").removeprefix(f"{BEGUN}\n")
    try:
        done: dict[str, int] = json.loads(tally)
    except json.JSONDecodeError:
        stage.problems.append(f"the attackers said {tally[:100]!r} in the end, which is no tally")
        return
    stage.figures |= done
    stage.deeds.update(done)
    stage.missed += [f"{name}: nobody got to do it" for name in sorted(_wanted(names)) if not done.get(name)]
    stage.moment("attackers", "end", ", ".join(f"{name} {count}" for name, count in done.items()))


SCRIPTS: Final[Mapping[str, Act]] = {
    "twins_lead": hide_a_twin,
    "cbor_bombs": partial(attackers, names=("bombs", "slowloris", "litter")),
}
"""By the attack's name: what is done beside what its data says."""
CLIENTS: Final[Mapping[str, Act]] = {
    "replay": replay,
    "query_of_death": kill_with_words,
    "flood": partial(attackers, names=("flood", "renewers")),
}
"""By the behaviour of somebody in `Attack.clients`."""
COUNTED: Final = frozenset({"replay", "query_of_death"})
"""Those of them that count what they did in `Stage.deeds`, under these names."""


def acts_of(attack: Attack) -> list[Act]:
    """Everything that is done while an attack lasts, beside its liars and faults. Raises LiveError."""
    acts = [SCRIPTS[attack.name]] if attack.name in SCRIPTS else []
    for behaviour in sorted({client.behaves for client in attack.clients if client.behaves}):
        if behaviour not in CLIENTS:
            msg = f"people who {behaviour} are in the simulator only"
            raise LiveError(msg)
        acts.append(CLIENTS[behaviour])
    return acts
