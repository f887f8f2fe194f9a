"""`quorate --help` at once, and what completes commands."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from clients.front_page import page
from clients.main import make_app
from clients.manual import front_table, recorded


def test_the_front_page_looks_as_all_other_help_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["quorate", "--help"])
    rows: list[tuple[str, ...]] = [*front_table(recorded())]
    app = make_app()
    for width in (48, 80, 120):
        out = io.StringIO()
        app.help_print([], console=Console(file=out, width=width, force_terminal=False))
        expected = [line.rstrip() for line in out.getvalue().splitlines()]
        assert page(rows, width, coloured=False).splitlines() == expected


def test_the_front_page_imports_nothing_that_takes_time() -> None:
    script = (
        "import sys; sys.argv = ['quorate']; import clients.main as m\ntry: m.main()\nfinally: print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, env=environment()
    )
    *shown, modules = said.stdout.splitlines()
    assert "Usage: quorate COMMAND" in shown[0]
    assert not {"cyclopts", "rich", "typing", "importlib.metadata", "trio", "re"} & set(modules.split())


def test_the_front_page_has_colours_on_a_terminal_only() -> None:
    command = [sys.executable, "-m", "clients.main", "--help"]
    leader, follower = pty.openpty()
    with subprocess.Popen(command, stdout=follower, env=environment() | {"TERM": "xterm", "COLUMNS": "80"}):
        os.close(follower)
        assert b"\x1b[36mregister" in everything(leader)
    piped = subprocess.run(command, capture_output=True, check=True, env=environment())
    assert b"\x1b" not in piped.stdout


def everything(terminal: int) -> bytes:
    """What is written to a terminal until its other side is closed, which Linux says with an error."""
    with os.fdopen(terminal, "rb", buffering=0) as file, contextlib.suppress(OSError):
        found = b""
        while data := file.read(4096):
            found += data
    return found


def environment() -> dict[str, str]:
    return {"PYTHONPATH": os.getcwd(), "PYTHONUTF8": "1"}  # noqa: PTH109 - a plain text is wanted


def test_the_shell_completes_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    make_app()(["completion", "bash"], result_action="return_value")
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for command in recorded().listed:
        for word in command.name.split():
            assert word in script
    assert "--reply-to" in script
