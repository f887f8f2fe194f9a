"""Two people at full screens of 80 x 24 while replicas go wrong: what `test_screens` checks, and the guide shows.

`python -m tests.e2e.screens` puts the screens into docs/guide.md anew.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from tests.e2e.processes import RunningGroup, running_group
from tests.terminal.person import Person

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
ALICE_HOME = "/home/alice"
IDENTITY = "/.config/quorate/identity.toml"
ROOM = "garden"
LIAR, PRIMARY = 3, 0
PATIENCE_S = 30.0
LINES = 6
"""That each says around the death of the primary."""

Album = dict[str, str]
"""Screens by their names in the guide."""

_FENCE = re.compile(r"^```text (?P<name>\S+)\n(?P<screen>.*?)^```$", re.MULTILINE | re.DOTALL)
_SAID = re.compile(r"^(?:\d\d:\d\d ✓| {7}) <(\w+)> (.*\S)")
_CHANGES = (
    (re.compile(r"[─┌┐└┘]+"), " "),
    (re.compile(r"/\S+(?: \S+)*?\.toml\b"), "FILE"),
    (re.compile(r"\b[A-Z][a-z]+day, \d\d [A-Z][a-z]+ \d{4}"), "DAY"),
    (re.compile(r"\b\d\d:\d\d\b"), "TIME"),
    (re.compile(r"; says it is in view \d+, at \d+(; \d+ behind)?"), ""),
    (re.compile(r"\bview \d+"), ""),
    (re.compile(r"\b(at|place|as of) \d+"), r"\1 N"),
    (re.compile(r"\b\d+ times?"), "N times"),
    (re.compile(r"<\w+> \w+ says \d+"), "SAID"),
    (re.compile(r"\breplicas?( \d)+"), "REPLICAS"),
    (re.compile(r"\b[0-9a-f]{16,}( [0-9a-f]+)?"), "DIGEST"),
    (re.compile(r"\b[0-9A-Z]{4}(-[0-9A-Z]{1,5}){3,}"), "CODE"),
)
"""What differs from one run to the next."""


def shown_in(guide: str) -> Album:
    return {found["name"]: found["screen"] for found in _FENCE.finditer(guide)}


def rewritten(guide: str, album: Album) -> str:
    """Return the guide with these screens in the place of those of the same names."""
    return _FENCE.sub(lambda found: f"```text {found['name']}\n{album[found['name']]}```", guide)


def stable(screen: str) -> list[str]:
    """Return what a screen says in each of its columns, without what differs from one run to the next."""
    rows = [row.ljust(80) for row in screen.splitlines()]
    edges = [place for place in range(80) if sum(row[place] == "│" for row in rows) > len(rows) // 3]
    found = []
    for start, end in zip([0, *edges], [*edges, 80], strict=True):
        text = " ".join(row[start:end].strip("│ ") for row in rows)
        for pattern, replacement in _CHANGES:
            text = pattern.sub(replacement, " ".join(text.split()))
        found.append(" ".join(text.split()))
    return found


@contextmanager
def at_a_screen(group: RunningGroup, home: Path, *arguments: str) -> Iterator[Person]:
    """Somebody with an empty home, or the one of before, who types `quorate chat`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUORATE_", "XDG_", "COLORFGBG"))}
    environment = kept | {"HOME": str(home), "QUORATE_GROUP": str(group.path), "LC_ALL": "C.UTF-8"}
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "clients.main", "chat", "--utc", "--no-bell", *arguments]
    person = Person(*command, environment=environment, patience_s=PATIENCE_S)
    try:
        yield person
    finally:
        person.child.close(force=True)


