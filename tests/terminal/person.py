"""Somebody in front of a real pseudo-terminal, who reads the screen as a person would."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import pexpect
import pyte

from tests.harness.waiting import PATIENCE_S

ROWS, COLS = 24, 80


class Person:
    """Types on the terminal of a process, and looks at its screen.

    `environment`: of the process, besides TERM; None for this one's. `patience_s`: how long to wait for a text.
    """

    def __init__(
        self, *command: str, environment: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self.screen = pyte.Screen(COLS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self._patience_s = patience_s
        self.neighbour: Person | None = None
        """Whose screen is read too while this one waits: a program stops when nobody takes what it draws."""
        self.child: pexpect.spawn[bytes] = pexpect.spawn(
            command[0],
            list(command[1:]),
            dimensions=(ROWS, COLS),
            env=dict(os.environ if environment is None else environment) | {"TERM": "xterm-256color"},
            timeout=patience_s,
        )

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def sees(self, *texts: str) -> None:
        """Wait until all of them are on the screen."""
        self.until(lambda: all(text in self.text for text in texts), f"no {texts}")

    def sees_no(self, text: str) -> None:
        """Wait until it is not."""
        self.until(lambda: text not in self.text, f"still {text!r}")

    def until(self, holds: Callable[[], bool], otherwise: str) -> None:
        """Read the screen until it holds. The deadline is met only by a test that fails, which says `otherwise`."""
        end = time.monotonic() + self._patience_s
        while not holds():
            assert time.monotonic() < end, f"{otherwise} on:\n{self.text}"
            if self.neighbour is not None:
                self.neighbour.looks(within_s=0)
            assert self.looks(within_s=0.1) or holds(), f"it ended with {otherwise} on:\n{self.text}"

    def looks(self, *, within_s: float) -> bool:
        """Take what was drawn, if anything is within so many seconds. Returns whether the program still runs."""
        try:
            self._stream.feed(self.child.read_nonblocking(65536, timeout=within_s))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True

    def settles(self) -> None:
        """Read until nothing was drawn for a second."""
        before = None
        while before != self.text:
            before = self.text
            self.looks(within_s=1)

    def types(self, keys: str) -> None:
        self.child.send(keys)

    def resizes(self, rows: int, cols: int) -> None:
        self.screen.resize(rows, cols)
        self.child.setwinsize(rows, cols)
