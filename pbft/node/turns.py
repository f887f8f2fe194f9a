"""Who comes next. The event loop is what a flood wants to have for itself: nobody gets more than turns of it.

Shares are weighted; inside a share everybody has the same, whatever the number of his connections:

    peers       each replica
    people      devices that the application knows: each address, and in it each device
    newcomers   all the others, and handshakes: each address

A share that wants nothing leaves its part to the others. Start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM'96).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

FRAME_UNITS: Final = 1
"""Of work: to cut and parse a small frame, about 15 microseconds."""
BYTES_PER_UNIT: Final = 1024
CLAIM_UNITS: Final = 4
"""To check a signature."""
HANDSHAKE_UNITS: Final = 64
REPORT_UNITS: Final = 64
SLICE_UNITS: Final = 128
"""What is done between two looks at the others: 32 signatures, some two milliseconds."""
SLICES_AT_ONCE: Final = 4
"""In one pass of the event loop: then the replica's own task comes in between."""
BURST_SECONDS: Final = 4.0
ALLOWANCES_MAX: Final = 4096
USELESS_UNITS: Final = 1
"""What a message costs its sender's allowance that is dropped unchecked, or known already."""
IGNORED_UNITS: Final = 6
"""And one that was checked, and changed nothing."""
IDLE_PARTIES_MAX: Final = 1024
"""At each level, those who wait for nothing are remembered while they had more than others, and up to so many."""
BYTES_PER_PLACE: Final = 4 * 1024
"""Of the room for requests: an operation takes a place, and what is larger takes more."""
HOLD_SECONDS: Final = 2.0
"""So long a request may wait for room, or a stranger for his turn; then it is dropped. Its client will repeat it."""


class Share(Enum):
    """Those who want the event loop, and with what weight. What replicas have to say comes before all else: a primary
    that others hear late is voted out. They have allowances for what is of no use."""

    PEERS = "peers", 32
    PEOPLE = "people", 4
    NEWCOMERS = "newcomers", 1

    @property
    def weight(self) -> int:
        return self.value[1]


Party = tuple[Share, Hashable, Hashable]
"""Share; address or replica; device."""


@dataclass(slots=True)
class _Waiter:
    task: trio.lowlevel.Task
    units: int


@dataclass(slots=True)
class _Node:
    """A place in the tree of parties. `used`: units it was given, by its weight."""

    used: float = 0.0
    floor: float = 0.0
    """Where those below begin who had nothing for a while."""
    below: dict[Hashable, _Node] = field(default_factory=dict)
    wanting: dict[Hashable, _Node] = field(default_factory=dict)
    """Those below with somebody that waits."""
    waiters: deque[_Waiter] = field(default_factory=deque)


def _least(node: _Node) -> tuple[Hashable, _Node]:
    """Of those below that wait, the one that was given least."""
    return min(node.wanting.items(), key=lambda item: max(item[1].used, node.floor))


