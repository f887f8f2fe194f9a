"""What is served: the state of the last checkpoint, as long as it is the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.digest import Digest
from pbft.core.state_digest import page_digest, table_root
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    NotHeld,
    Pages,
    StateContent,
    StateMeta,
    WantBuckets,
    Wanted,
    WantMeta,
    WantPages,
)
from pbft.core.types import SequenceNumber
from pbft.state import snapshot
from pbft.state.executor import Executor
from pbft.state.position import CheckpointRoot
from tests.state.exchange import Exchange, certificate, new_state, same, sources, talk


def asked(executor: Executor, checkpoint: CheckpointRoot, wanted: Wanted) -> StateContent:
    fetch = FetchState(number=5, sequence=checkpoint.sequence, state_root=checkpoint.state_root, wanted=wanted)
    answer = executor.serve_state(fetch)
    assert (answer.number, answer.sequence) == (5, checkpoint.sequence)
    return answer.content


def last(executor: Executor) -> CheckpointRoot:
    assert executor.checkpoint is not None
    return executor.checkpoint


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_checkpoint_is_served_while_execution_goes_on(tmp_path: Path, in_memory: bool) -> None:
    executor = new_state(path=":memory:" if in_memory else tmp_path / "state.sqlite")
    talk(executor, 8)
    pages = executor._store.digests.stored("lines")
    rows = {page: tuple(executor._store.page_rows("lines", page)) for page in pages}
    roots = executor.table_roots()
    talk(executor, 3)
    assert executor.table_roots() != roots
    meta = asked(executor, last(executor), WantMeta())
    assert isinstance(meta, StateMeta)
    assert dict(meta.table_roots) == roots
    buckets = asked(executor, last(executor), WantBuckets(table="lines"))
    assert isinstance(buckets, BucketDigests)
    assert table_root(buckets.buckets) == roots["lines"]
    served = asked(executor, last(executor), WantPages(table="lines", pages=tuple(pages)))
    assert isinstance(served, Pages)
    assert dict(served.pages) == rows
    assert {page: page_digest(each) for page, each in served.pages} == pages
    executor.close()


def test_another_checkpoint_or_root_is_not_held(tmp_path: Path) -> None:
    executor = new_state(path=tmp_path / "state.sqlite")
    talk(executor, 2)
    at_8 = CheckpointRoot(sequence=SequenceNumber(8), state_root=Digest(bytes(32)))
    assert asked(executor, at_8, WantMeta()) == NotHeld(held=SequenceNumber(0))
    talk(executor, 6)
    at_4 = CheckpointRoot(sequence=SequenceNumber(4), state_root=last(executor).state_root)
    assert asked(executor, at_4, WantMeta()) == NotHeld(held=SequenceNumber(8))
    assert asked(executor, at_8, WantMeta()) == NotHeld(held=SequenceNumber(8))
    executor.close()


@pytest.mark.parametrize(("beyond", "held"), [(0, True), (1, False)])
def test_after_a_restart_it_is_held_if_the_state_is_exactly_there(tmp_path: Path, beyond: int, held: bool) -> None:
    executor = new_state(path=tmp_path / "state.sqlite")
    talk(executor, 8 + beyond)
    executor.close()
    executor = new_state(path=tmp_path / "state.sqlite")
    assert isinstance(asked(executor, last(executor), WantMeta()), StateMeta if held else NotHeld)
    executor.close()


def test_a_fetched_state_is_served_on() -> None:
    holders, fetcher, third = sources(8), new_state(), new_state()
    target = certificate(holders[1])
    Exchange(holders, fetcher, target).run()
    Exchange({1: fetcher}, third, target).run()
    same(third, holders[1])


def test_a_large_database_in_memory_serves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MEMORY_BYTES_MAX", 8192)
    executor = new_state()
    talk(executor, 4)
    assert asked(executor, last(executor), WantMeta()) == NotHeld(held=SequenceNumber(0))
    executor.close()


def test_the_log_does_not_grow_with_the_number_of_checkpoints(tmp_path: Path) -> None:
    """A read transaction that is never let go of would keep SQLite from ever starting it over."""
    path = tmp_path / "state.sqlite"
    executor = new_state(path=path)
    sizes = []
    for _ in range(100):
        talk(executor, 4, logs=40, size=800)
        sizes.append(Path(f"{path}-wal").stat().st_size)
    assert sizes[-1] <= 2 * sizes[10]
    assert path.stat().st_size > 2 * sizes[-1], "what was written went into the database"
    executor.close()
    assert not Path(f"{path}-wal").exists(), "no reader was left behind"