class Story:
    """Alice and Bob, from their first steps on. Each part leaves both in #garden, at the end of what was said."""

    def __init__(
        self, group: RunningGroup, alice: Person, bob: Person, alice_home: Path, *, guide: Album | None = None
    ) -> None:
        """`guide`: screens that those on the way have to be like."""
        self.group, self.alice, self.bob = group, alice, bob
        alice.neighbour, bob.neighbour = bob, alice
        self.album: Album = {}
        self._alice_home = str(alice_home)
        self._guide = guide

    def take(self, name: str, person: Person) -> None:
        """Keep the screen under this name. If the guide has one, wait until it is the same but for what varies."""
        if self._guide is None:
            person.settles()
        else:
            expected = stable(self._guide[name])
            person.until(lambda: stable(person.text) == expected, f"not as in the guide under {name}, but")
        path = f"{self._alice_home}{IDENTITY}"
        text = person.text.replace(path, f"{ALICE_HOME}{IDENTITY}".ljust(len(path)))
        self.album[name] = "".join(f"{row.rstrip()}\n" for row in text.splitlines())

    def both_see(self, *texts: str) -> None:
        self.alice.sees(*texts)
        self.bob.sees(*texts)

    async def tell(self) -> None:
        self.first_steps()
        self.talk()
        self.look_closely()
        self.talk_aside()
        await self.meet_a_liar()
        await self.lose_the_primary()

    def first_steps(self) -> None:
        alice, bob = self.alice, self.bob
        alice.sees("First steps", "identity.toml")
        self.take("first-steps", alice)
        alice.types("\r")
        alice.sees("Your name")
        alice.types("alice\r")
        alice.sees("Your first room", "0+1+2+3+")
        alice.types("garden\r")
        alice.sees("this is #garden", "0+1+2+3+")
        self.take("alone", alice)
        bob.sees("First steps")
        bob.types("\r")
        bob.sees("Your name")
        bob.types("bob\r")
        bob.sees("Your first room", "< #garden", "0+1+2+3+")
        self.take("first-room", bob)
        bob.types("\x1b[B\x1b[B\r")
        alice.sees("-- bob joined")

    def talk(self) -> None:
        alice, bob = self.alice, self.bob
        alice.types("helo, is anybody here?\r")
        self.both_see("✓ <alice> helo, is anybody here?")
        bob.types("hi @alice, **yes** :wave:\r")
        self.both_see("<bob> hi @alice, yes")
        alice.types("/edit 0 hello, is anybody here?\r")
        bob.types("/react 0 :+1:\r")
        self.both_see("<alice> hello, is anybody here? (edited)", "👍 1")
        alice.types("/poll What to eat? | pizza | burgers\r")
        self.both_see("Poll: What to eat?")
        bob.types("/vote 1\r")
        alice.types("/reply 1 good to see you\r")
        self.both_see("> bob: hi @alice", "1 vote,", "<alice> good to see you")
        alice.sees("0+1+2+3+")
        self.take("talking", alice)

    def look_closely(self) -> None:
        alice, bob = self.alice, self.bob
        bob.types("/search hello\r")
        bob.sees("Found 1 for hello", "alice: hello, is")
        self.take("search", bob)
        alice.types("/receipt 0\r")
        alice.sees("Receipt of message 0", "2 equal answers")
        self.take("receipt", alice)
        for person in (alice, bob):
            person.types("\x1b")
        alice.sees_no("Receipt")
        bob.sees_no("Found 1")

    def talk_aside(self) -> None:
        """In a private room that is entered by a code, and in a direct conversation."""
        alice, bob = self.alice, self.bob
        alice.types("/create -p attic\r")
        alice.sees(" #attic")
        alice.types("/link\r")
        alice.sees("whoever types /join ")
        self.take("link", alice)
        code = re.search(r"/join (\S+) comes", alice.text)
        assert code is not None, alice.text
        bob.types(f"/join {code[1]}\r")
        bob.sees(" #attic")
        bob.types("/msg alice do you hear me?\r")
        bob.sees("✓ <bob> do you hear me?")
        alice.sees("@bob:1!")
        self.take("direct", alice)
        for person in (alice, bob):
            person.types("/join garden\r")
        self.both_see(" #garden", "good to see you")

    async def meet_a_liar(self) -> None:
        """It serves long enough to be named, and is replaced."""
        await self.group.end(LIAR, signal.SIGTERM)
        self.both_see(f"{LIAR}-")
        await self.group.start(LIAR, behaviour="reply_lie")
        await self.group.until_caught_up()
        for person in (self.alice, self.bob):  # a lie is seen by whom it is told
            person.sees_no(f"{LIAR}-")
        for number in range(2):
            self.alice.types(f"is that so? {number}\r")
            self.bob.types(f"it is so {number}\r")
        self.both_see("✓ <bob> it is so 1", "✓ <alice> is that so? 1", f"{LIAR}!")
        self.alice.types("/replicas\r")
        self.alice.sees("contradicted the", "others")
        self.take("liar", self.alice)
        self.alice.types("\x1b")
        self.alice.sees_no("contradicted")
        await self.group.end(LIAR, signal.SIGTERM)
        await self.group.start(LIAR)
        await self.group.until_caught_up()

    async def lose_the_primary(self) -> None:
        """In the middle of what both say."""
        for number in range(LINES // 2):
            self.alice.types(f"alice says {number}\r")
            self.bob.types(f"bob says {number}\r")
        self.alice.sees("alice says 0")
        await self.group.kill(PRIMARY)
        for number in range(LINES // 2, LINES):
            self.alice.types(f"alice says {number}\r")
            self.bob.types(f"bob says {number}\r")
        last = LINES - 1
        self.both_see(f"✓ <alice> alice says {last}", f"✓ <bob> bob says {last}", f"{PRIMARY}-1+2+{LIAR}!")
        self.take("primary-gone", self.alice)

    def all_that_is_shown(self, person: Person, count: int) -> list[tuple[str, str]]:
        """Who said what, on a screen so high that everything is on it, once that many lines are."""
        person.resizes(100, 80)

        def found() -> list[tuple[str, str]]:
            return [(said[1], said[2]) for said in map(_SAID.search, person.text.splitlines()) if said]

        person.until(lambda: len(found()) >= count, f"no {count} messages")
        return found()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="q") as directory:
        place = Path(directory)
        async with running_group(place, name="quorate") as group:
            await group.start_all()
            with at_a_screen(group, place / "alice") as alice, at_a_screen(group, place / "bob") as bob:
                story = Story(group, alice, bob, place / "alice")
                await story.tell()
    GUIDE.write_text(rewritten(GUIDE.read_text(), story.album))


if __name__ == "__main__":
    trio.run(main)
