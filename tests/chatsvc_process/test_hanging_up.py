"""Who is told to begin again, within one process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from chatsvc.groupfile import read_group_file
from chatsvc.process import _lock
from chatsvc.restarting import RestartError, _hang_up
from tests.chatsvc_process.processes import PATIENCE_S


def test_only_the_process_that_holds_the_lock_is_told_to_begin_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_group_file(directory)
    told = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: told.set())
    try:
        absent = RestartError("absent", 1)
        for _ in range(2):
            with pytest.raises(RestartError, match="absent"):
                _hang_up(os.getpid(), file, 0, absent)
            assert not told.is_set()
            with _lock(directory / "replica-0"):
                _hang_up(os.getpid(), file, 0, absent)
            # Another thread of this process may get the signal, which does not wake this one: it has to look.
            assert any(told.wait(0.05) for _ in range(int(PATIENCE_S / 0.05)))
            told.clear()
            monkeypatch.delattr(os, "pidfd_open", raising=False)  # not every system has it
    finally:
        signal.signal(signal.SIGHUP, before)
