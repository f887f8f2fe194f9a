"""What some attacks do beside the faults and liars that their data names: attackers that are no replica, and operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from adversary.live.stage import Stage

Act = Callable[["Stage"], Awaitable[None]]


async def nothing(_stage: Stage) -> None:
    await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """`prepare`: before anything runs. `attack`: while it lasts, until cancelled. `recover`: before the healing."""

    prepare: Act = nothing
    attack: Act = nothing
    recover: Act = nothing
    networked: bool = False


SCRIPTS: Final[Mapping[str, Script]] = {}
"""By the attack's name."""
