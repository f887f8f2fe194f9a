"""Whatever the network does: one history, no gaps, equal roots, everything exactly once, nothing sent unstored.

The harness checks agreement, gaps and store-before-send at every step (tests/harness/cluster.py).
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.harness.chaos import CALM, CRASHING, PARTED, ROUGH, Faults, run_chaos

SEEDS = st.integers(0, 2**32 - 1)
HEAVY = Faults(lose=0.3, duplicate=0.3, pause=0.1, crash=0.06, down_max=2, defer=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS, st.sampled_from([CALM, ROUGH, CRASHING, HEAVY]))
def test_four_replicas(seed: int, faults: Faults) -> None:
    run_chaos(4, seed, faults)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from([5, 6, 7]), SEEDS, st.sampled_from([ROUGH, CRASHING]))
def test_five_to_seven_replicas(n: int, seed: int, faults: Faults) -> None:
    run_chaos(n, seed, faults)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from([4, 4, 5, 7]), SEEDS)
def test_with_partitions_that_take_primaries_away(n: int, seed: int) -> None:
    run_chaos(n, seed, PARTED, operations=10)


def test_partitions_do_change_views() -> None:
    views = [run_chaos(4, seed, PARTED, operations=10) for seed in range(4)]
    assert max(replica.log.view for cluster in views for replica in cluster.replicas.values()) >= 2


@pytest.mark.parametrize("n", [10, 13])
@pytest.mark.parametrize("faults", [ROUGH, CRASHING], ids=["rough", "crashing"])
def test_ten_and_thirteen_replicas(n: int, faults: Faults) -> None:
    for seed in range(2):
        run_chaos(n, seed, faults, operations=10)


@pytest.mark.parametrize("seed", range(3))
def test_with_real_signatures(seed: int) -> None:
    run_chaos(4, seed, CRASHING, operations=8, real=True)


@pytest.mark.parametrize("interval", [2, 3, 4])
def test_with_many_checkpoints(interval: int) -> None:
    """Batches of one operation each, no more than the window holds of them for a straggler."""
    for seed in range(6):
        run_chaos(4, seed, CRASHING, operations=2 * interval, checkpoint_interval=max(interval, 5))


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (run_chaos(4, 7, CRASHING) for _ in range(2))
    assert first.sent == second.sent
    assert first.now_ms == second.now_ms
    ledgers = [[node.ledger for node in cluster.nodes.values()] for cluster in (first, second)]
    assert ledgers[0] == ledgers[1]


def test_a_failure_says_how_to_replay_it() -> None:
    with pytest.raises(ValueError, match="pipeline_depth") as failure:
        run_chaos(4, 3, CALM, checkpoint_interval=1)
    assert "replay: run_chaos(4, 3," in failure.value.__notes__[0]
