"""What hosts and clients see of the simulation around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from adversary.simulator.frames import FrameCache
from adversary.simulator.invariants import Checker
from adversary.simulator.marks import Marks
from adversary.simulator.patience import Patience
from adversary.simulator.watching import Watch
from pbft.core.effects import Timer
from pbft.core.group import Group
from pbft.core.types import Milliseconds

if TYPE_CHECKING:
    from adversary.simulator.clients import SimulatedClient
    from adversary.simulator.delivery import Delivery
    from adversary.simulator.host import Host


class Surroundings(Protocol):
    """Implemented by `run.Simulation`."""

    now_us: int
    group: Group
    frames: FrameCache
    checker: Checker
    marks: Marks
    patience: Patience
    transfers: int
    delivery: Delivery
    watch: Watch | None

    def wake(self, host: Host, delay_us: int) -> None: ...

    def later(self, host: Host, delay_us: int, what: Callable[[], None]) -> None: ...

    def set_timer(self, host: Host, timer: Timer, at: Milliseconds) -> None: ...

    def lost(self, host: Host) -> None: ...

    def note(self, what: str, source: int = -1) -> None: ...

    def start_again(self, host: Host) -> None: ...

    def stopped(self, host: Host, reason: str) -> None: ...

    def wake_client(self, client: SimulatedClient, at_ms: int) -> None: ...
