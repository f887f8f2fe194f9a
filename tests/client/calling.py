"""Clients of fake replicas, and what was said to those."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pbft.client.driver import ReplicaClient, open_client
from pbft.client.quorums import Accepted, Outcome
from tests.client.fake_replicas import World, signer_of

ALICE = signer_of(1)


@asynccontextmanager
async def client_of(world: World, connected: int = 4, **options: Any) -> AsyncIterator[ReplicaClient]:
    async with open_client(world.directory, ALICE, dial=world.dial, **options) as client:
        if connected:
            await client.wait_connected(connected)
        yield client


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


def said(world: World, replica: int, kind: type) -> list[Any]:
    return [message for message in world.replicas[replica].heard if isinstance(message, kind)]