class FairQueue:
    """Tasks that wait, by party. Which of them is next follows from what each party was given before."""

    def __init__(self) -> None:
        self._root = _Node()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    async def wait(self, party: Party, units: int) -> None:
        """Until `give` gives this task its turn."""
        waiter = _Waiter(trio.lowlevel.current_task(), units)
        node = self._root
        for key in party:
            node = node.wanting.setdefault(key, self._below(node, key))
        node.waiters.append(waiter)
        self._waiting += 1

        def abort(_: Callable[[], None]) -> trio.lowlevel.Abort:
            node.waiters.remove(waiter)
            self._left(party)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def give(self) -> int:
        """Wake the task whose turn it is, and charge its party; returns for how many units it had asked."""
        node = self._root
        party: list[Hashable] = []
        while node.wanting:
            key, node = _least(node)
            party.append(key)
        waiter = node.waiters.popleft()
        share, address, device = party
        whole = (share, address, device)
        self._left(whole)  # type: ignore[arg-type]  # the first level holds nothing but shares
        self.charge(whole, waiter.units)  # type: ignore[arg-type]
        trio.lowlevel.reschedule(waiter.task)
        return waiter.units

    def charge(self, party: Party, units: int) -> None:
        """Somebody was served, with or without having waited."""
        node, weight = self._root, party[0].weight
        for key in party:
            child = self._below(node, key)
            start = max(child.used, node.floor)
            node.floor = start
            child.used = start + units / weight
            node, weight = child, 1

    def settle(self, party: Party, units: int) -> None:
        """What it had took more or less (`units` below 0) than was charged."""
        node, weight = self._root, party[0].weight
        for key in party:
            child = self._below(node, key)
            child.used += units / weight
            node, weight = child, 1

    def _left(self, party: Party) -> None:
        self._waiting -= 1
        path = [self._root]
        for key in party:
            path.append(path[-1].wanting[key])
        for parent, key in zip(reversed(path[:-1]), reversed(party), strict=True):
            child = parent.wanting[key]
            if child.waiters or child.wanting:
                return
            del parent.wanting[key]

    @staticmethod
    def _below(node: _Node, key: Hashable) -> _Node:
        found = node.below.get(key)
        if found is None:
            if len(node.below) >= IDLE_PARTIES_MAX + len(node.wanting):
                idle = [each for each in node.below if each not in node.wanting]
                past = [each for each in idle if node.below[each].used <= node.floor]
                for each in past or idle[: len(idle) // 2]:
                    del node.below[each]
            found = node.below[key] = _Node(used=node.floor)
        return found


class Turns:
    """Slices of the event loop. As long as there is time for all who come, nobody waits."""

    def __init__(self) -> None:
        self._queue = FairQueue()
        self._left = SLICES_AT_ONCE
        self._wanted = trio.Event()

    async def next(self, party: Party) -> None:
        """Wait for a slice of SLICE_UNITS; `spent` says later what it took."""
        if self._left > 0 and not len(self._queue):
            self._left -= 1
            self._queue.charge(party, SLICE_UNITS)
            return
        self._wanted.set()
        await self._queue.wait(party, SLICE_UNITS)

    def spent(self, party: Party, units: int) -> None:
        self._queue.settle(party, units - SLICE_UNITS)

    def renew(self) -> None:
        """The replica's task had its turn."""
        self._left = SLICES_AT_ONCE - min(len(self._queue), SLICES_AT_ONCE)

    async def run(self) -> None:
        """Give turns to those who wait, a few in each pass of the event loop."""
        while True:
            await self._wanted.wait()
            while len(self._queue):
                for _ in range(min(SLICES_AT_ONCE, len(self._queue))):
                    self._queue.give()
                await trio.lowlevel.checkpoint()
            self._left = SLICES_AT_ONCE
            self._wanted = trio.Event()


class Turn:
    """The slices of one chunk of frames."""

    def __init__(self, turns: Turns, party: Party) -> None:
        self._turns = turns
        self._party = party
        self._is_open = False
        self.units = 0

    @property
    def is_over(self) -> bool:
        return self.units >= SLICE_UNITS

    async def begin(self) -> None:
        await self._turns.next(self._party)
        self._is_open = True
        self.units = 0

    def end(self) -> None:
        """Does nothing between two slices: whoever waits for the next one may be cancelled."""
        if self._is_open:
            self._is_open = False
            self._turns.spent(self._party, self.units)

    async def renew(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()
        await self.begin()


def places_of(operations: int, size: int) -> int:
    """What requests of so many bytes take of the room."""
    return operations + size // BYTES_PER_PLACE


class Door:
    """Lets in what there is room for, in turn, and sends the rest away after a while."""

    def __init__(self) -> None:
        self._queue = FairQueue()
        self.shed = 0
        """What found no room in time."""

    @property
    def has_room(self) -> bool:
        raise NotImplementedError

    def take(self, amount: int) -> None:
        raise NotImplementedError

    def enter_now(self, party: Party, amount: int) -> bool:
        """If there is room and nobody waits for it."""
        if len(self._queue) or not self.has_room:
            return False
        self._queue.charge(party, amount)
        self.take(amount)
        return True

    async def enter(self, party: Party, amount: int, hold_s: float = HOLD_SECONDS) -> bool:
        """In turn; False if there was no room in time."""
        with trio.move_on_after(hold_s):
            await self._queue.wait(party, amount)
            return True
        self.shed += amount
        return False

    def admit(self) -> None:
        """Let in who waits, as far as there is room now."""
        while len(self._queue) and self.has_room:
            self.take(self._queue.give())


class Room(Door):
    """Bounds what own clients have between their connections and the execution, in operations and in bytes together.

    `occupied`: places that the pool takes (`places_of`)."""

    def __init__(self, most: int, occupied: Callable[[], int]) -> None:
        super().__init__()
        self._most = most
        self._occupied = occupied
        self._reserved = 0
        self._handed = 0
        """Of these, what lies in the inbox: the replica's task takes it, and counts it in the pool."""

    @property
    def has_room(self) -> bool:
        return self._occupied() + self._reserved < self._most

    def take(self, amount: int) -> None:
        self._reserved += amount

    def leave(self, places: int) -> None:
        """They were refused, or given up, before they came to the replica."""
        self._reserved -= places
        self.admit()

    def hand_over(self, places: int) -> None:
        """What takes them is in the inbox."""
        self._handed += places

    def settle(self) -> None:
        """The replica has taken all that was handed over."""
        handed, self._handed = self._handed, 0
        self.leave(handed)


class Ration(Door):
    """So much a second, and no more even if nobody else wants anything: what costs nothing to ask for."""

    def __init__(self, per_s: float) -> None:
        super().__init__()
        self._allowance = Allowance(per_s)

    @property
    def has_room(self) -> bool:
        return self._allowance.left(trio.current_time()) > 0

    def take(self, amount: int) -> None:
        self._allowance.spend(trio.current_time(), amount)


class Allowances:
    """One for each of many; those that were needed least lately are forgotten."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._known: OrderedDict[Hashable, Allowance] = OrderedDict()

    def of(self, whose: Hashable) -> Allowance:
        found = self._known.get(whose)
        if found is None:
            found = self._known[whose] = Allowance(self._per_s)
            if len(self._known) > ALLOWANCES_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(whose)
        return found


class Allowance:
    """Fills up by `per_s`, up to BURST_SECONDS of it; may be overdrawn."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = per_s * BURST_SECONDS
        self._at: float | None = None

    def left(self, now: float) -> float:
        if self._at is not None:
            self._left = min(self._per_s * BURST_SECONDS, self._left + (now - self._at) * self._per_s)
        self._at = now
        return self._left

    def spend(self, now: float, amount: float) -> None:
        self.left(now)
        self._left -= amount

    def seconds_overdrawn(self, now: float) -> float:
        """How long it takes to fill up to zero."""
        return max(0.0, -self.left(now) / self._per_s)
