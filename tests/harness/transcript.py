"""Transcripts: what is done to a group of replicas, and under each line what follows from it.

    group n=4 checkpoint_interval=4     the first line; any field of Parameters
    request a c=0 x2 ack=0 -> 0,1       two operations of device a, to replicas 0 and 1
    deliver PREPARE v=0 n=1 2->0        the first such message under way; `lose` drops it
    deliver COMMIT * *->0               every such message: `*` is any words, or anybody; `deliver *` is everything
    quietly deliver *                   the same without a word
    time +250                           timers expire
    crash 2 / restart 2 / connect 2     restart without links; connect brings them up
    show                                where everybody stands

Indented lines are output, written by running the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pbft.core.types import ReplicaId
from tests.harness.cluster import Cluster
from tests.harness.simnode import Flight


class TranscriptError(Exception):
    """The transcript asks for something that is not there."""


def replay(text: str) -> str:
    """The transcript as it should be: its own lines, each followed by what it gives today."""
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    output: list[str] = []
    cluster: Cluster | None = None
    for number, line in enumerate(lines, 1):
        output.append(line)
        if not line or line.startswith("#"):
            continue
        word, *rest = line.split()
        if word == "group":
            cluster = _group(rest)
            cluster.trace = lambda text: output.append(f"    {text}")
        elif cluster is None:
            raise TranscriptError(f"line {number}: the first line names the group")
        else:
            try:
                _act(cluster, word, rest, output)
            except (LookupError, ValueError) as error:
                so_far = "\n".join(output)
                raise TranscriptError(f"line {number}: {line}: {error}; output so far:\n{so_far}") from error
    return "\n".join(output) + "\n"


def _group(fields: list[str]) -> Cluster:
    values: dict[str, Any] = {name: int(value) for name, value in (field.split("=") for field in fields)}
    return Cluster(values.pop("n"), **values)


def _act(cluster: Cluster, word: str, rest: list[str], output: list[str]) -> None:
    match word:
        case "quietly":
            trace, cluster.trace = cluster.trace, None
            _act(cluster, rest[0], rest[1:], output)
            cluster.trace = trace
        case "request":
            _request(cluster, *rest)
        case "deliver" if rest == ["*"]:
            cluster.deliver_all()
        case "deliver" | "lose":
            _take(cluster, word, rest)
        case "time":
            cluster.advance(int(rest[0]))
        case "crash":
            cluster.crash(int(rest[0]))
        case "restart":
            cluster.restart(int(rest[0]), link_up=False)
        case "connect":
            cluster.connect(int(rest[0]))
        case "show":
            output.extend(_stands(cluster))
        case _:
            raise ValueError("no such command")


def _request(cluster: Cluster, device: str, first: str, count: str, ack: str, _arrow: str, to: str) -> None:
    start, acknowledged = int(first.removeprefix("c=")), int(ack.removeprefix("ack="))
    operations = [b"operation %d" % (start + i) for i in range(int(count.removeprefix("x")))]
    cluster.request(device, *operations, first=start, ack=acknowledged, to=[int(i) for i in to.split(",")])


def _take(cluster: Cluster, word: str, rest: list[str]) -> None:
    found = list(_matching(cluster, rest))
    if not found:
        raise LookupError("no such message under way: " + "; ".join(map(cluster.text, cluster.flying)))
    for flight in found if "*" in rest else found[:1]:
        cluster.flying.remove(flight)
        if word == "deliver":
            cluster.deliver(flight)


def _matching(cluster: Cluster, words: list[str]) -> Iterator[Flight]:
    """Messages whose first words are these, over the link that the last word names."""
    *words, link = [word for word in words if word != "*"]
    source, _, to = link.partition("->")
    for flight in cluster.flying:
        *said, way = cluster.text(flight).split()
        from_, _, onto = way.partition("->")
        if source in ("*", from_) and to in ("*", onto) and said[: len(words)] == words:
            yield flight


def _stands(cluster: Cluster) -> Iterator[str]:
    for me, node in cluster.nodes.items():
        if not node.alive:
            yield f"    {me}: down"
            continue
        replica = cluster.replicas[ReplicaId(me)]
        log = replica.log
        view = f" view={log.view}{'' if log.in_view else ' waiting'}" if log.view else ""
        yield f"    {me}: executed={node.executed} h={log.low_watermark} pool={len(replica.pool)}{view}"
