"""The program on a real pseudo-terminal, read off the screen as a person would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from clients.sdk import ExitCode
from clients.terminal.command import chat
from tests.terminal.person import Person


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    person = Person(sys.executable, "-m", "tests.terminal.desk_process", str(tmp_path))
    yield person
    person.child.close(force=True)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_from_the_first_steps_to_the_way_out(person: Person, tmp_path: Path) -> None:
    person.sees("First steps", "Make an identity")
    person.types("\r")
    person.sees("Your name", "Register")
    assert (tmp_path / "identity.toml").exists()
    person.types("two words\r")
    person.sees("does not contain the character U+0020")
    person.types("Alice\r")
    person.sees("Your first room", "Join or create")
    person.types("garden\r")
    person.sees("#garden", "Alice connected 0+1+2+3+")
    person.types("hello, garden\r")
    person.sees("✓ <Alice> hello, garden")
    person.types("\x1b[200~one\rtwo\x1b[201~")
    person.sees("> one", "two")
    assert "<Alice> one" not in person.text
    person.types("\r")
    person.sees("✓ <Alice> one")
    person.types("/receipt 0\r")
    person.sees("Receipt of message 0", "2 equal answers")
    person.types("\x1b")
    person.sees_no("Receipt")
    person.resizes(30, 110)
    person.sees("#garden               │")
    person.types("\x03")
    person.sees("left in order")
    person.child.expect(pexpect.EOF)
    person.child.wait()
    assert person.child.exitstatus == 0


def test_without_a_terminal_there_is_another_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert chat("garden") == ExitCode.USAGE
    assert "quorate tail -f" in capsys.readouterr().err
