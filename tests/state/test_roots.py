from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digest import Digest, digest_of
from crypto.merkle import inclusion_proof, leaf_digest, merkle_root, verify_inclusion
from pbft.core.application import Key, Row
from pbft.core.state_digest import BUCKETS, EMPTY_TABLE, bucket_digest, page_digest, state_leaves, table_root
from pbft.core.types import Epoch, Milliseconds, SequenceNumber
from pbft.state.executor import open_state
from pbft.state.pages import BucketTree
from tests.state.test_store import NAMES, commit, open_store
from tests.state.toy import Toy, device, op, request, roots, run, sample_batches, small_group

keys = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.integers(0, 1))
batches = st.lists(
    st.tuples(st.sampled_from(NAMES), st.dictionaries(keys, st.none() | st.tuples(st.integers(0, 2)), max_size=5)),
    max_size=20,
)


@given(batches, st.integers(1, 4))
def test_the_incremental_roots_are_those_of_the_rows(
    steps: list[tuple[str, dict[Key, Row | None]]], refresh_every: int
) -> None:
    store, final = open_store(cache_rows=3), dict[tuple[str, Key], Row | None]()
    for number, (table, rows) in enumerate(steps):
        commit(store, rows, table)
        final |= {(table, key): row for key, row in rows.items()}
        if number % refresh_every == 0:
            with store.transaction(durable=False):
                assert store.table_roots() == store.digests.recomputed_roots()
    with store.transaction(durable=False):
        found = store.table_roots()
    assert found == store.digests.recomputed_roots()
    for table in NAMES:
        assert store.digests.stored(table) == store.digests.recomputed(table)
    at_once = open_store()
    for (table, key), row in sorted(final.items(), key=str):
        if row is not None:
            commit(at_once, {key: row}, table)
    with at_once.transaction(durable=False):
        assert at_once.table_roots() == found
    store.close()
    at_once.close()


def test_an_emptied_page_is_as_one_that_never_was() -> None:
    store = open_store()
    with store.transaction(durable=False):
        before = store.table_roots()
    commit(store, {("a", 1, 1): (1,)})
    with store.transaction(durable=False):
        assert store.table_roots()["range"] != before["range"]
    commit(store, {("a", 1, 1): None, ("never", 1, 1): None})
    with store.transaction(durable=False):
        assert store.table_roots() == before
    assert store.digests.stored("range") == {}
    assert store.connection.execute("SELECT count(*) FROM page_digests").fetchone() == (0,)
    store.close()


def test_a_page_digest_tells_key_from_row_and_row_from_row() -> None:
    pages = [[(b"ab", b"c")], [(b"a", b"bc")], [(b"a", b"b"), (b"c", b"")], [(b"a", b""), (b"b", b"c")], []]
    assert len({page_digest(page) for page in pages}) == len(pages)


def test_a_table_root_can_be_proven_against_the_state_root() -> None:
    one, other = Digest(b"1" * 32), Digest(b"2" * 32)
    leaves = state_leaves(
        history_head=Digest(b"h" * 32),
        agreed_time=Milliseconds(5),
        table_roots={"b": other, "a": one},
        group_id=Digest(b"g" * 32),
        epoch=Epoch(0),
        sequence=SequenceNumber(7),
    )
    assert len(leaves) == 6
    root = merkle_root(leaves)
    table_a = leaf_digest(b"\x83" + b"\x65table" + b"\x61a" + b"\x58\x20" + one)
    verify_inclusion(root=root, leaf=table_a, index=2, count=6, proof=inclusion_proof(leaves, 2))


def test_every_part_of_the_state_is_under_the_root() -> None:
    parts: dict[str, tuple[object, object]] = {
        "history_head": (b"h" * 32, b"i" * 32),
        "agreed_time": (1, 2),
        "table_roots": ({"a": b"1" * 32}, {"a": b"2" * 32}),
        "group_id": (b"g" * 32, b"f" * 32),
        "epoch": (0, 1),
        "sequence": (4, 5),
    }
    usual = {name: values[0] for name, values in parts.items()}
    variants = [usual, *(usual | {name: values[1]} for name, values in parts.items())]
    found = {merkle_root(state_leaves(**variant)) for variant in variants}  # type: ignore[arg-type]  # by name
    assert len(found) == len(variants)


def test_the_same_roots_after_closing_and_reopening(tmp_path: Path) -> None:
    batches = list(sample_batches())
    together = open_state(":memory:", Toy(), small_group())
    expected = roots(together, batches)
    assert together.recomputed_state_root() == expected[-1]
    together.close()
    found = []
    for each in batches:
        executor = open_state(tmp_path / "state.sqlite", Toy(), small_group())
        found += roots(executor, [each])
        executor.close()
    assert found == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"},
        {"PYTHONHASHSEED": "77", "LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0"},
        {"PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "2"},
    ],
    ids=["C", "elsewhere", "optimised"],
)
def test_pitfall_13_the_same_roots_in_every_environment(environment: dict[str, str]) -> None:
    executor = open_state(":memory:", Toy(), small_group())
    expected = [root.hex() for root in roots(executor, sample_batches())]
    executor.close()
    finished = subprocess.run(
        [sys.executable, "-m", "tests.state.toy"],
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )
    assert json.loads(finished.stdout) == expected


def test_pitfall_14_a_rotted_row_is_found_by_recomputing_and_by_the_next_digest_of_its_page(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    batches = [request(device(1), number, op("say", "log", "line")) for number in range(6)]
    honest = open_state(":memory:", Toy(), small_group())
    rotted = open_state(path, Toy(), small_group())
    for each in batches[:2]:
        run(honest, each)
        run(rotted, each)
    root = rotted.state_root()
    rotted.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows_lines SET row = CAST(replace(row, x'6c69', x'4c69') AS BLOB)")  # li -> Li
    connection.close()
    rotted = open_state(path, Toy(), small_group())
    assert rotted.state_root() == root
    assert rotted.recomputed_state_root() != root
    for each in batches[2:]:
        run(honest, each)
        run(rotted, each)
    assert rotted.checkpoint is not None
    assert honest.checkpoint is not None
    assert rotted.checkpoint.state_root != honest.checkpoint.state_root
    honest.close()
    rotted.close()


def test_the_tree_over_buckets_follows_every_change() -> None:
    dice = random.Random(7)  # noqa: S311 - draws pages, no secret
    tree = BucketTree()
    assert tree.root() == EMPTY_TABLE
    for _ in range(300):
        page = bytes([dice.randrange(256)])
        tree.set(page, digest_of(dice.randbytes(4)) if dice.random() < 0.7 else None)
        if dice.random() < 0.3:
            assert tree.buckets() == tuple(bucket_digest(tree.bucket(number)) for number in range(BUCKETS))
            assert tree.root() == table_root(tree.buckets())
    for page in tree.pages():
        tree.set(page, None)
    assert tree.root() == EMPTY_TABLE


def test_a_frozen_tree_does_not_follow() -> None:
    tree = BucketTree()
    tree.set(b"page", digest_of(b"one"))
    frozen = tree.freeze()
    tree.set(b"page", digest_of(b"two"))
    tree.set(b"other", digest_of(b"three"))
    assert dict(item for bucket in frozen.pages for item in bucket.items()) == {b"page": digest_of(b"one")}
    assert table_root(frozen.buckets) != tree.root()
    assert BucketTree().pages() == {}
