from __future__ import annotations

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
