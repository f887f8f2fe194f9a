"""Sessions as in `test_sessions`, by a whole group in virtual time, some of it faulty.

    python -m tests.chatsvc.sessions 0..100

The plain chat is told of every batch in the order that the group gives it, and has to say the same of each operation.
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any

from adversary.testing import (
    EquivocatingPrimary,
    LyingReplica,
    Network,
    PlainGroup,
    PlainPerson,
    SilentReplica,
    Twins,
    simulated_group,
)
from adversary.testing.behaviours import Wanted
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Read, decode_operation
from chatsvc.application.results import Rejected
from chatsvc.application.wire import to_value
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey, Signer
from tests.chatsvc import plain_answers
from tests.chatsvc.drawing import Drawing, all_signers, opening
from tests.chatsvc.plain_chat import PlainChat

PEOPLE = 7
STEPS = 80
QUERIES = 15
SETTLE_S = 600.0

FAULTY: tuple[dict[int, Wanted], ...] = (
    {},
    {3: LyingReplica()},
    {0: EquivocatingPrimary()},
    {2: SilentReplica()},
    {1: Twins()},
)
NETWORKS = (
    Network(),
    Network(loss=30, duplicate=30, reorder=50, jitter_us=5_000),
    Network(spike=20, spike_us=400_000),
)


class PlainModel:
    """The plain chat as the simulator asks it: see `adversary.simulator.model.Model`."""

    def __init__(self, devices: list[Signer]) -> None:
        """`devices`: those with real keys, which can prove something."""
        self.plain = PlainChat(ChatLimits(), all_signers(devices))
        self.ran = 0
        """Operations."""
        self._sequence = 0
        self._time = 0
        self._retained: set[str] = set()

    @property
    def messages(self) -> dict[str, list[tuple[str, str]]]:
        return {
            room.name: [(message.author, message.body) for message in room.messages.values()]
            for room in self.plain.rooms.values()
            if not room.private
        }

    def begin(self, sequence: int, timestamp_ms: int) -> None:
        self._sequence, self._time = sequence, max(self._time, timestamp_ms)
        # What is asked for in the batch of a checkpoint is kept until the next one.
        self._retained = {room.name for room in self.plain.rooms.values() if room.retention_s}

    def apply(self, device: PublicKey, operation: bytes, index: int) -> list[Any] | None:
        try:
            decoded = decode_operation(operation)
        except MalformedEncoding:
            return ["error", "MALFORMED"]
        if isinstance(decoded, Read):
            return None
        self.ran += 1
        result = self.plain.apply(device, decoded, self._time, (self._sequence, index))
        return ["error", result.code.value] if isinstance(result, Rejected) else to_value(result)

    def checkpoint(self) -> None:
        self.plain.prune(self._time, self._retained)


def run_session(seed: int) -> str:
    """Return how it went, in a line. Raises AssertionError."""
    dice = Random(seed)  # noqa: S311 - dice
    faulty, network = dice.choice(FAULTY), dice.choice(NETWORKS)
    real = seed % 5 == 0
    model = PlainModel([])
    group_of = simulated_group(behaviours=faulty, seed=seed, network=network, real_signatures=real, model=model)
    with group_of as group:
        people = [group.client(f"person {number}") for number in range(PEOPLE)]
        if real:
            model.plain.signers |= all_signers([person.signer for person in people])
        for number, operation in opening():
            people[number].do(operation, timeout_s=SETTLE_S)
        down: list[int] = []
        for _ in range(STEPS):
            person = people[dice.randrange(PEOPLE if dice.randrange(5) == 0 else PEOPLE - 2)]
            operation = _drawing(dice, model, people, person).operation()
            # What a stranger asked before the operation that makes it known is forgotten by that.
            if person.is_idle or person.signer.public_key in model.plain.owner_of:
                person.do_nowait(operation)
            if dice.randrange(3) == 0:
                group.advance(dice.choice((0.01, 0.2, 1, 1, 40)))
            if dice.randrange(12) == 0:
                _trouble(dice, group, down)
        _mend(group, down)
        group.settled(timeout_s=SETTLE_S)
        for _ in range(QUERIES):
            person = dice.choice(people)
            query = _drawing(dice, model, people, person).query()
            told = person.ask(query, timeout_s=SETTLE_S)
            told = Rejected(told.code, "") if isinstance(told, Rejected) else told
            expected = plain_answers.answer(model.plain, person.signer.public_key, query)
            assert told == expected, f"seed {seed}: {query} gives {told}, and not {expected}"
        roots = set(group.roots().values())
        assert len(roots) == 1, f"seed {seed}: {roots}"
        executed = max(group.executed().values())
    names = ", ".join(f"{replica} is {type(kind).__name__}" for replica, kind in faulty.items())
    return f"seed {seed}: {model.ran} operations in {executed} batches; {names or 'all honest'}"


def _drawing(dice: Random, model: PlainModel, people: list[PlainPerson], person: PlainPerson) -> Drawing:
    return Drawing(dice, model.plain, [each.signer for each in people], person.signer.public_key)


def _trouble(dice: Random, group: PlainGroup, down: list[int]) -> None:
    """A crash and what was crashed before up again, a cut, or an end to it."""
    kind = dice.randrange(3)
    if kind == 0:
        _mend(group, down)
        honest = [replica for replica in range(group.replicas) if replica not in group.faulty]
        down.append(dice.choice(honest))
        group.crash(down[0], power=dice.randrange(2) == 0)
    elif kind == 1:
        group.isolate(dice.randrange(group.replicas))
    else:
        _mend(group, down)


def _mend(group: PlainGroup, down: list[int]) -> None:
    for replica in down:
        group.restart(replica)
    down.clear()
    group.heal()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or ".." not in arguments[0]:
        sys.stderr.write("usage: python -m tests.chatsvc.sessions FIRST..LAST\n")
        return 2
    first, _, last = arguments[0].partition("..")
    for seed in range(int(first), int(last) + 1):
        sys.stdout.write(f"{run_session(seed)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
