from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatsvc.groupfile import GroupFile
from tests.chatsvc_process.processes import copy_of, make_group


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> GroupFile:
    return make_group(tmp_path_factory.mktemp("founded") / "group")


@pytest.fixture
def directory(founded: GroupFile, tmp_path: Path) -> Path:
    """A group of four that has never run; its ports are the same in every test."""
    return copy_of(founded, tmp_path / "group")


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A node holds SIGHUP back until its process ends, and some tests run one in theirs: what is sent later would
    wait, and meet the next node."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
