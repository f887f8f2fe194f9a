"""What Tab offers: names, rooms, commands and emoji."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clients.terminal.emoji import EMOJI
from clients.terminal.model import Model

OFFERS_MAX = 50


@dataclass(frozen=True, slots=True)
class Completion:
    """Texts to put in the place of what stands from `start` to the cursor, the best first."""

    start: int
    offers: tuple[str, ...]


def complete(text: str, cursor: int, model: Model, commands: Iterable[str]) -> Completion:
    """Return what the word before the cursor may become; no offers when it is none that is known."""
    start = max(text.rfind(" ", 0, cursor), text.rfind("\n", 0, cursor)) + 1
    word = text[start:cursor]
    if start == 0 and word.startswith("/"):
        return Completion(start, tuple(f"/{name} " for name in _with(word[1:], sorted(commands))))
    if word.startswith("#"):
        names = [room.name for room in model.ordered_rooms() if not room.direct]
        return Completion(start, tuple(f"#{name} " for name in _with(word[1:], names)))
    if word.startswith(":") and len(word) > 1:
        return Completion(start, tuple(EMOJI[name] for name in _with(word[1:], sorted(EMOJI))))
    if word.startswith("@"):
        return Completion(start, tuple(f"@{name} " for name in _with(word[1:], names_in(model))))
    if word:
        end = ": " if start == 0 else " "
        return Completion(start, tuple(f"{name}{end}" for name in _with(word, names_in(model))))
    return Completion(start, ())


def names_in(model: Model) -> list[str]:
    """People of the open room: who spoke last first, then its other members."""
    room = model.room
    if room is None:
        return []
    spoke = (entry.message.author for entry in reversed(room.log.entries()[-500:]))
    names = dict.fromkeys([*spoke, *room.people, *room.members])
    names.pop(model.me, None)
    return list(names)


def _with(beginning: str, names: Sequence[str]) -> list[str]:
    folded = beginning.casefold()
    return [name for name in names if name.casefold().startswith(folded)][:OFFERS_MAX]


class Cycle:
    """Tab again and again: goes through the offers of one completion until something else is typed."""

    def __init__(self) -> None:
        self._completion = Completion(0, ())
        self._place = 0
        self._expected: tuple[str, int] | None = None

    def press(self, text: str, cursor: int, model: Model, commands: Iterable[str]) -> tuple[str, int]:
        """Return the text and the cursor after Tab."""
        if (text, cursor) == self._expected:
            self._place = (self._place + 1) % len(self._completion.offers)
        else:
            self._completion, self._place = complete(text, cursor, model, commands), 0
        if not self._completion.offers:
            self._expected = None
            return text, cursor
        offer = self._completion.offers[self._place]
        start = self._completion.start
        changed = text[:start] + offer + text[cursor:]
        self._expected = (changed, start + len(offer))
        return self._expected


class InputHistory:
    """Lines that were sent, to be taken again with the arrow keys."""

    LINES_MAX = 200

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._place: int | None = None
        self._draft = ""

    def add(self, line: str) -> None:
        if line and self._lines[-1:] != [line]:
            self._lines = [*self._lines, line][-self.LINES_MAX :]
        self._place = None

    def up(self, current: str) -> str:
        """Return the line before; the one that is being typed is kept."""
        if not self._lines:
            return current
        if self._place is None:
            self._draft, self._place = current, len(self._lines)
        self._place = max(0, self._place - 1)
        return self._lines[self._place]

    def down(self, current: str) -> str:
        if self._place is None:
            return current
        self._place += 1
        if self._place < len(self._lines):
            return self._lines[self._place]
        self._place = None
        return self._draft
