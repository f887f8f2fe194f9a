"""The network's control channel: every line is answered, and a line that is wrong does nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adversary.network.control import obey
from adversary.network.proxy import Network
from adversary.network.route import CLIENTS, PERFECT
from chatsvc.groupfile import GroupFile, read_group_file


@pytest.fixture
def network(group_file: GroupFile) -> Network:
    """Not listening: only its rules are looked at."""
    return Network(group_file)


def told(network: Network, **command: Any) -> dict[str, Any]:
    answer = json.loads(obey(network, json.dumps(command).encode()))
    assert isinstance(answer, dict)
    return answer


def refused(network: Network) -> set[tuple[object, object]]:
    return {pair for pair in network.routes if network.route(*pair).rule.refused}


def test_a_partition_and_its_end(network: Network) -> None:
    assert told(network, do="partition", parts=[[0, "clients"], [3]]) == {"ok": True}
    assert refused(network) == {(0, 3), (3, 0), (CLIENTS, 3), (3, CLIENTS)}
    assert told(network, do="heal") == {"ok": True}
    assert refused(network) == set()


def test_an_isolated_replica(network: Network) -> None:
    assert told(network, do="isolate", places=[2]) == {"ok": True}
    assert refused(network) == {pair for pair in network.routes if 2 in pair}


def test_one_way(network: Network) -> None:
    assert told(network, do="hold", source=0, target=1) == {"ok": True}
    assert network.route(0, 1).rule.held
    assert network.route(1, 0).rule == PERFECT


def test_a_shape_changes_what_it_names(network: Network) -> None:
    assert told(network, do="shape", delay_s=0.1, jitter_s=1) == {"ok": True}
    assert told(network, do="shape", routes=[[0, 1]], bytes_per_s=1000, cut_chance=0.5) == {"ok": True}
    rule = network.route(0, 1).rule
    assert (rule.delay_s, rule.jitter_s, rule.bytes_per_s, rule.cut_chance) == (0.1, 1.0, 1000.0, 0.5)
    assert network.route(1, 0).rule.bytes_per_s is None
    assert told(network, do="shape", routes=[[0, 1]], bytes_per_s=None) == {"ok": True}
    assert network.route(0, 1).rule.bytes_per_s is None


def test_cuts_and_garbage_are_taken(network: Network) -> None:
    assert told(network, do="cut", dialler=0, replica=1) == {"ok": True}
    assert told(network, do="inject", source=0, target=1, garbage="00ff") == {"ok": True}


def test_a_report_has_every_route(network: Network) -> None:
    routes = told(network, do="report")["routes"]
    assert len(routes) == len(network.routes) == 5 * 4
    assert routes[0] == {"source": 0, "target": 1, "carried_bytes": 0, "waiting_bytes": 0, "connections": 0}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null",
        b"[" * 100_000,
        b"\xff",
        b"{}",
        b'{"do": "explode"}',
        b'{"do": "heal", "more": 1}',
        b'{"do": "isolate"}',
        b'{"do": "isolate", "places": ["nobody"]}',
        b'{"do": "partition", "parts": [[0], [1, 9]]}',
        b'{"do": "cut", "dialler": 1, "replica": 1}',
        b'{"do": "hold", "source": 7, "target": 0}',
        b'{"do": "inject", "source": 0, "target": 1, "garbage": "xx"}',
        b'{"do": "shape", "routes": [[0, 1], [0, 0]], "held": true}',
        b'{"do": "shape", "delay_s": -1}',
        b'{"do": "shape", "delay_s": NaN}',
        b'{"do": "shape", "cut_chance": 2}',
    ],
)
def test_a_line_that_is_wrong_does_nothing(network: Network, line: bytes) -> None:
    answer = json.loads(obey(network, line))
    assert set(answer) == {"error"}
    assert answer["error"]
    assert all(network.route(*pair).rule == PERFECT for pair in network.routes)


def test_the_program_says_where_everybody_finds_the_others_and_ends_with_its_input(group_file: GroupFile) -> None:
    argv = [sys.executable, "-m", "adversary.network", str(group_file.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        views = json.loads(program.stdout.readline())["views"]
        assert set(views) == {"0", "1", "2", "3", "clients"}
        for path in views.values():
            assert read_group_file(Path(path)).group == group_file.group
        program.stdin.write(b'{"do": "isolate", "places": [0]}\nwhat?\n')
        program.stdin.flush()
        assert json.loads(program.stdout.readline()) == {"ok": True}
        assert set(json.loads(program.stdout.readline())) == {"error"}
        rest, complaints = program.communicate(timeout=60)
    assert (program.returncode, rest, complaints) == (0, b"", b"")
    assert not any(Path(path).exists() for path in views.values())


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_program_leaves_nothing_behind_when_it_is_told_to_end(group_file: GroupFile, end: signal.Signals) -> None:
    argv = [sys.executable, "-m", "adversary.network", str(group_file.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        views = json.loads(program.stdout.readline())["views"]
        program.send_signal(end)
        _, complaints = program.communicate(timeout=60)
    assert complaints == b""
    assert not any(Path(path).exists() for path in views.values())
