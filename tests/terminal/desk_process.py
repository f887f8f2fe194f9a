"""The full-screen chat on the terminal of this process, with a group of fake replicas inside it.

Argument: a directory, in which the identity is made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import trio
from urwid.display.raw import Screen as Terminal

from clients.terminal.app import App, Options, show
from clients.terminal.palette import Theme
from crypto.signing import PublicKey
from pbft.core.application import EventItem
from pbft.core.types import EventIndex, SequenceNumber
from tests.client.fake_replicas import World
from tests.sdk.test_chat import ChatBackend


class OneDevice(ChatBackend):
    """Tells events as to whoever has written last."""

    device = PublicKey(bytes(32))

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:
        self.device = device
        return super().execute(device, operation, sequence)

    def events(self, topic: bytes) -> Sequence[EventItem] | None:
        return self.service.application.events(self.service.rows, self.device, topic, EventIndex(0), 10_000)


async def main(directory: Path) -> None:
    backend = OneDevice()
    world = World(directory, backend=backend)
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        identity = directory / "identity.toml"
        options = Options(identity=identity, theme=Theme.DARK, dial=world.dial, zone=UTC)
        terminal = Terminal(bracketed_paste_mode=True)
        app = App(world.directory, None, options, on_redraw=terminal.clear)
        await show(app, terminal, options, os.environ)
        nursery.cancel_scope.cancel()
    backend.service.close()
    sys.stdout.write("left in order\n")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
