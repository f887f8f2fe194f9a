"""Two people talk at their screens while a replica lies and the primary dies: nothing is lost or comes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clients.identity import write_identity
from crypto.signing import Ed25519Signer
from tests.e2e.processes import objects, quorate, running_group
from tests.e2e.screens import GUIDE, LIAR, LINES, ROOM, Story, at_a_screen, shown_in
from tests.sdk.page import program


def as_shown(message: dict[str, Any]) -> tuple[str, str]:
    """Who said it, and the first row of how it looks."""
    first_line = message["body"].split("\n")[0].replace("**", "")
    prefix = "Poll: " if message["kind"] == "poll" else ""
    return message["author"], f"{prefix}{first_line}{' (edited)' if message['edits'] else ''}"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_two_screens_show_the_same_whatever_becomes_of_the_replicas(tmp_path: Path) -> None:
    """What is on the screens on the way is in the guide; if it is another now, `python -m tests.e2e.screens`."""
    home = tmp_path / "alice"
    async with running_group(tmp_path, name="quorate") as group:
        await group.start_all()
        with at_a_screen(group, home) as alice, at_a_screen(group, tmp_path / "bob") as bob:
            story = Story(group, alice, bob, home, guide=shown_in(GUIDE.read_text()))
            await story.tell()
            asked = ("history", ROOM, "--json", "--limit", 1000)
            code, stdout, stderr = await quorate(*asked, home=home, group=group.path)
            assert code == 0, stderr
            said = [as_shown(message) for message in objects(stdout)]
            for name in ("alice", "bob"):
                numbered = [text for author, text in said if author == name and text.startswith(f"{name} says")]
                assert numbered == [f"{name} says {number}" for number in range(LINES)]
            for person in (alice, bob):
                assert story.all_that_is_shown(person, len(said)) == said
                assert "…" not in person.text
            write_identity(tmp_path / "robin.toml", Ed25519Signer.generate())
            await program().main(group.file.path, tmp_path / "robin.toml")
            alice.types("\x03")
            alice.sees(f"replica {LIAR} lied")
