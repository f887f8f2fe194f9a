"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Machines are shared and slow at times: how long an example takes says nothing about the code.
settings.register_profile("quorate", deadline=None)
settings.load_profile("quorate")


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A node holds SIGHUP back until its process ends, and some tests run one in theirs: what is sent later would
    wait, and meet the next node."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
