from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.client.fake_replicas import World


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    """Four replicas that can be dialled."""
    world = World(tmp_path)
    world.nursery = nursery
    return world
