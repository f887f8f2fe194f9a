"""A state that is found damaged while the node runs: put aside and begun anew, a few times, unless told to stop."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from chatsvc.groupfile import read_group_file
from chatsvc.process import STATE_NAME, STATE_REPAIRS_MAX, NodeError, run_node
from crypto.signing import Ed25519Signer
from pbft.core.effects import Effects, Input, Recovered
from pbft.core.replica import Replica
from pbft.core.types import ReplicaId
from pbft.node.ledger import LedgerDamaged
from pbft.node.node import Machine
from pbft.state.errors import StateDamaged
from pbft.state.executor import Executor

ME = ReplicaId(0)


class Scripted:
    """A replica that fails when it starts, or stops its process."""

    def __init__(self, replica: Replica, failure: Exception | None) -> None:
        self._replica = replica
        self._failure = failure
        self.is_useless = replica.is_useless
        self.own_load = replica.own_load

    def step(self, given: Input) -> Effects:
        if isinstance(given, Recovered):
            return self._replica.step(given)
        if self._failure is not None:
            raise self._failure
        os.kill(os.getpid(), signal.SIGTERM)
        return self._replica.step(given)

    def describe(self) -> dict[str, Any]:
        return self._replica.describe()


class Starts:
    """Makes the machines of one process: the first few fail, the others stop it. Counts them."""

    def __init__(self, *failures: Exception) -> None:
        self.made = 0
        self._failures = list(failures)

    def __call__(self, replica: Replica, _signer: Ed25519Signer) -> Machine:
        self.made += 1
        return Scripted(replica, self._failures.pop(0) if self._failures else None)


def damage() -> StateDamaged:
    return StateDamaged("state.sqlite is damaged: page 7")


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """What a node changes in its process, which is that of the tests."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    structlog.contextvars.clear_contextvars()


def put_aside(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "replica-0").glob("state.damaged-?"))


def test_a_node_goes_on_with_a_new_state_in_the_place_of_a_damaged_one(directory: Path) -> None:
    starts = Starts(damage())
    run_node(read_group_file(directory), ME, starts)
    assert starts.made == 2
    assert put_aside(directory) == ["state.damaged-1"]
    assert (directory / "replica-0" / STATE_NAME).exists()


def test_what_the_node_that_failed_held_is_let_go(directory: Path) -> None:
    """A replica in memory may be large: when the next one is made, those before it are gone."""
    before: list[weakref.ref[Replica]] = []
    starts = Starts(damage(), damage())

    def make(replica: Replica, signer: Ed25519Signer) -> Machine:
        assert [earlier() for earlier in before] == [None] * len(before)
        before.append(weakref.ref(replica))
        return starts(replica, signer)

    run_node(read_group_file(directory), ME, make)
    assert len(before) == 3


def test_a_state_that_is_damaged_again_and_again_is_the_disks_fault(directory: Path) -> None:
    starts = Starts(*[damage() for _ in range(STATE_REPAIRS_MAX + 5)])
    with pytest.raises(NodeError, match=r"page 7\. The state was put aside 2 times already: replace the disk"):
        run_node(read_group_file(directory), ME, starts)
    assert starts.made == STATE_REPAIRS_MAX + 1
    assert put_aside(directory) == [f"state.damaged-{number + 1}" for number in range(STATE_REPAIRS_MAX)]


def test_a_node_that_was_told_to_stop_does_not_start_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state shows itself damaged when it is closed."""
    close = Executor.close

    def fail(executor: Executor) -> None:
        close(executor)
        raise damage()

    monkeypatch.setattr(Executor, "close", fail)
    starts = Starts()
    with pytest.raises(NodeError, match="found when the node stopped"):
        run_node(read_group_file(directory), ME, starts)
    assert starts.made == 1
    assert put_aside(directory) == []


def test_a_ledger_that_is_damaged_while_the_node_runs_is_begun_anew_by_the_next_start(directory: Path) -> None:
    starts = Starts(LedgerDamaged("ledger.sqlite: record 7 was changed"))
    with pytest.raises(NodeError, match=r"record 7 was changed\. Start the node again: it begins a new ledger"):
        run_node(read_group_file(directory), ME, starts)
    assert starts.made == 1
