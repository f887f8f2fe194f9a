"""The command line in this process, against replicas that run the real chat and keep it from command to command."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from chatsvc.groupfile import Member, render_group_file
from clients import console, times
from clients.identity import write_identity
from clients.main import make_app
from crypto.signing import Ed25519Signer
from pbft.client.directory import ReplicaContact
from pbft.node.config import Endpoint
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import World
from tests.sdk.test_chat import ChatBackend

FIRST_PORT = 4000
"""Ports name the replicas; nothing listens there."""


class SystemNursery:
    """Lets the replicas serve as long as a command runs, in its own event loop."""

    def start_soon(self, task: Any, *arguments: Any) -> None:
        trio.lowlevel.spawn_system_task(self._serve, task, arguments)

    @staticmethod
    async def _serve(task: Any, arguments: tuple[Any, ...]) -> None:
        await task(*arguments)


@dataclass
class Said:
    """What a command ended with, and said."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        (record,) = self.records
        return record


class CommandLine:
    """`alice("send", "garden", "hello")`: users have their own identity files."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys
        self.monkeypatch = monkeypatch
        self.backend = ChatBackend()
        self.world = World(directory, backend=self.backend)
        self.world.nursery = cast("trio.Nursery", SystemNursery())
        self.app = make_app()
        monkeypatch.setattr(console, "dial_tcp", self._dial)
        self.group = directory / "group.toml"
        self.group.write_text(render_group_file(self.world.group, tuple(self._members())))
        # The chat's clock stands where its batches do; codes would be good for years too long otherwise.
        monkeypatch.setattr(times, "now_ms", lambda: NOON + 1000 * self.backend.service.sequence)

    def _members(self) -> Iterator[Member]:
        for number, key in enumerate(self.world.group.members):
            yield Member(
                signing_key=key,
                replica_endpoint=Endpoint("127.0.0.1", FIRST_PORT + 1000 + number),
                client_endpoint=Endpoint("127.0.0.1", FIRST_PORT + number),
                certificate_der=self.world.replicas[number].identity.certificate_der,
            )

    async def _dial(self, contact: ReplicaContact) -> trio.abc.Stream:
        return await self.world.dial(replace(contact, port=contact.port - FIRST_PORT))

    def identity(self, user: str) -> Path:
        path = self.directory / f"{user}.toml"
        if not path.exists():
            write_identity(path, Ed25519Signer.generate())
        return path

    def run(self, user: str, *arguments: object, json_output: bool = True, stdin: str = "") -> Said:
        """Run a command as it would be typed."""
        more = [*(["--json"] if json_output else []), "--utc", "--group", str(self.group)]
        more += ["--identity", str(self.identity(user))]
        words = [*map(str, arguments), *more]
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.monkeypatch.setattr(sys, "argv", ["quorate", *words])
        self.capsys.readouterr()
        try:
            code = self.app(words, result_action="return_value")
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return Said(int(code or 0), out, err)

    def did(self, user: str, *arguments: object, stdin: str = "") -> dict[str, Any]:
        """Run a command that succeeds and prints one record."""
        said = self.run(user, *arguments, stdin=stdin)
        assert said.code == 0, said.err
        return said.record

    def shown(self, user: str, *arguments: object) -> str:
        """Run a command that succeeds, and return what a person sees."""
        said = self.run(user, *arguments, json_output=False)
        assert said.code == 0, said.err
        return said.out

    def refused(self, user: str, *arguments: object, stdin: str = "") -> str:
        """Run a command that the chat, or this machine, refuses in one line."""
        said = self.run(user, *arguments, stdin=stdin)
        assert said.code in {2, 4, 6}, said
        assert (said.out, said.err.count("\n")) == ("", 1), said
        return said.err


@contextmanager
def command_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    line = CommandLine(directory, monkeypatch, capsys)
    yield line
    line.backend.service.close()
