"""What goes on in the chat while it is attacked: a few people in two rooms, drawn from the seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

from adversary.attacks.model import Talk
from adversary.simulator.scenario import Action, Client

PEOPLE: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
ROOMS: Final = ("main", "kitchen")
"""Everybody is in the first; the second is for every other."""
REGISTERS_MS, CREATES_MS, JOINS_MS, TALKS_MS = 100, 250, 450, 700
READS_ONE_IN = 6

OPENINGS: Final = (
    "does anyone know",
    "I cannot see",
    "has somebody tried",
    "good morning,",
    "wait,",
    "thanks,",
    "so",
)
MATTERS: Final = (
    "how to mount a CD",
    "why the wifi drops after suspend",
    "the new kernel",
    "where the release notes went",
    "what /etc/fstab should say",
    "my second disk since the upgrade",
    "who has the key of the meeting room",
    "the cake in the kitchen",
)


def people(talk: Talk, random: Random) -> Iterator[Client]:
    """Each registers, enters its rooms, says its messages and now and then reads or searches."""
    numbers = count(1_000_000)
    for index, name in enumerate(PEOPLE[: talk.people]):
        rooms = ROOMS if index % 2 == 0 else ROOMS[:1]
        actions = [Action(id=next(numbers), at_ms=REGISTERS_MS + 20 * index, kind="register", text=name)]
        for room in rooms:
            kind, at_ms = ("create", CREATES_MS) if index == 0 else ("join", JOINS_MS)
            actions.append(Action(id=next(numbers), at_ms=at_ms + 20 * index, kind=kind, room=room))
        for number in range(talk.messages):
            at_ms = TALKS_MS + (talk.for_ms * number + random.randrange(talk.for_ms)) // talk.messages
            room = random.choice(rooms)
            text = f"{random.choice(OPENINGS)} {random.choice(MATTERS)} ({name}, {number + 1})"
            actions.append(Action(id=next(numbers), at_ms=at_ms, kind="post", room=room, text=text))
            if random.randrange(READS_ONE_IN) == 0:
                kind, text = random.choice((("history", ""), ("search", "kernel"), ("read", "")))
                actions.append(Action(id=next(numbers), at_ms=at_ms + 50, kind=kind, room=room, text=text))
        yield Client(name=name, actions=tuple(actions))
