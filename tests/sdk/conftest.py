"""A group of fake replicas that run the real chat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.client.fake_replicas import World
from tests.sdk.test_chat import ChatBackend


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = ChatBackend()
    yield backend
    backend.service.close()


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery, backend: ChatBackend) -> World:
    world = World(tmp_path, backend=backend)
    world.nursery = nursery
    return world
