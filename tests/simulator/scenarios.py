"""Small scenarios written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adversary.simulator.scenario import Action, Client, Fault, Liar, Scenario


def story(
    *faults: Fault,
    posts: Sequence[int] = (600, 900, 1200, 1500),
    replicas: int = 4,
    heal_ms: int = 3_000,
    seed: int = 1,
    without: Sequence[int] = (),
    liars: Sequence[tuple[int, str]] = (),
    options: Mapping[int, dict[str, Any]] | None = None,
    **others: Any,
) -> Scenario:
    """Alice registers, creates a room and posts at the times given. `without`: replicas outside the core.

    `options`: of the behaviour of each liar.
    """
    actions = [
        Action(id=0, at_ms=100, kind="register", text="alice"),
        Action(id=1, at_ms=300, kind="create", room="main"),
        *(Action(id=2 + i, at_ms=at, kind="post", room="main", text=f"post {i}") for i, at in enumerate(posts)),
    ]
    return Scenario(
        seed=seed,
        replicas=replicas,
        parameters={"checkpoint_interval": 4, "pipeline_depth": 2, "client_window": 32},
        clients=(Client(name="alice", actions=tuple(actions)),),
        faults=faults,
        liars=tuple(
            Liar(replica=replica, strategy=strategy, options=(options or {}).get(replica, {}))
            for replica, strategy in liars
        ),
        heal_ms=heal_ms,
        core=tuple(replica for replica in range(replicas) if replica not in without),
        **others,
    )
