from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from chatsvc.groupfile import GroupFile
from tests.chatsvc_process.processes import make_group


@pytest.fixture
def group_file(tmp_path: Path) -> GroupFile:
    """A group of four whose nodes have never run."""
    return make_group(tmp_path / "group")


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """The command under test configures logging for its process: undone."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
